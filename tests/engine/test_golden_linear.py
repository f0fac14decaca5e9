"""The linear and spherical methods give what their authors' code gives, and their laws hold where it is silent."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from itertools import pairwise
from math import acos, cos, radians, sin
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import OutOfRange
from engine.export.folder import export
from engine.merge.run import merge as merge_files
from engine.merge.run import merged_state
from engine.merge.sink import MemorySink
from engine.methods import find
from engine.steps import spherical
from engine.steps.view import BLOCK
from tests.engine.golden_cases import Case, checks, tolerance
from tests.engine.golden_linear import cases
from tests.engine.memory_view import State, merge, view_of
from tests.engine.merge_cases import family

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_case(case: Case) -> None:
    made = checks(case)
    wrong = [f"{c.what}: {c.error:.3g}" for c in made if not c.holds(tolerance(case))]
    assert made and not wrong, "; ".join(wrong)


def test_all_cases_are_there_and_can_fail() -> None:
    assert len(cases()) >= 18
    for case in cases():
        for check in checks(case)[:1]:
            worse = check.got + (2 * tolerance(case) * check.want.abs().max()).to(check.got.dtype) + 2**-6
            assert not dataclasses.replace(check, got=worse).holds(tolerance(case)), case.id


SHAPES = {"matrix": (70, 150), "vector": (31,), "conv": (6, 5, 3, 3), "scalar": (), "cube": (4, 5, 6)}


def noise(seed: int, spread: float = 1.0) -> State:
    made = torch.Generator().manual_seed(seed)
    return {name: spread * torch.randn(shape, generator=made) for name, shape in SHAPES.items()}


def trio(count: int = 2) -> tuple[State, list[State]]:
    """A base and experts; a row, a column and a whole task vector of the first are 0."""
    base = noise(0)
    experts = [{n: base[n] + d + 0.03 for n, d in noise(t + 1, 0.1).items()} for t in range(count)]
    experts[0]["matrix"][3], experts[0]["vector"] = base["matrix"][3], base["vector"].clone()
    experts[0]["matrix"][:, 2] = base["matrix"][:, 2]
    return base, experts


def near(got: State, want: dict[str, Tensor], at_most: float = 1e-6) -> None:
    for name, x in want.items():
        assert float((got[name].double() - x.double()).abs().max()) <= at_most * float(x.abs().max()), name


# -- NuSLERP -------------------------------------------------------------------------------------------------


def turned(a: Tensor, b: Tensor, t: float, dim: int | None) -> Tensor:
    """NuSLERP as its formula says, in float64."""
    a, b = a.double(), b.double()
    if a.ndim == 0 or dim is None:
        a, b = a.reshape(-1), b.reshape(-1)
        dim = 0
    norms = [x.norm(dim=dim, keepdim=True).clamp_min(1e-7) for x in (a, b)]
    cosine = ((a / norms[0]) * (b / norms[1])).sum(dim=dim, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()
    arc = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return torch.where(1 - cosine**2 <= 1e-16, (1 - t) * a + t * b, arc)


@pytest.mark.parametrize("from_base", [True, False])
@pytest.mark.parametrize(("vectors", "dim"), [("tensor", None), ("rows", -1), ("columns", 0)])
@pytest.mark.parametrize("weights", [(0.3, 0.7), (-0.3, 0.9), (0.5, -0.5)])
def test_nuslerp_by_its_formula(vectors: str, dim: int | None, from_base: bool, weights: tuple[float, float]) -> None:
    base, experts = trio()
    total = sum(weights)
    t = weights[1] / total if total else 0.5
    merged = merge("nuslerp", base, experts, weights, {"vectors": vectors, "from_base": from_base})
    for name, old in base.items():
        zero = old if from_base else torch.zeros_like(old)
        a, b = (e[name] - zero for e in experts)
        want = zero.double() + turned(a, b, t, dim).reshape(old.shape)
        assert torch.allclose(merged[name].double(), want, rtol=1e-5, atol=3e-6), name


@pytest.mark.parametrize("vectors", ["tensor", "rows", "columns"])
def test_nuslerp_does_not_depend_on_chunks(vectors: str) -> None:
    base, experts = trio()
    tall = {"tall": torch.cat([x["matrix"] for x in (base, *experts)])}  # (210, 150): eight chunks
    others = [{"tall": tall["tall"] * (1 + 0.1 * noise(9)["scalar"]) + noise(t)["matrix"].repeat(3, 1)} for t in (7, 8)]
    one = merge("nuslerp", tall, others, (0.4, 0.6), {"vectors": vectors}, chunk=1 << 20)["tall"]
    for chunk in (BLOCK, 2 * BLOCK, 3 * BLOCK):
        assert torch.equal(one, merge("nuslerp", tall, others, (0.4, 0.6), {"vectors": vectors}, chunk=chunk)["tall"])


def test_columns_of_very_different_size_keep_their_angles() -> None:
    size = 10.0 ** torch.arange(-5, 25, dtype=torch.float64)
    made = torch.Generator().manual_seed(3)
    a, b = (torch.randn((300, 30), generator=made, dtype=torch.float64) * size for _ in range(2))
    zero = {"w": torch.zeros_like(a)}
    view = view_of(find("nuslerp"), zero, [{"w": a}, {"w": b}], [0.5, 0.5])
    found = find("nuslerp").measure(view, vectors="columns", from_base=True).values
    assert np.allclose(found, torch.nn.functional.cosine_similarity(a / size, b / size, dim=0).numpy(), atol=1e-13)


def test_nuslerp_from_the_base_to_one_expert_is_slerp() -> None:
    base, ends = noise(1), [noise(2)]
    near(merge("nuslerp", base, ends, [0.3]), merge("slerp", base, ends, [0.3]))


@pytest.mark.parametrize("method", ["slerp", "nuslerp"])
def test_straight_lines_are_noted(method: str) -> None:
    base, experts = noise(1), [noise(2), noise(3)]
    experts[1]["vector"] = experts[0]["vector"] * 2
    experts[1]["cube"] = experts[0]["cube"] * -0.5
    view = view_of(find(method), base, experts, [0.5, 0.5])
    params = {"vectors": "tensor", "from_base": False} if method == "nuslerp" else {}
    notes = {n: find(method).measure(view.only(n), **params).note for n in base}
    straight = {name for name, note in notes.items() if note == "lerp"}
    assert straight == {"vector", "cube", "scalar"}  # scalars are parallel or opposite
    merged = merge(method, base, experts, [0.5, 0.5], params)
    near(merged, {n: (experts[0][n] + experts[1][n]) / 2 for n in ("vector", "cube")})


# -- means on the sphere ---------------------------------------------------------------------------------------


def multi(tensors: list[Tensor], weights: list[float], normalise: bool) -> Tensor:
    """Multi-SLERP as published, with its step along the sphere."""
    flat = torch.stack([x.reshape(-1).double() for x in tensors])
    w = torch.tensor(weights, dtype=torch.float64)
    w = w / w.sum() if normalise else w
    norms = flat.norm(dim=1, keepdim=True)
    units = flat / (norms + 1e-8)
    mean = (units * w[:, None]).sum(0)
    mean = mean / mean.norm()
    tangent = ((units - (units @ mean)[:, None] * mean) * w[:, None]).sum(0)
    length = tangent.norm() + 1e-8
    on_sphere = mean * length.cos() + tangent * (length.sin() / length)
    return (on_sphere * (norms[:, 0] * w).sum()).reshape(tensors[0].shape)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("from_base", [True, False])
def test_multislerp_without_the_step_is_multislerp(normalise: bool, from_base: bool) -> None:
    base, experts = trio(3)
    weights = [0.5, 0.2, 0.4]
    merged = merge("multislerp", base, experts, weights, {"normalise": normalise, "from_base": from_base})
    for name, old in base.items():
        zero = old if from_base else torch.zeros_like(old)
        want = zero + multi([e[name] - zero for e in experts], weights, normalise)
        near({name: merged[name]}, {name: want})


def test_multislerp_where_directions_cancel_out_is_the_average() -> None:
    base, one = noise(1), noise(2)
    away = {n: base[n] - one[n] for n in base}
    toward = {n: base[n] + one[n] for n in base}
    method = find("multislerp")
    for experts, weights in (([toward, away], [1.0, 1.0]), ([base, base, base], [1.0, 2.0, 3.0])):
        view = view_of(method, base, experts, weights)
        blends = [method.measure(view.only(n), **method.complete({})) for n in ("matrix", "conv")]
        same = weights == [1.0, 2.0, 3.0]
        assert all(b.note == "lerp" for b in blends) or not same
        merged = merge("multislerp", base, experts, weights)
        assert all(torch.isfinite(x).all() for x in merged.values())
        if same:
            near(merged, base)
    with pytest.raises(OutOfRange):
        merge("multislerp", base, [toward, away], [1.0, -1.0])


def test_the_karcher_mean_is_where_nothing_pulls() -> None:
    base, experts = noise(0), [noise(t) for t in (1, 2, 3)]
    weights = [1.0, 0.5, 2.0]
    merged = merge("karcher", base, experts, weights, {"rounds": 300, "tolerance": 1e-10})
    for name in ("matrix", "vector", "conv"):
        mean = merged[name].reshape(-1).double()
        mean /= mean.norm()
        units = [e[name].reshape(-1).double() / e[name].norm().double() for e in experts]
        pull = torch.zeros_like(mean)
        for w, u in zip(weights, units, strict=True):
            angle = acos(float(u @ mean))
            pull += w / sum(weights) * angle / sin(angle) * (u - (u @ mean) * mean)
        assert float(pull.norm()) < 1e-6
        size = sum(w * float(e[name].norm()) for w, e in zip(weights, experts, strict=True)) / sum(weights)
        assert float(merged[name].norm()) == pytest.approx(size, rel=1e-6)


def test_karcher_of_two_is_halfway_on_the_arc_and_the_base_may_take_part() -> None:
    x = torch.linalg.qr(noise(1)["matrix"].double())[0][:, :2].T.contiguous()
    ends = [{"w": x[0]}, {"w": cos(1.0) * x[0] + sin(1.0) * x[1]}]
    base = {"w": torch.zeros(70, dtype=torch.float64)}
    half = cos(0.5) * x[0] + sin(0.5) * x[1]
    assert torch.allclose(merge("karcher", base, ends, [1.0, 1.0])["w"], half, atol=1e-6)
    with_base = merge("karcher", ends[0], ends[1:], [1.0], {"include_base": True})["w"]
    assert torch.allclose(with_base, half, atol=1e-6)
    scaled = merge("karcher", base, ends, [1.0, 1.0], {"include_base": True})["w"]  # a base of 0 has no direction
    assert torch.allclose(scaled, half * 2 / 3, atol=1e-6)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.25, 0.75), (1.5, -0.5)])
def test_karcher_of_opposite_or_no_directions_is_finite(shares: tuple[float, float]) -> None:
    for products in ([[4.0, -2.0], [-2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]], []):
        found = spherical.karcher(products, shares if products else (), 10, 1e-5)
        assert np.isfinite(found.factors).all() and len(found.factors) == len(products)


# -- Model Stock -----------------------------------------------------------------------------------------------


def at_angle(degrees: float, length: float = 1.0) -> tuple[State, list[State]]:
    """A base and two experts whose task vectors stand at an angle."""
    other = [cos(radians(degrees)), sin(radians(degrees)), 0.0]
    ends = [{"w": length * torch.tensor(v, dtype=torch.float64)} for v in ([1.0, 0.0, 0.0], other)]
    return {"w": torch.zeros(3, dtype=torch.float64)}, ends


@pytest.mark.parametrize("variant", ["exact", "mergekit", "fusion_bench"])
@pytest.mark.parametrize("filter_wise", [True, False])
@pytest.mark.parametrize("degrees", [0.0, 30.0, 60.0, 89.0])
def test_model_stock_is_the_point_nearest_to_the_base(variant: str, filter_wise: bool, degrees: float) -> None:
    """For two experts of equal norm t * mean is as far as cos / (1 + cos) of their sum."""
    base, experts = at_angle(degrees)
    merged = merge("model_stock", base, experts, [1.0, 1.0], {"variant": variant, "filter_wise": filter_wise})["w"]
    c = cos(radians(degrees))
    assert torch.allclose(merged, (experts[0]["w"] + experts[1]["w"]) * c / (1 + c), atol=1e-7)


def test_model_stock_clamps_guards_and_leaves_out() -> None:
    base, experts = at_angle(120.0)
    assert not merge("model_stock", base, experts, [1.0, 1.0])["w"].any()
    beyond = merge("model_stock", base, experts, [1.0, 1.0], {"clamp": False})["w"]
    assert torch.allclose(beyond, -(experts[0]["w"] + experts[1]["w"]))
    opposite = at_angle(180.0)[1]
    assert not merge("model_stock", base, opposite, [1.0, 1.0], {"clamp": False})["w"].any()
    tiny = at_angle(0.0, 1e-5)[1]  # norm product 1e-10: mergekit has t near 0, exact is the experts
    found = {v: float(merge("model_stock", base, tiny, [1.0, 1.0], {"variant": v})["w"][0]) for v in
             ("exact", "mergekit", "fusion_bench")}  # fmt: skip
    assert found["exact"] == pytest.approx(1e-5) and found["mergekit"] < 1e-8 and found["fusion_bench"] < 1e-6
    alone = merge("model_stock", base, experts, [0.0, 0.5])["w"]
    assert torch.equal(alone, experts[1]["w"] * 0.5)
    method = find("model_stock")
    view = view_of(method, base, experts, [1.0, 1.0])
    assert method.measure(view, **method.complete({})).note == "base"


def test_model_stock_of_three_averages_cosines_or_angles() -> None:
    base = {"w": torch.zeros(2, 3, dtype=torch.float64)}
    rows = torch.randn((3, 2, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1
    experts = [{"w": x} for x in rows]
    for filter_wise, vectors in ((True, rows), (False, rows.reshape(3, 1, 6))):
        units = vectors / vectors.norm(dim=-1, keepdim=True)
        cosines = torch.stack([(units[s] * units[t]).sum(-1) for s, t in ((0, 1), (0, 2), (1, 2))])
        for variant, c in (("exact", cosines.mean(0)), ("fusion_bench", cosines.acos().mean(0).cos())):
            merged = merge("model_stock", base, experts, [1.0, 1.0, 1.0],
                           {"filter_wise": filter_wise, "variant": variant, "clamp": False})["w"]  # fmt: skip
            want = (3 * c / (1 + 2 * c))[:, None] * vectors.mean(0)
            assert torch.allclose(merged, want.reshape(2, 3), atol=1e-7)


# -- linear ----------------------------------------------------------------------------------------------------


def test_metagpt_of_the_model_and_of_each_tensor() -> None:
    base = {"a": torch.zeros(2), "b": torch.zeros(2), "frozen": torch.zeros(2)}
    experts = [{**base, "a": torch.tensor([3.0, 0.0]), "b": torch.tensor([0.0, 1.0])},
               {**base, "a": torch.tensor([0.0, 1.0]), "b": torch.tensor([1.0, 0.0])}]  # fmt: skip
    whole = merge("metagpt", base, experts, [1.0, 1.0])
    assert whole["a"].tolist() == pytest.approx([3 * 10 / 12, 2 / 12]) and whole["b"].tolist() == pytest.approx(
        [2 / 12, 10 / 12]
    )
    louder = merge("metagpt", base, experts, [1.0, 2.0])  # faders come after the shares
    assert louder["a"].tolist() == pytest.approx([3 * 10 / 12, 4 / 12])
    each = merge("metagpt", base, experts, [1.0, 1.0], {"norm_scope": "tensor"})
    assert each["a"].tolist() == pytest.approx([2.7, 0.1]) and each["b"].tolist() == [0.5, 0.5]
    assert not any(state["frozen"].any() for state in (whole, each))


@pytest.mark.parametrize(("weights", "place"), [
    ([1.0, 1.0, 1.0, 1.0], 1), ([0.1] * 4, 1), ([1.0, 1.0, 1.0, 1.5], 2), ([5.0, 1.0, 1.0, 1.0], 0),
    ([1.0, 1.0, 1.0, 9.0], 3), ([0.0, 1.0, 1.0, 1.0], 2), ([-1.0, 1.0, 0.0, 1.0], 1), ([1.0, 1.0, 2.0, 0.0], 1),
])  # fmt: skip
def test_the_median_counts_faders(weights: list[float], place: int) -> None:
    base, ranked = {"w": torch.full((5,), 9.0)}, torch.tensor([-2.0, -0.0, 1.0, 4.0])
    experts = [{"w": ranked[t].repeat(5)} for t in range(4)]
    merged = merge("median", base, experts, weights)["w"]
    assert merged.tolist() == [float(ranked[place])] * 5
    assert not (merged.signbit() & (merged == 0)).any()
    assert torch.equal(merge("median", base, experts[::-1], weights[::-1])["w"], merged)


@pytest.mark.parametrize("count", range(1, 8))
def test_equal_faders_give_torchs_median(count: int) -> None:
    experts = [noise(t) for t in range(count)]
    merged = merge("median", noise(99), experts, [0.3] * count)
    for name, x in merged.items():
        assert torch.equal(x, torch.stack([e[name] for e in experts]).median(dim=0).values)


def test_baselines_without_anybody_and_with_ties() -> None:
    base = {"w": torch.tensor([5.0, 5.0, 5.0])}
    experts = [{"w": torch.tensor([-2.0, 1.0, 3.0])}, {"w": torch.tensor([2.0, -4.0, 2.0])}]
    assert torch.equal(merge("median", base, experts, [-1.0, 0.0])["w"], base["w"])
    for order in (1, -1):
        assert merge("magnitude", base, experts[::order], [1.0, 1.0])["w"].tolist() == [2.0, -4.0, 3.0]
    assert merge("magnitude", base, experts, [1.0, 0.2])["w"].tolist() == [-2.0, 1.0, 3.0]


def test_negation_and_analogy_are_task_arithmetic_with_signs() -> None:
    base, experts = trio(3)
    names = ["cats", "dogs", "birds"]
    plain = merge("task_arithmetic", base, experts, [-0.5, -1.0, 2.0], {"scale": 0.7})
    near(merge("negation", base, experts, [0.5, 1.0, -2.0], {"scale": 0.7}), plain, 1e-7)
    asked = {"subtract": "birds", "scale": 0.7}
    plain = merge("task_arithmetic", base, experts, [0.5, 1.0, -2.0], {"scale": 0.7})
    near(merge("analogy", base, experts, [0.5, 1.0, 2.0], asked, names=names), plain, 1e-7)
    factors = find("analogy").factors(np.ones((3, 2)), asked, names)
    assert factors.tolist() == [[0.7, 0.7], [0.7, 0.7], [-0.7, -0.7]]


def test_nearswap_never_moves_further_than_its_reach() -> None:
    base, experts = trio(1)
    steps = []
    for reach in (0.0, 0.01, 0.05, 10.0):
        merged = merge("nearswap", base, experts, [1.0], {"reach": min(reach, 1.0)})
        moved = merged["matrix"] - base["matrix"]
        delta = experts[0]["matrix"] - base["matrix"]
        assert torch.allclose(moved, delta.sign() * delta.abs().clamp_max(reach), atol=1e-6)
        steps.append(float(moved.abs().sum()))
    assert steps[0] == 0 and all(a < b for a, b in pairwise(steps))


def test_passthrough_copies_or_scales() -> None:
    base, experts = trio(1)
    assert all(torch.equal(x, experts[0][n]) for n, x in merge("passthrough", base, experts, [1.0]).items())
    half = merge("passthrough", base, experts, [0.25], {"scale": 2.0})
    near(half, {n: x / 2 for n, x in experts[0].items()}, 1e-7)


# -- through the engine ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "params"), [
    ("nuslerp", {}), ("nuslerp", {"vectors": "rows"}), ("nuslerp", {"vectors": "columns"}), ("multislerp", {}),
    ("karcher", {}), ("median", {}), ("magnitude", {}), ("passthrough", {"scale": 0.5}),
])  # fmt: skip
def test_without_a_base(method: str, params: dict[str, Any], tmp_path: Path) -> None:
    """Files without a base are merged as if it were 0, by several threads and in any order."""
    made = family(tmp_path, dtype=torch.float32).with_method(method, **params)
    plan = replace(made, recipe=made.recipe.with_base(None)).plan
    state = merged_state(plan, threads=3)
    order = [int(name.split()[1]) for name in plan.models.names]
    floats = [job.name for job in plan.jobs if job.is_float]
    zeros = {name: torch.zeros_like(made.base[name]) for name in floats}
    experts = [{name: made.experts[t][name] for name in floats} for t in order]
    weights = [find(method).coefficient] * len(experts)
    in_memory = merge(method, zeros, experts, weights, params)
    assert all(torch.equal(state[name], in_memory[name]) for name in floats)


def test_a_merge_counts_its_straight_lines(tmp_path: Path) -> None:
    """The experts of this family are 0.1 apart at norm 1: SLERP is spherical except where a tensor is one number."""
    made = family(tmp_path, dtype=torch.float32).with_method("slerp")
    plan = made.plan
    report = merge_files(plan, MemorySink(plan))
    assert report.merged == 7 and report.notes == {"lerp": 1}
    assert export(plan, tmp_path / "merged.safetensors").notes == {"lerp": 1}
