"""Parameters of single experts: whom they may be for, and that names need no reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import BadRecipe
from engine.merge.inputs import open_inputs
from engine.merge.load import Loader
from engine.merge.plan import make_plan
from engine.merge.view import ModelView
from engine.progress import Silent
from engine.recipe.per_expert import PerExpert
from engine.recipe.presets import PRESETS
from engine.steps.per_expert import seen
from tests.engine.merge_cases import family


def test_an_unknown_expert_is_refused(tmp_path: Path) -> None:
    made = family(tmp_path)
    name = made.recipe.experts[0].name
    recipe = replace(made.recipe, method="ties", params=((f"density@{name}", 0.5),))
    assert make_plan(recipe, open_inputs(recipe)).params[f"density@{name}"] == 0.5
    wrong = replace(recipe, params=(("density@nobody", 0.5),))
    with pytest.raises(BadRecipe, match="'nobody', which is no expert") as caught:
        make_plan(wrong, open_inputs(wrong))
    assert caught.value.where == "density@nobody" and name in (caught.value.hint or "")


def test_the_names_of_a_view_need_no_reading(tmp_path: Path) -> None:
    made = family(tmp_path)
    plan = make_plan(replace(made.recipe, method="ties"), open_inputs(made.recipe))
    loader, jobs = Loader(plan, chunk=4096), [j for j in plan.jobs if j.action == "merge"]
    view = ModelView(loader, jobs, Silent())
    own = PerExpert(0.2, ((view.names[1], 0.7),))
    assert seen(own, view) == (0.2, 0.7, 0.2), "no reader is open, so this reads nothing"
    with loader:
        assert view.names == next(iter(view.map(lambda chunk: chunk.span.names))) and len(view.names) == view.models


def test_the_preset_after_larv_says_that_it_is_not_the_papers() -> None:
    larv = next(preset for preset in PRESETS if preset.id == "larv")
    assert "not the paper's formula" in larv.help
