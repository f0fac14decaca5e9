"""What selected places can be given: coefficients, nothing, or the whole row's coefficient again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.recipe import act, edit
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import group_spots, resolve
from engine.recipe.select import parse
from tests.engine.merge_cases import Family, family


def shown(made: Family, recipe: Recipe) -> np.ndarray:
    return resolve(recipe, group_spots(made.inputs.layout), 1.0)


def test_excluding_a_place_silences_every_expert_there_and_nothing_else(tmp_path: Path) -> None:
    made = family(tmp_path, experts=3)
    layout, experts = made.inputs.layout, [(e.id, e.name) for e in made.recipe.experts]
    spots = group_spots(layout)
    recipe = made.recipe.with_rules([Rule(value=0.7, expert=experts[1][0], layer="1")])
    where = parse(f"{experts[0][1]} : attn : 1", experts, layout)
    inside = [la == "1" and k == "attn" for la, k, _ in spots]
    out = shown(made, act.excluded(recipe, where, layout))
    assert any(inside) and (out[:, inside] == 0).all()
    rest = np.logical_not(inside)
    np.testing.assert_array_equal(out[:, rest], shown(made, recipe)[:, rest])


def test_restoring_gives_the_rows_coefficient_even_under_a_coarser_rule(tmp_path: Path) -> None:
    made = family(tmp_path, experts=3)
    layout, experts = made.inputs.layout, [(e.id, e.name) for e in made.recipe.experts]
    first = experts[0][0]
    recipe = made.recipe.with_rules([Rule(value=0.4, expert=first)])
    everywhere = parse("* : 1", experts, layout)
    recipe = edit.set_selection(recipe, everywhere, 0.0, layout)  # one rule for all experts of the layer
    mine = parse(f"{experts[0][1]} : 1", experts, layout)
    out = shown(made, act.restored(recipe, mine, layout, 1.0))
    layer = np.array([la == "1" for la, _, _ in group_spots(layout)])
    assert (out[0, layer] == 0.4).all() and (out[1:, layer] == 0.0).all() and (out[1:, ~layer] == 1.0).all()
    back = act.restored(recipe, everywhere, layout, 1.0)
    assert back.rules == (Rule(value=0.4, expert=first),)


def test_roles_are_dropped_and_kept_again_without_a_trace(tmp_path: Path) -> None:
    recipe, names = family(tmp_path, experts=2).recipe, ("a", "b")
    one = act.with_role(recipe, "only@a", True, 0.3)
    assert dict(one.params) == {"drop_only@a": True, "drop_lambda": 0.3}
    assert act.dropped_roles(one, names) == ("only@a",)
    both = act.with_role(one, "only", True)
    assert act.dropped_roles(both, names) == ("only@a", "only@b")
    less = act.with_role(both, "only@b", False)
    assert act.dropped_roles(less, names) == ("only@a",)
    assert act.with_role(one, "only@a", False) == recipe == act.all_kept(less)
    assert act.dropped_roles(act.with_role(recipe, "nobody", True), names) == ("nobody",)
