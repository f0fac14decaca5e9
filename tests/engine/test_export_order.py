"""The order of system calls of one export, and a disk that is full at every write."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.export import folder, writer
from tests.engine.merge_cases import family

CODE = """
import sys
from pathlib import Path
from engine.export.folder import ExportOptions, export
from engine.merge.inputs import make_inputs
from engine.merge.plan import make_plan
from engine.files.checkpoint import open_checkpoint
from engine.recipe.recipe import ModelRef, Recipe
base, expert, out = map(Path, sys.argv[1:])
ref = ModelRef(id="e", name="e", path=str(expert))
recipe = Recipe(base=ModelRef(id="base", name="base", path=str(base)), experts=(ref,))
plan = make_plan(recipe, make_inputs(open_checkpoint(base), [open_checkpoint(expert)], ["e"]))
export(plan, out, threads=1)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_files_are_synced_before_the_name_and_the_folder_after_it(tmp_path: Path) -> None:
    made, log = family(tmp_path / "models", experts=1), tmp_path / "log"
    assert made.recipe.base is not None
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,pwrite64,openat"
    done = subprocess.run(
        ["strace", "-f", "-y", "-e", calls, "-o", str(log), sys.executable, "-c", CODE,
         made.recipe.base.path, made.recipe.experts[0].path, str(tmp_path / "out")],
        cwd=Path(__file__).resolve().parent.parent.parent, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if not (tmp_path / "out").exists() and "ptrace" in done.stderr:
        pytest.skip("strace is not allowed here")
    lines = [
        line for line in log.read_text(errors="replace").splitlines() if ".out.partial-" in line or "fsync" in line
    ]
    final = next(n for n, line in enumerate(lines) if re.search(r"rename.*\.out\.partial-.*/out\"", line))
    for name in ("model.safetensors", "manifest.json", "README.md"):
        synced = [n for n, line in enumerate(lines) if re.search(rf"fsync\(.*\.partial-\w+/{re.escape(name)}>", line)]
        wrote = [n for n, line in enumerate(lines) if re.search(rf"pwrite64\(.*/{re.escape(name)}>", line)]
        assert wrote and synced and max(wrote) < max(synced) < final, name
    header = [line for line in lines if re.search(r"pwrite64\(.*/model\.safetensors>", line)][-1]
    assert header.rstrip().endswith(", 8, 0) = 8"), "the eight bytes that make it a model come last"
    folder = [n for n, line in enumerate(lines) if re.search(rf"fsync\(\d+<{re.escape(str(tmp_path))}>", line)]
    assert folder and min(n for n in folder if n > final) > final


def test_a_slow_disk_is_waited_for_whatever_else_there_was_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, order = family(tmp_path / "models", experts=1), []

    def slow(descriptor: int, *, whole: bool) -> OSError | None:
        time.sleep(0.05)
        problem = synced(descriptor, whole=whole)
        order.append("synced" if whole else "flushed")
        return problem

    def named(*paths: Path) -> None:
        order.append("named")
        put_in_place(*paths)

    synced, put_in_place = writer._synced, folder.put_in_place
    monkeypatch.setattr(writer, "_synced", slow)
    monkeypatch.setattr(folder, "put_in_place", named)
    done = folder.export(made.plan, tmp_path / "out", options=folder.ExportOptions(shard_bytes=4096))
    shards = [file for file in done.files if file.suffix == ".safetensors"]
    assert len(shards) > 1
    assert order == ["synced"] * len(shards) + ["named"]
