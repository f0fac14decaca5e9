"""Rules, selections, shapes and project files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadProject, BadRecipe, OutOfRange, UnknownSelection, WriteProblem
from engine.files.model import KINDS, Group, Layout, Place
from engine.recipe import edit, project, select, shapes
from engine.recipe.recipe import ModelRef, Recipe, Rule, TaskRef
from engine.recipe.resolve import effective, group_spots, resolve, tensor_spots

LAYERS = {"emb": ("emb", "norm"), **{str(i): ("attn", "mlp", "norm") for i in range(4)}, "head": ("norm", "head")}


def make_layout() -> Layout:
    groups = tuple(
        Group(Place(la, k), (f"{la}.{k}.weight", f"{la}.{k}.bias"), 10) for la, kinds in LAYERS.items() for k in kinds
    )
    return Layout("test", tuple(LAYERS), groups, {t: g.place for g in groups for t in g.tensors})


LAYOUT = make_layout()
EXPERTS = (("e1", "chat"), ("e2", "code, x"), ("e3", "math"))
RECIPE = Recipe(
    base=ModelRef(id="base", name="base", path="/m/base"),
    experts=tuple(ModelRef(id=i, name=n, path=f"/m/{i}") for i, n in EXPERTS),
)


def brute(recipe: Recipe, expert: str, layer: str, kind: str, tensor: str, default: float) -> float:
    """What a rule book for people would say, rule by rule."""
    best, rank = default, -1
    for rule in recipe.rules:
        fits = (rule.expert in (None, expert) and rule.layer in (None, layer) and rule.kind in (None, kind)
                and rule.tensor in (None, tensor))  # fmt: skip
        if fits and rule.specificity >= rank:
            best, rank = rule.value, rule.specificity
    return best


rules = st.builds(
    Rule,
    value=st.floats(-2, 2),
    expert=st.sampled_from([None, "e1", "e2", "e3"]),
    kind=st.sampled_from([None, *KINDS]),
    layer=st.sampled_from([None, *LAYERS]),
    tensor=st.sampled_from([None, None, None, "0.attn.weight", "3.mlp.bias"]),
)


@given(st.lists(rules, max_size=12))
def test_resolve_agrees_with_the_rule_book(made: list[Rule]) -> None:
    recipe = RECIPE.with_rules(made)
    names = [t for g in LAYOUT.groups for t in g.tensors]
    dense = resolve(recipe, tensor_spots(LAYOUT, names), 0.5)
    for row, (expert, _) in enumerate(EXPERTS):
        for column, name in enumerate(names):
            place = LAYOUT.places[name]
            wanted = brute(recipe, expert, place.layer, place.kind, name, 0.5)
            # a tensor rule names its tensor only; the brute force checks the same keys
            assert dense[row, column] == wanted or any(r.tensor and (r.kind or r.layer) for r in made)


def test_mute_solo_gain() -> None:
    spots = group_spots(LAYOUT)
    recipe = RECIPE.with_muted("e1", True).with_gain("e2", 0.5)
    assert effective(recipe, spots, 1.0)[:, 0].tolist() == [0.0, 0.5, 1.0]
    assert effective(recipe.with_soloed("e3", True), spots, 1.0)[:, 0].tolist() == [0.0, 0.0, 1.0]
    assert recipe.with_muted("e1", False).with_gain("e2", 1.0) == RECIPE


@pytest.mark.parametrize("text", [
    "chat : attn : 1-2", '"code, x" : mlp', "*", "chat,math : * : emb,0-3", "chat : 1-", "* : attn,norm : 2",
    "math : * : head", "chat : 0.attn.weight",
])  # fmt: skip
def test_selection_round_trip(text: str) -> None:
    chosen = select.parse(text, EXPERTS, LAYOUT)
    assert select.parse(select.render(chosen, EXPERTS, LAYOUT), EXPERTS, LAYOUT) == chosen


cells = st.builds(
    lambda e, k, la: select.Selection(
        experts=tuple(i for i, _ in EXPERTS if i in e), kinds=tuple(x for x in LAYOUT.kinds if x in k),
        layers=tuple(x for x in LAYOUT.layers if x in la), every_expert=len(e) == 3,
        every_kind=len(k) == len(LAYOUT.kinds), every_layer=len(la) == len(LAYOUT.layers)),
    st.sets(st.sampled_from([i for i, _ in EXPERTS]), min_size=1),
    st.sets(st.sampled_from(LAYOUT.kinds), min_size=1),
    st.sets(st.sampled_from(LAYOUT.layers), min_size=1),
)  # fmt: skip


@given(cells)
def test_any_cells_can_be_written_and_read(chosen: select.Selection) -> None:
    assert select.parse(select.render(chosen, EXPERTS, LAYOUT), EXPERTS, LAYOUT) == chosen


@pytest.mark.parametrize(("text", "suggestion"), [
    ("chta", "chat"), ("chat : atn", "attn"), ("chat : mpl : 2", "mlp"),
])  # fmt: skip
def test_typos_are_errors_with_suggestions(text: str, suggestion: str) -> None:
    with pytest.raises(UnknownSelection) as caught:
        select.parse(text, EXPERTS, LAYOUT)
    assert suggestion in caught.value.suggestions


@pytest.mark.parametrize("text", ["chat : 2-1", "chat : 9", "a:b:c:d", "chat : -"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UnknownSelection):
        select.parse(text, EXPERTS, LAYOUT)


@pytest.mark.parametrize(("text", "error"), [
    ("chat", BadRecipe), ("chat = x", OutOfRange), ("chat = nan", OutOfRange), ("chat = 1e999", OutOfRange),
    ("chat /= 0", OutOfRange),
])  # fmt: skip
def test_bad_statements_are_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        select.parse_statement(text, EXPERTS, LAYOUT)


@given(cells, st.sampled_from(["=", "+=", "-=", "*="]), st.floats(-2, 2), st.lists(rules, max_size=6))
def test_statements_change_what_they_name_and_nothing_else(
    chosen: select.Selection, operator: str, value: float, made: list[Rule]
) -> None:
    recipe = RECIPE.with_rules(r for r in made if r.tensor is None)
    spots = group_spots(LAYOUT)
    before = resolve(recipe, spots, 1.0)
    after = resolve(edit.apply_statement(recipe, select.Statement(chosen, operator, value), LAYOUT, 1.0), spots, 1.0)
    inside = np.array([[e in chosen.experts and la in chosen.layers and k in chosen.kinds for la, k, _ in spots]
                       for e, _ in EXPERTS])  # fmt: skip
    wanted = {"=": np.full_like(before, value), "+=": before + value, "-=": before - value, "*=": before * value}
    assert np.array_equal(after[inside], wanted[operator][inside])
    assert np.array_equal(after[~inside], before[~inside])


def test_tensor_statement() -> None:
    statement = select.parse_statement("chat : 0.*.weight += 0.5", EXPERTS, LAYOUT)
    recipe = edit.apply_statement(RECIPE, statement, LAYOUT, 1.0)
    assert {r.tensor: r.value for r in recipe.rules} == {
        "0.attn.weight": 1.5, "0.mlp.weight": 1.5, "0.norm.weight": 1.5}  # fmt: skip


def test_overrides_inside_a_cell() -> None:
    whole, finer = Rule(expert="e1", layer="0", value=0.2), Rule(expert="e1", layer="0", kind="mlp", value=1)
    tensor, other = Rule(expert="e1", tensor="0.attn.bias", value=2), Rule(expert="e2", layer="0", value=1)
    recipe = RECIPE.with_rules([whole, finer, tensor, other])
    keys = edit.overrides_inside(recipe, ("e1", None, "0", None), LAYOUT)
    assert set(keys) == {("e1", "mlp", "0", None), ("e1", None, None, "0.attn.bias")}


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda s: s.id)
def test_shapes_stay_in_range(shape: shapes.Shape) -> None:
    height = shapes.apply(shape.id, np.linspace(0, 1, 33), low=0.2, high=0.8)
    assert height.shape == (33,)
    assert height.min() >= 0.2 - 1e-12
    assert height.max() == pytest.approx(0.8)


recipes = st.builds(
    lambda r, m, s, g, p, seed: RECIPE.with_rules(r).with_method("ties", p).with_gain("e2", g)
    .with_muted("e1", m).with_soloed("e3", s),
    st.lists(rules, max_size=8), st.booleans(), st.booleans(), st.floats(-3, 3),
    st.dictionaries(st.sampled_from(["density", "scale", "normalise"]), st.floats(0, 1) | st.booleans(), max_size=3),
    st.integers(0, 100),
)  # fmt: skip


@given(recipes)
def test_project_round_trip(recipe: Recipe) -> None:
    assert project.from_json(json.loads(json.dumps(project.to_json(recipe)))) == recipe


def test_project_paths_are_relative(tmp_path: Path) -> None:
    recipe = Recipe(experts=(ModelRef(id="e1", name="a", path=str(tmp_path / "models" / "a")),),
                    tasks=(TaskRef(name="t", path=str(tmp_path / "t.task.json")),))  # fmt: skip
    file = tmp_path / "deep" / "mix.mixdown"
    file.parent.mkdir()
    project.save_project(recipe, file)
    assert json.loads(file.read_text())["recipe"]["experts"][0]["path"] == "../models/a"
    assert project.load_project(file) == recipe


@pytest.mark.parametrize(("text", "word"), [
    ("", "valid"), ("[]", "object"), ('{"format": 2, "recipe": {}}', "newer"), ('{"format": 1}', "recipe"),
    ('{"format": 1, "format": 1}', "twice"), ('{"format": NaN}', "NaN"), ("[" * 100_000, "nested"),
    ('{"format": 1, "recipe": {"experts": [], "method": "x", "run": "rm"}}', "run"),
    ('{"format": 1, "recipe": {"experts": [], "method": "x", "seed": 1e999}}', "seed"),
    ('{"format": 1, "recipe": {"method": "x", "experts": [{"id": "a", "name": "n", "path": "p"},'
     '{"id": "a", "name": "m", "path": "p"}]}}', "same id"),
])  # fmt: skip
def test_strange_projects_are_refused(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "x.mixdown"
    file.write_text(text)
    with pytest.raises(BadProject) as caught:
        project.load_project(file)
    assert word in str(caught.value)


def test_path_that_is_no_project_is_told_as_a_path(tmp_path: Path) -> None:
    for path, hint in ((tmp_path / "nowhere.mixdown", "Check the path."), (tmp_path, "Choose a file in it.")):
        with pytest.raises(BadProject) as caught:
            project.load_project(path)
        assert caught.value.hint == hint  # nobody made a broken file


def test_huge_project_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.mixdown"
    with file.open("wb") as out:
        out.truncate(project.MAX_BYTES + 1)
    with pytest.raises(BadProject):
        project.load_project(file)


def test_failed_save_keeps_the_old_project(tmp_path: Path) -> None:
    file = tmp_path / "x.mixdown"
    project.save_project(RECIPE, file)
    before = file.read_bytes()
    blocked = tmp_path / "nowhere" / "x.mixdown"
    with pytest.raises(WriteProblem):
        project.save_project(RECIPE, blocked)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
