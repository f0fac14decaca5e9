"""Methods that need whole rows or whole tensors: right shapes, the same bytes, bounded memory."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import steps
from engine.errors import BadRecipe, Cancelled
from engine.merge.crew import Crew, Gate
from engine.merge.run import merged_state
from engine.methods import spec
from engine.methods.spec import Param, find, merge_method, registered
from engine.progress import Silent, Token
from tests.engine.memory_view import State, merge, merge_kernel, view_of
from tests.engine.merge_cases import SHAPES, Family, digest, family, raw

if TYPE_CHECKING:
    from engine.steps.view import Span

PLAIN: dict[str, Any] = {"title": "T", "family": "f", "summary": "S.", "paper": "P", "space": "delta"}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_METHODS", registered())


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family(tmp_path_factory.mktemp("trio"))


def declare(name: str, scope: str, kernel: Any) -> None:
    merge_method(id=name, scope=scope, params=[Param("scale", 0.5, help="H.", low=0.0, high=1.0)], **PLAIN)(kernel)


def loud_rows(deltas: list[Tensor], weights: list[float], *, scale: float, span: Span) -> Tensor:
    """Drops elements at random, then keeps those above the mean magnitude of their row."""
    total = torch.zeros_like(deltas[0])
    for x, w in zip(steps.drop.drop_all(deltas, span, 0.7, rescale=True), weights, strict=True):
        mean = steps.reduce.row_sums(x.abs()) / x.shape[1]
        total += w * x * (x.abs() > mean[:, None])
    return total * scale


def smooth(deltas: list[Tensor], weights: list[float], *, scale: float, base: Tensor) -> Tensor:
    """Multiplies matrices by their transposes; adds what is no matrix."""
    assert base.shape == deltas[0].shape
    parts = [w * (x @ (x.T @ x) if x.ndim == 2 else x) for x, w in zip(deltas, weights, strict=True)]
    return sum(parts[1:], parts[0]) * scale


@pytest.mark.parametrize(("scope", "kernel"), [("rows", loud_rows), ("tensor", smooth)])
def test_bytes_do_not_depend_on_chunks_threads_or_order(scope: str, kernel: Any, trio: Family) -> None:
    declare("probe", scope, kernel)
    asked = trio.with_method("probe", 0.7)
    backwards = replace(asked, recipe=asked.recipe.with_order([e.id for e in reversed(asked.recipe.experts)]))
    expected = merged_state(asked.plan, threads=1)
    assert sum(raw(expected[name]) != raw(old) for name, old in trio.base.items()) >= len(SHAPES) - 1
    for chosen, chunk, threads in ((asked, 4096, 2), (asked, 8192, 3), (backwards, 1 << 18, 2)):
        assert digest(merged_state(chosen.plan, chunk=chunk, threads=threads)) == digest(expected)


@pytest.mark.parametrize(("scope", "kernel"), [("rows", loud_rows), ("tensor", smooth)])
def test_memory_and_files_agree(scope: str, kernel: Any, trio: Family) -> None:
    declare("probe", scope, kernel)
    plan = trio.with_method("probe").plan
    order = [int(name.split()[1]) for name in plan.models.names]
    floats = [name for name in SHAPES if name in trio.base]
    base: State = {name: trio.base[name] for name in floats}
    experts = [{name: trio.experts[t][name] for name in floats} for t in order]
    here = merge("probe", base, experts, [1.0] * 3, {}, names=plan.models.names, keys=plan.keys, chunk=4096)
    there = merged_state(plan, threads=2)
    assert all(raw(here[name]) == raw(there[name]) for name in floats)


def test_what_a_kernel_sees(trio: Family) -> None:
    seen: dict[str, list[tuple[int, ...]]] = {}

    def look(deltas: list[Tensor], weights: list[float], *, scale: float, span: Span) -> Tensor:
        assert deltas[0].numel() == span.stop - span.start
        seen.setdefault(span.tensor, []).append(tuple(deltas[0].shape))
        return torch.zeros_like(deltas[0])

    declare("rowwise", "rows", look)
    plan = trio.with_method("rowwise").plan
    merged_state(plan, threads=1, chunk=4096)
    assert seen["model.embed_tokens.weight"] == [(1, 4099)] * 3, "a row that is longer than a chunk stays whole"
    assert seen["model.layers.0.self_attn.q_proj.weight"] == [(63, 65), (1, 65)]
    assert seen["model.layers.1.input_layernorm.weight"] == [(1, 64)] and seen["model.norm.weight"] == [(1, 1)]
    in_files, seen = seen, {}
    base = {name: trio.base[name] for name in SHAPES}
    merge_kernel(view_of(find("rowwise"), base, [base], [1.0], chunk=4096), find("rowwise"), {})
    assert seen == in_files
    seen.clear()
    declare("whole", "tensor", look)
    merged_state(trio.with_method("whole").plan, threads=2, chunk=4096)
    assert seen == {name: [shape] for name, shape in SHAPES.items()}


def test_a_kernel_that_changes_the_shape_is_refused(trio: Family) -> None:
    declare("wrong", "tensor", lambda deltas, weights, scale: deltas[0].reshape(-1)[:1])
    with pytest.raises(BadRecipe, match="turns shape"):
        merged_state(trio.with_method("wrong").plan, threads=1)


def test_few_large_tensors_are_in_memory_at_once(trio: Family) -> None:
    lock, now, most, together = threading.Lock(), [0, 0], [0], [0]

    def slow(deltas: list[Tensor], weights: list[float], *, scale: float) -> Tensor:
        size = 4 * deltas[0].numel() * (len(deltas) + 3)
        with lock:
            now[0] += size
            now[1] += 1
            most[0], together[0] = max(most[0], now[0]), max(together[0], now[1])
        time.sleep(0.02)
        with lock:
            now[0] -= size
            now[1] -= 1
        return torch.zeros_like(deltas[0])

    declare("slow", "tensor", slow)
    merged_state(trio.with_method("slow").plan, threads=6)
    largest = 4 * 3 * 4099 * 6
    assert most[0] <= 2 * largest and together[0] > 2, "small tensors need not wait"


def test_a_full_gate_lets_a_cancelled_job_go() -> None:
    gate, token = Gate(10), Token()
    with gate.room(8, Silent()):
        token.cancel()
        with pytest.raises(Cancelled), gate.room(8, token):
            pass
    with gate.room(99, Silent()):  # alone, anything may pass
        pass


def test_whole_tensors_are_computed_on_one_core_each(trio: Family) -> None:
    cores: set[int] = set()

    def count(deltas: list[Tensor], weights: list[float], *, scale: float) -> Tensor:
        cores.add(torch.get_num_threads())
        return deltas[0]

    declare("count", "tensor", count)
    merged_state(trio.with_method("count").plan, threads=2)
    assert cores == {1}
    with Crew(1) as crew:
        assert crew.threads == 1


def test_masks_of_rows_are_those_of_elements() -> None:
    """A chunk that starts inside of a random number gets the same bits."""
    from engine.steps.view import Span

    def bits(start: int, stop: int) -> np.ndarray:
        return steps.drop.bernoulli(Span("w", start, stop, (99,), ("k",), ("n",), 3), 0, 0.4)

    whole = bits(0, 99)
    assert 20 < float(whole.sum()) < 60
    assert all(np.array_equal(bits(a, b), whole[a:b]) for a in (0, 1, 7, 8, 13) for b in (14, 15, 64, 99))


@pytest.mark.parametrize("columns", [0, 1, 2, 3, 7, 64, 65, 4099])
def test_row_sums_do_not_depend_on_the_other_rows(columns: int) -> None:
    x = torch.randn((64, columns), generator=torch.Generator().manual_seed(columns))
    sums = steps.reduce.row_sums(x)
    assert torch.allclose(sums, x.double().sum(dim=1), rtol=1e-12, atol=1e-12)
    assert torch.equal(sums, torch.cat([steps.reduce.row_sums(row[None]) for row in x]))


# -- post-processing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear"])
def test_post_processing_gets_the_whole_merged_matrix(method: str, trio: Family) -> None:
    from engine.methods.post import calibrate

    given = {"post": "svc", "post_alpha": 0.5, "post_variant": "fusion_bench"}
    plain, asked = trio.with_method(method), trio.with_method(method, **given)
    order = [int(name.split()[1]) for name in plain.plan.models.names]
    base = {name: trio.base[name] for name in SHAPES}
    experts = [{name: trio.experts[t][name] for name in SHAPES} for t in order]
    view = view_of(find(method), base, experts, [1.0] * 3, names=plain.plan.models.names, keys=plain.plan.keys)
    deltas = merge_kernel(view, find(method), {})
    merged = merged_state(asked.plan, threads=1)
    assert digest(merged) == digest(merged_state(asked.plan, threads=3, chunk=4096))
    for name, old in base.items():
        wanted = deltas[name]
        if old.ndim == 2:
            own = [e[name].float() - old.float() for e in experts]
            wanted = calibrate(old.float(), own, [1.0] * 3, wanted, name=name, alpha=0.5, variant="fusion_bench")
            assert not torch.allclose(wanted, deltas[name], rtol=0.05), "SVC changes something"
        assert raw(merged[name]) == raw((old.float() + wanted).to(old.dtype))


def test_post_processing_is_offered_to_all_methods_of_task_vectors() -> None:
    from engine.methods.post import PARAMS

    for method in registered().values():
        offered = {p.name.removeprefix("post_"): p for p in method.params if p.name.startswith("post_")}
        assert (set(offered) == {p.name for p in PARAMS}) == (method.space == "delta")
        assert not offered or method.param("post").default == "none"
        for p in PARAMS if offered else ():
            assert (offered[p.name].default, offered[p.name].low, offered[p.name].high) == (p.default, p.low, p.high)
            assert offered[p.name].choices == p.choices
