"""Whatever goes wrong during an export: the target is what it was, and nothing else is left."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Cancelled, MixdownError, NotEnoughDisk, WriteProblem
from engine.export import disk
from engine.export import folder as folder_module
from engine.export import preflight as preflight_module
from engine.export.existing import Workspace, find_litter, remove_litter
from engine.export.folder import ExportOptions, export
from engine.files.text import printable
from engine.merge.recall import SHARED
from engine.progress import Token
from tests.engine.merge_cases import Family, digest, family, loaded, tree

AGAIN = ExportOptions(replace=True, shard_bytes=30_000)


@pytest.fixture
def trio(tmp_path: Path) -> Family:
    return family(tmp_path / "models", experts=2)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "exports"
    made.mkdir()
    return made


class FailingNth:
    """A system call that fails once, at its n-th use."""

    def __init__(self, real: Callable[..., Any], number: int, code: int) -> None:
        self.real, self.left, self.code = real, number, code

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.code, os.strerror(self.code))
        return self.real(*args, **kwargs)


@pytest.mark.parametrize("name", ["merged", "merged.safetensors"])
@pytest.mark.parametrize(
    ("call", "code", "error"),
    [
        ("pwrite", errno.ENOSPC, NotEnoughDisk),
        ("posix_fallocate", errno.ENOSPC, NotEnoughDisk),
        ("fsync", errno.EIO, WriteProblem),
        ("rename", errno.EXDEV, WriteProblem),
        ("replace", errno.EXDEV, WriteProblem),
        ("mkdir", errno.EROFS, WriteProblem),
    ],
)
def test_every_failure_leaves_the_old_export(
    name: str,
    call: str,
    code: int,
    error: type[MixdownError],
    trio: Family,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export(trio.with_method("task_arithmetic", 0.4).plan, home / name, options=AGAIN)
    plan, before = trio.with_method("task_arithmetic", 0.8).plan, tree(home)
    failures = 0
    for number in range(1, 100):
        fault = FailingNth(getattr(os, call), number, code)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fault)
            try:
                export(plan, home / name, options=AGAIN, threads=2)
            except error:
                failures += 1
                assert tree(home) == before
            else:
                if fault.left > 0:
                    break
                before = tree(home)  # that call may fail
    assert fault.left > 0, "never came through"
    assert failures > 0 or (call, name) == ("rename", "merged.safetensors"), "the fault was never met"
    assert find_litter(home) == () and sorted(os.listdir(home)) == [name]


@pytest.mark.parametrize(("call", "code", "said"), [("rename", errno.EXDEV, "part of a container's image"),
                                                   ("replace", errno.EBUSY, "mounted there")])  # fmt: skip
def test_a_last_step_that_crosses_disks_is_explained(
    call: str, code: int, said: str, trio: Family, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers do so: an export that came with the image cannot be renamed."""
    export(trio.plan, home / "merged")
    before = tree(home)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, FailingNth(getattr(os, call), 1, code))
        with pytest.raises(WriteProblem, match=said) as raised:
            export(trio.with_method("linear").plan, home / "merged", options=AGAIN)
    assert raised.value.where == str(home / "merged") and raised.value.hint
    assert tree(home) == before and os.listdir(home) == ["merged"]


def test_a_mounted_disk_is_refused_before_the_merge(trio: Family, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "usb").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == home / "usb")
    with pytest.raises(WriteProblem, match="mounted there") as raised:
        export(trio.plan, home / "usb", progress=CancelAt(1))
    assert "inside" in raised.value.hint and export(trio.plan, home / "usb" / "merged").path.is_dir()


@pytest.mark.parametrize(
    "name", ["two\nlines", "red\x1b[31m", "c1\x9b31m", "rtl\u202egnp", "iso\u2066late", "line\u2028"]
)
@pytest.mark.parametrize("ending", ["", ".safetensors"])
def test_a_name_with_control_characters_is_refused_before_the_merge(
    name: str, ending: str, trio: Family, home: Path
) -> None:
    found = preflight_module.preflight(trio.plan, home / (name + ending))
    assert [f.code for f in found.findings if f.severity == "error"] == ["name"]
    with pytest.raises(WriteProblem, match=r"control character \\u\{") as raised:
        export(trio.plan, home / (name + ending), progress=CancelAt(1))
    assert printable(str(raised.value), 999) == str(raised.value) and tree(home) == {}


@pytest.mark.parametrize(
    "name", ["\u0646\u200c\u0647", "\u05e9\u05dc\u05d5\u05dd", "\U0001f469\u200d\U0001f52c", "a b'c\"d"]
)
def test_names_of_all_languages_are_good_names(name: str, trio: Family, home: Path) -> None:
    assert export(trio.plan, home / name).path.is_dir() and os.listdir(home) == [name]


def test_disk_that_gives_back_other_bytes_is_noticed(trio: Family, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def flipping(descriptor: int, data: memoryview, offset: int) -> int:
        if offset > 10_000:
            data = memoryview(bytes([data[0] ^ 1]) + bytes(data[1:]))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", flipping)
    with pytest.raises(WriteProblem, match="other bytes"):
        export(trio.plan, home / "merged")
    assert tree(home) == {}
    export(trio.plan, home / "merged", options=ExportOptions(verify=False))


class CancelAt(Token):
    """Cancelled at its n-th check."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.cancel()
        super().check()


@pytest.mark.parametrize("name", ["sub/merged", "sub/merged.safetensors"])
def test_cancel_at_any_moment_leaves_nothing(name: str, trio: Family, home: Path) -> None:
    plan = trio.with_method("ties").plan
    for number in range(1, 500, 3):
        SHARED.clear()  # so that the statistics are measured, and cancelled, each time
        token = CancelAt(number)
        try:
            export(plan, home / name, options=AGAIN, progress=token, threads=2)
        except Cancelled:
            assert list(home.iterdir()) == [], f"left after check {number}"
        else:
            break
    assert number > 30
    assert digest(loaded(home / name))


def test_full_disk_is_refused_before_the_merge(trio: Family, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "free_space", lambda _: 1_000_000)
    monkeypatch.setattr(folder_module, "merge", lambda *_, **__: pytest.fail("the merge began"))
    with pytest.raises(NotEnoughDisk, match=r"needs 1\.\d MB but only 1\.0 MB are free"):
        export(trio.plan, home / "merged")
    assert tree(home) == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB with 20 kB left."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a disk")
    try:
        (place / "filler").write_bytes(b"x" * (2 * 1024 * 1024 - 20_000 // 4096 * 4096))
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_disk_that_fills_up_meanwhile(trio: Family, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotEnoughDisk, match="needs"):
        export(trio.plan, small_disk / "merged")
    monkeypatch.setattr(preflight_module, "free_space", lambda _: 10**12)
    with pytest.raises(NotEnoughDisk, match="became full"):
        export(trio.plan, small_disk / "merged")
    assert os.listdir(small_disk) == ["filler"]


def test_read_only_disk_is_refused(trio: Family, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for name in ("merged", "new/merged.safetensors"):
        with pytest.raises(WriteProblem, match="read-only"):
            export(trio.plan, small_disk / name)


def test_litter_of_running_programs_is_left_alone(home: Path) -> None:
    with Workspace(home / "merged") as workspace:
        assert find_litter(home) == () and workspace.path.exists()
    assert list(home.iterdir()) == []


def test_litter_is_removed_and_the_old_export_put_back(trio: Family, home: Path) -> None:
    export(trio.plan, home / "merged")
    before = tree(home / "merged")
    (home / "merged").rename(home / ".merged.replaced-0123456789ab")
    (home / ".merged.partial-0123456789ab").mkdir()
    (home / ".merged.partial-0123456789ab" / "model.safetensors").write_bytes(bytes(100))
    (home / ".other.partial-0123456789ab").mkdir()
    (home / ".merged.partial-notes").mkdir()
    found = {litter.path.name: litter.is_precious for litter in find_litter(home)}
    assert found == {".merged.replaced-0123456789ab": True, ".merged.partial-0123456789ab": False,
                     ".other.partial-0123456789ab": False}  # fmt: skip
    with pytest.raises(WriteProblem, match="earlier export"):  # it was put back, so it is not overwritten
        export(trio.plan, home / "merged")
    assert tree(home / "merged") == before
    assert len(remove_litter(home)) == 1
    assert sorted(os.listdir(home)) == [".merged.partial-notes", "merged"]


def test_input_that_changes_fails_the_export(trio: Family, home: Path) -> None:
    plan = trio.plan

    class Truncating(CancelAt):
        def cancel(self) -> None:
            os.truncate(trio.recipe.experts[0].path, 5_000)

    with pytest.raises(MixdownError) as caught:
        export(plan, home / "merged", progress=Truncating(5), threads=2)
    assert "expert0" in str(caught.value) and tree(home) == {}


def test_links_are_not_followed_when_replacing(trio: Family, home: Path, tmp_path: Path) -> None:
    export(trio.plan, tmp_path / "elsewhere")
    (home / "merged").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WriteProblem, match="a link"):
        export(trio.plan, home / "merged", options=AGAIN)
    through = export(trio.plan, home / "merged" / ".." / "new")
    assert through.path == tmp_path / "new"


def _killed(folder: Path, kills: int, kind: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.engine.export_kills", str(folder), str(kills), kind]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def _check_kills(found: list[dict[str, Any]]) -> None:
    assert all(kill["before"] in ("complete", "absent") for kill in found), found
    assert all(kill["left"] == [] for kill in found), found
    complete = [kill["before"] == "complete" or kill["after"] == "complete" for kill in found]
    assert all(complete[complete.index(True) :]), "an export that was there is gone"
    assert any(kill["litter"] for kill in found), "no kill hit an export"


@pytest.mark.parametrize("kind", ["folder"])
def test_kill_leaves_old_or_new(kind: str, tmp_path: Path) -> None:
    _check_kills(_killed(tmp_path, 3, kind))


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_many_kills_leave_old_or_new(kind: str, tmp_path: Path) -> None:
    _check_kills(_killed(tmp_path, int(os.environ.get("MIXDOWN_KILLS", "20")), kind))


def test_several_exports_do_not_disturb_each_other(trio: Family, home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    plans = [trio.with_method("task_arithmetic", 0.1 * k).plan for k in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda k: export(plans[k], home / f"m{k}", options=replace(AGAIN), threads=1), range(4)))
    assert len({digest(loaded(one.path)) for one in done}) == 4
    assert sorted(os.listdir(home)) == ["m0", "m1", "m2", "m3"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("server:/models {} nfs4 rw,relatime 0 0", "nfs4"),
        ("//server/models {} cifs rw 0 0", "cifs"),
        ("me@host: {} fuse.sshfs rw 0 0", "fuse.sshfs"),
        ("/dev/sdb1 {} ext4 rw 0 0", ""),
        ("server:/other {}-not nfs4 rw 0 0", ""),
        ("too few", ""),
    ],
)
def test_a_network_file_system_is_named(
    trio: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, kind: str
) -> None:
    """The innermost mount counts; spaces are written as \\040 in the table."""
    folder = tmp_path / "my share"
    folder.mkdir()
    table = tmp_path / "mounts"
    mounted = str(folder.resolve()).replace(" ", "\\040")
    table.write_text(f"/dev/root / ext4 rw 0 0\n{line.format(mounted)}\n")
    monkeypatch.setattr(disk, "_MOUNTS", table)
    assert disk.network_filesystem(folder.resolve()) == kind
    found = preflight_module.preflight(trio.plan, folder / "new" / "out")
    warned = [finding for finding in found.findings if finding.code == "network-disk"]
    assert found.is_ready and len(warned) == bool(kind) and all(f"({kind})" in f.message for f in warned)


@pytest.mark.parametrize("act", ["truncate", "overwrite", "delete", "replace"])
def test_whatever_is_done_to_an_input_meanwhile_is_noticed(act: str, trio: Family, home: Path) -> None:
    """Never a crash, never a mix of two files."""
    path = Path(trio.recipe.experts[0].path)

    class Meddling(CancelAt):
        def cancel(self) -> None:
            if act == "truncate":
                os.truncate(path, 5_000)
            elif act == "overwrite":
                with path.open("r+b") as file:
                    file.seek(-64, os.SEEK_END)
                    file.write(bytes(64))
            elif act == "delete":
                path.unlink()
            else:
                other = path.with_name("other")
                other.write_bytes(path.read_bytes())
                other.replace(path)

    with pytest.raises(MixdownError) as caught:
        export(trio.plan, home / "merged", progress=Meddling(5), threads=2)
    assert "expert0" in str(caught.value) and caught.value.hint and tree(home) == {}


def test_a_disk_that_cannot_be_read_is_named(trio: Family, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 5, 20):
        fault = FailingNth(os.preadv, number, errno.EIO)
        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", fault)
            with pytest.raises(MixdownError, match="cannot be read") as caught:
                export(trio.plan, home / "merged", threads=2)
        assert caught.value.where and "tensor" in caught.value.message and tree(home) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_file_system_that_takes_no_such_large_files_stops_it_at_once(trio: Family, home: Path) -> None:
    """FAT takes 4 GB a file; a limit of the process says the same at the same places."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(MixdownError, match="larger than this disk or system allows"):
            export(trio.plan, home / "merged", threads=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert tree(home) == {}
