"""A thousand checkpoints dropped at once: an answer in seconds, without much memory, and the window stays."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.adding import MOST_FILES
from app.desk import Desk
from app.lateness import Lateness


def sparse_models(folder: Path, count: int) -> list[str]:
    """Valid files of 10 MB, of which only the header lies on the disk."""
    folder.mkdir()
    shape = [1024, 1024]
    header = {f"model.layers.{i}.mlp.up_proj.weight": {"dtype": "BF16", "shape": shape,
              "data_offsets": [i << 21, (i + 1) << 21]} for i in range(5)}  # fmt: skip
    text = json.dumps(header).encode()
    for number in range(count):
        with (folder / f"m{number:04}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + (5 << 21))
    return [str(folder / f"m{number:04}.safetensors") for number in range(count)]


def memory() -> float:
    """Resident megabytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def dropped(desk: Desk, paths: list[str], qtbot: QtBot, answered: Callable[[], bool]) -> tuple[float, float, float]:
    """Drop; seconds until the answer, megabytes taken, milliseconds of the worst gap."""
    late, before, started = Lateness(), memory(), time.monotonic()
    desk.shelf.drop(paths, "canvas")
    qtbot.waitUntil(answered, timeout=60_000)
    seconds = time.monotonic() - started
    gap = late.summary()["max"]
    late.deleteLater()
    return seconds, memory() - before, gap


@pytest.mark.parametrize("count", [MOST_FILES + 1, pytest.param(1_000, marks=pytest.mark.soak)])
def test_too_many_files_are_refused_at_once(desk: Desk, qtbot: QtBot, tmp_path: Path, count: int) -> None:
    paths = sparse_models(tmp_path / "many", count)
    seconds, taken, gap = dropped(desk, paths, qtbot, lambda: desk.problem_text() != "")
    (tmp_path / "figures.txt").write_text(f"{seconds:.2f} s, {taken:.0f} MB, gap {gap:.0f} ms")
    assert f"{count} models were dropped at once" in desk.problem_text() and not desk.workspace.recipe.experts
    assert seconds < 10 and taken < 300 and desk.window.isVisible()


def test_a_full_house_is_opened(desk: Desk, qtbot: QtBot, tmp_path: Path) -> None:
    paths = sparse_models(tmp_path / "many", 12)
    seconds, taken, _ = dropped(desk, paths, qtbot, lambda: len(desk.workspace.recipe.experts) >= 11)
    assert seconds < 10 and taken < 300


@pytest.mark.soak
def test_as_many_as_are_taken(desk: Desk, qtbot: QtBot, tmp_path: Path) -> None:
    paths = sparse_models(tmp_path / "many", MOST_FILES)
    found = dropped(desk, paths, qtbot, lambda: len(desk.workspace.recipe.experts) >= MOST_FILES - 1)
    (tmp_path / "figures.txt").write_text(str(found))
    assert found[0] < 10 and found[1] < 300
