"""Laws of the merge engine: the same bytes however the work is cut, and nothing that was not asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.errors import (
    Cancelled,
    Changed,
    FileProblem,
    Mismatch,
    MissingKeys,
    NotEnoughExperts,
    NotFinite,
    OutOfRange,
    ShapeMismatch,
)
from engine.merge.crew import Crew
from engine.merge.plan import make_plan
from engine.merge.run import merge, merged_state
from engine.merge.sink import MemorySink
from engine.progress import Token
from engine.recipe.recipe import Rule
from tests.engine.merge_cases import Family, digest, expert_state, family, methods, raw, save


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family(tmp_path_factory.mktemp("trio"))


@pytest.mark.parametrize("method", methods())
def test_bytes_do_not_depend_on_chunks_threads_or_order(method: str, trio: Family) -> None:
    asked = trio.with_method(method, 0.7)
    if method == "slerp":
        asked = replace(asked, recipe=replace(asked.recipe, gains=(("e0", 0.4), ("e1", 1.4))))
    for param in asked.plan.method.params:
        if param.role == "expert":
            asked = replace(asked, recipe=asked.recipe.with_param(param.name, "expert 1"))
    backwards = replace(asked, recipe=asked.recipe.with_order([e.id for e in reversed(asked.recipe.experts)]))
    expected = merged_state(asked.plan, threads=1)
    assert any(raw(expected[name]) != raw(old) for name, old in trio.base.items()), "nothing was merged"
    for chosen, chunk, threads in ((asked, 4096, 2), (asked, 8192, 3), (backwards, 1 << 18, 2)):
        assert digest(merged_state(chosen.plan, chunk=chunk, threads=threads)) == digest(expected)


@pytest.mark.parametrize("method", methods())
def test_all_coefficients_0_give_the_bases_bytes(method: str, trio: Family) -> None:
    silent = trio.with_method(method)
    silent = replace(silent, recipe=replace(silent.recipe, muted=tuple(e.id for e in silent.recipe.experts)))
    assert digest(merged_state(silent.plan, threads=1)) == digest(trio.base)


@pytest.mark.parametrize("method", methods())
def test_no_method_swallows_a_nan(method: str, tmp_path: Path) -> None:
    """Some choose among the experts and would never show it; it is found where it is read, and its owner named."""
    sick = family(tmp_path, experts=2).with_method(method)
    owner, name = len(sick.recipe.experts) - 1, "model.layers.0.mlp.up_proj.weight"
    sick.experts[owner][name][5, 5] = float("nan")
    save(sick.experts[owner], Path(sick.recipe.experts[owner].path))
    if method == "passthrough":  # bytes are copied as they are
        return
    with pytest.raises(NotFinite, match=f"expert {owner} has NaN or infinite"):
        merged_state(sick.plan, threads=1)


@pytest.mark.parametrize("method", ["task_arithmetic", "linear", "ties"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_nan_comes_through(method: str, value: float, tmp_path: Path) -> None:
    sick = family(tmp_path, experts=2)
    name = "model.layers.0.mlp.up_proj.weight"
    sick.experts[1][name][5, 5] = value
    save(sick.experts[1], Path(sick.recipe.experts[1].path))
    with pytest.raises(NotFinite, match="expert 1 has NaN or infinite") as caught:
        merged_state(sick.with_method(method).plan, threads=2)
    assert caught.value.where == name
    spared = sick.with_method(method)
    rule = Rule(expert="e1", tensor=name, value=0.0)
    if method != "ties":  # where the coefficient is 0 the tensor is not read
        merged_state(replace(spared, recipe=spared.recipe.with_rules([rule])).plan, threads=1)


def test_too_large_for_the_output_dtype_is_an_error(tmp_path: Path) -> None:
    big = family(tmp_path, experts=1, dtype=torch.float32)
    big.experts[0]["model.norm.weight"] = torch.tensor(60_000.0)
    save(big.experts[0], Path(big.recipe.experts[0].path))
    plan = replace(big.with_method("task_arithmetic", 2.0, scale=1.0).recipe, dtype="F16")
    with pytest.raises(NotFinite, match="too large for F16"):
        merged_state(make_plan(plan, big.inputs), threads=1)


def test_values_are_those_of_the_formula(trio: Family) -> None:
    plan = trio.with_method("task_arithmetic", 0.5, scale=1.0).plan
    merged = merged_state(plan, threads=1)
    for name, old in trio.base.items():
        expected = old if not old.is_floating_point() else (
            old.double() + 0.5 * sum(e[name].double() - old.double() for e in trio.experts)
        )  # fmt: skip
        torch.testing.assert_close(merged[name].double(), expected.double(), rtol=2**-8, atol=1e-6)


def _first(models: Family, count: int) -> Family:
    return replace(models, recipe=replace(models.recipe, experts=models.recipe.experts[:count]))


def test_silent_experts_are_never_read(tmp_path: Path) -> None:
    three = family(tmp_path)
    muted = replace(three.recipe, muted=("e2",), method="ties")
    plan = make_plan(muted, three.inputs)
    with_two = make_plan(replace(muted, experts=muted.experts[:2], muted=()), _first(three, 2).inputs)
    assert [m.name for m in plan.models.experts] == [m.name for m in with_two.models.experts]
    assert digest(merged_state(plan, threads=1)) == digest(merged_state(with_two, threads=1))


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "linear", "dare_linear"])
def test_absent_tensors_are_the_bases(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.merge.models.content_key", lambda checkpoint: checkpoint.name)  # equal order and seeds
    pair = family(tmp_path, experts=2).with_method(method)
    name = "model.layers.1.self_attn.q_proj.weight"
    absent = {key: value for key, value in pair.experts[1].items() if key != name}
    save({**absent, name: pair.base[name]}, Path(pair.recipe.experts[1].path))
    complete = merged_state(pair.plan, threads=1)
    save(absent, Path(pair.recipe.experts[1].path))
    assert digest(merged_state(pair.plan, threads=1)) == digest(complete)
    assert raw(complete[name]) != raw(pair.base[name])


def test_one_expert_with_factor_1_is_copied(trio: Family) -> None:
    alone = replace(trio.recipe, soloed=("e1",))
    plan = make_plan(replace(alone, method="task_arithmetic", params=(("scale", 1.0),)), trio.inputs)
    assert digest(merged_state(plan, threads=1)) == digest(trio.experts[1])


def test_dtype_of_the_recipe_is_kept(trio: Family) -> None:
    plan = make_plan(replace(trio.recipe, dtype="F32"), trio.inputs)
    merged = merged_state(plan, threads=1)
    assert {t.dtype for t in merged.values()} == {torch.float32, torch.int64}
    assert plan.bytes_out == sum(t.numel() * t.element_size() for t in merged.values())


def test_what_does_not_fit_is_refused(tmp_path: Path, trio: Family) -> None:
    wrong = expert_state(7, trio.base)
    wrong["lm_head.weight"] = wrong["lm_head.weight"][:, :4000].contiguous()
    ref = replace(trio.recipe.experts[0], path=str(save(wrong, tmp_path / "wrong.safetensors")))
    recipe = trio.recipe.with_replaced(ref)
    with pytest.raises(ShapeMismatch):
        make_plan(recipe, replace(trio, recipe=recipe).inputs)
    nameless = replace(trio.recipe, base=None, method="linear")
    with pytest.raises(Mismatch, match="needs a base"):
        make_plan(replace(nameless, method="ties"), replace(trio, recipe=nameless).inputs)
    with pytest.raises(OutOfRange):
        make_plan(replace(trio.recipe, gains=(("e0", float("nan")),)), trio.inputs)
    with pytest.raises(NotEnoughExperts):
        make_plan(replace(trio.recipe, method="slerp"), trio.inputs)


def test_without_base_all_tensors_must_be_there(tmp_path: Path) -> None:
    pair = family(tmp_path, experts=2)
    recipe = replace(pair.with_method("linear").recipe, base=None)
    merged = merged_state(make_plan(recipe, replace(pair, recipe=recipe).inputs), threads=1)
    name = "lm_head.weight"
    mean = (pair.experts[0][name].float() + pair.experts[1][name].float()) / 2
    torch.testing.assert_close(merged[name].float(), mean, rtol=2**-8, atol=1e-6)
    save({k: v for k, v in pair.experts[1].items() if k != name}, Path(recipe.experts[1].path))
    with pytest.raises(MissingKeys, match="expert 1") as caught:
        make_plan(recipe, replace(pair, recipe=recipe).inputs)
    assert caught.value.where == name


class _At:
    """A progress that does something at the n-th check."""

    def __init__(self, number: int, action: object) -> None:
        self.left, self.action = number, action

    def begin(self, total: int, text: str, unit: str = "bytes") -> None: ...

    def advance(self, amount: int) -> None: ...

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


@pytest.mark.parametrize("what", ["truncated", "replaced", "deleted", "overwritten"])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_input_that_changes_during_a_merge_is_noticed(what: str, method: str, tmp_path: Path) -> None:
    three = family(tmp_path)
    victim = Path(three.recipe.experts[1].path)

    def change() -> None:
        if what == "truncated":
            os.truncate(victim, victim.stat().st_size // 2)
        elif what == "replaced":
            save(three.experts[0], tmp_path / "new.safetensors").replace(victim)
        elif what == "deleted":
            victim.unlink()
        else:
            with victim.open("r+b") as file:
                file.seek(-100, os.SEEK_END)
                file.write(b"\1" * 100)
            os.utime(victim, ns=(1, 1))

    plan = three.with_method(method).plan
    with pytest.raises((Changed, FileProblem)):
        merge(plan, MemorySink(plan), progress=_At(4, change), threads=2, chunk=4096)


def test_cancel_stops_every_thread(trio: Family) -> None:
    token, plan = _Cancelling(3), trio.plan
    with pytest.raises(Cancelled):
        merge(plan, MemorySink(plan), progress=token, threads=2, chunk=4096)
    assert token.checks < 12, "the other threads went on"


class _Cancelling(Token):
    """Cancelled at its n-th check."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number, self.checks = number, 0

    def check(self) -> None:
        self.checks += 1
        if self.checks == self._number:
            self.cancel()
        super().check()


def test_progress_ends_at_its_total(trio: Family) -> None:
    token = Token()
    plan = trio.plan
    merge(plan, MemorySink(plan), progress=token, threads=2, chunk=4096)
    assert token.total == plan.bytes_in
    assert 0 <= token.total - token.done <= 64 * len(plan.jobs), "only rounding may be missing"


def test_torch_threads_of_the_caller_stay(trio: Family) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        merged_state(trio.plan, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_worker_computes_on_one_core(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Crew(threads) as crew:
            assert set(crew.map(range(8), lambda _: (torch.ones(1 << 18).sum(), torch.get_num_threads())[1])) == {1}
    finally:
        torch.set_num_threads(before)


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys, engine.merge.plan, engine.merge.inputs, engine.export.preflight; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
