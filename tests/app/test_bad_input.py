"""Bad input through the whole application: a clear error, nothing lost, the app alive."""

from __future__ import annotations

import os
import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app import cli
from app.desk import Desk
from app.intake import Intake
from tests.app.models import base_tensors, expert_tensors, write_family, write_model
from widgets.panels.state import ExportForm

Settled = Callable[[Desk], None]


@pytest.fixture
def mixed(desk: Desk, tmp_path: Path, settled: Settled) -> Desk:
    """A desk with a base and two experts."""
    base, experts = write_family(tmp_path / "good", 2)
    desk.shelf.drop([str(base), *map(str, experts)], "canvas")
    settled(desk)
    assert desk.workspace.recipe.base is not None
    assert [e.name for e in desk.workspace.recipe.experts] == ["chat", "code"]
    return desk


def still_fine(desk: Desk, qtbot: QtBot) -> None:
    """The two good experts are there, and a fader still moves."""
    assert [e.name for e in desk.workspace.recipe.experts][:2] == ["chat", "code"]
    expert = desk.workspace.recipe.experts[0].id
    value = 0.25 if desk.board_values()[0][1] != 0.25 else 0.5
    desk.window.canvas.coefficientsEdited.emit(((expert, 1),), (value,), "Set chat", "")
    assert desk.board_values()[0][1] == value
    qtbot.wait(10)
    assert desk.window.isVisible()


def export_to(desk: Desk, out: Path, qtbot: QtBot) -> None:
    """Export as the panel's button does, and wait for the end."""
    desk.handlers.file_export()
    form = replace(ExportForm(), path=str(out))
    with qtbot.waitSignal(desk.workspace.runner.jobFinished, timeout=30_000,
                          check_params_cb=lambda job: job.title.startswith("Exporting")):  # fmt: skip
        desk.export.export(form)
    qtbot.wait(20)


def test_truncated_file(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    folder = write_model(tmp_path / "cut", expert_tensors(base_tensors(), 9))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    mixed.shelf.drop([str(folder)], "canvas")
    settled(mixed)
    assert "cut" in mixed.problem_text() and "bytes" in mixed.problem_text()
    still_fine(mixed, qtbot)


def test_wrong_shapes(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    tensors = expert_tensors(base_tensors(), 9)
    tensors["lm_head.weight"] = np.zeros((48, 16), np.float32)
    mixed.shelf.drop([str(write_model(tmp_path / "wider", tensors))], "canvas")
    settled(mixed)
    wider = mixed.workspace.recipe.experts[2]
    errors = [f for f in mixed.workspace.findings()[wider.id] if f.severity == "error"]
    assert errors and "lm_head.weight" in errors[0].message + " ".join(errors[0].tensors) and errors[0].hint
    export_to(mixed, tmp_path / "out", qtbot)
    assert "lm_head.weight" in mixed.problem_text() and not (tmp_path / "out").exists()
    mixed.shelf.remove(wider.id)
    export_to(mixed, tmp_path / "out", qtbot)
    assert (tmp_path / "out" / "model.safetensors").exists()
    still_fine(mixed, qtbot)


def test_missing_shard(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    folder = write_model(tmp_path / "sharded", expert_tensors(base_tensors(), 9), shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    mixed.shelf.drop([str(folder)], "canvas")
    settled(mixed)
    told = " ".join(f.message for f in mixed.workspace.findings()[mixed.workspace.recipe.experts[-1].id])
    assert "model-00002-of-00003.safetensors" in told + mixed.problem_text()
    still_fine(mixed, qtbot)


def test_nan_tensor(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    tensors = expert_tensors(base_tensors(), 9)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    mixed.shelf.drop([str(write_model(tmp_path / "sick", tensors))], "canvas")
    settled(mixed)
    found = mixed.workspace.findings()[mixed.workspace.recipe.experts[2].id]
    assert any("model.layers.1.mlp.up_proj.weight" in f.message + " ".join(f.tensors) for f in found)
    export_to(mixed, tmp_path / "out", qtbot)
    assert "model.layers.1.mlp.up_proj.weight" in mixed.problem_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good", "sick"]
    still_fine(mixed, qtbot)


def test_pickle(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "canary"),)

    for name in ("weights.pt", "disguised.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Canary()))
        mixed.shelf.drop([str(tmp_path / name)], "canvas")
    settled(mixed)
    first = mixed.problem_text()
    mixed.window.card.dismissed.emit()
    both = first + mixed.problem_text()  # two files are opened at once: either may come first
    assert "weights.pt" in both and "disguised.safetensors" in both
    assert not (tmp_path / "canary").exists()
    still_fine(mixed, qtbot)


def test_target_that_cannot_be_written(mixed: Desk, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "file").write_text("in the way")
    export_to(mixed, tmp_path / "file" / "out", qtbot)
    assert "The export failed" in mixed.problem_text()
    mixed.window.card.dismissed.emit()
    export_to(mixed, Path("/proc/mixdown/out"), qtbot)  # read-only even for root
    assert "The export failed" in mixed.problem_text()
    assert (tmp_path / "file").read_text() == "in the way"
    still_fine(mixed, qtbot)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("cannot mount a small tmpfs here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_target(mixed: Desk, small_disk: Path, settled: Settled, qtbot: QtBot) -> None:
    (small_disk / "filler").write_bytes(b"x" * 40_000)
    export_to(mixed, small_disk / "out", qtbot)
    assert "The export failed" in mixed.problem_text()
    assert "free" in mixed.problem_text() or "space" in mixed.problem_text()
    assert [p.name for p in small_disk.iterdir()] == ["filler"]
    still_fine(mixed, qtbot)


def test_two_hundred_files_at_once(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    source = (tmp_path / "good" / "chat" / "model.safetensors").read_bytes()
    files = [tmp_path / f"model{i}.safetensors" for i in range(200)]
    for file in files:
        file.write_bytes(source)
    before = mixed.workspace.recipe
    mixed.shelf.drop([str(f) for f in files], "canvas")
    settled(mixed)
    assert mixed.workspace.recipe == before
    intake = mixed.findChild(Intake)
    assert isinstance(intake, Intake)
    qtbot.waitUntil(lambda: intake.dialog is not None and intake.dialog.model.known == 200, timeout=30_000)
    intake.dialog.reject()
    assert mixed.workspace.recipe == before, "nothing is added unasked"
    still_fine(mixed, qtbot)


@pytest.fixture
def silent_pipe(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes pipes that nothing comes through; after four seconds they end, so that who reads one fails and goes on."""
    held: list[int] = []

    def make(name: str) -> Path:
        os.mkfifo(tmp_path / name)
        held.append(os.open(tmp_path / name, os.O_RDWR))
        return tmp_path / name

    def end() -> None:
        while held:
            os.close(held.pop())

    timer = threading.Timer(4, end)
    timer.start()
    yield make
    timer.cancel()
    end()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_slow_pipe_is_refused_and_never_waited_for(
    mixed: Desk, silent_pipe: Callable[[str], Path], settled: Settled, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed.handlers, "may_discard", lambda: True)
    for name in ("slow.safetensors", "slow.mixdown", "slow.yaml"):
        pipe, started = silent_pipe(name), time.monotonic()
        mixed.shelf.drop([str(pipe)], "canvas")
        settled(mixed)
        assert name.split(".")[0] in mixed.problem_text() and "not a file" in mixed.problem_text(), name
        assert time.monotonic() - started < 3, name
        mixed.window.card.dismissed.emit()
    still_fine(mixed, qtbot)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("command", ["merge {} --out {}.out", "convert {} {}.yaml", "explain {} {}", "tune {} --out x"])
def test_a_command_does_not_wait_for_a_pipe(
    command: str, silent_pipe: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = silent_pipe("slow.mixdown")
    assert cli.run(command.replace("{}", str(pipe)).split()) == 1
    assert "pipe, socket or device" in capsys.readouterr().err
