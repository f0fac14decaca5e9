"""What a fader event computes once, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.columns import columns
from app.desk import Desk
from app.desk_state import build
from app.preview_wants import Point
from app.project import is_same, without_hashes
from engine.evaluate.score import Score
from engine.files.model import Group, Layout, Place
from engine.methods import find
from engine.preview.frame import make_frame
from engine.recipe.recipe import ModelRef, Recipe, Rule

LAYOUT = Layout("toy", ("0", "1"), (Group(Place("0", "attn"), ("a",), 4), Group(Place("1", "attn"), ("b",), 4)), {})
TWO = (ModelRef(id="e1", name="chat", path="/chat", sha256="12"), ModelRef(id="e2", name="code", path="/code"))
MIX = Recipe(base=ModelRef(id="base", name="base", path="/base", sha256="34"), experts=TWO)


def moved(recipe: Recipe, value: float) -> Recipe:
    return recipe.with_rules([Rule(expert="e1", layer="0", value=value)])


def test_recipes_are_the_same_but_for_hashes() -> None:
    bare = replace(MIX, base=replace(MIX.base or TWO[0], sha256=""), experts=(replace(TWO[0], sha256=""), TWO[1]))
    assert is_same(MIX, bare) and is_same(MIX, MIX)
    assert not is_same(MIX, moved(bare, 0.5)) and is_same(moved(MIX, 0.5), moved(bare, 0.5))
    assert not is_same(MIX, replace(bare, muted=("e1",)))
    assert MIX.without_rules([]) is MIX


def test_a_point_is_computed_once_for_a_recipe() -> None:
    frame, place = make_frame(MIX, LAYOUT), Point()
    first = place.of(frame, MIX)
    assert place.of(frame, MIX) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 2.0
    other = moved(MIX, 0.5)
    assert np.array_equal(place.of(frame, other), frame.point(other)) and place.of(frame, other) is not first


def test_heads_of_the_rows_stay_while_a_fader_moves() -> None:
    method, rows, cols = find("task_arithmetic"), [], columns(LAYOUT, "layer", frozenset())
    for recipe in (MIX, moved(MIX, 0.5), replace(moved(MIX, 0.5), muted=("e2",))):
        rows.append(build(recipe, LAYOUT, method, cols, scores={"e1": "88 of 93 %"}).state.experts)
    assert rows[0] is rows[1] and rows[2] is not rows[1]
    assert [row.muted for row in rows[2]] == [False, True]
    assert build(MIX, LAYOUT, method, cols, scores={"e1": "90 of 93 %"}).state.experts[0].score_text == "90 of 93 %"


def test_the_score_of_a_step_is_looked_up_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Recipe] = []

    def note(recipe: Recipe) -> Recipe:
        asked.append(recipe)
        return without_hashes(recipe)

    monkeypatch.setattr("app.scoring.without_hashes", note)
    about, steps = desk.workspace.scoring, [moved(MIX, 0.01 * i) for i in range(50)]
    assert {about.average(step) for step in steps} == {None} and not asked
    about.history[without_hashes(steps[7])] = 0.5
    for _ in range(3):
        assert [about.average(step) for step in steps] == [None] * 7 + [0.5] + [None] * 42
    assert len(asked) == len(steps)
    about._mixed(
        steps[8],
        {"t": Score(task="t", split="val", metric="accuracy", value=0.25, low=0.1, high=0.4, correct=1, count=4)},
    )
    assert (about.average(steps[7]), about.average(steps[8])) == (0.5, 0.25)
    about.configure(is_auto=False, rows=about.rows + 1)
    assert about.average(steps[7]) is None
    about.history[without_hashes(steps[7])] = 0.75
    assert about.average(steps[7]) == 0.75
