"""What is remembered of the models: exact, reused for other settings, never after a file has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from engine import steps
from engine.merge import recall
from engine.merge.recall import Recall, sketch_keys, survey_key
from engine.merge.run import merged_state
from engine.progress import Silent
from engine.steps import select
from tests.engine.merge_cases import Family, digest, expert_state, family, save
from tests.engine.test_steps import view_over

if TYPE_CHECKING:
    from pathlib import Path


class Passes(Silent):
    """Counts the stages of a merge."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        self.texts.append(text)


@pytest.fixture(autouse=True)
def empty() -> None:
    recall.SHARED.clear()


def passes(asked: Family) -> int:
    """How often a merge reads the models."""
    seen = Passes()
    merged_state(asked.plan, seen, threads=2)
    return len(seen.texts)


def test_another_density_reads_nothing_again(tmp_path: Path) -> None:
    """TIES of 16-bit models: a pass for all thresholds, one for the majority, one to merge."""
    trio = family(tmp_path)
    assert passes(trio.with_method("ties")) == 3
    assert passes(trio.with_method("ties", density=0.4)) == 2
    assert passes(trio.with_method("ties", density=0.7, zero_sum="positive")) == 1
    assert passes(trio.with_method("ties", density=0.4)) == 1, "the same survey is not made twice"
    assert passes(trio.with_method("ties", 0.5, density=0.4)) == 2, "faders have a say in the majority"


def test_what_is_remembered_gives_the_same_bytes(tmp_path: Path) -> None:
    trio = family(tmp_path)
    fresh = {}
    for density in (0.1, 0.4, 0.9):
        recall.SHARED.clear()
        fresh[density] = digest(merged_state(trio.with_method("ties", density=density).plan, threads=1))
    assert len(set(fresh.values())) == 3
    for density, wanted in fresh.items():
        for _ in range(2):
            assert digest(merged_state(trio.with_method("ties", density=density).plan, threads=2)) == wanted


def test_a_changed_expert_is_measured_again(tmp_path: Path) -> None:
    trio = family(tmp_path)
    before = digest(merged_state(trio.with_method("ties").plan, threads=1))
    save(expert_state(7, trio.base), tmp_path / "expert2.safetensors")
    assert passes(trio.with_method("ties")) == 3
    after = digest(merged_state(trio.with_method("ties").plan, threads=1))
    recall.SHARED.clear()
    assert after == digest(merged_state(trio.with_method("ties").plan, threads=1)) != before


def test_muting_and_order_keep_the_sketches_of_the_others(tmp_path: Path) -> None:
    trio = family(tmp_path)
    assert passes(trio.with_method("ties")) == 3
    recipe = trio.with_method("ties").recipe
    muted = replace(trio, recipe=replace(recipe, muted=("e1",)))
    turned = replace(trio, recipe=recipe.with_order(["e2", "e0", "e1"]))
    assert (passes(muted), passes(turned)) == (2, 1)


def test_sketches_on_disk_outlive_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trio = family(tmp_path)
    monkeypatch.setattr(recall.SHARED, "folder", tmp_path / "sketches")
    assert passes(trio.with_method("ties")) == 3
    files = sorted((tmp_path / "sketches").iterdir())
    assert len(files) == 3 and not any(f.name.endswith(".partial") for f in files)
    recall.SHARED.clear()
    assert passes(trio.with_method("ties")) == 2
    for file, damage in zip(files, (b"", b"PK\3\4 torn", file_of_objects(tmp_path)), strict=True):
        file.write_bytes(damage)
    recall.SHARED.clear()
    assert passes(trio.with_method("ties")) == 3, "damaged files count as absent"


def file_of_objects(folder: Path) -> bytes:
    """A file that would run code if it were unpickled."""
    np.savez(folder / "evil.npz", bits=np.array([print], dtype=object), counts=np.zeros(1), exact=np.array(True))
    return (folder / "evil.npz").read_bytes()


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Recall(tmp_path / "file" / "below")
    sketch = select.Sketch(np.array([1], np.uint32), np.array([2], np.int64), True)
    store.keep_sketch("k", sketch, on_disk=True)
    assert store.sketch("k") is sketch and store.sketch("other") is None


def test_memory_and_disk_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sketch = select.Sketch(np.arange(100, dtype=np.uint32), np.ones(100, np.int64), True)
    monkeypatch.setattr(recall, "MEMORY_BYTES", 5 * sketch.bytes)
    monkeypatch.setattr(recall, "DISK_BYTES", 3 * 2500)
    store = Recall(tmp_path)
    for k in range(20):
        store.keep_sketch(f"k{k}", sketch, on_disk=True)
    assert 1 <= len(list(tmp_path.iterdir())) <= 5
    store.folder = None
    assert [k for k in range(20) if store.sketch(f"k{k}")] == [15, 16, 17, 18, 19]
    for k in range(recall.SURVEYS + 5):
        store.keep_survey(f"s{k}", None)
    assert store.survey("s0") == (False, None) and store.survey("s6") == (True, None)


def test_keys_tell_models_apart(tmp_path: Path) -> None:
    plan = family(tmp_path).with_method("ties").plan
    jobs = [job for job in plan.jobs if job.is_float]
    keys = sketch_keys(plan, jobs)
    assert keys is not None and len(set(keys)) == 3
    assert not set(keys) & set(sketch_keys(plan, jobs[:1]) or ())
    assert sketch_keys(plan, [replace(jobs[0], used=(0, 1))]) is None


def test_surveys_of_another_seed_are_others(tmp_path: Path) -> None:
    plan = family(tmp_path).with_method("ties").plan
    other = replace(plan, recipe=replace(plan.recipe, seed=plan.recipe.seed + 1))
    assert survey_key(plan, ()) == survey_key(replace(plan), ()) != survey_key(other, ())


@pytest.mark.parametrize("bits", [8, 12, 16, 24])
def test_sketches_are_counts(bits: int) -> None:
    """Magnitudes of 8 significant bits, of a few more, and of full float32: the same ranks as sorting."""
    rng = np.random.default_rng(bits)
    mantissa, exponent = np.frexp(rng.standard_t(2, 30_000))
    x = torch.from_numpy(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32))
    x[::5] = 0
    view = view_over({"w": x}, {"w": x.bfloat16().float() / 2})
    found = select.sketches(view)
    assert found is not None and found[0].exact == (bits <= 8) and found[1].exact
    values, counts = np.unique(x.bfloat16().float().abs().numpy() / 2, return_counts=True)
    assert np.array_equal(found[1].bits.view(np.float32), values) and np.array_equal(found[1].counts, counts)
    ranked = x.abs().sort().values
    for rank in (1, 6_000, 6_001, 17_000, 30_000):
        assert steps.select.kth_magnitudes(view, rank)[0] == float(ranked[rank - 1])


def test_a_few_finer_magnitudes_are_counted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_SORTED_AT_ONCE", 50)  # sorted in many portions
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=40_000).astype(np.float32)).bfloat16().float()
    x[::13] *= 1.01
    view = view_over({"w": x})
    (found,) = select.sketches(view) or ()
    values, counts = np.unique(x.abs().numpy(), return_counts=True)
    assert found.exact and np.array_equal(found.bits.view(np.float32), values)
    assert np.array_equal(found.counts, counts) and found.counts.sum() == 40_000
    monkeypatch.setattr(select, "_MOST_MAGNITUDES", 100)
    (coarse,) = select.sketches(view) or ()
    assert not coarse.exact and coarse.counts.sum() == 40_000
    for rank in (1, 20_000, 39_999):
        assert steps.select.kth_magnitudes(view, rank)[0] == float(x.abs().sort().values[rank - 1])
