"""Dropping weights by role, against a brute-force computation on whole tensors in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.analyse.overlap import overlap
from engine.errors import BadRecipe
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.methods import find
from engine.methods.roles import Dropped, dropped
from engine.recipe.project import from_json, to_json
from engine.recipe.recipe import Rule
from tests.engine.merge_cases import SHAPES, Family, family

CASES: dict[str, dict[str, float | bool]] = {
    "nobody": {"drop_nobody": True},
    "only": {"drop_only": True},
    "one": {"drop_only@e1": True, "drop_lambda": 0.6},
    "all but one": {"drop_only": True, "drop_only@e1": False},
    "shared": {"drop_shared": True},
    "everybody": {"drop_everybody": True, "drop_lambda": 0.2},
}


def gone(made: Family, name: str, case: dict[str, float | bool]) -> np.ndarray:
    """Where the formula drops, (n,)."""
    order = [made.plan.models.names.index(ref.name) for ref in made.recipe.experts]
    taus = np.array([(e[name].float() - made.base[name].float()).reshape(-1).numpy() for e in made.experts])
    total = np.zeros_like(taus[0])
    for row in np.argsort(order):
        total += taus[row]
    masks = np.abs(taus) > np.float32(case.get("drop_lambda", 0.4)) * np.abs(total - taus)
    times, found = masks.sum(0), np.zeros(taus.shape[1], bool)
    if case.get("drop_nobody"):
        found |= times == 0
    for row, ref in enumerate(made.recipe.experts):
        if case.get(f"drop_only@{ref.name}", case.get("drop_only")):
            found |= masks[row] & (times == 1)
    if case.get("drop_shared"):
        found |= (times > 1) & (times < len(taus))
    if case.get("drop_everybody"):
        found |= times == len(taus)
    return found


def state_of(made: Family) -> dict[str, np.ndarray]:
    return {
        name: value.float().numpy().reshape(-1) for name, value in merged_state(made.plan).items() if name in SHAPES
    }


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "tsv_m"])
@pytest.mark.parametrize("case", CASES)
def test_dropped_weights_are_the_base_s_and_all_others_those_of_the_merge(
    tmp_path: Path, method: str, case: str
) -> None:
    made = family(tmp_path, experts=3)
    names = {ref.name: f"e{i}" for i, ref in enumerate(made.recipe.experts)}
    called = replace(made.recipe, experts=tuple(replace(r, name=names[r.name]) for r in made.recipe.experts))
    made = replace(made, recipe=called)
    plain, filtered = (state_of(made.with_method(method, **params)) for params in ({}, CASES[case]))
    touched = 0
    for name in SHAPES:
        where = gone(made, name, CASES[case])
        base = made.base[name].float().numpy().reshape(-1)
        np.testing.assert_array_equal(filtered[name], np.where(where, base, plain[name]))
        assert (np.signbit(filtered[name][where]) == np.signbit(base[where])).all()
        touched += int(where.sum())
    assert 0 < touched < sum(map(len, plain.values()))


def test_the_dropped_are_as_many_as_the_view_shows(tmp_path: Path) -> None:
    made = family(tmp_path, experts=4)
    found = overlap(made.inputs, strictness=(0.4,), parts=("masks",))
    assert found.masks is not None
    alone = sum(int(gone(made, name, {"drop_only": True}).sum()) for name in SHAPES)
    assert int(found.masks.selfish.sum()) == alone > 0


def test_a_single_expert_is_merged_and_not_copied_when_roles_are_dropped(tmp_path: Path) -> None:
    made = family(tmp_path, experts=1).with_method("task_arithmetic", 1.0, scale=1.0)
    assert {j.action for j in made.plan.jobs if j.is_float} == {"copy"}
    dropping = made.with_method("task_arithmetic", 1.0, scale=1.0, drop_only=True)
    state = merged_state(dropping.plan)
    assert all(torch.equal(state[name], made.base[name]) for name in SHAPES)


def test_only_heard_experts_have_masks_and_all_silent_is_the_base(tmp_path: Path) -> None:
    made = family(tmp_path, experts=2).with_method("task_arithmetic", drop_everybody=True)
    name = next(iter(SHAPES))
    alone = replace(made.recipe, rules=(Rule(value=0.0, expert=made.recipe.experts[0].id, tensor=name),))
    state = merged_state(make_plan(alone, made.inputs))
    plain = merged_state(make_plan(replace(alone, params=()), made.inputs))
    assert torch.equal(state[name], plain[name]) and not torch.equal(state["lm_head.weight"], plain["lm_head.weight"])


def test_roles_travel_in_projects_and_follow_their_expert(tmp_path: Path) -> None:
    made = family(tmp_path, experts=2)
    first = made.recipe.experts[0]
    recipe = made.with_method("ties", **{f"drop_only@{first.name}": True, "drop_nobody": True}).recipe
    assert dropped(dict(recipe.params)) == Dropped(nobody=True, only_of=((first.name, True),))
    assert from_json(to_json(recipe)) == recipe
    renamed = recipe.with_replaced(replace(first, name="other"))
    assert dropped(dict(renamed.params)).drops_only("other") and not dropped(dict(renamed.params)).drops_only("x")
    assert find("task_arithmetic").is_linear({"scale": 0.5, "drop_lambda": 0.3})
    assert not find("task_arithmetic").is_linear({"drop_only@other": True}) and not find("ties").is_linear({})
    with pytest.raises(BadRecipe):
        make_plan(replace(recipe, method="slerp"), made.inputs)
