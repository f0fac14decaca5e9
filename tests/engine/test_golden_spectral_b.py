"""Merging in subspaces and by regression gives what the authors' code gives, and means what it says."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import OutOfRange
from engine.merge.run import merged_state
from engine.methods import find
from engine.steps import covariance, spectral, subspace
from engine.steps.view import BLOCK
from tests.engine.golden_cases import Case, checks, tolerance
from tests.engine.golden_spectral_b import cases
from tests.engine.memory_view import State, merge, merge_kernel, view_of
from tests.engine.merge_cases import Family, digest, family

FAMILY = ("knots", "core_space", "dc_merge", "twin", "wudi", "actmat", "ace")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_case(case: Case) -> None:
    made = checks(case)
    wrong = [f"{c.what}: {c.error:.3g}" for c in made if not c.holds(tolerance(case))]
    assert made and not wrong, "; ".join(wrong)


def test_all_cases_are_there() -> None:
    assert len(cases()) == 14
    check = checks(cases()[0])[-1]
    assert not dataclasses.replace(check, got=check.got + 2e-5 * check.want.abs().max()).holds()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def low_rank(m: int, n: int, rank: int, seed: int) -> Tensor:
    return random(m, rank, seed=seed) @ random(rank, n, seed=seed + 100)


def run(
    method: str, deltas: list[Tensor], weights: list[float] | None = None, name: str = "w", **params: Any
) -> Tensor:
    """The merged task vector of task vectors around a base of 0 (so that they are exact)."""
    base = {name: torch.zeros_like(deltas[0])}
    view = view_of(find(method), base, [{name: d} for d in deltas], weights or [1.0] * len(deltas))
    return merge_kernel(view, find(method), params)[name]


def apart(count: int, size: int = 12, rank: int = 2) -> list[Tensor]:
    """Task matrices of low rank in orthogonal spaces."""
    q, r = torch.linalg.qr(random(size, size))[0], torch.linalg.qr(random(size, size, seed=1))[0]
    s = torch.diag(torch.linspace(3, 1, rank))
    return [q[:, i * rank : (i + 1) * rank] @ s @ r[i * rank : (i + 1) * rank] for i in range(count)]


def summed(deltas: list[Tensor]) -> Tensor:
    return torch.stack(deltas).sum(0)


# -- laws of the family ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (1, 5), (5, 1), (1, 1), (7,), (), (0, 4), (4, 3, 2, 2)])
def test_odd_shapes_zeros_and_silent_experts(method: str, shape: tuple[int, ...]) -> None:
    deltas = [random(*shape, seed=t) for t in range(4)]
    before = [d.clone() for d in deltas]
    merged = run(method, deltas, [1.0, 0.5, -0.7, 0.0])
    assert merged.shape == shape and bool(torch.isfinite(merged).all())
    assert all(torch.equal(a, b) for a, b in zip(deltas, before, strict=True))
    assert torch.equal(merged, run(method, deltas[:3], [1.0, 0.5, -0.7])), "an expert at 0 is not in the merge"
    assert not run(method, deltas, [0.0] * 4).any()
    assert not run(method, [torch.zeros(shape)] * 2).any()
    if method != "twin":
        frozen = run(method, [deltas[0], torch.zeros(shape)])
        assert bool(torch.isfinite(frozen).all())


@pytest.mark.parametrize("method", ["knots", "core_space", "dc_merge", "twin", "actmat"])
def test_twins_give_no_noise(method: str) -> None:
    """Two copies of one expert of low rank stay in its space."""
    d = low_rank(20, 16, 3, seed=5)
    merged = run(method, [d, d.clone()])
    space = torch.linalg.svd(d)[0][:, :3]
    outside = merged - space @ (space.mT @ merged)
    assert float(outside.norm()) < 1e-4 * float(merged.norm())


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family(tmp_path_factory.mktemp("trio"))


@pytest.mark.parametrize("method", FAMILY)
def test_files_give_the_same_bytes_for_any_chunks_threads_and_order(method: str, trio: Family) -> None:
    asked = trio.with_method(method, 0.7)
    backwards = replace(asked, recipe=asked.recipe.with_order([e.id for e in reversed(asked.recipe.experts)]))
    expected = digest(merged_state(asked.plan, threads=1))
    for chosen, chunk, threads in ((asked, 4096, 2), (backwards, 8192, 3)):
        assert digest(merged_state(chosen.plan, chunk=chunk, threads=threads)) == expected


@pytest.mark.parametrize("method", ["dc_merge", "wudi", "actmat", "ace"])
def test_fused_matrices_can_be_split(method: str) -> None:
    deltas, name = [random(12, 6, seed=t) for t in range(3)], "blocks.0.attn.in_proj_weight"
    split = run(method, deltas, name=name, split_qkv=True)
    parts = [run(method, [d[i : i + 4] for d in deltas]) for i in (0, 4, 8)]
    assert torch.allclose(split, torch.cat(parts), atol=1e-5)
    assert not torch.allclose(split, run(method, deltas, name=name), atol=1e-3)


@pytest.mark.parametrize("method", FAMILY)
def test_vectors(method: str) -> None:
    """Added up or averaged; KnOTS merges them like everything else; Twin keeps them whole."""
    deltas = [random(50, seed=t) for t in range(3)]
    mean = summed(deltas) / 3
    if method == "knots":
        assert torch.allclose(
            run(method, deltas, merger="tv", density=1.0, merge="sum", scale=1.0), 3 * mean, atol=1e-6
        )
    else:
        assert torch.allclose(run(method, deltas), mean, atol=1e-6)
    if method == "core_space":
        assert torch.allclose(run(method, deltas, merger="sum"), 3 * mean, atol=1e-6)
    if method == "wudi":
        assert not run(method, deltas, others="base").any()


# -- KnOTS -----------------------------------------------------------------------------------------------------


def test_knots_without_trimming_is_task_arithmetic() -> None:
    deltas = [low_rank(9, 14, 2, seed=t) for t in range(3)]
    wanted = 0.5 * deltas[0] - deltas[1] + deltas[2]
    merged = run("knots", deltas, [0.5, -1.0, 1.0], merger="tv", density=1.0, merge="sum", scale=1.0)
    assert torch.allclose(merged, wanted, atol=1e-5)
    assert not run("knots", deltas, density=0.0).any()


@pytest.mark.parametrize("density", [0.01, 0.3, 0.77])
def test_knots_ranks_the_whole_model(density: float) -> None:
    """The streamed limits are those of all coordinates in a row, whatever the chunk size."""
    shapes = {"a": (12, 700), "b": (5, 4, 3, 3), "c": (33,), "wte.weight": (7, 5), "d": (0, 2)}
    base = {name: torch.zeros(shape) for name, shape in shapes.items()}
    experts: list[State] = [
        {n: random(*s, seed=10 * t + i) for i, (n, s) in enumerate(shapes.items())} for t in range(2)
    ]
    found = []
    for chunk in (BLOCK, 1 << 20):
        view = view_of(find("knots"), base, experts, [1.0, 0.5], chunk=chunk)
        found.append(subspace.knot_limits(view, density, "inner"))
    assert found[0] == found[1]
    rows: list[list[Tensor]] = [[], []]
    for name in shapes:
        knot = subspace.knot([e[name] for e in experts], name, "inner")
        assert (knot.basis is None) == (name in ("c", "wte.weight", "d"))
        for t, e in enumerate(experts):
            rows[t].append(knot.coordinates(e[name]).reshape(-1))
    for t, row in enumerate(rows):
        flat = torch.cat(row).abs().sort(descending=True).values
        assert found[0][t] == pytest.approx(float(flat[int(len(flat) * density)]), rel=1e-5)


def test_knots_elects_signs_in_the_shared_directions() -> None:
    """Two experts against one along a direction that they share: the mean of the two is left."""
    u, v = torch.linalg.qr(random(8, 8))[0][:, :1], random(1, 6)
    merged = run("knots", [u @ v, 2 * u @ v, -u @ v], density=1.0, scale=1.0, trim_scope="tensor")
    assert torch.allclose(merged, 1.5 * u @ v, atol=1e-5)
    quiet = run("knots", [u @ v, 2 * u @ v, -u @ v], [1.0, 1.0, 4.0], density=1.0, scale=1.0)
    assert torch.allclose(quiet, -4 * u @ v, atol=1e-5), "coefficients vote"


# -- Core Space ------------------------------------------------------------------------------------------------


def test_core_space_loses_nothing() -> None:
    deltas = [low_rank(15, 11, rank, seed=rank) for rank in (1, 2, 3)]
    assert torch.allclose(run("core_space", deltas, merger="sum"), summed(deltas), atol=1e-4)
    pairs = [subspace.low_rank(d, 0) for d in deltas]
    assert [b.shape[1] for b, _ in pairs] == [1, 2, 3]
    found = subspace.core([b for b, _ in pairs], [a for _, a in pairs])
    assert found.cores[0].shape == (6, 6)
    assert all(torch.allclose(found.back(c).float(), d, atol=1e-4) for c, d in zip(found.cores, deltas, strict=True))


def test_core_space_keeps_tasks_that_do_not_meet() -> None:
    deltas = apart(3)
    assert torch.allclose(run("core_space", deltas), summed(deltas), atol=1e-4)
    s = torch.linalg.svdvals(run("core_space", deltas, isotropic=True))
    assert torch.allclose(s[:6], torch.full((6,), 2.0), atol=1e-4) and float(s[6]) < 1e-4


def test_core_space_finds_the_rank_beside_rounding_errors() -> None:
    """Adapters merged into float32 weights; into bf16 weights the rank must be told."""
    base, deltas = random(40, 30), [0.01 * low_rank(40, 30, 2, seed=t) for t in range(3)]
    experts: list[State] = [{"w": base + d} for d in deltas]
    params: dict[str, Any] = {"merger": "sum", "isotropic": True}
    merged = merge_kernel(view_of(find("core_space"), {"w": base}, experts, [1.0] * 3), find("core_space"), params)["w"]
    s = torch.linalg.svdvals(merged)
    assert int((s > 1e-2 * s[0]).sum()) == 6
    noisy = [d + 1e-4 * random(40, 30, seed=50 + t) for t, d in enumerate(deltas)]
    assert int((torch.linalg.svdvals(run("core_space", noisy, **params)) > 1e-2).sum()) > 6
    assert int((torch.linalg.svdvals(run("core_space", noisy, rank=2, **params)) > 1e-2).sum()) == 6


# -- DC-Merge --------------------------------------------------------------------------------------------------


def test_dc_merge_keeps_tasks_that_do_not_meet() -> None:
    deltas = apart(3)
    assert torch.allclose(run("dc_merge", deltas, keep=2 / 144), summed(deltas), atol=1e-4)
    flat = run("dc_merge", deltas, keep=2 / 36, rank=2, smoothing="average")
    assert torch.allclose(torch.linalg.svdvals(flat)[:6], torch.full((6,), 2.0), atol=1e-4)
    beyond = run("dc_merge", deltas, keep=2 / 144, rank=4, smoothing="average")
    assert torch.allclose(beyond, flat, atol=1e-4), "rounding errors beyond an adapter's rank are not made loud"
    one = run("dc_merge", deltas, keep=0.0)
    assert torch.linalg.matrix_rank(one, atol=1e-4) == 3, "at least one element of each task is left"


def test_dc_merge_smooths_evenly() -> None:
    s = torch.tensor([8.0, 3.0, 1.0], dtype=torch.float64)
    assert torch.allclose(subspace.smoothed(s, "average", 5.0), torch.full((3,), 4.0, dtype=torch.float64))
    linear = subspace.smoothed(s, "linear", 5.0)
    assert torch.allclose(linear, torch.tensor([20 / 3, 4.0, 4 / 3], dtype=torch.float64))
    assert torch.allclose(subspace.smoothed(s, "linear", 50.0)[0], 8 * subspace.smoothed(s, "linear", 50.0)[2])


# -- Twin-Merging ----------------------------------------------------------------------------------------------


def test_twin_whole_is_the_weighted_average() -> None:
    deltas = [random(9, 7, seed=t) for t in range(3)]
    wanted = (deltas[0] + 2 * deltas[1] + 5 * deltas[2]) / 8
    for compress in ("svd", "magnitude"):
        assert torch.allclose(run("twin", deltas, [1.0, 2.0, 5.0], density=1.0, compress=compress), wanted, atol=1e-5)
        shared = run("twin", deltas, [1.0, 2.0, 5.0], density=0.0, compress=compress)
        assert torch.allclose(shared, 0.29 * summed(deltas), atol=1e-5)
    free = run("twin", deltas, [1.0, -1.0, 0.5], density=1.0, shared=0.0, normalise=False)
    assert torch.allclose(free, deltas[0] - deltas[1] + 0.5 * deltas[2], atol=1e-5)
    with pytest.raises(OutOfRange):
        run("twin", deltas[:2], [1.0, -1.0])


def test_twin_keeps_what_ties() -> None:
    x = torch.tensor([[3.0, -2.0, 2.0], [1.0, 0.5, 2.0]])
    assert subspace.compressed(x, 0.4, "magnitude").tolist() == [[3.0, -2.0, 2.0], [0.0, 0.0, 2.0]]


# -- WUDI, ACTMat ----------------------------------------------------------------------------------------------


def loss(x: Tensor, deltas: list[Tensor]) -> float:
    return float(sum(((x - d) @ d.mT).square().sum() / d.square().sum() for d in deltas))


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (3, 40)])
def test_wudi_interferes_less_with_every_step(shape: tuple[int, int]) -> None:
    deltas = [0.01 * random(*shape, seed=t) for t in range(3)]
    losses = [loss(run("wudi", deltas, iterations=i), deltas) for i in (0, 30, 300)]
    best = loss(run("wudi", deltas, solver="closed"), deltas)
    assert losses[0] > losses[1] > losses[2] >= best * (1 - 1e-4)
    assert torch.allclose(run("wudi", deltas, iterations=0), summed(deltas), atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (3, 40)])
def test_the_slope_is_the_gradient(shape: tuple[int, int]) -> None:
    """Both ways to compute it agree with PyTorch's own."""
    deltas = [random(*shape, seed=t).double() for t in range(3)]
    x = random(*shape, seed=9).double().requires_grad_()
    total = sum(
        (((x - d) @ d.mT).square().sum() / d.square().sum() for d in deltas), torch.zeros((), dtype=torch.float64)
    )
    total.backward()
    assert x.grad is not None
    assert torch.allclose(covariance._slope(covariance.by_norm(deltas))(x.detach()), x.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (3, 40)])
@pytest.mark.parametrize("normed", [True, False])
def test_closed_forms_solve_the_normal_equations(shape: tuple[int, int], normed: bool) -> None:
    deltas = [random(*shape, seed=t).double() for t in range(3)]
    x = covariance.solve(deltas, 0.0, normed=normed)
    scale = [1 / d.square().sum() if normed else 1.0 for d in deltas]
    a = sum((s * d.mT @ d for s, d in zip(scale, deltas, strict=True)), torch.zeros(()))
    c = sum((s * d @ d.mT @ d for s, d in zip(scale, deltas, strict=True)), torch.zeros(()))
    assert torch.allclose(x @ a, c, atol=1e-8) and torch.allclose(
        x, c @ torch.linalg.pinv(a, hermitian=True), atol=1e-8
    )
    ridge = covariance.solve(deltas, 0.5, normed=normed)
    eye = torch.eye(shape[1], dtype=torch.float64)
    assert torch.allclose(ridge, c @ torch.linalg.inv(a + 0.5 * eye), atol=1e-8)


def test_regressions_return_what_does_not_interfere() -> None:
    deltas = apart(3)
    for method, params in (("actmat", {}), ("wudi", {"solver": "closed"}), ("wudi", {"iterations": 20})):
        assert torch.allclose(run(method, deltas, **params), summed(deltas), atol=1e-4)
    assert torch.allclose(run("actmat", [random(8, 5)]), random(8, 5), atol=1e-4)


# -- ACE -------------------------------------------------------------------------------------------------------


def test_ace_by_hand() -> None:
    """Two tasks of one column: the regression is a quotient."""
    a, b = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [4.0]])
    s, t = 2.0, 8.0  # centred: (-1, 1) and (-2, 2)
    wanted = ((s + 0.01) * 1 + (t + 0.01) * 2) / (s + t + 0.02 + s + t)
    merged = run("ace", [a, b], gate=1e12)
    assert torch.allclose(merged, torch.tensor([[-wanted], [wanted]]), atol=1e-6)
    assert bool(torch.isfinite(run("ace", [a, b], gate=0.0)).all()), "the official code gives NaN"


def test_ace_gate() -> None:
    assert covariance.spread([np.e, np.e**3]) == pytest.approx(0.5)
    assert covariance.spread([5.0]) == 0.0
    deltas = [random(10, 8, seed=t) for t in range(3)]
    alike, corrected = run("ace", deltas), run("ace", deltas, gate=0.0)
    assert torch.equal(alike, run("ace", deltas, gate=1e12)) and not torch.allclose(alike, corrected, atol=1e-2)
    assert not torch.allclose(corrected, run("ace", deltas, gate=0.0, share=1.0), atol=1e-2)
    assert torch.equal(run("ace", [d * s for d, s in zip(deltas, (2.0, 0.5, 0.1), strict=True)], gate=0.0),
                       run("ace", deltas, [2.0, 0.5, 0.1], gate=0.0))  # fmt: skip


def test_ace_of_wide_matrices_by_small_systems() -> None:
    """The same as with the whole covariance, whose dimensions are those of the longer side."""
    tall = random(4, 30).double()
    row = random(1, 30, seed=1).double().abs()
    x = random(5, 30, seed=2).double()
    full = tall.mT @ tall + 0.3 * torch.eye(30, dtype=torch.float64)
    covariances = covariance.Spread(tall, 0.3, row)
    assert covariances.wide and not covariance.Spread(tall.mT, 1.0, row).wide
    assert not covariance.Spread(tall, 0.0, row).wide
    assert torch.allclose(covariances.times(x), x @ full, atol=1e-10)
    assert torch.allclose(covariances.under(x), x @ torch.linalg.inv(full + row), atol=1e-10)
    assert torch.allclose(covariances.full(), full)
    wide = [random(3, 40, seed=t) for t in range(2)]
    without, nearly = (run("ace", wide, ridge=ridge, gate=0.0) for ridge in (0.0, 1e-4))
    assert float((without - nearly).norm()) < float(nearly.norm()), "no ridge, no noise"


# -- live numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "params"), [
    ("knots", {"merger": "tv", "density": 1.0, "merge": "sum"}), ("knots", {"merger": "tv", "merge": "sum"}),
    ("core_space", {"merger": "sum"}), ("core_space", {"merger": "mean"}), ("dc_merge", {"keep": 0.003}),
    ("twin", {}), ("twin", {"compress": "magnitude", "normalise": False}), ("wudi", {"scale": 0.5}),
])  # fmt: skip
def test_estimates_are_near(method: str, params: dict[str, Any]) -> None:
    """How much of each task vector is in the result, for unrelated task vectors of equal size."""
    deltas = [random(120, 120, seed=t) for t in range(3)]
    merged = run(method, deltas, **params)
    found = [float((merged * d).sum() / d.square().sum()) for d in deltas]
    factors = find(method).factors(np.ones((3, 1)), params, ["e0", "e1", "e2"])[:, 0]
    assert np.allclose(factors, found, rtol=0.2, atol=0.03)


@pytest.mark.parametrize("method", FAMILY)
def test_bf16_models(method: str) -> None:
    base = {"w": random(9, 6).bfloat16(), "b": random(6).bfloat16()}
    experts: list[State] = [
        {n: (x.float() + 0.1 * random(*x.shape, seed=t)).bfloat16() for n, x in base.items()} for t in (1, 2)
    ]
    merged = merge(method, base, experts, [1.0, 0.5])
    assert all(x.dtype == torch.bfloat16 and bool(torch.isfinite(x).all()) for x in merged.values())
    assert not torch.equal(merged["w"], base["w"])
    assert spectral.is_matrix("w", (9, 6), "inner")
