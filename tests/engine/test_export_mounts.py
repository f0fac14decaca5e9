"""What could not be given its name after the merge is refused before it: mounts, container images, other disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from engine.bundle.compress import BundleOptions, compress
from engine.errors import Cancelled, WriteProblem
from engine.export import disk
from engine.export.existing import find_litter, remove_litter
from engine.export.folder import ExportOptions, export
from engine.export.preflight import preflight
from engine.progress import Token
from tests.engine.merge_cases import Family, family, tree

AGAIN = ExportOptions(replace=True)
ROOT = Path(__file__).resolve().parent.parent.parent

MOUNTS = """
import os, subprocess, sys
from pathlib import Path
from engine.bundle.compress import BundleOptions, compress
from engine.errors import WriteProblem
from engine.export.folder import ExportOptions, export
from tests.engine.merge_cases import family, tree
from tests.engine.test_export_mounts import Stages

def mount(*words):
    if subprocess.run(["mount", *map(str, words)], capture_output=True).returncode:
        print("no", *words); sys.exit(99)

home = Path(sys.argv[1])
mount("-t", "tmpfs", "tmpfs", home)
made = family(home / "models", 2)
plan, again = made.plan, ExportOptions(replace=True)
for name in ("image/merged", "image/merged.safetensors", "elsewhere/merged", "elsewhere/merged.safetensors"):
    export(plan, home / name)
bundles = [home / "image/all.safetensors", home / "elsewhere/all.safetensors"]
for bundle in bundles:
    compress(made.inputs, bundle)
for folder in ("upper", "work", "over"):
    (home / folder).mkdir()
layers = f"lowerdir={home}/image,upperdir={home}/upper,workdir={home}/work"
mount("-t", "overlay", "overlay", "-o", layers, home / "over")
for name in ("merged", "merged.safetensors", "all.safetensors"):
    place, other = home / "desk" / name, home / "elsewhere" / name
    place.parent.mkdir(exist_ok=True)
    place.mkdir() if other.is_dir() else place.touch()
    mount("--bind", other, place)
(home / "desk" / "empty").mkdir()
(home / "elsewhere" / "empty").mkdir()
mount("--bind", home / "elsewhere" / "empty", home / "desk" / "empty")
print("mounted")

def refused(act, place):
    before, names, stages = tree(home), sorted(os.listdir(place.parent)), Stages()
    try:
        act(stages)
    except WriteProblem as problem:
        assert tree(home) == before and sorted(os.listdir(place.parent)) == names, place
        assert not stages.begun, (place, stages.begun)
        return f"{place.relative_to(home)}: {problem.message}"
    return f"{place.relative_to(home)}: done"

for name in ("over/merged", "over/merged.safetensors", "desk/merged", "desk/merged.safetensors", "desk/empty"):
    print(refused(lambda stages: export(plan, home / name, options=again, progress=stages), home / name))
options = BundleOptions(replace=True)
for name in ("over/all.safetensors", "desk/all.safetensors"):
    print(refused(lambda stages: compress(made.inputs, home / name, options=options, progress=stages), home / name))
"""


class Stages(Token):
    """Notes which stages have begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        """Note it."""
        self.begun.append(text)
        super().begin(total, text, unit)


@pytest.fixture
def duo(tmp_path: Path) -> Family:
    torch.set_num_threads(1)
    return family(tmp_path / "models", experts=2)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "exports"
    made.mkdir()
    return made


def test_real_mounts_and_images_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    """All of them have the device number of the folder that they are in."""
    done = subprocess.run(["unshare", "-m", sys.executable, "-c", MOUNTS, str(tmp_path)], cwd=ROOT, check=False,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    if "mounted" not in done.stdout and (done.returncode == 99 or "unshare" in done.stderr):
        pytest.skip(f"mounting is not allowed here: {done.stdout}{done.stderr}")
    assert done.returncode == 0, done.stderr
    image = "What is there cannot be moved aside: it lies on another disk, or is part of a container's image."
    mounted = "A disk is mounted there, so the export cannot take its place."
    assert done.stdout.splitlines()[1:] == [
        f"over/merged: {image}", "over/merged.safetensors: done", f"desk/merged: {mounted}",
        f"desk/merged.safetensors: {mounted}", f"desk/empty: {mounted}", "over/all.safetensors: done",
        "desk/all.safetensors: It is in use by another program, or a disk is mounted there.",
    ]  # fmt: skip


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EBUSY, errno.EROFS])
def test_an_export_that_cannot_be_moved_aside_is_found_before_the_merge(
    code: int, duo: Family, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(duo.plan, home / "merged")
    before, stages, real = tree(home), Stages(), os.rename

    def rename(old: Path, new: Path) -> None:
        if Path(old) == home / "merged":
            raise OSError(code, os.strerror(code))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(WriteProblem) as raised:
        export(duo.with_method("linear").plan, home / "merged", options=AGAIN, progress=stages)
    assert raised.value.message == disk.explained(OSError(code, ""), home).message
    assert stages.begun == [] and tree(home) == before and os.listdir(home) == ["merged"]


@pytest.mark.parametrize("code", [errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EINVAL])
def test_a_file_system_that_says_otherwise_that_the_place_is_taken_refuses_nothing(
    code: int, duo: Family, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(duo.plan, home / "merged")
    real = os.rename

    def rename(old: Path, new: Path) -> None:
        if os.path.isdir(new) and os.listdir(new):
            raise OSError(code, os.strerror(code))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    export(duo.with_method("linear").plan, home / "merged", options=AGAIN)
    assert os.listdir(home) == ["merged"]


@pytest.mark.parametrize("name", ["merged", "merged.safetensors", "all.safetensors"])
def test_a_folder_on_another_disk_than_its_parent_is_found_before_the_merge(
    name: str, duo: Family, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pools of disks choose one for each new folder."""
    stages, real = Stages(), os.replace

    def pooled(old: Path, new: Path) -> None:
        if Path(old).parent != Path(new).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(old, new)

    monkeypatch.setattr(os, "replace", pooled)
    act = partial(compress, duo.inputs) if name.startswith("all") else partial(export, duo.plan)
    with pytest.raises(WriteProblem, match="another disk"):
        act(home / "new" / name, progress=stages)
    assert stages.begun == [] and os.listdir(home) == [], "nor is the folder that was made for it"


def test_a_strange_file_system_that_moves_it_all_the_same_gets_it_back(
    duo: Family, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(duo.plan, home / "merged")
    before, real, moved = tree(home), os.rename, []

    def rename(old: Path, new: Path) -> None:
        if Path(new).is_dir() and not moved:
            moved.append(real(new, str(new) + ".away"))
            real(old, new)
            (Path(str(new) + ".away") / "taken").rmdir()
            Path(str(new) + ".away").rmdir()
        else:
            real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    stopped = Token()
    stopped.cancel()
    with pytest.raises(Cancelled):
        export(duo.plan, home / "merged", options=AGAIN, progress=stopped)
    assert moved and tree(home) == before and os.listdir(home) == ["merged"]
    export(duo.with_method("linear").plan, home / "merged", options=replace(AGAIN, card=False))
    assert tree(home) != before and os.listdir(home) == ["merged"] and find_litter(home) == ()


def test_nobody_tidies_up_what_a_trial_needs(duo: Family, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another window that starts at this moment would take it for the litter of an export that was killed."""
    export(duo.plan, home / "merged")
    before, real, found = tree(home), os.rename, []

    def rename(old: Path, new: Path) -> None:
        if Path(old) == home / "merged" and not found:
            found.append(remove_litter(home))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    stopped = Token()
    stopped.cancel()
    with pytest.raises(Cancelled):
        export(duo.plan, home / "merged", options=AGAIN, progress=stopped)
    assert found == [()] and tree(home) == before and os.listdir(home) == ["merged"]


def test_the_forecast_knows_what_is_mounted_from_the_same_disk(
    duo: Family, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "my models").mkdir()
    table = home / "mounts"
    table.write_text(f"/dev/sda1 {str(home / 'my models').replace(' ', chr(92) + '040')} ext4 rw 0 0\n")
    monkeypatch.setattr(disk, "_MOUNTS", table)
    assert not os.path.ismount(home / "my models") and disk.is_mounted(home / "my models")
    assert [f.code for f in preflight(duo.plan, home / "my models").findings if f.severity == "error"] == ["mount"]
    assert preflight(duo.plan, home / "my models" / "merged").is_ready
    made = compress(duo.inputs, home / "my models" / "all.safetensors", options=BundleOptions(replace=True)).path
    table.write_text(f"/dev/sda1 {str(made).replace(' ', chr(92) + '040')} ext4 rw 0 0\n")
    with pytest.raises(WriteProblem, match="mounted there"):
        compress(duo.inputs, made, options=BundleOptions(replace=True))
