"""Properties of every method of the registry, through real files: dtypes, numbers of experts, shapes, variants."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from engine.errors import MixdownError, NotEnoughExperts
from engine.merge.dtypes import TORCH
from engine.merge.inputs import open_inputs
from engine.merge.plan import Plan, make_plan
from engine.merge.run import merge
from engine.methods import Method, find, registered
from engine.recipe.recipe import ModelRef, Recipe, Value
from tests.benchmarks.determinism import rows

torch.set_num_threads(1)
NARROW = (torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
DTYPES = (torch.bfloat16, torch.float32, torch.float64, *NARROW)
ODD = ("", "missing", "mixed", "same", "opposite", "still")
SHAPES = {"scalar": (), "one": (1,), "empty": (0, 3), "no_columns": (3, 0), "one_row": (1, 7), "one_column": (5, 1),
          "matrix": (6, 8), "bias": (6,), "kernel": (2, 3, 2, 2), "attn.in_proj_weight": (12, 4),
          "visual.text_projection": (4, 5)}  # fmt: skip


class Kept:
    """A sink that can hold empty tensors, too."""

    def __init__(self, plan: Plan) -> None:
        self.jobs, self.raw = plan.jobs, [bytearray(job.bytes_out) for job in plan.jobs]

    def write(self, job_index: int, byte_offset: int, buffer: object) -> None:
        data = memoryview(buffer).cast("B")
        self.raw[job_index][byte_offset : byte_offset + len(data)] = data

    def tensors(self) -> dict[str, torch.Tensor]:
        kinds = {**TORCH, "I64": torch.int64}
        return {job.name: (torch.frombuffer(raw, dtype=kinds[job.out_dtype]) if raw else
                           torch.empty(0, dtype=kinds[job.out_dtype])).view(job.shape)
                for job, raw in zip(self.jobs, self.raw, strict=True)}  # fmt: skip


def merged_state(plan: Plan, **how: int) -> dict[str, torch.Tensor]:
    merge(plan, sink := Kept(plan), **how)
    return sink.tensors()


def recipe_of(
    folder: Path, method: str, experts: int, dtype: torch.dtype, seed: int, shapes: list[str], odd: str = ""
) -> Recipe:
    """Models on disk with the chosen shapes, an integer buffer and, without experts' change, one frozen tensor.

    What is odd: "missing": every expert lacks some tensors; "mixed": every model has its own dtype; "same": all experts
    are equal; "opposite": the second undoes the first; "still": no expert changes anything.
    """
    made = torch.Generator().manual_seed(seed)
    refs = []
    base = {name: torch.randn(SHAPES[name], generator=made) for name in shapes}
    drawn = [{n: 0.25 * torch.randn(x.shape, generator=made) for n, x in base.items()} for _ in range(experts)]
    for number in range(experts + 1):
        change = drawn[0 if odd == "same" or (odd == "opposite" and number == 2) else number - 1]
        sign = (number > 0) * (odd != "still") * (-1 if odd == "opposite" and number == 2 else 1)
        state = {n: x + sign * change[n] for n, x in base.items()}
        own = DTYPES[(number + seed) % 3] if odd == "mixed" else dtype
        stored = {n: x.to(own) for n, x in state.items()} | {"ids": torch.arange(4)}
        stored["frozen"] = torch.ones(3, 4).to(own)
        if odd == "missing" and number:
            stored = {n: x for i, (n, x) in enumerate(stored.items()) if i % 3 != number % 3}
        save_file(stored, path := folder / f"m{number}.safetensors")
        refs.append(ModelRef(id=f"e{number}", name=f"m{number}", path=str(path)))
    return Recipe(base=refs[0], experts=tuple(refs[1:]), method=method, seed=seed)


def settings_of(spec: Method) -> list[dict[str, Value]]:
    """The defaults, and every switch and choice of a method turned for itself; and the ends of shares."""
    found: list[dict[str, Value]] = [{}]
    for param in spec.params:
        if isinstance(param.default, bool):
            found.append({param.name: not param.default})
        elif (param.low, param.high) == (0.0, 1.0) and param.name != "epsilon":
            found += [{param.name: end} for end in (0.0, 1.0) if end != param.default]
        found += [{param.name: choice} for choice in param.choices if choice != param.default]
    quick: dict[str, Value] = {p.name: 4 for p in spec.params if p.name == "iterations"}
    return [quick | chosen for chosen in found]


def overflows(recipe: Recipe, dtype: torch.dtype) -> bool:
    """Whether the merged values, in float32, are really too large for a narrow dtype."""
    wide = merged_state(make_plan(replace(recipe, dtype="F32"), open_inputs(recipe)), threads=1)
    largest = max(float(x.abs().max()) for x in wide.values() if x.is_floating_point() and x.numel())
    return largest > torch.finfo(dtype).max * (1 - 2**-5)  # what rounds up to infinity counts


def check_merge(recipe: Recipe, dtype: torch.dtype) -> None:
    """A recipe merges to finite numbers, the same in another order, with other threads and chunks; or is refused."""
    spec, experts = find(recipe.method), len(recipe.experts)
    if not (spec.min_experts <= experts <= (spec.max_experts or 99) and experts + 1 >= spec.min_models):
        with pytest.raises(NotEnoughExperts):
            make_plan(recipe, open_inputs(recipe))
        return
    try:
        merged = merged_state(plan := make_plan(recipe, open_inputs(recipe)), threads=1)
    except MixdownError as error:
        if dtype in NARROW and "too large" in error.message:
            assert overflows(recipe, dtype)  # narrow numbers may overflow; that is said, with what to do
            return
        raise
    ordered = any(p.role == "expert" for p in spec.params)
    turned = recipe if ordered else replace(recipe, experts=recipe.experts[::-1])
    again = merged_state(make_plan(turned, open_inputs(turned)), threads=2, chunk=4096)
    assert merged["ids"].tolist() == [0, 1, 2, 3]
    for job in plan.jobs:
        value, other = merged[job.name].reshape(-1), again[job.name].reshape(-1)
        assert merged[job.name].shape == job.shape and merged[job.name].dtype is TORCH.get(job.out_dtype, torch.int64)
        assert value.float().isfinite().all(), job.name
        if spec.reproducibility == "A":
            assert value.view(torch.uint8).equal(other.view(torch.uint8)), job.name


@pytest.mark.parametrize("method", list(registered()))
@settings(max_examples=4, deadline=None, derandomize=True, phases=(Phase.generate,),
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(data=st.data())
def test_any_models_merge_or_are_refused_in_words(method: str, data: st.DataObject) -> None:
    experts, dtype = data.draw(st.integers(1, 5)), data.draw(st.sampled_from(DTYPES))
    shapes = data.draw(st.lists(st.sampled_from(list(SHAPES)), min_size=1, unique=True))
    params = data.draw(st.sampled_from(settings_of(find(method))))
    odd = data.draw(st.sampled_from(ODD))
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_of(Path(folder), method, experts, dtype, data.draw(st.integers(0, 99)), shapes, odd)
        recipe = replace(recipe, params=tuple(sorted(params.items())))
        check_merge(recipe, torch.float16 if odd == "mixed" else dtype)


@pytest.mark.parametrize("method", list(registered()))
def test_one_to_five_experts_of_all_shapes(method: str, tmp_path: Path) -> None:
    """Every number of experts, over the methods in every dtype; all combinations are in the next test."""
    start, chosen = list(registered()).index(method), settings_of(find(method))[0]
    for experts in range(1, 6):
        dtype = DTYPES[(start + experts) % len(DTYPES)]
        recipe = recipe_of(tmp_path, method, experts, dtype, experts, list(SHAPES))
        check_merge(replace(recipe, params=tuple(chosen.items())), dtype)


@pytest.mark.soak
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", list(registered()))
def test_every_method_dtype_number_oddity_and_variant(
    method: str, dtype: torch.dtype, odd: str, tmp_path: Path
) -> None:
    for experts in range(1, 6):
        recipe = recipe_of(tmp_path, method, experts, dtype, experts, list(SHAPES), odd)
        chosen = settings_of(find(method))
        for params in chosen if experts == 3 or not odd else chosen[:1]:
            check_merge(
                replace(recipe, params=tuple(sorted(params.items()))), torch.float16 if odd == "mixed" else dtype
            )


def test_eight_ways_give_one_hash(tmp_path: Path) -> None:
    found = list(rows(tmp_path, ("ties", "dare_ties", "slerp")))
    assert len(found) == 10
    assert all(len(hashes) == 8 and len(set(hashes)) == 1 for *_, hashes in found), found
