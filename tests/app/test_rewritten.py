"""A model that got other bytes and its old time again is not taken for the one that the window has opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.export_job import stamps_of
from app.jobs import JobRunner
from app.library import Library
from app.preview_worker import Evaluator
from app.workbench import build_recipe, open_recipe
from engine.files.checkpoint import open_checkpoint
from engine.files.layout import describe
from engine.recipe.project import to_json
from tests.app.models import write_family
from tests.engine.rewriting import rewrite_in_place


def test_a_model_that_is_dropped_again_has_changed_whatever_its_time_says(qtbot: QtBot, tmp_path: Path) -> None:
    base, _ = write_family(tmp_path / "models", 1)
    runner = JobRunner()
    library = Library(runner, runner)
    told: list[str] = []
    library.contentChanged.connect(told.append)

    def drop() -> bool:
        opened = open_checkpoint(base)
        return library.adopt(opened, describe(opened.tensors, opened.config))

    assert [drop(), drop()] == [False, False] and told == []
    rewrite_in_place(base / "model.safetensors")
    assert [drop(), drop()] == [True, False] and told == [str(base)]
    assert runner.stop()


@pytest.mark.parametrize("which", ["base", "expert"])
def test_the_process_with_models_opens_rewritten_files_again(which: str, tmp_path: Path) -> None:
    base, experts = write_family(tmp_path / "models", 2)
    recipe = build_recipe(base, experts, method="linear", params={}, seed=0, dtype="")
    args = {"recipe": to_json(recipe), "stamps": [list(stamp) for stamp in stamps_of(open_recipe(recipe).inputs)]}
    evaluator = Evaluator()
    _, first = evaluator._read(args)
    assert evaluator._read(args)[1] is first, "opened once"
    rewrite_in_place((base if which == "base" else experts[1]) / "model.safetensors")
    _, second = evaluator._read(args)
    assert second is not first and evaluator._read(args)[1] is second
