"""The runner's preference, and measuring when the desk is at rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Signal

from app import cli, places, runner_controller
from app.runner_controller import RunnerController
from app.settings import Settings
from engine.graphs.policy import RUNNERS
from engine.graphs.values import Spec


class _Jobs:
    def __init__(self) -> None:
        self.keys: list[str] = []

    def submit(self, title: str, work: Any, *, key: str, **_: Any) -> None:
        self.keys.append(key)


class _Scoring(QObject):
    scoresChanged = Signal()


class _Workspace(QObject):
    settingsChanged = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.settings, self.scoring, self.runner = Settings(), _Scoring(), _Jobs()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    RUNNERS.use("torch", None)
    RUNNERS.on_unmeasured = None


def test_preference_and_measuring_at_rest(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_controller, "REST_MS", 30)
    workspace = _Workspace()
    controller = RunnerController(workspace)
    assert RUNNERS.wanted == "auto" and RUNNERS.folder == places.graph_folder()
    workspace.settingsChanged.emit(Settings(runner="torch"))
    assert RUNNERS.wanted == "torch"
    workspace.settingsChanged.emit(Settings(runner="nonsense"))
    assert RUNNERS.wanted == "auto"
    assert RUNNERS.on_unmeasured is not None
    RUNNERS.on_unmeasured(Spec("tokens", "", 0, '["bert", {}]'))
    assert not workspace.runner.keys
    qtbot.waitUntil(lambda: len(workspace.runner.keys) == 1, timeout=2000)
    controller.deleteLater()


def test_eval_flags_and_plain_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = places.DEMO
    task = str(demo / "tasks" / "digits.task.json")
    (tmp_path / "bad.onnx").write_bytes(b"\x8f" * 100)
    given = ["eval", str(demo / "base"), "--task", task, "--limit", "20"]
    assert cli.run([*given, "--graph", str(tmp_path / "bad.onnx")]) == 1
    assert "damaged or no ONNX graph" in capsys.readouterr().err
    assert cli.run([*given, "--runner", "torch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["count"] == 20
    assert cli.run(["onnx", str(demo / "base"), "--out", str(tmp_path / "m.bin")]) == 1
    assert "ends in .onnx" in capsys.readouterr().err
