"""A model that is changed under an export, and given its old time again, never reaches a file that vouches for it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import cli
from app.export_job import ExportJob, perform
from app.workbench import build_recipe, open_recipe
from engine.errors import Changed
from engine.export.options import ExportOptions
from engine.progress import Token
from tests.app.models import write_family


def rewrite(path: Path) -> None:
    """Another last byte in the same file, which gets its old time again."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


class Meddling(Token):
    """Does something once, when the merge (or another stage) has begun."""

    def __init__(self, action: Callable[[], object], stage: str = "Merging") -> None:
        super().__init__()
        self._stage = stage
        self._action: Callable[[], object] | None = action
        self.stages: list[str] = []

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        self.stages.append(text)
        super().begin(total, text, unit)
        if text == self._stage and self._action is not None:
            self._action, action = None, self._action
            action()


@pytest.mark.parametrize("what", ["changed", "permissions", "linked"])
@pytest.mark.parametrize("which", ["base", "expert"])
def test_an_input_that_is_changed_in_place_in_the_middle_of_an_export(what: str, which: str, tmp_path: Path) -> None:
    base, experts = write_family(tmp_path / "models", 2)
    victim = (base if which == "base" else experts[1]) / "model.safetensors"
    recipe = build_recipe(base, experts, method="task_arithmetic", params={}, seed=0, dtype="")
    acts = {
        "changed": lambda: rewrite(victim),
        "permissions": lambda: victim.chmod(0o400),
        "linked": lambda: os.link(victim, tmp_path / "another name"),
    }
    token, out = Meddling(acts[what]), tmp_path / "home" / "out"
    job = ExportJob(recipe, out, ExportOptions(), "cpu", 1)
    inputs = open_recipe(recipe).inputs
    if what == "changed":
        with pytest.raises(Changed, match="old time") as raised:
            perform(job, inputs, token)
        assert raised.value.where == str(victim) and not out.parent.exists(), "nothing is left behind"
    else:
        perform(job, inputs, token)
        assert out.is_dir() and sum(stage.startswith("Hashing base" if which == "base" else "Hashing code")
                                    for stage in token.stages) == 2, "once before, once to be sure"  # fmt: skip


def test_the_command_says_which_input_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base, experts = write_family(tmp_path / "models", 2)
    tokens = [Token(), Meddling(lambda: rewrite(base / "model.safetensors"))]
    monkeypatch.setattr("app.cli_commands.cancellable", lambda: tokens.pop())
    out = tmp_path / "out"
    flags = [word for expert in experts for word in ("--expert", str(expert))]
    assert cli.run(["merge", "--base", str(base), *flags, "--out", str(out), "--json"]) == 1
    assert f"{base / 'model.safetensors'}: The file was changed while it was in use" in capsys.readouterr().err
    assert not out.exists()
    assert cli.run(["merge", "--base", str(base), *flags, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(out)


@pytest.mark.parametrize("what", ["changed", "permissions"])
@pytest.mark.parametrize("command", ["compress", "restore"])
def test_bundles_and_restored_tasks_by_command(
    command: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hashed before, and again when they were touched; what was there before survives."""
    base, experts = write_family(tmp_path / "models", 2)
    bundle, out = tmp_path / "out" / "all.safetensors", tmp_path / "out" / "one"
    flags = [word for expert in experts for word in ("--expert", str(expert))]
    compress = ["compress", "--base", str(base), *flags, "--out", str(bundle), "--json"]
    restore = ["restore", str(bundle), "--task", experts[0].name, "--base", str(base), "--out", str(out), "--json"]
    assert cli.run(compress) == 0 and cli.run(restore) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    stage, victim = ("Making the masks", experts[1] / "model.safetensors")
    if command == "restore":
        stage, victim = "Restoring the task", bundle
        before.pop(bundle)
    time.sleep(0.02)  # the clock of a file system is coarse
    token = Meddling(lambda: rewrite(victim) if what == "changed" else victim.chmod(0o400), stage)
    monkeypatch.setattr("app.cli_commands.cancellable", lambda: token)
    capsys.readouterr()
    done = cli.run([*(compress if command == "compress" else restore), "--replace"])
    if what == "changed":
        assert done == 1 and f"{victim}: The file was changed while it was in use" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in before} == before
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["all.safetensors", "one"]
    else:
        assert done == 0 and any(text.startswith("Hashing") for text in token.stages[token.stages.index(stage) :])
