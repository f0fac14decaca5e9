"""The n-th write, sync or rename fails, or the disk is full at the n-th page, for every n: the old data stay whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.journal import Journal, State
from app.settings import Settings, load_settings, save_settings
from engine.errors import MixdownError, NotEnoughDisk, WriteProblem
from engine.export import preflight as preflight_module
from engine.export.existing import delete
from engine.export.folder import ExportOptions, export
from engine.history.history import History
from engine.history.values import Query
from engine.recipe.project import load_project, save_project
from engine.recipe.recipe import ModelRef, Recipe
from tests.engine.history_kills import facts
from tests.engine.merge_cases import Family, family, tree

ROOT = Path(__file__).resolve().parent.parent.parent
CODES = (errno.EIO, errno.ENOSPC)
CALLS = ("write", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate", "rename", "replace", "link", "mkdir")
AGAIN = ExportOptions(replace=True, shard_bytes=30_000)
RECIPES = tuple(Recipe(experts=(ModelRef(id="e1", name="a" * n, path="/m/a"),)) for n in (3, 300))


class Nth:
    """All calls that change a disk; the n-th of them fails."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, code: int) -> None:
        self.left, self.code = number, code
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(getattr(os, name)))
        opened = os.open

        def opens(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_CREAT:
                self._count()
            return opened(path, flags, *rest, **more)

        patch.setattr(os, "open", opens)

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._count()
            return real(*args, **kwargs)

        return call

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.code, os.strerror(self.code))


def every(step: int, most: int = 500) -> Iterator[int]:
    """1, 1 + step, ..."""
    return iter(range(1, most, step))


STEPS = pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.soak)])


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ["merged", "merged.safetensors"])
@STEPS
def test_export(name: str, code: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, home = family(tmp_path / "models", experts=2), tmp_path / "exports"
    export(models.with_method("task_arithmetic", 0.4).plan, home / name, options=AGAIN)
    plan, before, failed = models.with_method("task_arithmetic", 0.8).plan, tree(home), 0
    for number in every(step):
        with monkeypatch.context() as patch:
            fault = Nth(patch, number, code)
            try:
                export(plan, home / name, options=AGAIN, threads=1)
            except (WriteProblem, NotEnoughDisk):
                failed += 1
                assert tree(home) == before, f"call {number}"
                continue
        if fault.left > 0:
            break
        before = tree(home)  # that call may fail
    assert fault.left > 0 and failed > 10 // step and sorted(os.listdir(home)) == [name]


@pytest.mark.parametrize("code", CODES)
def test_project_and_settings(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, settings = tmp_path / "p.mixdown", tmp_path / "settings.json"
    old, new = Settings(theme="light"), Settings(theme="dark", eval_rows=17)
    for number in every(1):
        save_project(RECIPES[0], project)
        assert save_settings(old, settings) == ""
        with monkeypatch.context() as patch:
            fault = Nth(patch, number, code)
            problem = save_settings(new, settings)
        left = fault.left
        assert load_settings(settings) == (old if problem and "was written" not in problem else new)
        assert settings.stat().st_mode & 0o077 == 0  # there may be a password in it
        with monkeypatch.context() as patch:
            fault = Nth(patch, number, code)
            try:
                save_project(RECIPES[1], project)
                wanted = RECIPES[1]
            except WriteProblem as told:
                wanted = RECIPES["was written" in told.message]
        assert load_project(project) == wanted and sorted(os.listdir(tmp_path)) == ["p.mixdown", "settings.json"]
        if left > 0 and fault.left > 0:
            break
    assert number > 3


def test_a_disk_without_fsync_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unsupported)
    save_project(RECIPES[0], tmp_path / "p.mixdown")
    assert load_project(tmp_path / "p.mixdown") == RECIPES[0]
    export(family(tmp_path / "models", experts=2).plan, tmp_path / "merged", threads=1)


# A disk that is really full ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("only root may mount a disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def leave(disk: Path, pages: int) -> None:
    """Fill the disk until so many pages of 4 KiB are free."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    free = os.statvfs(disk)
    room = free.f_bavail * free.f_frsize // 4096 - pages
    with filler.open("wb") as file:
        for _ in range(max(0, room)):
            file.write(bytes(4096))


def check_disk(disk: Path, act: Callable[[], object], look: Callable[[], object], step: int) -> int:
    """Act with 0, 1, 2 ... free pages until it works; returns how often it failed.

    Whatever `look` says must stay the same, and nothing may be left, until it does.
    """
    before, names = look(), sorted(os.listdir(disk))
    for pages in range(0, 900, step):
        leave(disk, pages)
        try:
            act()
        except MixdownError:
            (disk / "filler").unlink()
            assert look() == before and sorted(os.listdir(disk)) == names, f"{pages} pages free"
        else:
            (disk / "filler").unlink()
            assert look() != before
            return pages // step
    raise AssertionError("it never worked")


@STEPS
def test_a_full_disk(step: int, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "free_space", lambda _: 10**12)
    models: Family = family(tmp_path / "models", experts=2)
    old, new = (models.with_method("task_arithmetic", c).plan for c in (0.4, 0.8))
    for name in ("merged", "merged.safetensors"):
        export(old, small_disk / name, options=AGAIN)
        write = partial(export, new, small_disk / name, options=AGAIN, threads=1)
        assert check_disk(small_disk, write, partial(tree, small_disk), step) > 0
        delete(small_disk / name)
    project = small_disk / "p.mixdown"
    save_project(RECIPES[0], project)
    assert check_disk(small_disk, lambda: save_project(RECIPES[1], project), lambda: load_project(project), step)


@STEPS
def test_a_full_disk_for_the_history(step: int, small_disk: Path) -> None:
    file = small_disk / "h.sqlite"
    history = History(file)
    for number in range(1, 4):
        history.record(facts(number))
    history.close()

    def rows() -> list[int]:
        found = History(file)
        assert not found.status.told
        runs = found.page(Query(limit=100)).runs
        assert all(run.is_intact for run in runs)
        return sorted(int(run.facts.seconds or 0) for run in runs)

    large = facts(4, title="x" * 40_000)
    assert check_disk(small_disk, lambda: History(file).record(large), rows, step) > 0
    assert rows() == [1, 2, 3, 4]


def test_a_full_disk_for_the_session(small_disk: Path) -> None:
    base = small_disk / "s.mixdown"
    save_project(RECIPES[0], base)
    log = Journal(base, lambda state: save_project(state.recipe, base))
    leave(small_disk, 0)
    log.put(State(RECIPES[1]))
    log.flush(0.5)
    assert load_project(base) == RECIPES[0]
    (small_disk / "filler").unlink()
    assert log.flush(5.0) and load_project(base) in RECIPES
    log.stop()
    assert not [n for n in os.listdir(small_disk) if n.endswith(".partial")]


# SQLite's own calls -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail, compiled."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("shim") / "failing.so"
    source = Path(__file__).with_name("failing.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made


SOAK = [pytest.param(act, code, 1, marks=pytest.mark.soak) for act in ("open", "record", "back_up") for code in CODES]


@pytest.mark.parametrize(("act", "code", "step"), [("record", errno.EIO, 9), ("open", errno.ENOSPC, 9), *SOAK])
def test_history(act: str, code: int, step: int, shim: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.failing_history", str(tmp_path / "h"), str(code), str(step), act],
        cwd=ROOT, env={**os.environ, "LD_PRELOAD": str(shim)}, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert not found[-1]["met"] and not found[-1]["raised"] and sum(one["met"] for one in found) > 2
    known = {"h.sqlite", "h.sqlite.backup-1", "h.sqlite.backup-2"}
    for one in found:
        assert one["intact"] and not one["told"] and set(one["rows"]) >= {1, 2, 3} and "BUG" not in one["said"], one
        assert set(one["rows"]) <= {1, 2, 3, 4} and (act != "record" or one["raised"] or 4 in one["rows"]), one
        journal = {"h.sqlite-journal"} if one["raised"] and act == "record" else set()  # rolled back when it is opened
        assert set(one["beside"]) <= known | journal, one
        assert act != "open" or not one["raised"] or one["n"] <= 2, one  # no backup is no reason not to open
