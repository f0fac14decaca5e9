"""A real window that is told to end (logout, SIGTERM) while it exports: at once, nothing half, nobody left behind."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.desk import Desk
from engine.progress import Token
from engine.recipe.project import load_project, save_project
from engine.recipe.recipe import ModelRef, Recipe

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 8.0
"""Three seconds are promised; other programs of the machine get the rest."""
TENSORS = 25
WINDOW = """
import sys
from PySide6.QtCore import QTimer
from app import gui
from app.desk import Desk
from widgets.panels.state import ExportForm

begin = Desk.start

def start(self, paths):
    begin(self, paths)

    def go():
        recipe = self.workspace.recipe
        if recipe.experts and self.workspace.inputs() is not None:
            timer.stop()
            self.workspace.store.apply(recipe.with_gain("e1", 0.5), "Gain")
            self.export.export(ExportForm(path=sys.argv[1]))

    timer = QTimer(self.window, interval=50)
    timer.timeout.connect(go)
    timer.start()

Desk.start = start
sys.exit(gui.open_window(sys.argv[2:]))
"""


def sparse(file: Path) -> Path:
    """A valid model of 100 MB, of which only the header lies on the disk."""
    size = 4 << 20
    header = {f"model.layers.{i}.mlp.up_proj.weight": {"dtype": "F32", "shape": [1024, 1024],
              "data_offsets": [i * size, (i + 1) * size]} for i in range(TENSORS)}  # fmt: skip
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + TENSORS * size)
    return file


def children(pid: int) -> set[int]:
    """All processes that a process started, and those that they started."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | children(child)
    return found


def soon(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("way", ["process", pytest.param("thread", marks=pytest.mark.soak)])
def test_a_logout_in_an_export_leaves_nothing_half_and_nobody_behind(way: str, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "exports" / "merged"
    home.mkdir()
    out.parent.mkdir()
    (home / "settings.json").write_text(json.dumps({"welcomed": True, "auto_eval": False, "live": False}))
    models = [sparse(tmp_path / f"{name}.safetensors") for name in ("base", "chat", "code")]
    base, *experts = (ModelRef(id=i, name=m.stem, path=str(m))
                      for i, m in zip(("base", "e1", "e2"), models, strict=True))  # fmt: skip
    project = tmp_path / "mix.mixdown"
    save_project(Recipe(base=base, experts=tuple(experts)), project)
    window = subprocess.Popen(
        [sys.executable, "-c", WINDOW, str(out), str(project)], cwd=ROOT, stderr=subprocess.PIPE,
        env={**os.environ, "MIXDOWN_HOME": str(home), "MIXDOWN_EXPORT": way, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    try:
        begun = soon(lambda: bool(list(out.parent.glob(".merged.partial-*/*"))) or window.poll() is not None, 60)
        assert begun and window.poll() is None and not out.exists()
        started = children(window.pid)
        told = time.monotonic()
        window.send_signal(signal.SIGTERM)
        code = window.wait(PATIENCE_S)
        assert code == 0 and time.monotonic() - told < PATIENCE_S
    finally:
        window.kill()
        _, errors = window.communicate()
    assert b"Traceback" not in errors, errors.decode()
    assert soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 3.0), "orphans"
    assert not list(out.parent.iterdir())
    assert load_project(home / "session.mixdown").gain("e1") == 0.5


@pytest.mark.parametrize("answer", ["", "stop", "wait"])
def test_closing_the_window_in_an_export_asks_first(
    answer: str, desk: Desk, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("widgets.dialogs.close_jobs.CloseJobsDialog.ask", lambda _: asked.append(answer) or answer)
    go_on, cancelled = threading.Event(), threading.Event()

    def work(token: Token) -> None:
        while not go_on.wait(0.01):
            if token.is_cancelled:
                cancelled.set()
            token.check()

    job = desk.workspace.runner.submit("Exporting merged", work, key="export /x/merged")
    qtbot.waitUntil(lambda: job.state == "running", timeout=5_000)
    closed = desk.window.close()
    assert asked == [answer] and closed == (answer == "stop")
    if answer == "stop":
        assert cancelled.wait(2.0)
        return
    assert desk.window.isVisible() and job.state == "running"
    go_on.set()
    qtbot.waitUntil(lambda: job.state == "done", timeout=5_000)
    if answer == "wait":
        qtbot.waitUntil(lambda: not desk.window.isVisible(), timeout=5_000)
    else:
        qtbot.wait(50)
        assert desk.window.isVisible()
