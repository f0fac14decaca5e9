"""Analyses kept on disk, and first looks at a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.analyse import sample
from engine.analyse.counters import MaskCounter
from engine.analyse.magnitudes import _FEW, MagnitudeCounter, _histogram, magnitudes
from engine.analyse.overlap import overlap
from engine.analyse.stored import Shelf
from engine.analyse.values import arrays_of
from engine.files.checkpoint import open_checkpoint
from engine.files.hashing import fingerprint
from engine.merge.inputs import make_inputs
from tests.engine.merge_cases import family
from tests.engine.rewriting import rewrite_in_place


def test_a_reordered_and_renamed_project_finds_what_was_counted(tmp_path: Path) -> None:
    made = family(tmp_path, experts=3)
    inputs, shelf = made.inputs, Shelf(tmp_path / "shelf")
    groups = inputs.layout.groups
    assert shelf.find("overlap", inputs, groups) is None
    shelf.keep("overlap", inputs, overlap(inputs))
    shelf.keep("magnitudes", inputs, magnitudes(inputs))
    moved = make_inputs(inputs.base, [inputs.experts[t] for t in (2, 0, 1)], ["x", "y", "z"])
    found, counted = shelf.find("overlap", moved, groups), overlap(moved)
    assert found is not None and found.names == ("x", "y", "z")
    for part in ("products", "signs", "masks"):
        known = arrays_of(getattr(found, part))
        assert known.keys() == arrays_of(getattr(counted, part)).keys()
        for name, values in arrays_of(getattr(counted, part)).items():
            np.testing.assert_allclose(known[name], values, rtol=1e-12, err_msg=f"{part}.{name}")
    sizes, again = shelf.find("magnitudes", moved, groups), magnitudes(moved)
    np.testing.assert_array_equal(sizes.fine, again.fine)
    np.testing.assert_array_equal(sizes.coarse, again.coarse)
    fewer = make_inputs(inputs.base, list(inputs.experts[:2]), ["a", "b"])
    assert shelf.find("overlap", fewer, groups) is None


@pytest.mark.parametrize("which", ["base.safetensors", "expert1.safetensors"])
def test_models_that_were_rewritten_under_their_old_time_are_counted_again(which: str, tmp_path: Path) -> None:
    inputs, shelf = family(tmp_path, experts=2).inputs, Shelf(tmp_path / "shelf")
    kinds, groups = {"overlap": overlap, "magnitudes": magnitudes}, inputs.layout.groups
    for kind, count in kinds.items():
        shelf.keep(kind, inputs, count(inputs))
        assert shelf.find(kind, inputs, groups) is not None
    rewrite_in_place(tmp_path / which, at=-20_001)
    again = make_inputs(open_checkpoint(inputs.base.path), [open_checkpoint(e.path) for e in inputs.experts],
                        inputs.names)  # fmt: skip
    assert all(fingerprint(a) == fingerprint(b) for a, b in zip(inputs.experts, again.experts, strict=True))
    for kind, count in kinds.items():
        assert shelf.find(kind, inputs, groups) is None and shelf.find(kind, again, groups) is None
        shelf.keep(kind, inputs, count(inputs))
        assert shelf.find(kind, again, groups) is None, "what was counted while the file changed is not kept"
        shelf.keep(kind, again, count(again))
        assert shelf.find(kind, again, groups) is not None


def test_damage_is_no_find_and_the_folder_stays_small(tmp_path: Path) -> None:
    made = family(tmp_path, experts=2)
    shelf = Shelf(tmp_path / "shelf")
    shelf.keep("overlap", made.inputs, overlap(made.inputs))
    [file] = shelf.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-200])
    assert shelf.find("overlap", made.inputs, made.inputs.layout.groups) is None
    small = Shelf(tmp_path / "shelf", limit=10)
    small.keep("magnitudes", made.inputs, magnitudes(made.inputs))
    assert not list(small.folder.iterdir())


def test_a_sample_reads_some_of_every_tensor_and_estimates_the_whole(tmp_path: Path) -> None:
    made = family(tmp_path, experts=3)
    jobs = [j for j in made.plan.jobs if j.is_float]
    units = list(sample.strides(jobs, 2 * sample.RUN))
    assert {j.name for j, _, _ in units} == {j.name for j in jobs if j.numel}
    assert all(0 <= a < b <= j.numel and b - a <= sample.RUN for j, a, b in units)
    assert len({(j.name, a) for j, a, _ in units}) == len(units)
    exact, quick = overlap(made.inputs), overlap(made.inputs, sample=2 * sample.RUN)
    assert quick.share < 1 == exact.share and quick.sizes.tolist() == exact.sizes.tolist()
    assert quick.masks is not None and exact.masks is not None and quick.products is not None
    assert exact.products is not None
    level = exact.masks.level(0.4)
    a, b = exact.masks.roles(level), quick.masks.roles(level)
    np.testing.assert_allclose(b.selfish, a.selfish, atol=0.03)
    np.testing.assert_allclose(quick.products.norms(), exact.products.norms(), rtol=0.1)
    whole, part = magnitudes(made.inputs), magnitudes(made.inputs, sample=2 * sample.RUN)
    assert part.fine.sum() == pytest.approx(whole.fine.sum(), rel=0.01)
    np.testing.assert_allclose(part.threshold(0.3), whole.threshold(0.3), rtol=0.1)
    everything = overlap(made.inputs, sample=1 << 30)
    assert everything.share == 1 and everything.masks.active.tolist() == exact.masks.active.tolist()


def test_a_sample_is_counted_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, pieces = family(tmp_path, experts=3), []
    measure = MaskCounter.measure
    monkeypatch.setattr(MaskCounter, "measure", lambda self, piece: (pieces.append(piece), measure(self, piece))[1])
    found = overlap(made.inputs, sample=2 * sample.RUN, threads=1)
    reads = list(sample.strides([j for j in made.plan.jobs if j.is_float], 2 * sample.RUN))
    assert 0 < len(pieces) <= min(len(found.groups), len(reads))
    monkeypatch.undo()
    ties = [overlap(made.inputs, vector="ties", sample=1 << 30), overlap(made.inputs, vector="ties")]
    assert ties[0].masks.active.tolist() == ties[1].masks.active.tolist()


def test_few_and_many_magnitudes_are_counted_alike() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=40), np.zeros(5), [3.4e38, 1e-45, -2e-44]]).astype(np.float32)
    for taus in (values[None], np.zeros((2, 7), np.float32), np.full((3, 4), 1e-45, np.float32)):
        few, many = (MagnitudeCounter(1, len(taus)) for _ in range(2))
        times = -(-_FEW // taus.size)
        for counter, width in ((few, 1), (many, times)):
            counter.add(0, _histogram(np.tile(taus, width)))
        assert (few._fine * times).tolist() == many._fine.tolist()
        assert (few._coarse * times).tolist() == many._coarse.tolist() and few._fine.sum() == taus.size
