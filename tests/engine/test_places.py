"""Parameters of single places: which value wins, that kernels and statistics get it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRecipe
from engine.files.layout import describe
from engine.files.model import KINDS, Layout, TensorInfo
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.methods import find, registered
from engine.recipe.per_expert import key, parts, renamed
from engine.recipe.places import Placed, cover, placed
from engine.recipe.project import from_json, to_json
from engine.recipe.recipe import ModelRef, Recipe, Rule, Value
from engine.recipe.resolve import resolve, tensor_spots
from tests.engine.merge_cases import SHAPES, Family, family

LAYOUT: Layout = describe({name: TensorInfo(name, "F32", shape, Path(), 0) for name, shape in SHAPES.items()})


def other(param: Any) -> Value:
    """A value that is allowed and not the default."""
    if isinstance(param.default, bool):
        return not param.default
    if param.choices:
        return str(next(c for c in param.choices if c != param.default))
    if isinstance(param.default, int):
        return param.default + 1
    high = param.high if param.high is not None else 9.0
    return float(param.default / 2 if param.default else min(high, 0.3))


def movable() -> list[tuple[str, str]]:
    """(method, parameter) of all that may differ between tensors in the method's default variant, or mergekit's."""
    found = []
    for method in registered().values():
        one = method.one_for_all(method.complete(VARIANT.get(method.id, {})))
        own = [p for p in method.params if p.name not in one and not p.role and not p.name.startswith(("post", "drop"))]
        found += [(method.id, p.name) for p in own]
    return found


VARIANT: dict[str, dict[str, Value]] = {
    "ties": {"trim_scope": "tensor"},
    "dare_ties": {"zero_sum": "positive", "trim": 1.0},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Family:
    torch.set_num_threads(1)
    return family(tmp_path_factory.mktemp("places"))


def merged(recipe: Recipe, method: str, params: dict[str, Value]) -> dict[str, bytes]:
    most = find(method).max_experts
    experts = recipe.experts[:most]
    whole = replace(recipe, method=method, params=tuple(sorted(params.items())), rules=(), experts=experts)
    state = merged_state(make_plan(whole, open_inputs(whole)), threads=1)
    return {name: tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in state.items()}


USUAL: dict[str, dict[str, bytes]] = {}


def plain(method: str, made: Family) -> dict[str, bytes]:
    if method not in USUAL:
        USUAL[method] = merged(made.recipe, method, VARIANT.get(method, {}))
    return USUAL[method]


@pytest.mark.parametrize(("method", "name"), movable())
def test_a_tensor_is_merged_with_the_value_of_its_place(method: str, name: str, made: Family) -> None:
    fixed = VARIANT.get(method, {})
    value = other(find(method).param(name))
    usual, moved = plain(method, made), merged(made.recipe, method, {**fixed, name: value})
    both = merged(made.recipe, method, {**fixed, f"{name}[attn]": value, f"{name}[::lm_head.weight]": value})
    for tensor, data in both.items():
        place = open_inputs(made.recipe).layout.places[tensor]
        assert data == (moved if place.kind == "attn" or tensor == "lm_head.weight" else usual)[tensor], tensor


def test_what_the_whole_model_is_measured_with_cannot_differ(made: Family) -> None:
    for method in registered().values():
        for name in sorted(method.one_for_all(method.complete({})) - {p.name for p in method.params if p.role}):
            if name.startswith(("post", "drop")):
                continue
            with pytest.raises(BadRecipe, match="for the whole model here"):
                merged(made.recipe, method.id, {f"{name}[attn]": other(method.param(name))})
    with pytest.raises(BadRecipe, match="No tensor of the model is in") as caught:
        merged(made.recipe, "task_arithmetic", {"scale[:77]": 0.5})
    assert caught.value.where == "scale[:77]"
    for bad in ("scale[foo]", "scale[attn:]", "scale[a:b:c]", "scale[:]", "scale[]", "scale[attn", "scale[attn]x"):
        with pytest.raises(BadRecipe):
            find("task_arithmetic").param(bad)
    with pytest.raises(BadRecipe, match="one post for the whole model"):
        find("ties").param("post[attn]")
    with pytest.raises(BadRecipe, match="for all experts"):
        find("task_arithmetic").param("scale[attn]@chat")


place_texts = st.one_of(
    st.sampled_from(KINDS), st.sampled_from([":0", ":1", "attn:0", "mlp:0", "norm:1"]),
    st.sampled_from([f"::{name}" for name in SHAPES]))  # fmt: skip


@given(st.dictionaries(st.tuples(st.sampled_from(["", "a", "b"]), st.one_of(st.just(""), place_texts)),
                       st.integers(0, 5), max_size=6))  # fmt: skip
def test_the_most_specific_value_wins_as_with_coefficients(said: dict[tuple[str, str], int]) -> None:
    inside = {place for _, place in said if place and ":" not in place}
    present = {p.kind for p in LAYOUT.places.values()}
    said = {k: v for k, v in said.items() if k[1] not in inside - present}
    params: dict[str, Value] = {"density": 9.0} | {
        key("density", who, place): float(v) for (who, place), v in said.items()
    }
    rules = []
    for name, value in params.items():
        _, who, place = parts(name)
        tensor = place[2:] if place.startswith("::") else None
        kind, _, layer = ("", "", "") if tensor else place.partition(":")
        rules.append(
            Rule(expert=who or None, kind=kind or None, layer=layer or None, tensor=tensor, value=float(value))
        )
    experts = tuple(ModelRef(id=i, name=i, path="/x") for i in ("a", "b", "c"))
    wanted = resolve(Recipe(experts=experts, rules=tuple(rules)), tensor_spots(LAYOUT, list(SHAPES)), 9.0)
    got = placed(params, LAYOUT)
    for row, who in enumerate(("a", "b", "c")):
        value = got.get(key("density", who), got["density"])
        found = [value.of(n) if isinstance(value, Placed) else value for n in SHAPES]
        assert found == wanted[row].tolist(), (who, params)


@given(st.lists(st.integers(0, 2), min_size=len(SHAPES), max_size=len(SHAPES)))
def test_a_cover_says_every_value(values: list[int]) -> None:
    wanted = dict(zip(SHAPES, map(float, values), strict=True))
    usual, places = cover(wanted, LAYOUT)
    params: dict[str, Any] = {"scale": usual} | {key("scale", "", where.text): value for where, value in places}
    value = placed(params, LAYOUT)["scale"]
    assert {n: value.of(n) if isinstance(value, Placed) else value for n in SHAPES} == wanted


def test_a_recipe_with_places_survives_files_and_renaming(made: Family) -> None:
    recipe = replace(made.recipe, params=(("density[::model.norm.weight]@a b", 0.5), ("scale[mlp:0]", 0.25)))
    assert from_json(to_json(recipe)) == recipe
    assert renamed(recipe.params, {"a b": "c"})[0][0] == "density[::model.norm.weight]@c"
    assert renamed(recipe.params, {"a b": None}) == (("scale[mlp:0]", 0.25),)
    assert recipe.without_places("scale").params == recipe.params[:1]
    assert parts("density@a[b]") == ("density", "a[b]", ""), "experts may be called anything"


def test_live_factors_follow_places_but_are_not_called_exact() -> None:
    method, spots = find("task_arithmetic"), [("0", "attn", None), ("0", "mlp", None)]
    params = {"scale": 0.5, "scale[mlp]": 2.0}
    np.testing.assert_array_equal(method.factors(np.ones((2, 2)), params, ["a", "b"], spots), [[0.5, 2], [0.5, 2]])
    assert method.is_linear({"scale": 0.5}) and not method.is_linear(params)
