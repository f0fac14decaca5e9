"""The laws that every registered merge method keeps, and what each of them means."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import BadRecipe, MixdownError, OutOfRange, UnknownMethod
from engine.methods import Method, find, registered
from engine.methods.spec import Scope
from engine.steps.view import BLOCK, Chunk
from tests.engine.memory_view import MemoryView, State, merge, merge_kernel, view_of

METHODS = list(registered().values())
IDS = [m.id for m in METHODS]
every = pytest.mark.parametrize("method", METHODS, ids=IDS)
quick = settings(max_examples=25, deadline=None)
CHUNKED = (2 * BLOCK + 37,)


def models(
    count: int, seed: int = 0, dtype: torch.dtype = torch.float32, big: bool = False
) -> tuple[State, list[State]]:
    """A base and experts with ties, frozen elements, signed zeros, an empty tensor and a scalar."""
    rng = np.random.default_rng(seed)
    shapes = {"a.weight": (9, 7), "b.bias": (11,), "c.none": (0, 3), "d.scale": ()}
    if big:
        shapes["e.big"] = CHUNKED

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.float64)).to(dtype)

    base = {n: tensor(rng.normal(size=s)) for n, s in shapes.items()}
    base["b.bias"][:3] = tensor([-0.0, 0.0, -0.0])
    experts = []
    for _ in range(count):
        change = {n: rng.choice([0.0, 0.25, -0.25, 0.5]) * rng.normal(size=s).round(1) for n, s in shapes.items()}
        change = {
            n: c + 0.1 * rng.integers(-1, 2, size=s) for (n, c), s in zip(change.items(), shapes.values(), strict=True)
        }
        experts.append({n: (base[n].double() + torch.as_tensor(change[n])).to(dtype) for n in shapes})
    return base, experts


def count_of(method: Method, most: int = 3) -> int:
    return min(most, method.max_experts or most)


def spread(method: Method, count: int) -> list[float]:
    """Coefficients that are different, one of them negative where there are more than two."""
    return [0.75, 0.5, -0.3, 1.25][:count]


def asked(method: Method) -> list[dict[str, Any]]:
    """The defaults, every choice and switch, and inner values of the numbers."""
    found: list[dict[str, Any]] = [{}]
    for p in method.params:
        values: tuple[Any, ...] = p.choices or ((not p.default,) if isinstance(p.default, bool) else ())
        if p.name == "density":
            values = (0.35, 0.0, 1.0)
        found += [{p.name: v} for v in values if v != p.default]
    return found


def same_bytes(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and torch.equal(a[n].reshape(-1).view(torch.uint8), b[n].reshape(-1).view(torch.uint8))
        for n in a
    )


# -- what every method says about itself ---------------------------------------------------------------------


@every
def test_declaration(method: Method) -> None:
    assert method.title and method.summary.endswith(".") and method.paper and method.coefficient_help.endswith(".")
    assert any(year in method.paper for year in ("19", "20")), "a source has a year"
    assert len(method.help) > 200 and f"class **{method.reproducibility}**" in method.help
    assert method.live in ("linear", "mask", "full")
    assert method.family in ("linear", "spherical", "sparse", "masks", "spectral")
    assert method.effective is not None
    assert (
        method.merge.__doc__ and method.merge.__module__ == f"engine.methods.{method.merge.__module__.split('.')[-1]}"
    )


@every
def test_parameters(method: Method) -> None:
    assert len({p.name for p in method.params}) == len(method.params)
    for p in method.params:
        assert p.name.isidentifier() and p.help.endswith(".") and p.live in ("linear", "mask", "full")
        assert p.parse(p.default) == p.default and type(p.parse(p.default)) is type(p.default)
        number = isinstance(p.default, (int, float)) and not isinstance(p.default, bool)
        assert not number or (p.low is not None and p.high is not None and p.low <= p.default <= p.high)
        assert not isinstance(p.default, str) or p.choices or p.role
        assert p.label.lower() in method.help.lower(), f"the help does not explain {p.label}"


@every
def test_values_out_of_range_are_refused(method: Method) -> None:
    for p in method.params:
        bad: list[object] = [None, [1], float("nan") if not isinstance(p.default, (str, bool)) else 3.5]
        if p.low is not None and p.high is not None:
            bad += [p.low - 1, p.high + 1, "wide", float("inf")]
        if p.choices:
            bad.append("no such choice")
        for value in bad:
            with pytest.raises(OutOfRange):
                method.complete({p.name: value})
    with pytest.raises(BadRecipe):
        method.complete({"no_such_parameter": 1})


def test_values_from_the_command_line() -> None:
    given_values = {"density": "0.3", "trim": "count", "zero_sum": "positive"}
    assert find("ties").complete(given_values)["density"] == 0.3
    assert find("linear").complete({"normalise": "off"}) == {"normalise": False}
    assert find("consensus").complete({"k": "3"})["k"] == 3
    with pytest.raises(OutOfRange):
        find("consensus").complete({"k": 2.5})


def test_unknown_methods_are_named_with_the_closest() -> None:
    with pytest.raises(UnknownMethod) as caught:
        find("tie")
    assert "ties" in str(caught.value.hint)


def test_listing_the_methods_loads_neither_torch_nor_qt() -> None:
    code = (
        "import sys, engine.methods as m; assert len(m.registered()) >= 8; m.find('ties').complete({});"
        "print([x for x in ('torch', 'PySide6', 'safetensors', 'transformers') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- laws of the result ---------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_zero_coefficients_give_the_base(method: Method, dtype: torch.dtype) -> None:
    base, experts = models(count_of(method), dtype=dtype)
    zeros = [0.0] * len(experts)
    for params in asked(method):
        assert same_bytes(merge(method.id, base, experts, zeros, params), base)
        if method.space == "delta":
            assert not any(
                x.any() for x in merge_kernel(view_of(method, base, experts, zeros), method, params).values()
            )


@every
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), weights=st.lists(st.floats(-2, 2, width=16), min_size=3, max_size=3))
def test_order_of_experts_does_not_matter(method: Method, seed: int, weights: list[float]) -> None:
    count = count_of(method)
    if method.max_experts is not None:  # the ends of an arc have an order, and faders that cancel have no result
        weights = [abs(w) + 0.25 for w in weights]
    if abs(sum(weights[:count])) < 1e-3:
        return
    base, experts = models(count, seed)
    names = [f"n{t}" for t in range(count)]
    params: dict[str, Any] = {p.name: "n1" for p in method.params if p.role == "expert"}
    first = merge(method.id, base, experts, weights[:count], params, names=names, canonical=True)
    for order in permutations(range(count)):
        other = merge(method.id, base, [experts[t] for t in order], [weights[t] for t in order], params,
                      names=[names[t] for t in order], canonical=True)  # fmt: skip
        assert same_bytes(first, other)


class Guarded(MemoryView):
    """A view that notices when what it hands out is changed."""

    def chunks(self, name: str, scope: Scope = "element") -> Any:
        for chunk in super().chunks(name, scope):
            before = [chunk.base.clone(), *(d.clone() for d in chunk.deltas)]
            yield chunk
            assert all(torch.equal(a, b) for a, b in zip(before, (chunk.base, *chunk.deltas), strict=True))

    def only(self, name: str) -> Guarded:
        one = super().only(name)
        return Guarded(**{f: getattr(one, f) for f in one.__dataclass_fields__})


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_never_changed(method: Method, dtype: torch.dtype) -> None:
    base, experts = models(count_of(method), dtype=dtype)
    for params in asked(method):
        view = view_of(method, base, experts, spread(method, len(experts)))
        merge_kernel(Guarded(**{f: getattr(view, f) for f in view.__dataclass_fields__}), method, params)
    fresh = models(count_of(method), dtype=dtype)
    assert same_bytes(base, fresh[0]) and all(map(same_bytes, experts, fresh[1]))


@every
def test_chunk_size_does_not_matter(method: Method) -> None:
    base, experts = models(count_of(method), big=True)
    weights = spread(method, len(experts))
    for params in asked(method):
        whole = merge(method.id, base, experts, weights, params, seed=5, chunk=1 << 20)
        assert same_bytes(whole, merge(method.id, base, experts, weights, params, seed=5, chunk=BLOCK)), params
        assert not same_bytes(whole, base) or params.get("density") == 0.0


@every
def test_float64_models_are_merged_in_float64(method: Method) -> None:
    base, experts = models(count_of(method), dtype=torch.float64)
    merged = merge(method.id, base, experts, spread(method, len(experts)))
    assert all(x.dtype == torch.float64 for x in merged.values())
    assert (merged["a.weight"] != merged["a.weight"].float().double()).any()


@every
def test_tensors_of_all_shapes_keep_them(method: Method) -> None:
    base, experts = models(1)
    merged = merge(method.id, base, experts, [1.5])
    assert {n: x.shape for n, x in merged.items()} == {n: x.shape for n, x in base.items()}
    assert all(torch.isfinite(x).all() for x in merged.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every
def test_class_a_gives_the_same_bytes_on_a_gpu(method: Method) -> None:
    base, experts = models(count_of(method), big=True)
    weights = spread(method, len(experts))

    def moved(state: State) -> State:
        return {n: x.cuda() for n, x in state.items()}

    for params in asked(method):
        there = merge(method.id, moved(base), [moved(e) for e in experts], weights, params)
        here = merge(method.id, base, experts, weights, params)
        assert same_bytes(here, {n: x.cpu() for n, x in there.items()}) or method.reproducibility != "A", params


# -- live numbers ---------------------------------------------------------------------------------------------


def normal_models(count: int, size: int) -> tuple[State, list[State]]:
    rng = np.random.default_rng(11)

    def tensor(spread_of: float) -> Tensor:
        return torch.from_numpy(rng.normal(0, spread_of, size))

    base = {name: tensor(1.0) for name in ("a", "b")}
    return base, [{name: base[name] + tensor(0.01 * (t + 1)) for name in base} for t in range(count)]


@every
def test_effective_factors_are_the_kernels(method: Method) -> None:
    """Exact for the linear tier: the merged task vector is the factors times the task vectors, group by group."""
    count = count_of(method)
    base, experts = normal_models(count, 500)
    rows = {"a": tuple(spread(method, count)), "b": (0.2, 1.0, 0.4)[:count]}
    given_weights, params = np.array([rows[n] for n in base]).T, method.complete({})
    before = given_weights.copy()
    factors = method.effective(given_weights, params)
    assert factors.shape == given_weights.shape and np.isfinite(factors).all() and np.array_equal(given_weights, before)
    assert not np.any(method.effective(np.zeros_like(given_weights), params))
    if method.live != "linear" and method.id != "slerp":  # slerp: these models are so near that the arc is straight
        return
    merged = merge(method.id, base, experts, rows)
    for g, name in enumerate(base):
        wanted = sum(factors[t, g] * (experts[t][name] - base[name]) for t in range(count))
        assert torch.allclose(merged[name] - base[name], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "params"), [
    ("ties", {}), ("ties", {"density": 0.6, "scale": 0.5}), ("ties", {"merge": "sum"}), ("dare_linear", {}),
    ("dare_linear", {"density": 0.3, "rescale": False}), ("dare_ties", {}), ("dare_ties", {"trim": 0.3}),
    ("consensus", {}), ("consensus", {"k": 1, "strictness": 1.0}), ("tall_mask", {}),
    ("tall_mask", {"strictness": 0.8}),
])  # fmt: skip
def test_estimates_of_sparse_methods_are_near(name: str, params: dict[str, Any]) -> None:
    """How much of each task vector is in the result, for unrelated task vectors of equal size."""
    rng = np.random.default_rng(12)
    base = {"a": torch.zeros(60_000)}
    experts = [{"a": torch.from_numpy(rng.normal(size=60_000).astype(np.float32))} for _ in range(3)]
    merged = merge(name, base, experts, [1.0, 1.0, 1.0], params)["a"]
    found = [float(merged @ e["a"] / (e["a"] @ e["a"])) for e in experts]
    method = find(name)
    factors = method.effective(np.ones((3, 1)), method.complete(params))[:, 0]
    assert np.allclose(factors, found, rtol=0.15)


def test_a_restored_task_is_the_one_that_is_named() -> None:
    coefficients, given_params = np.array([[1.0, 2.0], [3.0, 4.0]]), {"task": "b", "scale": 0.5}
    factors = find("tall_mask").factors(coefficients, given_params, ["a", "b"])
    assert np.allclose(factors[1], [1.5, 2.0], rtol=0.1) and (factors[0] < [0.4, 0.8]).all()
    assert find("task_arithmetic").factors(coefficients, {"scale": 2.0}, ["a", "b"]).tolist() == [[2, 4], [6, 8]]


# -- what the methods mean --------------------------------------------------------------------------------------


@quick
@given(st.lists(st.floats(-2, 2, width=16), min_size=3, max_size=3))
def test_negative_coefficients_negate(weights: list[float]) -> None:
    base, experts = models(3)
    method = find("task_arithmetic")
    plus = merge_kernel(view_of(method, base, experts, weights), method, {})
    minus = merge_kernel(view_of(method, base, experts, [-w for w in weights]), method, {})
    assert all(torch.equal(plus[n], -minus[n]) for n in base)


@pytest.mark.parametrize(("name", "weights", "params", "source"), [
    ("task_arithmetic", [0.0, 0.5, 0.0], {"scale": 2.0}, 1), ("linear", [0.0, 0.0, 0.3], {}, 2),
    ("linear", [0.0, 1.0, 0.0], {"normalise": False}, 1), ("slerp", [1.0], {}, 0), ("slerp", [0.0, 0.7], {}, 1),
    ("slerp", [0.7, 0.0], {}, 0),
])  # fmt: skip
def test_one_expert_alone_is_copied(name: str, weights: list[float], params: dict[str, Any], source: int) -> None:
    base, experts = models(len(weights), dtype=torch.bfloat16)
    assert same_bytes(merge(name, base, experts, weights, params), experts[source])


@pytest.mark.parametrize(("name", "weights"), [("linear", [1.0, -1.0]), ("slerp", [0.5, -0.5])])
def test_faders_that_cancel_are_refused(name: str, weights: list[float]) -> None:
    base, experts = models(2)
    with pytest.raises(OutOfRange):
        merge(name, base, experts, weights)


def test_slerp_keeps_the_norm_between_equal_norms() -> None:
    x = torch.nn.functional.normalize(torch.from_numpy(np.random.default_rng(0).normal(size=(2, 50))), dim=1)
    base, ends = {"w": x[0] * 3}, [{"w": x[1] * 3}]
    for t in (0.1, 0.5, 0.9):
        assert float(merge("slerp", base, ends, [t])["w"].norm()) == pytest.approx(3.0, rel=1e-9)
    two = merge("slerp", {"w": torch.zeros(50)}, [base, ends[0]], [1.0, 3.0])["w"]
    assert torch.allclose(two, merge("slerp", base, ends, [0.75])["w"].float())
    measured = find("slerp").measure(view_of(find("slerp"), base, ends, [0.5]))
    assert measured.cosine == pytest.approx(float(x[0] @ x[1])) and measured.note == ""


@pytest.mark.parametrize("end", [torch.tensor([-2.0, 4.0, 0.0, 2.0]), torch.tensor([1.0, -2.0, 0.0, -1.001])])
def test_slerp_falls_back_to_the_line(end: Tensor) -> None:
    start = torch.tensor([1.0, -2.0, 0.0, -1.0])
    merged = merge("slerp", {"w": start}, [{"w": end}], [0.25])["w"]
    assert torch.allclose(merged, 0.75 * start + 0.25 * end)


def test_ties_weights_vote_but_do_not_trim() -> None:
    base = {"w": torch.zeros(4)}
    experts = [{"w": torch.tensor([4.0, 1.0, 2.0, -3.0])}, {"w": torch.tensor([-3.0, 1.0, 4.0, -1.0])}]
    whole = {"density": 1.0}
    assert merge("ties", base, experts, [1.0, 1.0], whole)["w"].tolist() == [4.0, 1.0, 3.0, -2.0]
    assert merge("ties", base, experts, [1.0, 2.0], whole)["w"].tolist() == [-6.0, 1.5, 5.0, -2.5]  # mean of c * tau
    half = {"density": 0.5}  # int(4 * 0.5) + 1 = 3 kept, and the 1 of expert 2 ties with its third
    for weights in ([1.0, 1.0], [0.1, 5.0]):
        view = view_of(find("ties"), base, experts, weights)
        assert [c.limit for c in find("ties").survey(view, **find("ties").complete(half)).cuts] == [2.0, 1.0]
    assert merge("ties", base, experts, [1.0, 0.0], half)["w"].tolist() == [4.0, 0.0, 2.0, -3.0]


def test_ties_trims_the_model_or_each_tensor() -> None:
    base = {"loud": torch.zeros(10), "quiet": torch.zeros(10)}
    expert = {"loud": torch.arange(10.0, 20.0), "quiet": torch.arange(1.0, 11.0) / 100}
    model = merge("ties", base, [expert], [1.0], {"density": 0.4})
    assert int((model["loud"] != 0).sum()) == 9 and not model["quiet"].any()
    each = merge("ties", base, [expert], [1.0], {"density": 0.4, "trim_scope": "tensor", "trim": "count"})
    assert [int((x != 0).sum()) for x in each.values()] == [4, 4]


@quick
@given(st.integers(0, 500), st.sampled_from([0.0, 0.2, 0.4, 1.5]), st.integers(0, 4))
def test_consensus_and_tall_masks_by_hand(seed: int, strictness: float, k: int) -> None:
    base, experts = models(3, seed)
    weights = [1.0, 0.5, 1.5]
    taus = [w * (e["a.weight"] - base["a.weight"]).numpy() for e, w in zip(experts, weights, strict=True)]
    multi = taus[0] + taus[1] + taus[2]
    masks = [np.abs(t) > np.float32(strictness) * np.abs(multi - t) for t in taus]
    params = {"strictness": strictness, "scale": 1.0}
    view = view_of(find("consensus"), base, experts, weights)
    shared = merge_kernel(view, find("consensus"), {**params, "k": k})["a.weight"]
    assert np.array_equal(shared.numpy(), multi * (np.sum(masks, axis=0) >= k))
    for t, mask in enumerate(masks):
        restored = merge_kernel(view, find("tall_mask"), {**params, "task": f"e{t}"})["a.weight"]
        assert np.array_equal(restored.numpy(), multi * mask)


def test_tall_mask_of_nobody_is_refused() -> None:
    base, experts = models(2)
    with pytest.raises(MixdownError) as caught:
        merge("tall_mask", base, experts, [1.0, 1.0], {"task": "chef"})
    assert "chef" in str(caught.value) and "e0, e1" in str(caught.value.hint)


def test_dare_depends_on_the_seed_and_on_nothing_else() -> None:
    base, experts = models(3, big=True)
    weights = [1.0, 1.0, 1.0]
    first = merge("dare_linear", base, experts, weights, seed=1)
    assert same_bytes(first, merge("dare_linear", base, experts, weights, seed=1))
    assert not same_bytes(first, merge("dare_linear", base, experts, weights, seed=2))
    full = {"density": 1.0, "scale": 0.7}
    assert same_bytes(merge("dare_linear", base, experts, weights, full),
                      merge("task_arithmetic", base, experts, weights, {"scale": 0.7}))  # fmt: skip
    assert same_bytes(merge("dare_ties", base, experts, weights, {"density": 1.0, "trim": 0.3}),
                      merge("ties", base, experts, weights, {"density": 0.3}))  # fmt: skip


def test_passes_over_the_files_are_few() -> None:
    """TIES: two for the thresholds, one for the majority; without a global statistic none."""
    base, experts = models(2)
    for name, params, passes in (
        ("ties", {}, 3),
        ("ties", {"zero_sum": "positive"}, 2),
        ("ties", {"trim_scope": "tensor", "zero_sum": "positive"}, 6),  # two for each tensor that is not empty
        ("dare_linear", {}, 0),
        ("consensus", {}, 0),
        ("consensus", {"vector": "ties"}, 3),
        ("linear", {}, 0),
    ):
        view = view_of(find(name), base, experts, [1.0, 1.0])
        merge_kernel(view, find(name), params)
        assert view.passes[0] == passes, name


# -- adding a method -------------------------------------------------------------------------------------------


def collected(view: MemoryView) -> list[Chunk]:
    return list(view.map(lambda chunk: chunk))


def test_views_hand_out_what_files_would() -> None:
    base, experts = models(2, dtype=torch.bfloat16, big=True)
    chunks = collected(view_of(find("ties"), base, experts, [1.0, 2.0]))
    assert [c.span.start for c in chunks if c.span.tensor == "e.big"] == [0, BLOCK, 2 * BLOCK]
    assert all(c.base.dtype == torch.float32 and len(c.deltas) == 2 and c.weights == (1.0, 2.0) for c in chunks)
