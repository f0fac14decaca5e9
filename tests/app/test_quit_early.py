"""A signal while the window still starts ends it, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STARTS = """
import os, sys, time
from app import gui
app = gui.make_application([])
gui._quit_on_signals(app)
os.kill(os.getpid(), int(sys.argv[1]))
for _ in range(100):  # what is still to be loaded
    time.sleep(0.001)
from PySide6.QtWidgets import QWidget
window = QWidget()
window.show()
print("ended with", app.exec())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_event_loop_is_not_lost(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTS, str(int(number))], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}, timeout=60,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("ended with 0", 0), done.stderr
