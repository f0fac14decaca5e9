"""A score must never belong to other weights."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from engine.evaluate.keying import file_hash, model_key, recipe_key
from engine.files.checkpoint import open_checkpoint
from engine.files.hashing import fingerprint
from engine.merge.inputs import open_inputs
from engine.merge.models import content_key
from engine.merge.plan import make_plan
from engine.progress import Silent
from tests.engine.merge_cases import family
from tests.engine.rewriting import rewrite_in_place


def test_a_change_between_the_sampled_bytes_is_another_model(tmp_path: Path) -> None:
    """The fingerprint samples large tensors; a file rewritten outside the samples must still be scored anew."""
    weights = np.zeros((1024, 1024), np.float32)
    path = tmp_path / "model.safetensors"
    save_file({"w": weights}, path)
    first = open_checkpoint(path)
    before, sampled = model_key(first, None, None), fingerprint(first)
    hidden = 0
    for spot in range(1001, weights.size, 50_021):
        weights.flat[:] = 0
        weights.flat[spot] = 1.0
        save_file({"w": weights}, path)
        os.utime(path, ns=(spot, spot))
        second = open_checkpoint(path)
        hidden += fingerprint(second) == sampled
        assert model_key(second, None, None) != before
    assert hidden > 0, "no change escaped the samples, so this test shows nothing"


def test_weights_that_were_written_into_under_their_old_time_are_scored_anew(tmp_path: Path) -> None:
    """Whether the model is opened again or not, and though the fingerprint does not see it."""
    family(tmp_path, 2)
    names = {"base": "base.safetensors", "expert": "expert1.safetensors"}
    for which, file in names.items():
        path = tmp_path / file
        recipe = family(tmp_path, 2).with_method("task_arithmetic").recipe
        held = open_inputs(recipe)
        assert held.base is not None
        before = model_key(held.experts[1], None, None), recipe_key(make_plan(recipe, held), None)
        assert before == (model_key(held.experts[1], None, None), recipe_key(make_plan(recipe, held), None))
        rewrite_in_place(path, at=-20_001)
        again = open_inputs(recipe)
        index = (held.experts[1], again.experts[1]) if which == "expert" else (held.base, again.base)
        assert len({fingerprint(model) for model in index if model is not None}) == 1, "the samples do not show it"
        for inputs in (held, again):
            assert recipe_key(make_plan(recipe, inputs), None) != before[1]
            assert (model_key(inputs.experts[1], None, None) != before[0]) == (which == "expert")


def test_a_file_that_was_written_into_and_given_its_old_time_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    save_file({"w": np.zeros(8, np.float32)}, path)
    before, known, key = path.stat(), file_hash(path, Silent()), content_key(open_checkpoint(path))
    time.sleep(0.02)  # the clock of a file system is coarse
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x40")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino
    assert file_hash(path, Silent()) != known and content_key(open_checkpoint(path)) != key
