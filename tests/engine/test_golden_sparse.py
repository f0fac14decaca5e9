"""The element-choosing methods: what the authors' code gives, and what each step must do."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import steps
from engine.errors import OutOfRange
from engine.methods import find
from engine.steps import compete, order, rows
from engine.steps.view import BLOCK
from tests.engine.golden_cases import Case, checks
from tests.engine.golden_sparse import cases
from tests.engine.memory_view import MemoryView, State, merge, merge_kernel, view_of

quick = settings(max_examples=20, deadline=None)
NEW = ("arcee_fusion", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear", "emr", "localize_stitch", "magmax",
       "magnitude_mask", "magnitude_prune", "pcb", "ram", "ramplus_tl", "sce", "tatr")  # fmt: skip


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_case(case: Case) -> None:
    made = checks(case)
    assert made
    wrong = [f"{c.what}: {c.error:.3g}" for c in made if not c.holds(case.entry["tolerance"]["float_rel_to_max"])]
    assert not wrong, "; ".join(wrong)


def test_all_methods_but_one_have_cases() -> None:
    """No authors' output is recorded for TATR; it is compared with its formula below."""
    tested = {name.strip() for case in cases() for name in case.method.split(",")}
    assert set(NEW) - tested == {"tatr"} and len(cases()) >= 42


def test_a_wrong_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One element more in every row, one rank less in the chances: the cases fail."""
    by_id = {case.id: case for case in cases()}
    real_bounds, real_ranks = rows.bounds, rows.by_rank
    monkeypatch.setattr(rows, "bounds", lambda x, low, high: real_bounds(x, low - 1, high))
    assert any(not c.holds() for c in checks(by_id["breadcrumbs_keep0.5_rem0.1_rf"]))
    monkeypatch.setattr(rows, "by_rank", lambda x, *band: real_ranks(x, *band).roll(1, dims=1))
    assert any(not c.holds() for c in checks(by_id["mk_della_linear"]))


# -- steps -------------------------------------------------------------------------------------------------


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, tied: bool = False) -> Tensor:
    values = np.random.default_rng(seed).standard_t(3, size=shape)
    return torch.from_numpy(values.round(1) if tied else values).to(dtype)


def one(*experts: Tensor, weights: list[float] | None = None, chunk: int = BLOCK) -> MemoryView:
    base = {"w": torch.zeros_like(experts[0])}
    ones = weights or [1.0] * len(experts)
    return view_of(find("ties"), base, [{"w": x} for x in experts], ones, chunk=chunk)


@quick
@given(st.integers(0, 99), st.booleans(), st.sampled_from([torch.float32, torch.float64]), st.integers(1, 5000))
def test_order_statistics_are_those_of_a_sort(seed: int, tied: bool, dtype: torch.dtype, size: int) -> None:
    a, b = noise(size, seed=seed, dtype=dtype, tied=tied), noise(size, seed=seed + 1, dtype=dtype, tied=tied)
    a[: size // 3] = -0.0
    wanted = [[1, size, (size + 1) // 2], [1 + size // 5]]
    found = order.order_statistics(one(a, b), wanted, lambda chunk: chunk.deltas)
    for values, ranks, got in zip((a, b), wanted, found, strict=True):
        assert list(got) == [float(values.sort().values[rank - 1]) for rank in ranks]


def test_ranks_outside_are_refused() -> None:
    for rank in (0, 5):
        with pytest.raises(ValueError, match="rank"):
            order.order_statistics(one(noise(4)), [[rank]], lambda chunk: chunk.deltas)
    assert order.order_statistics(one(torch.zeros(0)), [[1, 2]], lambda chunk: chunk.deltas) == [(0.0, 0.0)]


@quick
@given(st.integers(0, 99), st.booleans(), st.sampled_from([torch.float32, torch.float64]), st.integers(1, 40))
def test_ranks_of_rows_are_those_of_a_sort(seed: int, tied: bool, dtype: torch.dtype, width: int) -> None:
    x = noise(7, width, seed=seed, dtype=dtype, tied=tied)
    before, sizes = x.clone(), x.abs().sort(dim=1, stable=True)
    low, high = sorted((1 + seed % width, 1 + (seed * 7) % width))
    found = rows.bounds(x, low, high)
    assert torch.equal(found[0][:, 0], sizes.values[:, low - 1]) and torch.equal(
        found[1][:, 0], sizes.values[:, high - 1]
    )
    places = sizes.indices + torch.arange(0, x.numel(), width)[:, None]
    assert rows.order(x).tolist() == rows.order(x.numpy()).tolist() == places.reshape(-1).tolist()
    assert torch.equal(x, before)
    chances = rows.by_rank(x, 0.2, 0.6)
    if width > 1:
        even = torch.linspace(0.2, 0.8, width).expand(7, width)
        assert torch.allclose(chances.gather(1, sizes.indices), even, atol=1e-6)
    else:
        assert torch.allclose(chances, torch.tensor(0.5))


@pytest.mark.parametrize("width", [2, 1000, 1024, 4096, 4097])
@pytest.mark.parametrize("finer", [0.0, 0.003, 0.3, 1.0])
def test_rows_are_ordered_whatever_bits_their_numbers_have(width: int, finer: float) -> None:
    """Numbers of few bits, with many ties; some or all with bits that short keys have no room for, and zeros."""
    rng = np.random.default_rng(width)
    x = noise(40, width, seed=width, dtype=torch.bfloat16).float().numpy()
    x.view(np.uint32)[rng.random(x.shape) < finer] ^= rng.integers(1, 1 << 12, dtype=np.uint32)
    x[3], x[5, width // 2 :], x[7, :9] = 0, -0.0, x[7, 0]
    places = np.argsort(np.abs(x), axis=1, kind="stable") + np.arange(40)[:, None] * width
    assert np.array_equal(rows.order(x), places.reshape(-1))
    many = np.tile(x, (5, 1))  # more than is ranked at once
    found = rows.by_rank(many, 0.0, 1.0)
    assert all(np.array_equal(part, rows.by_rank(torch.from_numpy(x), 0.0, 1.0).numpy()) for part in np.split(found, 5))
    assert (found.reshape(-1)[places] == found[3]).all(), "zeros rank by their place"


def test_only_rows_that_short_keys_get_wrong_are_sorted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[int] = []
    real = rows._by_long_keys
    monkeypatch.setattr(rows, "_by_long_keys", lambda x: (again.append(len(x)), real(x))[1])
    x = noise(64, 1024, dtype=torch.bfloat16).float().numpy()
    rows.order(x)
    assert again == []
    x[:, 5] = np.nextafter(x[:, 5], np.float32(9))  # bits are lost in every row; only beside an equal one they matter
    x[9, 4], x[9, 7] = np.nextafter(x[9, 5], np.float32(9)), x[9, 5]
    assert np.array_equal(rows.order(x) % 1024, np.argsort(np.abs(x), axis=1, kind="stable").reshape(-1))
    assert len(again) == 1 and 0 < again[0] < 64


@pytest.mark.parametrize("shape", [(1, 1), (3, 16), (2, 17), (5, 33), (4, 1000), (3, 1025), (3, 0), (0, 8)])
def test_sums_of_rows_are_the_same_for_both_kinds_of_memory(shape: tuple[int, int]) -> None:
    x = noise(*shape)
    assert rows.sums(x.numpy()) == rows.sums(x) == pytest.approx(x.double().sum(dim=1).tolist())


@pytest.mark.parametrize("shape", [(5, 3000), (9000, 1), (), (10_000,), (3, 4, 700)])
def test_whole_rows_are_put_together_again(shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    parts = list(rows.whole_rows(one(x, 2 * x)))
    assert torch.equal(torch.cat([r[0].reshape(-1) for _, r in parts]), x.reshape(-1))
    assert all(torch.equal(2 * r[0], r[1]) for _, r in parts)
    width = x[0].numel() if x.ndim > 1 else x.numel()
    ends = [0] + [span.stop for span, _ in parts]
    for (span, found), start in zip(parts, ends, strict=False):
        assert found[0].shape == ((span.stop - span.start) // width, width) and span.start == start


def test_packed_masks_are_unpacked_anywhere() -> None:
    mask, bits = noise(1000) > 0, rows.Bits()
    for part in mask.split([3, 500, 8, 489]):
        bits.append(part)
    for start, stop in ((0, 1000), (2, 4), (3, 503), (502, 512), (511, 999)):
        assert torch.equal(bits.part(start, stop, mask[start:stop].double()), mask[start:stop].double())


def test_chances_for_each_element_use_the_same_bits() -> None:
    view = one(noise(3 * BLOCK))
    span = next(view.chunks("w")).span
    everywhere = steps.drop.bernoulli_each(span, 0, torch.full((BLOCK,), 0.3))
    assert steps.drop.bernoulli(span, 0, 0.3).tolist() == everywhere.tolist()
    kept = steps.drop.bernoulli_each(span, 0, torch.linspace(0, 1, BLOCK))
    assert kept[0] == 0 and kept[-1] == 1
    halves = [float(half.mean()) for half in kept.chunk(2)]
    assert halves == pytest.approx([0.25, 0.75], abs=0.03)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_norms_are_restored(norm: Any) -> None:
    x = noise(2 * BLOCK + 5)
    view = one(x, torch.zeros_like(x))
    found = steps.restore.factors(view, lambda chunk: [d.clamp(-1, 0.5) for d in chunk.deltas], norm)["w"]
    order_of = {"l1": 1, "l2": 2, "linf": inf}[norm]
    thinned = x.double().clamp(-1, 0.5)
    wanted = float(torch.linalg.vector_norm(x.double(), order_of) / torch.linalg.vector_norm(thinned, order_of))
    assert found[0] == pytest.approx(wanted, rel=1e-6) and found[1] == 1.0


# -- methods -----------------------------------------------------------------------------------------------


def ran(method: str, experts: list[Tensor], weights: list[float] | None = None, **params: Any) -> Tensor:
    base = {"w": torch.zeros_like(experts[0])}
    states: list[State] = [{"w": x} for x in experts]
    return merge_kernel(view_of(find(method), base, states, weights or [1.0] * len(experts)), find(method), params)["w"]


@pytest.mark.parametrize("method", NEW)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_never_changed(method: str, dtype: torch.dtype) -> None:
    declared = find(method)
    count = declared.max_experts or 3
    base, experts = noise(6, 8, dtype=dtype), [noise(6, 8, seed=t + 1, dtype=dtype) for t in range(count)]
    options = [{}] + [{p.name: c} for p in declared.params for c in p.choices]
    for params in options:
        view = view_of(declared, {"w": base}, [{"w": x} for x in experts], [0.5] * count)
        complete = declared.complete(params)
        stats = declared.survey(view, **complete) if declared.survey else None
        found = declared.measure(view, stats=stats, **complete) if declared.measure else stats
        for chunk in view.chunks("w", declared.scope):
            before = [chunk.base.clone(), *(x.clone() for x in chunk.deltas)]
            offered = {"base": chunk.base, "span": chunk.span, "stats": found}
            declared.merge(chunk.deltas, chunk.weights, **complete, **{k: offered[k] for k in declared.wants})
            assert all(torch.equal(a, b) for a, b in zip(before, (chunk.base, *chunk.deltas), strict=True)), params


def test_breadcrumbs_keep_ties_and_the_middle() -> None:
    x = torch.tensor([[5.0, -4.0, 3.0, 2.0, 1.0], [7.0, 7.0, 7.0, 1.0, 1.0]])
    given_params = {"density": 0.4, "gamma": 0.2, "scale": 1.0}
    assert ran("breadcrumbs", [x], **given_params).tolist() == [[0, -4, 3, 0, 0], [7, 7, 7, 0, 0]]
    kept_first = ran("breadcrumbs", [x], **given_params, remove_first=False)
    assert kept_first.tolist() == [[0, -4, 0, 0, 0], [7, 7, 7, 0, 0]]
    whole = ran("breadcrumbs", [x], **given_params, ranks="tensor")  # ranks 5 to 8 of 10 sizes: 3, 4, 5, 7
    assert whole.tolist() == [[5, -4, 3, 0, 0], [7, 7, 7, 0, 0]]
    restored = ran("breadcrumbs", [x], **given_params, ranks="tensor", rescale=True)
    assert float(restored.abs().sum()) == pytest.approx(float(x.abs().sum()))
    assert float(ran("breadcrumbs", [torch.tensor(3.0)], scale=1.0)) == 3.0, "scalars keep all"


def test_della_keeps_large_elements_more_often_and_the_expected_value() -> None:
    x = noise(400, 50)
    mean = torch.stack([merge("della_linear", {"w": 0 * x}, [{"w": x}], [1.0],
                              {"density": 0.5, "epsilon": 0.4, "scale": 1.0},
                              seed=s)["w"] for s in range(60)])  # fmt: skip
    largest, smallest = x.abs() >= x.abs().amax(1, keepdim=True), x.abs() <= x.abs().amin(1, keepdim=True)
    kept = (mean != 0).float().mean(0)
    assert abs(float(kept[largest].mean()) - 0.9) < 0.01 and abs(float(kept[smallest].mean()) - 0.1) < 0.01
    assert abs(float(kept.mean()) - 0.5) < 0.005
    assert abs(float((mean.mean(0) * x).sum() / (x * x).sum()) - 1) < 0.02
    fixed = ran("della_linear", [x], rescale="l1", scale=1.0)
    assert float(fixed.abs().sum()) == pytest.approx(float(x.abs().sum()), rel=1e-4)
    with pytest.raises(OutOfRange, match="chance"):
        ran("della", [x], density=0.95, epsilon=0.1)


@pytest.mark.parametrize("method", ["della", "della_linear", "dare_linear", "dare_ties"])
def test_norms_are_restored_whatever_the_chunks(method: str) -> None:
    base, experts = {"w": noise(9, 1400)}, [{"w": noise(9, 1400, seed=t)} for t in (1, 2)]
    name = "rescale" if method.startswith("della") else "rescale_by"
    whole = merge(method, base, experts, [1.0, 0.5], {name: "l1"}, seed=3, chunk=1 << 20)
    assert torch.equal(whole["w"], merge(method, base, experts, [1.0, 0.5], {name: "l1"}, seed=3, chunk=BLOCK)["w"])
    assert not torch.equal(whole["w"], merge(method, base, experts, [1.0, 0.5], seed=3)["w"])


def test_dare_ties_as_mergekit_votes_plus() -> None:
    experts = [torch.tensor([2.0, -3.0, 1.0]), torch.tensor([-2.0, -1.0, 3.0])]
    merged = ran("dare_ties", experts, density=1.0, merge="sum", zero_sum="positive")
    assert merged.tolist() == [2.0, -4.0, 4.0]
    assert ran("dare_ties", experts, [1.0, 3.0], density=1.0, merge="weighted").tolist() == [-2.0, -1.5, 2.5]


def test_magmax_prefers_the_last_of_equals() -> None:
    experts = [torch.tensor([1.0, -3.0, 0.0]), torch.tensor([-1.0, 2.0, 0.0])]
    assert ran("magmax", experts, scale=1.0).tolist() == [-1.0, -3.0, 0.0]
    assert ran("magmax", experts, [1.0, 2.0], scale=1.0).tolist() == [-2.0, 4.0, 0.0]


def test_sce_by_hand() -> None:
    a, b = torch.tensor([3.0, 1.0, -2.0, 0.0]), torch.tensor([-1.0, 1.0, -1.0, 2.0])
    energies = np.array([14.0, 7.0]) / 21
    expected = [3.0, 1.0, -(2 * energies[0] + energies[1]), 2.0]
    assert ran("sce", [a, b]).tolist() == pytest.approx(expected)
    assert ran("sce", [a, b], density=0.4).tolist() == pytest.approx([3.0, 0, 0, 0])  # int(3 * 0.4) = 1: variance 4
    tiny = [a * 1e-5, b * 1e-5]
    assert ran("sce", tiny)[2] == pytest.approx(-1.5e-5) and ran("sce", tiny, uniform_floor=False)[2] == pytest.approx(
        -1e-5 * (2 * energies[0] + energies[1])
    )
    measured = find("sce").measure(one(*tiny), **find("sce").complete({}))
    assert measured.note == "uniform"


def test_ram_plus_counts_in_the_tensor_or_the_model() -> None:
    base = {"a": torch.zeros(4), "b": torch.zeros(4)}
    first = {"a": torch.tensor([1.0, 1.0, 1.0, 0.0]), "b": torch.tensor([1.0, 0.0, 0.0, 0.0])}
    second = {"a": torch.tensor([2.0, 0.0, 0.0, 0.0]), "b": torch.zeros(4)}
    given_params = {"r": 1.0, "alpha": 1.0}
    local = merge("ramplus_tl", base, [first, second], [1.0, 1.0], given_params)
    assert local["a"].tolist() == [1.5, 1.5, 1.5, 0.0] and local["b"].tolist() == [1.0, 0, 0, 0]  # 1 + 1 / 2; 1 + 0
    model = merge("ramplus_tl", base, [first, second], [1.0, 1.0], {**given_params, "counts": "model"})
    assert model["a"].tolist() == pytest.approx([1.5, 4 / 3, 4 / 3, 0.0]) and model["b"][0] == pytest.approx(4 / 3)
    assert merge("ram", base, [first, second], [1.0, 1.0])["a"].tolist() == [1.5, 1.0, 1.0, 0.0]


@quick
@given(st.integers(0, 99), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_tatr_is_its_formula(seed: int, trust: float) -> None:
    experts = [noise(300, seed=seed + t).double() for t in range(3)]
    sizes = [x.abs() for x in experts]
    omega = sum(sizes[i] * sizes[j] for i in range(3) for j in range(3) if i != j)
    assert isinstance(omega, Tensor)
    edge = omega.sort().values[min(int(300 * trust), 299)]
    wanted = (experts[0] + 2 * experts[1] + experts[2]) * ((omega < edge) if trust < 1 else 1)
    got = ran("tatr", experts, [1.0, 2.0, 1.0], trust=trust, scale=1.0)
    assert torch.allclose(got, wanted, rtol=1e-12)
    assert torch.equal(ran("tatr", experts[:1], trust=trust, scale=1.0), experts[0]), "nobody to conflict with"


def test_emr_restores_one_expert_alone_and_names_strangers() -> None:
    x = noise(50)
    assert torch.allclose(ran("emr", [x, x]), x) and torch.allclose(ran("emr", [x]), x)
    for method in ("emr", "magnitude_mask"):
        with pytest.raises(OutOfRange, match="chef"):
            ran(method, [x, x], task="chef")


def test_localize_drops_the_threshold_itself() -> None:
    x, y = torch.arange(1.0, 11.0), torch.tensor([0.0] * 9 + [30.0])
    assert ran("localize_stitch", [x], density=0.3).nonzero().reshape(-1).tolist() == [8, 9]
    assert ran("localize_stitch", [x, y], density=0.2).tolist() == [0.0] * 9 + [20.0]
    assert (
        torch.equal(ran("localize_stitch", [x], density=1.0), x) and not ran("localize_stitch", [x], density=0.05).any()
    )


def test_pcb_of_constant_scores_is_finite() -> None:
    x = torch.ones(30)
    for variant in compete.VARIANTS:
        assert torch.isfinite(ran("pcb", [x, noise(30)], variant=variant)).all()
        assert not ran("pcb", [x, x], variant=variant).any()


def test_pruning_scopes_and_norms() -> None:
    base = {"loud": torch.zeros(10), "quiet": torch.zeros(10)}
    expert = {"loud": torch.arange(10.0, 20.0), "quiet": torch.arange(1.0, 11.0) / 100}
    counts = {}
    for scope in ("model", "tensor"):
        merged = merge("magnitude_prune", base, [expert], [1.0], {"density": 0.4, "trim_scope": scope, "scale": 1.0})
        counts[scope] = [int((x != 0).sum()) for x in merged.values()]
    assert counts == {"model": [9, 0], "tensor": [4, 4]}
    for scope in ("model", "tensor"):
        restored = merge("magnitude_prune", base, [expert], [1.0],
                         {"density": 0.4, "trim_scope": scope, "rescale": "l2", "scale": 1.0})  # fmt: skip
        assert restored["loud"].norm() == pytest.approx(float(expert["loud"].norm()))


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_ties_restores_norms_like_mergekit(scope: str) -> None:
    base = {"loud": torch.zeros(3000), "quiet": torch.zeros(7, 900)}
    expert = {"loud": noise(3000), "quiet": noise(7, 900, seed=1)}
    given_params = {"trim_scope": scope, "density": 0.3, "rescale": True}
    merged = merge("ties", base, [expert], [1.0], given_params)
    for name, x in merged.items():
        assert float(x.abs().sum()) == pytest.approx(float(expert[name].abs().sum()), rel=1e-5)
        assert 0.1 < float((x != 0).float().mean()) < 0.5
    plain = merge("ties", base, [expert], [1.0], {**given_params, "rescale": False})
    ratio = merged["loud"].abs().sum() / plain["loud"].abs().sum()
    assert torch.allclose(merged["loud"], plain["loud"] * ratio, rtol=1e-5)


def test_arcee_fusion_takes_outliers_over() -> None:
    base = noise(20, 30) * 0.05
    expert = base + noise(20, 30, seed=1) * 0.001
    expert[3, 4] += 1.0
    merged = merge("arcee_fusion", {"w": base}, [{"w": expert}], [1.0])["w"]
    taken = merged != base
    assert taken[3, 4] and 0 < int(taken.sum()) < 120 and torch.equal(merged[taken], (base + (expert - base))[taken])
    assert (
        int((merge("arcee_fusion", {"w": base}, [{"w": expert}], [1.0], {"deviation": 0.0})["w"] != base).sum()) >= 299
    )


@pytest.mark.parametrize(("method", "params"), [
    ("magmax", {}), ("breadcrumbs", {"density": 0.3, "gamma": 0.02}), ("della_linear", {}), ("della", {"density": 0.5}),
    ("localize_stitch", {}), ("magnitude_prune", {}), ("magnitude_prune", {"rescale": "l1"}),
    ("ties", {"rescale": True}),
    ("tatr", {}), ("emr", {"task": "e1"}), ("ram", {}),
    ("ramplus_tl", {}),
    ("magnitude_mask", {"task": "e1"}), ("sce", {}),
    ("sce", {"density": 0.3}), ("pcb", {}),
    ("pcb", {"ratio": 0.2, "variant": "nlp"}), ("dare_ties", {"merge": "sum"}),
    ("breadcrumbs_ties", {"merge": "mean"}), ("arcee_fusion", {}),
])  # fmt: skip
def test_estimates_are_near(method: str, params: dict[str, Any]) -> None:
    """How much of each task vector is in the result, for unrelated task vectors of equal size."""
    rng, count = np.random.default_rng(12), find(method).max_experts or 3
    deltas = [torch.from_numpy(rng.normal(size=(100, 400)).astype(np.float32)) * 0.1 for _ in range(count)]
    merged = merge(method, {"w": torch.zeros(100, 400)}, [{"w": d} for d in deltas], [1.0] * count, params)["w"]
    found = [float((merged * d).sum() / (d * d).sum()) for d in deltas]
    factors = find(method).factors(np.ones((count, 1)), params, [f"e{t}" for t in range(count)])[:, 0]
    assert np.allclose(factors, found, rtol=0.2, atol=0.03), (factors, found)
