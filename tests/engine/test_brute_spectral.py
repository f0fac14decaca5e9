"""Spectral methods on small float64 matrices against plain singular value decompositions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.brute import spectral as brute
from tests.engine.brute.kit import Array
from tests.engine.memory_view import merge

NAME = "model.layers.0.mlp.up_proj.weight"
Row = tuple[str, dict[str, Any], Array]


def found(method: str, matrices: list[Array], c: list[float], params: dict[str, Any]) -> Array:
    base = {NAME: torch.zeros(matrices[0].shape, dtype=torch.float64)}
    result: Array = merge(method, base, [{NAME: torch.tensor(d)} for d in matrices], c, params)[NAME].numpy()
    return result


def tsv(ds: list[Array]) -> Iterator[Row]:
    r, count = min(ds[0].shape), len(ds)
    for variant, rank in product(("svd", "eigen", "sum"), (0.0, 0.3)):
        k = int(r * (rank or 1 / count))
        if k and count * k <= r:
            for guard in (True, False):
                want = brute.tsv_m(ds, "svd" if variant == "eigen" else variant, rank)
                yield "tsv_m", {"variant": variant, "rank": rank, "guard": guard}, want
    yield "tsv_m", {"variant": "lossless", "guard": False}, brute.tsv_m(ds, "lossless")
    for rank in (0.5, 1.0):
        yield "tsv_c", {"rank": rank, "task": f"e{count - 1}"}, brute.tsv_c(ds[-1], count, rank)


def others(ds: list[Array]) -> Iterator[Row]:
    r, count = min(ds[0].shape), len(ds)
    yield "iso_c", {"scale": 1.3}, 1.3 * brute.iso_c(ds)
    for common in (0.5, 0.8, 1.0):
        yield "iso_cts", {"common": common, "guard": common < 1}, brute.iso_cts(ds, common)
    for eta in (0.0, 0.4, 0.9, 1.0):
        yield "star", {"eta": eta}, brute.star(ds, eta)
    for rank, scale in ((0.08, 1.0), (0.5, 0.4), (1.0, -1.0)):
        yield "cart", {"rank": rank, "scale": scale}, brute.cart(ds, rank, scale)
    if r >= count:
        for keep in (0.001, 0.05, 0.3, 1.0):
            yield "dc_merge", {"keep": keep}, brute.dc_merge(ds, keep)
    yield "knots", {"merger": "tv", "density": 1.0, "merge": "sum", "scale": 1.0}, brute.knots_tv(ds)


def solved(ds: list[Array]) -> Iterator[Row]:
    yield "wudi", {"solver": "closed", "ridge": 1e-2}, brute.wudi_closed(ds, 1e-2)
    for steps in (0, 1, 7):
        yield "wudi", {"iterations": steps, "rate": 1e-3}, brute.wudi_adam(ds, steps, 1e-3)
    yield "actmat", {}, brute.actmat(ds)
    for gate, share, ridge in ((0.3, 0.3, 0.01), (0.0, 0.7, 0.1), (1e12, 0.3, 1e-3)):
        yield "ace", {"gate": gate, "share": share, "ridge": ridge}, brute.ace(ds, ridge, share, gate)


@pytest.mark.parametrize("rows", [tsv, others, solved])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(9, 9), (12, 7), (7, 12), (3, 8)])
def test_against_plain_decompositions(
    shape: tuple[int, int], count: int, rows: Callable[[list[Array]], Iterator[Row]]
) -> None:
    made = np.random.default_rng(shape[0] * 10 + count)
    raw = [made.normal(0, 0.1 * 3**t, shape) for t in range(count)]
    c = [0.7 - 0.5 * t for t in range(count)]
    for method, params, want in rows([w * d for w, d in zip(c, raw, strict=True)]):
        got = found(method, raw, c, params)
        assert np.abs(got - want).max() < 1e-6 * np.abs(want).max(), (method, params)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("shape", [(9, 9), (7, 12), (12, 5)])
def test_coordinates_calibration_and_cores(shape: tuple[int, int], count: int) -> None:
    made = np.random.default_rng(count)
    ds, ones = [made.normal(0, 0.2, shape) for _ in range(count)], [1.0] * count
    for density, how, scope in product((0.2, 0.6, 1.0), ("mean", "sum", "max"), ("global", "tensor")):
        got = found("knots", ds, ones, {"density": density, "merge": how, "scale": 1.0, "trim_scope": scope})
        assert np.allclose(got, brute.knots_ties(ds, density, how), atol=1e-9), (density, how, scope)
    for alpha in (0.0, 0.5, 1.0):
        got = found("task_arithmetic", ds, ones, {"scale": 1.0, "post": "svc", "post_alpha": alpha})
        assert np.allclose(got, brute.svc(np.sum(ds, 0), ds, alpha), atol=1e-7), alpha
    for normalise, density in ((True, 0.1), (False, 0.5), (True, 1.0)):
        c = [0.4 + 0.3 * t for t in range(count)]
        got = found("twin", ds, c, {"normalise": normalise, "density": density, "shared": 0.4})
        assert np.allclose(got, brute.twin(ds, c, 0.4, density, normalise), atol=1e-9)
    low = [np.outer(made.normal(0, 1, shape[0]), made.normal(0, 1, shape[1])) for _ in range(count)]
    for merger, isotropic in product(("sum", "mean", "tsv"), (False, True)):
        got = found("core_space", low, ones, {"merger": merger, "isotropic": isotropic})
        assert np.allclose(got, brute.core(low, [1] * count, merger, isotropic), atol=1e-8), (merger, isotropic)
