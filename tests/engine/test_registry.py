"""Properties of every method of the registry, through real files: dtypes, numbers of experts, odd shapes."""

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
from engine.methods import find, registered
from engine.recipe.recipe import ModelRef, Recipe
from tests.benchmarks.determinism import rows

torch.set_num_threads(1)
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn)
SHAPES = {"scalar": (), "empty": (0, 3), "one_row": (1, 7), "one_column": (5, 1), "matrix": (6, 8), "bias": (6,),
          "kernel": (2, 3, 2, 2)}  # fmt: skip


class Kept:
    """A sink that can hold empty tensors, too."""

    def __init__(self, plan: Plan) -> None:
        self.jobs, self.raw = plan.jobs, [bytearray(job.bytes_out) for job in plan.jobs]

    def write(self, job_index: int, byte_offset: int, buffer: object) -> None:
        data = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # any buffer
        self.raw[job_index][byte_offset : byte_offset + len(data)] = data

    def tensors(self) -> dict[str, torch.Tensor]:
        kinds = {**TORCH, "I64": torch.int64}
        return {job.name: (torch.frombuffer(raw, dtype=kinds[job.out_dtype]) if raw else
                           torch.empty(0, dtype=kinds[job.out_dtype])).view(job.shape)
                for job, raw in zip(self.jobs, self.raw, strict=True)}  # fmt: skip


def merged_state(plan: Plan, **how: int) -> dict[str, torch.Tensor]:
    merge(plan, sink := Kept(plan), **how)
    return sink.tensors()


def recipe_of(folder: Path, method: str, experts: int, dtype: torch.dtype, seed: int, shapes: list[str]) -> Recipe:
    """Models on disk with the chosen shapes, an integer buffer and, without experts' change, one frozen tensor."""
    made = torch.Generator().manual_seed(seed)
    refs = []
    base = {name: torch.randn(SHAPES[name], generator=made) for name in shapes}
    for number in range(experts + 1):
        state = {n: x + (number > 0) * 0.25 * torch.randn(x.shape, generator=made) for n, x in base.items()}
        stored = {n: x.to(dtype) for n, x in state.items()} | {"ids": torch.arange(4)}
        stored["frozen"] = torch.ones(3, 4).to(dtype)
        save_file(stored, path := folder / f"m{number}.safetensors")
        refs.append(ModelRef(id=f"e{number}", name=f"m{number}", path=str(path)))
    return Recipe(base=refs[0], experts=tuple(refs[1:]), method=method, seed=seed)


def overflows(recipe: Recipe, dtype: torch.dtype) -> bool:
    """Whether the merged values, in float32, are really too large for a narrow dtype."""
    wide = merged_state(make_plan(replace(recipe, dtype="F32"), open_inputs(recipe)), threads=1)
    largest = max(float(x.abs().max()) for x in wide.values() if x.is_floating_point() and x.numel())
    return largest > torch.finfo(dtype).max * (1 - 2**-5)  # what rounds up to infinity counts


@pytest.mark.parametrize("method", list(registered()))
@settings(max_examples=4, deadline=None, derandomize=True, phases=(Phase.generate,),
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(data=st.data())
def test_any_models_merge_or_are_refused_in_words(method: str, data: st.DataObject) -> None:
    spec = find(method)
    experts, dtype = data.draw(st.integers(1, 5)), data.draw(st.sampled_from(DTYPES))
    shapes = data.draw(st.lists(st.sampled_from(list(SHAPES)), min_size=1, unique=True))
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_of(Path(folder), method, experts, dtype, data.draw(st.integers(0, 99)), shapes)
        fits = spec.min_experts <= experts <= (spec.max_experts or 99) and experts + 1 >= spec.min_models
        if not fits:
            with pytest.raises(NotEnoughExperts):
                make_plan(recipe, open_inputs(recipe))
            return
        try:
            merged = merged_state(make_plan(recipe, open_inputs(recipe)), threads=1)
        except MixdownError as error:
            if dtype in (torch.float8_e4m3fn, torch.float16) and "too large" in error.message:
                assert overflows(recipe, dtype)  # narrow numbers may overflow; that is said, with what to do
                return
            raise
        turned = replace(recipe, experts=recipe.experts[::-1])
        ordered = any(p.role == "expert" for p in spec.params)
        again = merged_state(make_plan(recipe if ordered else turned, open_inputs(recipe if ordered else turned)),
                             threads=2, chunk=4096)  # fmt: skip
    assert merged["ids"].tolist() == [0, 1, 2, 3]
    for name in shapes:
        assert tuple(merged[name].shape) == SHAPES[name] and merged[name].dtype is dtype, name
        assert merged[name].float().isfinite().all(), name
        if spec.reproducibility == "A":
            assert merged[name].reshape(-1).view(torch.uint8).equal(again[name].reshape(-1).view(torch.uint8)), name


def test_eight_ways_give_one_hash(tmp_path: Path) -> None:
    found = list(rows(tmp_path, ("ties", "dare_ties", "slerp")))
    assert len(found) == 10
    assert all(len(hashes) == 8 and len(set(hashes)) == 1 for *_, hashes in found), found
