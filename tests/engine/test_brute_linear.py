"""Linear, spherical and element-wise methods against plain numpy versions made from the formulas alone."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.brute import linear, sphere
from tests.engine.brute.kit import KINDS as ALL
from tests.engine.brute.kit import Arrays, delta_error, error, models, plain, task_vectors
from tests.engine.memory_view import merge

KINDS = [k if k in ("f64", "cancel") else pytest.param(k, marks=pytest.mark.soak) for k in ALL]
NEAR = 2e-5
"""Largest relative error: sums of task vectors that cancel leave float32's rounding errors."""
COEFFICIENTS = ([-0.7], [1.0, 1.0], [0.3, -0.8], [0.0, 0.5], [0.2, -0.4, 0.1, 1.3, 0.6])
SETTINGS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "task_arithmetic": (linear.task_arithmetic, [{}, {"scale": -1.5}]),
    "negation": (linear.negation, [{}, {"scale": -1.5}]),
    "magmax": (linear.magmax, [{}, {"scale": 2.0}]),
    "metagpt": (linear.metagpt, [{"norm_scope": s} for s in ("model", "tensor")]),
    "tatr": (linear.tatr, [{"trust": t, "scale": 1.0} for t in (0.0, 0.001, 0.5, 0.999, 1.0)]),
    "ram": (linear.ram, [{"epsilon": e} for e in (0.0, 1e-4, 0.2, 1.0)]),
    "ramplus_tl": (
        partial(linear.ram, plus=True),
        [{"epsilon": e, "counts": n, "r": 0.7, "alpha": 1.5} for e, n in product((0.0, 0.2), ("tensor", "model"))],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", SETTINGS)
def test_task_vectors(method: str, kind: str) -> None:
    brute, settings = SETTINGS[method]
    for c, params in product(COEFFICIENTS, settings):
        if method == "ramplus_tl" and 0.0 in c:
            continue  # silent experts never reach its counts: plans leave them out
        assert delta_error(brute, method, kind, c, params) < NEAR, (c, params)


@pytest.mark.parametrize("kind", KINDS)
def test_methods_of_certain_numbers_of_experts(kind: str) -> None:
    for reach, c in product((0.0, 1e-4, 0.2, 1.0), (1.0, -0.7)):
        assert delta_error(linear.nearswap, "nearswap", kind, [c], {"reach": reach}) < NEAR
    for c in COEFFICIENTS[1:]:
        assert delta_error(linear.analogy, "analogy", kind, c, {"subtract": "e1", "scale": 1.0}) < NEAR
    base, expert = models(kind, 1)
    if kind != "tiny":  # there softmax's change is a rounding error of float32, which mergekit has, too
        before, tau = plain(base), task_vectors(base, [expert])[0]
        got = merge("arcee_fusion", base, [expert], [0.7], {"deviation": 0.5})
        want = {n: x + 0.7 * tau[n] * (linear.arcee(x, tau[n], 0.5) if x.size else 1) for n, x in before.items()}
        assert error(got, want) < NEAR
    assert error(merge("passthrough", base, [expert], [-0.7], {"scale": 0.5}),
                 {n: -0.35 * x for n, x in plain(expert).items()}) < NEAR  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_whole_weights(kind: str) -> None:
    for c in COEFFICIENTS:
        base, *experts = models(kind, len(c))
        whole, own = plain(base), [plain(e) for e in experts]
        assert error(merge("median", base, experts, c), linear.median(whole, own, c)) == 0
        assert error(merge("magnitude", base, experts, c), linear.magnitude(whole, own, c)) == 0
        for normalise in (True, False):
            got = merge("linear", base, experts, c, {"normalise": normalise})
            assert error(got, linear.linear(whole, own, c, normalise)) < NEAR


@pytest.mark.parametrize("kind", KINDS)
def test_arcs(kind: str) -> None:
    for c in COEFFICIENTS[:4]:
        base, *experts = models(kind, len(c))
        whole, own, taus = plain(base), [plain(e) for e in experts], task_vectors(base, experts)
        a, b = (own[0], own[1]) if len(c) == 2 else (whole, own[0])
        t = c[1] / sum(c) if len(c) == 2 else c[0]
        got = merge("slerp", base, experts, c)
        assert error(got, {n: sphere.slerp(a[n], b[n], t) if a[n].size else a[n] for n in a}) < NEAR, c
        for vectors in ("tensor", "rows", "columns"):
            got = merge("nuslerp", base, experts, c, {"vectors": vectors, "from_base": False})
            assert error(got, {n: sphere.nuslerp(a[n], b[n], t, vectors) for n in a}) < NEAR, (c, vectors)
            if len(c) == 2:
                got = merge("nuslerp", base, experts, c, {"vectors": vectors})
                want = {n: x + sphere.nuslerp(taus[0][n], taus[1][n], t, vectors) for n, x in whole.items()}
                assert error(got, want) < NEAR, (c, vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_means_on_the_sphere(kind: str) -> None:
    for c in COEFFICIENTS:
        base, *experts = models(kind, len(c))
        whole, own, taus = plain(base), [plain(e) for e in experts], task_vectors(base, experts)
        for normalise in (True, False):
            got = merge("multislerp", base, experts, c, {"normalise": normalise})
            want = {n: x + sphere.multislerp([t[n] for t in taus], c, normalise) for n, x in whole.items()}
            assert error(got, want) < NEAR, (c, normalise)
    for c in ([1.0], [1.0, 1.0], [2.0, 1.0, 0.1]):
        base, *experts = models(kind, len(c))
        whole, own = plain(base), [plain(e) for e in experts]
        for with_base in (False, True):
            got = merge("karcher", base, experts, c, {"include_base": with_base})
            parts = [*own, whole] if with_base else own
            weights = [*c, 1.0] if with_base else c
            want = {n: sphere.karcher([p[n] for p in parts], weights) for n in whole}
            assert error(got, want) < NEAR, (c, with_base)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", ["exact", "mergekit", "fusion_bench"])
def test_model_stock(variant: str, kind: str) -> None:
    for c, by_row, clamp in product(([1.0, 1.0], [0.3, -0.8], [0.2, 1.0, -1.3]), (False, True), (False, True)):
        params = {"filter_wise": by_row, "variant": variant, "clamp": clamp}
        assert delta_error(sphere.model_stock, "model_stock", kind, c, params) < NEAR, (c, params)


def states(*values: list[float]) -> list[dict[str, torch.Tensor]]:
    return [{"w": torch.tensor(v, dtype=torch.float64)} for v in values]


def test_a_tensor_of_norm_zero_stands_at_a_right_angle() -> None:
    base, expert = states([0.0, 0.0], [3.0, -4.0])
    got = merge("slerp", base, [expert], [0.3])["w"].numpy()
    assert np.allclose(got, np.sin(0.15 * np.pi) * np.array([3.0, -4.0]), rtol=1e-12)


def test_opposite_vectors_are_not_divided_by_rounding_errors() -> None:
    """1 - cos^2 of exactly opposite vectors is a few 1e-16; that is above mergekit's threshold."""
    values: Arrays = {"x": np.random.default_rng(0).normal(0, 1, (1, 40))}
    base, one, other = states(*(s * values["x"][0] for s in (0.0, 1.0, -0.3)))
    got = merge("nuslerp", base, [one, other], [0.3, 0.7])["w"].numpy()
    assert np.allclose(got, (0.3 - 0.7 * 0.3) * values["x"][0], rtol=1e-9)
    wide = [{"w": x["w"].reshape(1, 40)} for x in (base, one, other)]
    got = merge("nuslerp", wide[0], wide[1:], [0.3, 0.7], {"vectors": "columns"})["w"].numpy()
    assert np.allclose(got, (0.3 - 0.7 * 0.3) * values["x"], rtol=1e-9)
    for value in (0.1, 0.3, 0.7, 1.1):
        base, one, other = states([0.0], [value], [-value / 3])
        assert abs(merge("karcher", base, [one, other], [2.0, 1.0])["w"].item()) < 0.78 * value + 1e-9
        mixed = merge("multislerp", base, [one, other, one, other], [1.0] * 4, {"normalise": False})["w"].item()
        assert abs(mixed) <= 4 * value
