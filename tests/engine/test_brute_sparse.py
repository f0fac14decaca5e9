"""Methods that choose elements against plain numpy versions made from the formulas alone; random masks are given."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch
from zlib import crc32

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.steps import drop
from engine.steps.view import Span
from tests.engine.brute import masks, sparse
from tests.engine.brute.kit import Array, Arrays, delta_error

NEAR = 2e-5
KINDS = [pytest.param(k, marks=pytest.mark.soak) for k in ("plain", "zero", "cancel")] + ["ties"]
COEFFICIENTS = ([-0.7], [1.0, 1.0], [0.5, 1.0, -0.5])
DENSITIES = (0.0, 0.2, 0.999, 1.0)


def chance(name: str, expert: int, count: int) -> Array:
    return np.random.default_rng(crc32(f"{name} {expert}".encode())).random(count)


def given(name: str, expert: int, chances: Array) -> Array:
    """The mask that both sides take."""
    return (chance(name, expert, chances.size).reshape(chances.shape) < chances).astype(np.float64)


@pytest.fixture
def shared_masks() -> Iterator[None]:
    def for_all(span: Span, model: int, density: float) -> Tensor:
        whole = chance(span.tensor, model, int(np.prod(span.shape)))
        return torch.tensor(whole[span.start : span.stop] < density, dtype=torch.float32)

    def for_each(span: Span, model: int, chances: Tensor) -> Tensor:
        whole = chance(span.tensor, model, int(np.prod(span.shape)))[span.start : span.stop]
        return torch.tensor(whole.reshape(chances.shape) < chances.double().numpy()).to(chances.dtype)

    with patch.object(drop, "bernoulli", for_all), patch.object(drop, "bernoulli_each", for_each):
        yield


MERGES = ("mean", "weighted", "sum", "max", "all-mean", "all-sum", "all-median", "all-magnitude")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("elect", ["mass", "normfrac", "normmass", "none"])
def test_ties(elect: str, kind: str) -> None:
    bad = []
    for (trim, density), scope, c in product(
        [("topk", 0.2), ("count", 0.2), ("topk", 0.999), ("std", 1.0), ("normfrac", 0.6)], ("global", "tensor"),
        ([0.5, 1.0, -0.5], [1.0, 1.0]),
    ):  # fmt: skip
        for merge in MERGES if trim == "topk" and len(c) == 3 else ("mean",):
            params = {"trim": trim, "trim_scope": scope, "density": density, "elect": elect, "merge": merge}
            found = delta_error(sparse.ties, "ties", kind, c, params)
            if found >= NEAR:
                bad.append((trim, density, scope, merge, c, found))
    assert not bad


@pytest.mark.parametrize("kind", KINDS)
def test_ties_at_the_ends(kind: str) -> None:
    for density, c, zero_sum in product(DENSITIES, COEFFICIENTS, ("majority", "positive")):
        for rescale in (False, True):
            params = {"density": density, "zero_sum": zero_sum, "rescale": rescale, "merge": "weighted"}
            assert delta_error(sparse.ties, "ties", kind, c, params) < NEAR, (c, params)


def dare_ties(taus: list[Arrays], c: list[float], *, trim: float, merge: str, **params: Any) -> Arrays:
    return sparse.dare(taus, c, given, scale=1.0, ties_with={"density": trim, "merge": merge}, **params)


@pytest.mark.usefixtures("shared_masks")
@pytest.mark.parametrize("kind", KINDS)
def test_dare(kind: str) -> None:
    for density, c, by in product((0.0, 0.25, 0.5, 1.0), COEFFICIENTS, ("density", "l1")):
        params = {"density": density, "rescale_by": by}
        assert delta_error(sparse.dare, "dare_linear", kind, c, params, {"mask": given}) < NEAR, (c, params)
        for trim, merge in ((1.0, "mean"), (0.2, "weighted"), (0.5, "sum")):
            more = {**params, "trim": trim, "merge": merge}
            assert delta_error(dare_ties, "dare_ties", kind, c, more) < NEAR, (c, more)


@pytest.mark.usefixtures("shared_masks")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", ["row", "layer", "norank"])
def test_della(ranks: str, kind: str) -> None:
    for density, c, rescale in product((0.0, 0.2, 0.9, 1.0), COEFFICIENTS, ("chance", "l1", "none")):
        params = {"density": density, "ranks": ranks, "rescale": rescale}
        linear = partial(sparse.della, linear=True, mask=given)
        assert delta_error(linear, "della_linear", kind, c, {**params, "scale": 0.3}) < NEAR, (c, params)
        for merge in ("weighted", "mean") if rescale == "chance" else ("sum",):
            more = {**params, "merge": merge}
            assert delta_error(sparse.della, "della", kind, c, more, {"mask": given}) < NEAR, (c, more)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ranks", "first", "rescale"),
    [("row", True, False), ("row", False, False), ("tensor", True, False), ("tensor", True, True)],
)
def test_breadcrumbs(ranks: str, first: bool, rescale: bool, kind: str) -> None:
    for density, gamma, c in product(DENSITIES, (0.0, 0.007, 0.2, 0.9), COEFFICIENTS[::2]):
        params = {"density": density, "gamma": gamma, "ranks": ranks, "remove_first": first, "rescale": rescale}
        assert delta_error(sparse.breadcrumbs, "breadcrumbs", kind, c, params) < NEAR, (c, params)
        elected = partial(sparse.breadcrumbs, scale=1.0)
        more = {**params, "merge": "weighted" if gamma else "sum"}
        assert delta_error(elected, "breadcrumbs_ties", kind, c, more) < NEAR, (c, more)


@pytest.mark.parametrize("kind", KINDS)
def test_magnitudes(kind: str) -> None:
    for density, c in product(DENSITIES, COEFFICIENTS):
        for scope, rescale in product(("model", "tensor"), ("none", "density", "l1", "l2", "linf")):
            params = {"density": density, "trim_scope": scope, "rescale": rescale}
            assert delta_error(sparse.magnitude_prune, "magnitude_prune", kind, c, params) < NEAR, (c, params)
        task = {"density": density, "task": f"e{len(c) - 1}"}
        assert delta_error(sparse.magnitude_mask, "magnitude_mask", kind, c, task) < NEAR, (c, task)
        assert delta_error(sparse.localize, "localize_stitch", kind, c, {"density": density}) < NEAR, (c, density)


@pytest.mark.parametrize("kind", KINDS)
def test_sce(kind: str) -> None:
    """Two experts where variances tie: of three they differ by rounding errors."""
    for density, c, floor in product((*DENSITIES, 0.5), COEFFICIENTS[:2] if kind == "ties" else COEFFICIENTS,
                                     (True, False)):  # fmt: skip
        params = {"density": density, "uniform_floor": floor}
        assert delta_error(sparse.sce, "sce", kind, c, params) < NEAR, (c, params)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vector", ["ta", "ties"])
def test_masks_of_tasks_at_every_k(vector: str, kind: str) -> None:
    for c, strictness in product(COEFFICIENTS, (0.0, 0.4, 1.0)):
        params = {"vector": vector, "strictness": strictness, "density": 0.3}
        for k in range(len(c) + 2):
            found = delta_error(masks.consensus, "consensus", kind, c, {**params, "k": k, "scale": 1.0})
            assert found < NEAR, (c, params, k)
        task = {**params, "task": f"e{len(c) - 1}"}
        assert delta_error(masks.tall_mask, "tall_mask", kind, c, task) < NEAR, (c, task)


@pytest.mark.parametrize("kind", KINDS)
def test_emr(kind: str) -> None:
    for c, rescaler in product(COEFFICIENTS, ("flat", "tensor")):
        params = {"task": f"e{len(c) - 1}", "rescaler": rescaler}
        assert delta_error(masks.emr, "emr", kind, c, params) < NEAR, (c, params)


@pytest.mark.parametrize("kind", [*KINDS[:2], "cancel"])
@pytest.mark.parametrize("variant", ["vision-es", "vision", "nlp", "root"])
def test_pcb(variant: str, kind: str) -> None:
    for c, ratio in product(COEFFICIENTS, (0.05, 0.2, 0.9, 1.0)):
        params = {"variant": variant, "ratio": ratio}
        assert delta_error(masks.pcb, "pcb", kind, c, params) < 1e-4, (c, params)
