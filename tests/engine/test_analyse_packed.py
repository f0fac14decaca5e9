"""Codes, packed bits and the feed of a sweep against the plain way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.analyse.feed import Feed
from engine.analyse.magnitude_values import COARSE, FINE, Magnitudes, densities, edges
from engine.analyse.packed import Room, common, histogram, packed, population, set_codes
from engine.merge.load import Loader
from tests.engine.merge_cases import family, save


@pytest.mark.parametrize(("experts", "count"), [(1, 7), (3, 64), (8, 1000), (9, 65), (12, 5000)])
def test_set_codes_and_their_histogram(experts: int, count: int) -> None:
    rows = np.random.default_rng(experts).random((experts, count)) < 0.4
    expected = (rows * (1 << np.arange(experts))[:, None]).sum(0)
    room = Room()
    set_codes(np.ones((experts, count + 9), np.uint8), room)  # what the room holds must not matter
    found = set_codes(rows.view(np.uint8), room)
    assert found.tolist() == expected.tolist()
    assert histogram(found, 1 << experts).tolist() == np.bincount(expected, minlength=1 << experts).tolist()


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (4, 63), (18, 129), (42, 4096), (20, 70_001)])
def test_common_counts_what_two_rows_share(rows: int, count: int) -> None:
    held = np.random.default_rng(rows).random((rows, count)) < 0.3
    words = packed(held.view(np.uint8))
    assert words.shape == (rows, -(-count // 64))
    wide = held.astype(np.int64)
    assert common(words).tolist() == (wide @ wide.T).tolist()
    assert population(words).tolist() == wide.sum(1).tolist()


@pytest.mark.parametrize("kinds", ["F32", "BF16 beside F32", "F64 beside F16", "missing", "scaled"])
def test_a_feed_hands_out_what_a_loader_hands_out(tmp_path: Path, kinds: str) -> None:
    made = family(tmp_path, experts=3, dtype=torch.float32)
    name = next(job.name for job in made.plan.jobs if job.is_float and job.numel > 2000)
    state, other = made.experts[1], made.experts[2]
    if kinds == "BF16 beside F32":
        state[name] = state[name].to(torch.bfloat16)
    elif kinds == "F64 beside F16":
        state[name], other[name] = state[name].double() + 1e-12, other[name].half()
    elif kinds == "missing":
        del state[name]
    for values, ref in zip(made.experts, made.recipe.experts, strict=True):
        save(values, Path(ref.path))
    made = made.with_method("consensus", 0.7 if kinds == "scaled" else 1.0)
    plan = made.plan
    job = next(job for job in plan.jobs if job.name == name)
    with Feed(plan, 1 << 17) as feed, Loader(plan, chunk=1 << 17) as loader:
        for start, stop in ((0, min(feed.chunk, job.numel)), (job.numel - 1500, job.numel)):
            rows, taus = feed.load(job, start, stop)
            chunk = loader.load(job, start, stop)
            assert rows[0].tobytes() == chunk.base.numpy().tobytes()
            for tau, plain, delta, weight in zip(taus, rows[1:], chunk.deltas, chunk.weights, strict=True):
                assert plain.tobytes() == delta.numpy().tobytes() or (not plain.any() and not delta.any())
                assert tau.dtype == chunk.base.numpy().dtype
                np.testing.assert_array_equal(tau, (delta * weight).numpy())
        infos = [plan.models.info(index, name) for index in range(-1, 3)]
        assert feed.bytes_in(job) == sum(info.size_bytes for info in infos if info is not None)


def test_every_expert_has_its_own_density_and_histograms_end_where_values_end() -> None:
    assert densities({"scale": 1.0}, ["a", "b"]) is None
    assert densities({"density": 0.2}, ["a", "b"]) == (0.2, 0.2)
    own = densities({"density": 0.2, "density@b": 0.5}, ["a", "b"])
    assert own == (0.2, 0.5)
    fine = np.zeros((2, FINE), np.int64)
    fine[:, [0, 16000, 16200]] = (50, 30, 20)
    found = Magnitudes(("a", "b"), (), fine, np.zeros((0, 2, COARSE), np.int64))
    assert found.threshold(own).tolist() == [edges(FINE)[16200], edges(FINE)[16000]]
    drawn = found.drawn()
    assert drawn is not None and drawn.counts.sum(1).tolist() == [50, 50] and drawn.zeros.tolist() == [50, 50]
    assert len(drawn.edges) == drawn.counts.shape[1] + 1
    assert drawn.edges[0] <= edges(FINE)[16000] < drawn.edges[1] and drawn.edges[-2] <= edges(FINE)[16200]
    nothing = Magnitudes(("a",), (), np.eye(1, FINE, dtype=np.int64), np.zeros((0, 1, COARSE), np.int64))
    assert nothing.drawn() is None
