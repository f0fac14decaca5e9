"""The demo in the assembled window: first start, scores, staleness, soup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.demo import demo_recipe
from app.desk import Desk
from engine.evaluate.mix import score_checkpoint
from engine.evaluate.task import load_task
from engine.files.checkpoint import open_checkpoint

ROWS = 40


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers do not step back: beside other tests' processes they would hardly get on."""
    monkeypatch.setattr("app.jobs.NICE", 0)


@pytest.mark.usefixtures("brisk")
def test_demo_is_scored_goes_stale_and_makes_a_soup(desk: Desk, settled: Callable[[Desk], None], qtbot: QtBot) -> None:
    desk.workspace.change_settings(eval_rows=ROWS)
    desk.handlers.file_demo()
    settled(desk)
    recipe, scoring = desk.workspace.recipe, desk.workspace.scoring
    assert len(recipe.experts) >= 5 and len(scoring.board.tasks) == len(recipe.experts)
    scoring.evaluate()
    qtbot.waitUntil(lambda: scoring.board.mix is not None, timeout=60_000)
    settled(desk)
    base, expert, ref = recipe.base, recipe.experts[1], recipe.tasks[1]
    assert base is not None and not scoring.is_stale

    direct = score_checkpoint(
        open_checkpoint(Path(expert.path)), open_checkpoint(Path(base.path)), load_task(Path(ref.path)), split="val",
        limit=ROWS,
    )  # fmt: skip
    shown = scoring.board.models[expert.path, direct.task]
    assert (shown.correct, shown.count) == (direct.correct, ROWS)
    desk.window.canvas.coefficientsEdited.emit(((expert.id, 0),), (0.3,), "Set", "")
    assert scoring.is_stale
    desk.handlers.edit_undo()
    assert not scoring.is_stale

    desk.handlers.mix_soup()
    qtbot.waitUntil(lambda: desk.workspace.store.undo_stack.undoText().startswith("Greedy soup"), timeout=60_000)
    assert desk.workspace.recipe.method == "linear"


def test_demo_recipe_points_at_files_that_exist() -> None:

    recipe = demo_recipe()
    assert recipe.base is not None
    for path in (recipe.base.path, *(e.path for e in recipe.experts), *(t.path for t in recipe.tasks)):
        assert Path(path).exists()
