"""What is copied outlives the copying, and the process ends well with it on the clipboard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COPIES = """
import gc
from PySide6.QtCore import QStringListModel
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel
app = QApplication([])
from widgets.plots.frame import PlotFrame
view = QLabel("drawn")
frame = PlotFrame(view)
frame.csv = lambda: "a,b"
for _ in range(2):
    frame.copy()
gc.collect()
held = QGuiApplication.clipboard()
print(held.text(), sorted(held.mimeData().formats()), held.image().isNull())
"""


def test_a_copied_plot_on_the_clipboard_does_not_crash_the_end() -> None:
    """Qt's own clipboard ends after Python; what Python made and it holds would call back (a segfault in libpython)."""
    done = subprocess.run([sys.executable, "-c", COPIES], cwd=ROOT, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.stdout.strip() == "a,b ['application/x-qt-image', 'text/plain'] False", done.stderr
    assert done.returncode == 0


def test_only_one_place_gives_the_clipboard_an_object() -> None:
    files = [*ROOT.glob("widgets/**/*.py"), *ROOT.glob("app/**/*.py")]
    found = {f.name for f in files if "clipboard().setMimeData" in f.read_text("utf-8")}
    assert found == {"clip.py"}
