"""Models and bundles that are changed while a task bundle is made, or a task restored, never reach a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.bundle import compress as compressing
from engine.bundle import making
from engine.bundle.cache import TaskCache
from engine.bundle.compress import BundleOptions, compress
from engine.bundle.making import make_bundle
from engine.bundle.opening import Bundle, open_bundle
from engine.bundle.restore import restore
from engine.errors import Changed, Missing, Truncated
from engine.export.options import ExportOptions
from engine.files.hashing import HashCache, content_hash
from engine.merge.inputs import Inputs
from engine.progress import Token
from tests.engine.merge_cases import Family, family, tree

KNOWN_CHANGES = ("rewritten", "rewritten, old time", "truncated", "replaced", "deleted")
HARMLESS = ("permissions", "linked")
AGAIN = BundleOptions(include_base=True, replace=True)
OVER = ExportOptions(replace=True)


@pytest.fixture
def trio(tmp_path: Path) -> Family:
    torch.set_num_threads(1)
    return family(tmp_path / "models", 2)


def meddle(path: Path, what: str) -> None:
    """Do something to a file that is in use; the file system's clock, which is coarse, has moved on before."""
    time.sleep(0.02)
    before = path.stat()
    if what == "deleted":
        path.unlink()
    elif what == "permissions":
        path.chmod(0o400)
    elif what == "linked":
        os.link(path, path.parent / "another name")
    elif what == "truncated":
        os.truncate(path, before.st_size - 2)
    else:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        target = path if what != "replaced" else path.with_suffix(".new")
        with target.open("r+b" if target.exists() else "wb") as file:
            file.write(data)
        target.replace(path)
        if what != "rewritten":
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_size == before.st_size


class Meddling(Token):
    """Does something once, when a stage has begun."""

    def __init__(self, stage: str, action: Callable[[], object]) -> None:
        super().__init__()
        self.stage, self.action, self.stages = stage, action, list[str]()

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        super().begin(total, text, unit)
        self.stages.append(text)
        if self.stages.count(self.stage) == 1 and text == self.stage:
            self.action()


def hashed(inputs: Inputs, options: BundleOptions = AGAIN) -> BundleOptions:
    """The options with all content hashes, as the window and the command line give them."""
    assert inputs.base is not None
    hashes = {name: content_hash(ck) for name, ck in zip(inputs.names, inputs.experts, strict=True)}
    return replace(options, base_sha256=content_hash(inputs.base), sha256=hashes)


def victim_of(trio: Family, which: str) -> Path:
    ref = trio.recipe.base if which == "base" else trio.recipe.experts[1]
    assert ref is not None
    return Path(ref.path)


@pytest.mark.parametrize("what", KNOWN_CHANGES)
@pytest.mark.parametrize("which", ["base", "expert"])
@pytest.mark.parametrize("stage", ["Copying the base", "Making the masks", "the end"])
def test_a_model_that_is_changed_while_a_bundle_is_made(
    stage: str, which: str, what: str, trio: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, inputs = tmp_path / "out" / "all.safetensors", trio.inputs
    options = hashed(inputs)
    compress(inputs, out, options=hashed(inputs, BundleOptions()), threads=1)
    before, real = tree(tmp_path / "out"), compressing.read_header

    def act() -> None:
        meddle(victim_of(trio, which), what)

    if stage == "the end":  # everything is written, and nothing will be read any more
        monkeypatch.setattr(compressing, "read_header", lambda path: (act(), real(path)))
    with pytest.raises((Changed, Missing, Truncated)) as raised:
        compress(inputs, out, options=options, progress=Meddling(stage, act), threads=1)
    assert raised.value.where == str(victim_of(trio, which)) and raised.value.hint
    assert tree(tmp_path / "out") == before, "the old bundle survives, and nothing is beside it"


@pytest.mark.parametrize("what", HARMLESS)
@pytest.mark.parametrize("which", ["base", "expert"])
def test_a_model_that_is_only_touched_is_hashed_again(what: str, which: str, trio: Family, tmp_path: Path) -> None:
    inputs = trio.inputs
    token = Meddling("Making the masks", lambda: meddle(victim_of(trio, which), what))
    made = compress(inputs, tmp_path / "all.safetensors", options=hashed(inputs), progress=token, threads=1)
    assert open_bundle(made.path).manifest == made.manifest and token.stages[-1].startswith("Hashing")


def test_a_touched_model_whose_hash_is_unknown_is_refused(trio: Family, tmp_path: Path) -> None:
    token = Meddling("Making the masks", lambda: meddle(victim_of(trio, "expert"), "permissions"))
    with pytest.raises(Changed, match="nobody knows") as raised:
        compress(trio.inputs, tmp_path / "out" / "all.safetensors", progress=token, threads=1)
    assert raised.value.where == str(victim_of(trio, "expert")) and not (tmp_path / "out").exists()


def test_scores_of_models_that_are_changed_after_the_bundle_was_written_are_not_told(
    trio: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = trio.inputs, tmp_path / "all.safetensors"
    options = hashed(inputs)

    def measured(*_: object) -> dict[str, object]:
        meddle(victim_of(trio, "expert"), "rewritten, old time")
        return {"expert 1": None}

    monkeypatch.setattr(making, "_measured", measured)
    with pytest.raises(Changed, match="bundle is complete") as raised:
        make_bundle(inputs, out, options=options, threads=1)
    assert raised.value.where == str(victim_of(trio, "expert")) and open_bundle(out).manifest.tasks


def bundled(trio: Family, folder: Path, *, included: bool) -> Bundle:
    inputs = trio.inputs
    options = hashed(inputs, BundleOptions(include_base=included))
    return open_bundle(compress(inputs, folder / "all.safetensors", options=options, threads=1).path)


@pytest.mark.parametrize("what", KNOWN_CHANGES)
@pytest.mark.parametrize("which", ["bundle", "included", "base"])
def test_a_bundle_or_base_that_is_changed_while_a_task_is_restored(
    which: str, what: str, trio: Family, tmp_path: Path
) -> None:
    bundle = bundled(trio, tmp_path, included=which == "included")
    base = None if which == "included" else trio.inputs.base
    victim, out = victim_of(trio, "base") if which == "base" else bundle.path, tmp_path / "home" / "one"
    known = content_hash(bundle.checkpoint)
    restore(bundle, "expert 0", out, base=base, threads=1)
    before = tree(out.parent)
    token = Meddling("Restoring the task", lambda: meddle(victim, what))
    with pytest.raises((Changed, Missing, Truncated)) as raised:
        restore(bundle, "expert 1", out, base=base, progress=token, threads=1, options=OVER, sha256=known)
    assert raised.value.where == str(victim) and tree(out.parent) == before


@pytest.mark.parametrize("what", HARMLESS)
@pytest.mark.parametrize("which", ["bundle", "base"])
def test_a_bundle_or_base_that_is_only_touched_is_hashed_again(
    which: str, what: str, trio: Family, tmp_path: Path
) -> None:
    bundle = bundled(trio, tmp_path, included=False)
    victim, known = (victim_of(trio, "base") if which == "base" else bundle.path), content_hash(bundle.checkpoint)
    token = Meddling("Restoring the task", lambda: meddle(victim, what))
    done = restore(bundle, "expert 1", tmp_path / "one", base=trio.inputs.base, progress=token, threads=1, sha256=known)
    assert done.path.is_dir() and token.stages[-1].startswith("Hashing")
    if which == "bundle":
        token = Meddling("Restoring the task", lambda: os.link(victim, tmp_path / "third name"))
        with pytest.raises(Changed, match="nobody knows"):
            restore(open_bundle(bundle.path), "expert 1", tmp_path / "two", base=trio.inputs.base, progress=token)
        assert not (tmp_path / "two").exists()


def test_the_cache_of_tasks_never_gives_those_of_the_bundle_that_was_there_before(trio: Family, tmp_path: Path) -> None:
    path = bundled(trio, tmp_path, included=True).path
    cache = TaskCache(tmp_path / "cache", HashCache(tmp_path / "hashes.json"))
    [first] = cache.restore(open_bundle(path), ["expert 0"], None, threads=1)
    before = tree(tmp_path / "cache")
    token = Meddling("Restoring expert 1", lambda: meddle(path, "rewritten, old time"))
    with pytest.raises(Changed, match="old time"):
        cache.restore(open_bundle(path), ["expert 1"], None, progress=token, threads=1)
    assert tree(tmp_path / "cache") == before
    [second] = cache.restore(open_bundle(path), ["expert 0"], None, threads=1)
    assert second.stamps[0].path.parent.parent != first.stamps[0].path.parent.parent, "another bundle, another folder"
