"""The tuner panel in the assembled window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app import tune_state
from app.desk import Desk
from app.lateness import Lateness
from app.tune_controller import TuneController
from app.tune_state import Run, Seen
from engine.methods import find
from engine.preview.surrogate import Estimate
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import group_spots, resolve
from tests.app.tune_kit import OTHER, write_family

Settled = Callable[[Desk], None]


@pytest.fixture
def tuning(
    desk: Desk, tmp_path: Path, settled: Settled, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> TuneController:
    monkeypatch.setattr("app.tune_controller.FRAME_MS", 5)
    desk.workspace.store.apply(write_family(tmp_path), "Load", "")
    settled(desk)
    found = desk.findChild(TuneController)
    assert found is not None
    found._frame.setInterval(5)
    found._settle.setInterval(60)
    desk.window.commands.trigger("mix.tune")
    assert found.dock.isVisible() and found.panel().start.isEnabled()
    return found


def _start(tuning: TuneController, rounds: int) -> None:
    tuning._edit("rounds", rounds)
    tuning.panel().start.click()
    assert tuning.phase == "running" and not tuning.panel().start.isEnabled()


def _ended(tuning: TuneController, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: tuning.phase == "done", timeout=90_000)


def _faders(desk: Desk) -> np.ndarray:
    recipe, layout = desk.workspace.recipe, desk.workspace.layout
    assert layout is not None
    return resolve(recipe, group_spots(layout), find(recipe.method).coefficient)


def test_the_faders_move_as_one_step_to_undo_and_the_test_rows_are_read_on_demand(
    desk: Desk, tuning: TuneController, qtbot: QtBot, settled: Settled
) -> None:
    store, before = desk.workspace.store, desk.workspace.recipe
    count, late = store.undo_stack.count(), Lateness(desk)
    _start(tuning, 2)
    _ended(tuning, qtbot)
    assert late.summary()["p95"] < 50
    run = tuning.current
    assert run is not None and run.best is not None and run.test is None
    assert store.undo_stack.count() == count + 1 and store.recipe.rules == run.best.recipe.rules != before.rules
    assert run.best.value < run.steps[0].value
    first = store.recipe.rules
    state = tuning.panel().state
    assert [row.task for row in state.rows] == ["digits", OTHER, "Mean of the tuned tasks"]
    assert "±" in state.rows[0].after and "seed 0" in state.basis and "validation" in state.basis
    assert len(tuning.panel().frame.table()[1]) == len(run.steps)

    tuning.panel().test.click()
    qtbot.waitUntil(lambda: tuning.panel().state.test.startswith("Test rows"), timeout=60_000)
    assert tuning.panel().state.rows[0].test_after and not tuning.panel().test.isEnabled()
    store.undo_stack.undo()
    assert store.recipe == before
    settled(desk)
    _start(tuning, 2)
    _ended(tuning, qtbot)
    assert store.recipe.rules == first  # the same seed


def test_a_fader_taken_by_hand_is_pinned_and_tuning_goes_on(desk: Desk, tuning: TuneController, qtbot: QtBot) -> None:
    store = desk.workspace.store
    _start(tuning, 8)
    qtbot.waitUntil(lambda: tuning.current is not None and len(tuning.current.steps) >= 3, timeout=60_000)
    store.apply(store.recipe.with_rules([Rule(expert="e0", layer="1", value=0.123)]), "Set one", "hand")
    run = tuning.current
    assert run is not None and run.pinned is not None and run.pinned.any() and tuning.phase == "running"
    held = run.pinned.copy()
    assert not held[1:].any() and "pinned" in _refreshed(tuning)
    steps = len(run.steps)
    qtbot.waitUntil(lambda: len(run.steps) > steps + 2, timeout=60_000)
    _ended(tuning, qtbot)
    assert np.allclose(_faders(desk)[held], 0.123) and not np.allclose(_faders(desk)[~held], 1.0)
    assert (run.pinned == held).all()


def _refreshed(tuning: TuneController) -> str:
    tuning.refresh()
    return tuning.panel().state.pinned


def test_pause_keep_revert_and_a_change_of_method(
    desk: Desk, tuning: TuneController, qtbot: QtBot, settled: Settled
) -> None:
    store, before = desk.workspace.store, desk.workspace.recipe
    count = store.undo_stack.count()
    _start(tuning, 20)
    qtbot.waitUntil(lambda: tuning.current is not None and len(tuning.current.steps) >= 2, timeout=60_000)
    tuning.panel().pause.click()
    assert tuning.phase == "paused" and tuning.panel().pause.text() == "Go on"
    tuning.panel().pause.click()
    tuning.panel().keep.click()
    assert tuning.phase == "done" and store.undo_stack.count() <= count + 1
    tuning.panel().revert.click()
    assert store.recipe == before and store.undo_stack.count() == count
    settled(desk)
    _start(tuning, 20)
    qtbot.waitUntil(lambda: tuning.current is not None and len(tuning.current.steps) >= 2, timeout=60_000)
    store.apply(store.recipe.with_param("scale", 0.4), "Set scale", "")
    assert tuning.phase == "idle"
    qtbot.waitUntil(lambda: not desk.workspace.runner.active(), timeout=10_000)
    assert "changed" in tuning._note
    qtbot.wait(50)
    assert dict(store.recipe.params)["scale"] == 0.4  # no late step


def test_problems_are_said(desk: Desk, tuning: TuneController, qtbot: QtBot) -> None:
    panel = tuning.panel()
    panel.tasks.choose(())
    panel.start.click()
    assert "at least one task" in panel.state.status and tuning.phase == "idle"
    panel.tasks.choose(("digits",))
    store = desk.workspace.store
    store.apply(store.recipe.with_method("linear", {}), "Average", "")
    panel.start.click()
    qtbot.waitUntil(lambda: tuning.phase != "running", timeout=60_000)
    assert "depend on each other" in tuning._note


def _seen(number: int, true: bool, **values: tuple[str, float]) -> Seen:
    """A step with a score of every task: (metric, value)."""
    found = tuple(
        Estimate(task=task, value=value, low=value * 0.9, high=value * 1.1, correct=0, count=50, loss=0.0, error=0.0,
                 compared=0, state="exact", metric=metric)
        for task, (metric, value) in values.items()
    )  # fmt: skip
    return Seen(number=number, recipe=Recipe(), estimated=found, true=found if true else None, accepted=True, note="",
                value=1.0 / (number + 1))  # fmt: skip


def test_other_metrics_than_shares_keep_their_unit() -> None:
    run = Run(start=Recipe(), titles={"lm": "Stories", "quiz": "Quiz"}, chosen=("lm",), rows=50, words="LM")
    run.add(_seen(0, True, lm=("perplexity", 12.5), quiz=("choice_accuracy", 0.5)))
    run.add(_seen(1, True, lm=("perplexity", 10.0), quiz=("choice_accuracy", 0.6)))
    made = tune_state.chart(run)
    assert made.lines[1].y.tolist() == [12.5, 10.0] and made.y_label == "Perplexity in ppl, lower is better"
    assert "10.00 ppl" in made.words[1] and "Quiz 60.0 %" in made.words[1]
    head, body = made.twin
    assert head[3:6] == ("mean in ppl", "Stories in ppl", "Quiz in %") and body[1][3:6] == ("10.00", "10.00", "60.00")
    rows = tune_state.table(run)
    assert rows[0].after.startswith("10.00") and rows[0].change.startswith("−2.50")
    assert "Stories Perplexity in ppl (lower is better)" in tune_state.basis(run)
    run.chosen = ("lm", "quiz")
    assert tune_state.chart(run).y_label.endswith("in %") and len(tune_state.table(run)) == 2, "no mean of two units"
