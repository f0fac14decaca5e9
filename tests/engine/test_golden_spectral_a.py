"""The spectral methods give what their authors' code gives, and what the codes leave open is sane."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import NotFinite, OutOfRange
from engine.methods import find, post
from engine.methods.isotropic import spaces
from engine.steps import spectral
from tests.engine.golden_cases import Case, checks, tolerance
from tests.engine.golden_spectral_a import cases
from tests.engine.memory_view import State, merge, merge_kernel, view_of

SPECTRAL = ("tsv_m", "tsv_c", "iso_c", "iso_cts", "star", "cart")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_case(case: Case) -> None:
    made = checks(case)
    wrong = [f"{c.what}: {c.error:.3g}" for c in made if not c.holds(tolerance(case))]
    assert made and not wrong, "; ".join(wrong)


def test_all_cases_are_there() -> None:
    assert len(cases()) == 11
    check = checks(cases()[0])[0]
    assert not dataclasses.replace(check, got=check.got + 2e-5 * check.want.abs().max()).holds()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def low_rank(m: int, n: int, rank: int, seed: int) -> Tensor:
    return random(m, rank, seed=seed) @ random(rank, n, seed=seed + 100)


def run(method: str, deltas: list[Tensor], base: Tensor | None = None, name: str = "w", **params: object) -> Tensor:
    """The merged task vector of task vectors around a base of 0 (so that they are exact)."""
    under = {name: torch.zeros_like(deltas[0]) if base is None else base}
    experts: list[State] = [{name: under[name] + d} for d in deltas]
    return merge_kernel(view_of(find(method), under, experts, [1.0] * len(deltas)), find(method), params)[name]


# -- decompositions ------------------------------------------------------------------------------------------


def test_a_failed_decomposition_is_done_again_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    real, tried = torch.linalg.svd, []

    def weak(x: Tensor, full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:
        tried.append(x.dtype)
        if len(tried) == 1:
            raise torch.linalg.LinAlgError("did not converge")
        u, s, vt = real(x, full_matrices=full_matrices)
        return (u, s * float("nan"), vt) if len(tried) == 2 else (u, s, vt)

    monkeypatch.setattr(torch.linalg, "svd", weak)
    x = random(6, 4)
    parts = spectral.svd(x)
    assert tried == [torch.float32, torch.float64, torch.float64] and parts.u.dtype == torch.float32
    assert torch.allclose(parts.product(), x, atol=1e-5)
    monkeypatch.setattr(torch.linalg, "svd", lambda x, full_matrices: (x, x[0] * float("nan"), x))
    with pytest.raises(NotFinite):
        spectral.svd(x)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 6), (6, 1)])
@pytest.mark.parametrize("eigen", [False, True])
def test_polar_factors_are_isometries(shape: tuple[int, int], eigen: bool) -> None:
    x = random(*shape)
    p = spectral.polar(x, eigen=eigen)
    thin = p.mT @ p if shape[0] >= shape[1] else p @ p.mT
    assert torch.allclose(thin, torch.eye(min(shape)), atol=1e-5)
    assert torch.allclose((p.mT @ x), (p.mT @ x).mT, atol=1e-4), "the other factor is symmetric"
    twice = torch.cat([x, x]) if shape[0] >= shape[1] else torch.cat([x, x], 1)
    doubled = torch.cat([twice, torch.zeros_like(twice)], 1)  # half of the columns are not there
    s = torch.linalg.svdvals(spectral.polar(doubled, eigen=eigen))
    assert bool(((s < 1e-4) | ((s - 1).abs() < 1e-4)).all()) and int((s > 0.5).sum()) == min(shape)


def test_empty_matrices_and_zeros() -> None:
    assert spectral.svd(torch.zeros(0, 3)).product().shape == (0, 3)
    assert spectral.polar(torch.zeros(3, 2)).count_nonzero() == 0
    assert not any(run(m, [torch.zeros(4, 3)] * 2).any() for m in SPECTRAL)


# -- laws of the family --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SPECTRAL)
def test_other_tensors_are_averaged(method: str) -> None:
    """Biases and convolutions; TSV-C keeps the restored expert's."""
    for shape in ((5,), (), (3, 2, 2, 2)):
        deltas = [random(*shape, seed=t) for t in range(3)]
        wanted = deltas[0] if method == "tsv_c" else torch.stack(deltas).mean(0)
        assert torch.allclose(run(method, deltas), wanted, atol=1e-6)


@pytest.mark.parametrize("method", [m for m in SPECTRAL if m != "tsv_c"])
def test_order_and_silent_experts_do_not_matter(method: str) -> None:
    base, experts = {"w": random(9, 6)}, [{"w": random(9, 6, seed=t)} for t in range(1, 4)]
    first = merge(method, base, experts, [1.0, 0.5, -0.7])["w"]
    for p in permutations(range(3)):
        again = merge(method, base, [experts[t] for t in p], [(1.0, 0.5, -0.7)[t] for t in p])["w"]
        assert torch.allclose(first, again, atol=1e-4)
    two = merge(method, base, experts[:2], [1.0, 0.5])["w"]
    assert torch.equal(two, merge(method, base, experts, [1.0, 0.5, 0.0])["w"])
    assert not torch.allclose(two, first, atol=1e-2)


@pytest.mark.parametrize("method", ["tsv_m", "iso_c", "star"])
def test_transposed_models_merge_alike(method: str) -> None:
    deltas = [random(9, 6, seed=t) for t in range(3)]
    assert torch.allclose(run(method, deltas).mT, run(method, [d.mT.clone() for d in deltas]), atol=1e-4)


@pytest.mark.parametrize("method", SPECTRAL)
def test_fused_matrices_can_be_split(method: str) -> None:
    deltas = [random(12, 5, seed=t) for t in range(3)]
    name = "blocks.0.attn.in_proj_weight"
    split = run(method, deltas, name=name, split_qkv=True)
    parts = [run(method, [d[i : i + 4] for d in deltas]) for i in (0, 4, 8)]
    assert torch.allclose(split, torch.cat(parts), atol=1e-6)
    assert not torch.allclose(split, run(method, deltas, name=name), atol=1e-3)
    sideways = run(method, [d.mT.contiguous() for d in deltas], name="h.0.attn.c_attn.weight", split_qkv=True)
    assert method in ("iso_cts", "tsv_c") or torch.allclose(sideways.mT, split, atol=1e-4)


def test_which_tensors_are_matrices() -> None:
    names = ("blk.0.weight", "model.embed_tokens.weight", "visual.text_projection", "lm_head.weight")
    found = {m: [spectral.is_matrix(n, (3, 4), m) for n in names] for m in ("paper", "all", "inner")}
    assert found == {"paper": [True, True, False, True], "all": [True] * 4, "inner": [True, False, False, False]}
    assert not spectral.is_matrix("w", (3,), "all") and not spectral.is_matrix("w", (0, 3), "all")


# -- TSV -----------------------------------------------------------------------------------------------------


def test_tsv_adds_tasks_that_do_not_meet() -> None:
    """Task matrices of low rank in orthogonal spaces come back whole, each as it was."""
    q, r = torch.linalg.qr(random(8, 8))[0], torch.linalg.qr(random(8, 8, seed=1))[0]
    deltas = [q[:, i : i + 2] @ torch.diag(torch.tensor([3.0, 1.0])) @ r[i : i + 2] for i in (0, 2, 4)]
    for variant in ("svd", "eigen", "sum", "lossless"):
        assert torch.allclose(run("tsv_m", deltas, variant=variant), sum(deltas, torch.zeros(8, 8)), atol=1e-4)


def test_tsv_of_twins_is_no_noise() -> None:
    """Two copies of one expert (or one next to a frozen one): the official code fills what is missing at random."""
    d = random(8, 6)
    top = spectral.svd(d).top(3).product()
    assert torch.allclose(run("tsv_m", [d, d]), top, atol=1e-4)
    assert torch.allclose(run("tsv_m", [d, torch.zeros_like(d)]), top, atol=1e-4)
    assert not torch.allclose(run("tsv_m", [d, d], guard=False), top, atol=1e-2)


def test_tsv_small_matrices() -> None:
    """Rank 1/T of a matrix with fewer rows than experts is 0."""
    deltas = [random(2, 5, seed=t) for t in range(3)]
    assert torch.allclose(run("tsv_m", deltas), torch.stack(deltas).mean(0), atol=1e-6)
    assert not run("tsv_m", deltas, small="zero").any()
    assert torch.equal(run("tsv_c", deltas, task="e1"), deltas[1])
    assert not run("tsv_c", deltas, task="e1", small="zero").any()


def test_tsv_c_restores_the_one_that_is_named() -> None:
    deltas = [random(6, 9, seed=t) for t in range(2)]
    for t, d in enumerate(deltas):
        assert torch.allclose(run("tsv_c", deltas, task=f"e{t}"), spectral.svd(d).top(3).product(), atol=1e-5)
    assert torch.allclose(run("tsv_c", deltas, task="e1", rank=1.0, scale=2.0), 2 * deltas[1], atol=1e-5)
    with pytest.raises(OutOfRange):
        run("tsv_c", deltas, task="chef")


def test_one_expert_alone_is_copied() -> None:
    base, expert = {"w": random(4, 5).bfloat16()}, {"w": random(4, 5, seed=1).bfloat16()}
    assert torch.equal(merge("tsv_m", base, [expert], [1.0])["w"], expert["w"])
    assert not torch.equal(merge("tsv_m", base, [expert], [1.0], {"rank": 0.5})["w"], expert["w"])


# -- Iso -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["iso_c", "iso_cts"])
def test_iso_makes_singular_values_equal(method: str) -> None:
    s = torch.linalg.svdvals(run(method, [random(9, 6, seed=t) for t in range(3)]))
    assert torch.allclose(s, s.mean().expand(6), rtol=1e-4)


@pytest.mark.parametrize("method", ["iso_c", "iso_cts"])
def test_iso_stays_in_the_space_of_low_rank_tasks(method: str) -> None:
    """LoRA merged into float32 weights: what is left of rounding errors is not made loud."""
    base = random(40, 30)
    deltas = [0.01 * low_rank(40, 30, 2, seed=t) for t in range(3)]
    space = torch.linalg.svd(torch.cat(deltas, 1), full_matrices=False)[0][:, :6]  # all that tasks can do
    for under in (None, base):
        inside = run(method, deltas, under)
        assert torch.linalg.svdvals(inside)[6] < 1e-3 * torch.linalg.svdvals(inside)[0]
        assert float((inside - space @ (space.mT @ inside)).norm()) < 1e-2 * float(inside.norm())
    wild = run(method, deltas, base, guard=False)
    assert float((wild - space @ (space.mT @ wild)).norm()) > 0.5 * float(wild.norm())
    if method == "iso_c":
        total = sum(deltas, torch.zeros(40, 30))
        assert float(torch.linalg.svdvals(inside).sum()) == pytest.approx(
            float(torch.linalg.svdvals(total).sum()), rel=1e-3
        )


def test_iso_cts_shares_the_spaces_out() -> None:
    assert spaces(36, 0.5, 3) == (18, 6) and spaces(768, 0.8, 8) == (616, 19) and spaces(24, 0.8, 3) == (18, 2)
    for size in range(1, 30):
        for experts in range(1, 9):
            for common in (0.0, 0.3, 0.8, 1.0):
                shared, each = spaces(size, common, experts)
                assert shared >= 0 and each >= 0 and shared + each * experts == size
    deltas = [random(9, 6, seed=t) for t in range(3)]
    assert torch.allclose(run("iso_cts", deltas, common=1.0), run("iso_c", deltas), atol=1e-4)


# -- STAR and CART -------------------------------------------------------------------------------------------


def test_star_keeps_the_sum_of_singular_values() -> None:
    d = random(9, 6)
    for variant in ("official", "svc"):
        s = torch.linalg.svdvals(run("star", [d], eta=0.4, variant=variant))
        whole = torch.linalg.svdvals(d)
        rank = next(k for k in range(1, 7) if float(whole[:k].sum()) >= 0.4 * float(whole.sum()))
        assert float(s.sum()) == pytest.approx(float(whole.sum()), rel=1e-4) and int((s > 1e-4).sum()) == rank
    assert torch.allclose(run("star", [d, -d, 2 * d], eta=1.0), d * 2 / 3, atol=1e-5)
    conv = random(4, 3, 2, 2)
    assert not torch.allclose(run("star", [conv], variant="svc"), conv, atol=1e-2)


def test_cart_is_the_average_and_what_differs_from_it() -> None:
    deltas = [random(20, 30, seed=t) for t in range(3)]
    mean = torch.stack(deltas).mean(0)
    for rank, count in ((0.25, 5), (0.0, 1), (0.29, 5)):
        wanted = mean + 0.7 * sum((spectral.svd(d - mean).top(count).product() for d in deltas), torch.zeros(20, 30))
        assert torch.allclose(run("cart", deltas, rank=rank, scale=0.7), wanted, atol=1e-4)
    assert torch.allclose(run("cart", deltas, rank=1.0), mean, atol=1e-4)
    assert torch.allclose(run("cart", deltas, name="text_projection"), mean, atol=1e-6)


# -- SVC -----------------------------------------------------------------------------------------------------


def test_svc_turns_down_what_is_counted_twice() -> None:
    d, zero = random(6, 5), torch.zeros(6, 5)
    twice = post.calibrate(zero, [d, d], [1.0, 0.5], 2 * d)
    assert torch.allclose(twice, d, atol=1e-4)
    halved = post.calibrate(zero, [d], [1.0], 0.5 * d)
    assert torch.allclose(halved, 0.5 * d, atol=1e-5), "alpha 1 never turns up"
    assert torch.allclose(post.calibrate(zero, [d], [1.0], 0.5 * d, alpha=0.1), d, atol=1e-4)
    assert torch.allclose(post.calibrate(zero, [d, -d], [1.0, 1.0], 2 * d, variant="later"), 2 * d, atol=1e-4)
    thirds = post.calibrate(zero, [d, -d], [1.0, 1.0], 2 * d)  # shares 2 and -2: mean of 2 and 1
    assert torch.allclose(thirds, 2 * d / 1.5, atol=1e-4)


def test_svc_leaves_others_alone() -> None:
    d = random(6, 5)
    for name, x, weights in (("w", d[0], [1.0]), ("text_projection", d, [1.0]), ("w", d, [0.0])):
        merged = 2 * x
        assert post.calibrate(torch.zeros_like(x), [x], weights, merged, name=name) is merged
    assert torch.allclose(post.calibrate(d, [d], [1.0], 2 * d, name="embedding", variant="fusion_bench"), d, atol=1e-5)
    before, merged = d.clone(), 2 * d
    post.calibrate(d, [d], [1.0], merged)
    assert torch.equal(d, before) and torch.equal(merged, 2 * before)
    assert {p.name for p in post.PARAMS} == {"alpha", "variant"} and all(
        p.label in post.HELP.lower() for p in post.PARAMS
    )


# -- live numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "params"), [
    ("tsv_m", {}), ("tsv_m", {"variant": "lossless"}), ("tsv_m", {"variant": "sum", "rank": 0.1}), ("iso_c", {}),
    ("tsv_c", {"task": "e1"}), ("iso_cts", {"scale": 0.5}), ("star", {}), ("star", {"eta": 0.8}),
])  # fmt: skip
def test_estimates_are_near(method: str, params: dict[str, object]) -> None:
    """How much of each task vector is in the result, for unrelated task vectors of equal size."""
    deltas = [random(120, 120, seed=t) for t in range(3)]
    merged = run(method, deltas, **params)
    found = [float((merged * d).sum() / d.square().sum()) for d in deltas]
    factors = find(method).factors(np.ones((3, 1)), params, ["e0", "e1", "e2"])[:, 0]
    assert np.allclose(factors, found, rtol=0.15, atol=0.02)


def test_cart_estimate_is_for_tasks_that_do_not_meet() -> None:
    q, r = torch.linalg.qr(random(40, 40))[0], torch.linalg.qr(random(40, 40, seed=1))[0]
    deltas = [q[:, i : i + 4] @ r[i : i + 4] for i in (0, 4, 8)]
    merged = run("cart", deltas, rank=0.1)
    factors = find("cart").factors(np.ones((3, 1)), {"rank": 0.1}, ["e0", "e1", "e2"])[:, 0]
    assert all(float((merged * d).sum() / d.square().sum()) == pytest.approx(1.0, rel=1e-4) for d in deltas)
    assert ((factors > 1 / 3) & (factors < 1)).all(), "real task vectors lie between random and separate ones"
