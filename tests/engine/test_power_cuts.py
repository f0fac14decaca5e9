"""The power goes at any moment: what was exported or saved is there afterwards, and before that the old one is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.export.existing import remove_litter
from engine.export.folder import ExportOptions, export
from engine.files.durable import write_durably
from tests.engine.crash_disk import Disk, Tree, put, recording, tree_of
from tests.engine.merge_cases import family

AGAIN = ExportOptions(replace=True, shard_bytes=30_000)
CUTS_AFTER = 60
FULL = pytest.param(1, 8, marks=pytest.mark.soak)
"""Every step, with eight mixtures of what may and may not have reached the disk."""


def found_after(tree: Tree, place: Path, name: str) -> Tree:
    """What is there after the next start has cleaned up."""
    put(tree, place)
    where = (place / name).parent
    if where.is_dir():
        remove_litter(where)
    left = tree_of(place)
    shutil.rmtree(place)
    return left


def check_cuts(disk: Disk, name: str, place: Path, *, step: int, mixtures: int) -> tuple[int, int]:
    """Cut the power after every `step`th step and 60 times at the end; returns how often old and new were found."""
    chance, old, new = random.Random(60), tree_of_start(disk), tree_of(disk.root)
    assert next(iter(Disk(disk.root).states(0, chance, 0))) == new
    complete = dict(list(disk.states(len(disk.steps), chance, 0))[1])
    assert complete == new, "something was written that the recorder does not know"
    wanted, seen = (_under(old, name), _under(new, name)), [0, 0]
    for after in range(0, len(disk.steps), step):
        for tree in disk.states(after, chance, mixtures):
            left = found_after(tree, place, name)
            it = _under(left, name)
            assert it in wanted, f"after step {after} of {len(disk.steps)} neither the old nor the new is there"
            assert all(path == name or path.startswith(f"{name}/") or data is None for path, data in left.items()), left
            seen[it == wanted[1]] += 1
    for tree in disk.states(len(disk.steps), chance, CUTS_AFTER - 2):
        assert _under(found_after(tree, place, name), name) == wanted[1], "Exported, and lost"
    return seen[0], seen[1]


def tree_of_start(disk: Disk) -> Tree:
    """What was there at the beginning."""
    return next(iter(disk.states(0, random.Random(0), 0)))


def _under(tree: Tree, name: str) -> Tree:
    return {path: data for path, data in tree.items() if path == name or path.startswith(f"{name}/")}


@pytest.mark.parametrize(("step", "mixtures"), [(4, 1), FULL])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("name", ["merged", "merged.safetensors", "new/parents/merged"])
def test_exports(name: str, there: bool, step: int, mixtures: int, tmp_path: Path) -> None:
    models, home = family(tmp_path / "models", experts=2), tmp_path / "exports"
    home.mkdir()
    if there and "/" not in name:
        export(models.with_method("task_arithmetic", 0.4).plan, home / name, options=AGAIN)
    with recording(home) as disk:
        export(models.with_method("task_arithmetic", 0.8).plan, home / name, options=AGAIN, threads=1)
    old, new = check_cuts(disk, name, tmp_path / "after", step=step, mixtures=mixtures)
    assert old > 3 and new >= 0 and len(disk.steps) > 15


@pytest.mark.parametrize("there", [True, False])
def test_small_files(there: bool, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if there:
        (home / "p.mixdown").write_bytes(b"old" * 400)
    with recording(home) as disk:
        write_durably(home / "p.mixdown", b"new" * 500)
    chance = random.Random(1)
    wanted = ((b"old" * 400 if there else None), b"new" * 500)
    for after in range(len(disk.steps) + 1):
        for tree in disk.states(after, chance, 8):
            assert tree.get("p.mixdown") in (wanted[1:] if after == len(disk.steps) else wanted)


FORGETFUL: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "files": lambda patch: patch.setattr("engine.export.writer.sync", lambda _: None),
    "weights": lambda patch: patch.setattr("engine.export.writer._synced", lambda *_, **__: None),
    "folder": lambda patch: patch.setattr("engine.export.folder.sync_folder", lambda _: None),
    "name": lambda patch: patch.setattr("engine.export.existing.sync_folder", lambda _: None),
}


@pytest.mark.parametrize("what", FORGETFUL)
def test_an_exporter_that_forgets_to_sync_is_caught(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, home = family(tmp_path / "models", experts=2), tmp_path / "exports"
    export(models.with_method("task_arithmetic", 0.4).plan, home / "merged", options=AGAIN)
    FORGETFUL[what](monkeypatch)
    with recording(home) as disk:
        export(models.with_method("task_arithmetic", 0.8).plan, home / "merged", options=AGAIN, threads=1)
    with pytest.raises(AssertionError, match=r"lost|neither"):
        check_cuts(disk, "merged", tmp_path / "after", step=3, mixtures=2)
