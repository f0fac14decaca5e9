"""The sweep panel in the assembled window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from app import sweep_state
from app.desk import Desk
from app.sweep_controller import SweepController
from app.sweep_plan import remembered
from engine.errors import MixdownError
from engine.evaluate import mix as mix_module
from tests.app.tune_kit import OTHER, write_family
from widgets.plots.sweep_state import Span, SweepWish

Settled = Callable[[Desk], None]
GRID = SweepWish(x=Span("param:scale", 0.2, 0.6, 3), y=Span("gain:e0", 0.0, 1.0, 2), tasks=("digits", OTHER),
                 rows=32)  # fmt: skip


@pytest.fixture
def sweep(desk: Desk, tmp_path: Path, settled: Settled) -> SweepController:
    desk.workspace.store.apply(write_family(tmp_path), "Load", "")
    settled(desk)
    found = desk.findChild(SweepController)
    assert found is not None
    desk.window.commands.trigger("mix.sweep")
    assert found.dock.isVisible() and found.panel().state.reason == ""
    return found


def _run(desk: Desk, sweep: SweepController, wish: SweepWish, qtbot: QtBot, settled: Settled) -> None:
    sweep.run(wish)
    qtbot.waitUntil(lambda: not sweep._running, timeout=60_000)
    settled(desk)
    sweep.refresh()


def test_a_grid_fills_is_adopted_by_keyboard_and_comes_again_from_the_cache(
    desk: Desk, sweep: SweepController, qtbot: QtBot, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(desk, sweep, GRID, qtbot, settled)
    panel, cells = sweep.panel(), sweep.cells
    grid = panel.frames["grid"]
    assert cells is not None and np.isfinite(grid.view.state.values).all() and grid.view.state.values.shape == (2, 3)
    assert "to" in grid.view.sentence(0, 1) and "32 rows" in grid.view.sentence(0, 1)
    head, body = grid.table()
    assert len(body) == 6 and "average low (%)" in head and OTHER in grid.csv()
    assert grid.svg().startswith(b"<?xml")

    undo, before = desk.workspace.store.undo_stack, desk.workspace.recipe
    count = undo.count()
    grid.view.setFocus()
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_Return):
        qtbot.keyClick(grid.view, key)
    adopted = desk.workspace.recipe
    assert adopted == before.with_param("scale", 0.4).with_gain("e0", 1.0) and undo.count() == count + 1
    sweep.refresh()
    assert grid.view.state.here == (1, 1)
    undo.undo()
    assert desk.workspace.recipe == before

    panel.tabs.setCurrentIndex(1)
    front = panel.frames["front"].view.state
    assert len(front.xy) == 6 and front.front
    panel.frames["front"].view.chosen.emit(0)
    assert undo.undoText().startswith("Adopt scale 0.2")
    undo.undo()
    few = {index: found for index, found in cells.found.items() if index != 1}
    sweep.cells = replace(cells, found=few)
    sweep.refresh()
    sweep.cells = cells  # arrived, but not drawn yet
    panel.frames["front"].view.chosen.emit(1)
    assert undo.undoText() == f"Adopt {cells.plan.labels[2]}"
    undo.undo()
    panel.tabs.setCurrentIndex(0)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    values = grid.view.state.values.copy()
    monkeypatch.setattr(mix_module, "merged_state", refuse, raising=False)
    monkeypatch.setattr("engine.merge.run.merged_state", refuse)
    _run(desk, sweep, GRID, qtbot, settled)
    np.testing.assert_array_equal(panel.frames["grid"].view.state.values, values)


def test_a_line_and_a_triangle(desk: Desk, sweep: SweepController, qtbot: QtBot, settled: Settled) -> None:
    _run(desk, sweep, replace(GRID, y=None), qtbot, settled)
    line = sweep.panel().frames["lines"].view
    assert line.state.stops == (0.2, 0.4, 0.6) and [len(part.x) for part in line.state.lines] == [3, 3, 3]
    assert (line.state.lines[-1].low < line.state.lines[-1].y).all()
    sweep._show_measure(OTHER)
    assert [part.thick for part in line.state.lines] == [False, True]

    _run(desk, sweep, replace(GRID, form="triangle", experts=("e0", "e1", "e2"), steps=2, total=3.0), qtbot, settled)
    triangle = sweep.panel().frames["triangle"].view
    assert triangle.state.corners == ("one", "two", "three") and len(triangle.state.xy) == 6
    triangle.setFocus()
    triangle.move_to(0)
    qtbot.keyClick(triangle, Qt.Key.Key_Return)
    shares = sweep.cells.plan.shares[0] if sweep.cells else ()
    gains = [desk.workspace.recipe.gain(e) for e in ("e0", "e1", "e2")]
    assert gains == [3 * share for share in shares]


def test_stop_keeps_cells_and_changed_models_are_not_overwritten(
    desk: Desk, sweep: SweepController, qtbot: QtBot, settled: Settled
) -> None:
    sweep.run(replace(GRID, x=Span("param:scale", 0.1, 0.9, 9)))
    qtbot.waitUntil(lambda: sweep.cells is not None and len(sweep.cells.found) >= 2, timeout=60_000)
    sweep.pause()
    assert sweep._phase() == "paused"
    sweep.pause()
    sweep.stop()
    settled(desk)
    assert sweep.cells is not None and 2 <= len(sweep.cells.found) < 18 and sweep._phase() == "idle"
    assert "remembered" in sweep._status("idle")
    store = desk.workspace.store
    store.apply(store.recipe.without_expert("e2"), "Remove", "")
    count = store.undo_stack.count()
    sweep.adopt(0)
    assert store.undo_stack.count() == count
    assert remembered() == replace(GRID, x=Span("param:scale", 0.1, 0.9, 9))  # for the next start


def test_problems_are_said_in_the_panel(desk: Desk, sweep: SweepController) -> None:
    sweep.run(replace(GRID, y=GRID.x))
    assert "same number" in sweep.panel().state.status
    sweep.run(replace(GRID, tasks=()))
    assert "at least one task" in sweep.panel().state.status
    sweep.run(replace(GRID, form="triangle", experts=("e0", "e0", "e1")))
    assert "three different" in sweep.panel().state.status
    assert sweep_state.Grid(title="").is_empty


def _spot(view: Any, x: float, y: float) -> QPoint:
    """A place of a plot in its viewport."""
    spot: QPoint = view.plot.mapFromScene(view.plot.getPlotItem().getViewBox().mapViewToScene(QPointF(x, y)))
    return spot


def test_by_the_mouse_a_mix_is_told_and_adopted_and_undo_moves_the_frame(
    desk: Desk, sweep: SweepController, qtbot: QtBot, settled: Settled
) -> None:
    _run(desk, sweep, GRID, qtbot, settled)
    panel, store, before = sweep.panel(), desk.workspace.store, desk.workspace.recipe
    grid: Any = panel.frames["grid"].view
    port = grid.plot.viewport()
    QTest.mouseMove(port, _spot(grid, 1.4, 1.4))
    QTest.mouseMove(port, _spot(grid, 1.5, 1.5))
    assert "scale 0.4" in grid.plot.toolTip() and "rows)" in grid.plot.toolTip()
    for at, cell in (((1.5, 1.5), (1, 1)), ((2.5, 0.5), (0, 2))):
        QTest.mouseClick(port, Qt.MouseButton.LeftButton, pos=_spot(grid, *at))
        assert grid.state.here == cell and grid._outline.getData()[0].min() == cell[1]
    QTest.mouseClick(port, Qt.MouseButton.RightButton, pos=_spot(grid, 0.5, 0.5))
    assert store.undo_stack.undoText() == "Adopt scale 0.6, gain of one 0"
    store.undo_stack.undo()
    qtbot.waitUntil(lambda: grid.state.here == (1, 1))
    store.undo_stack.undo()
    assert store.recipe == before

    panel.tabs.setCurrentIndex(1)
    front: Any = panel.frames["front"].view
    x = front.state.xy[:, 0]
    sides = [front._side(float(v)) for v in (x.min(), x.max())]
    assert sides == [0.0, 1.0] or x.min() == x.max()  # words go where there is room
    head, body = panel.frames["front"].table()
    assert head[1:4] == ("digits (%)", "digits low (%)", "digits high (%)") and 0 <= float(body[0][1]) <= 100
    QTest.mouseClick(front.plot.viewport(), Qt.MouseButton.LeftButton, pos=_spot(front, *map(float, front.state.xy[5])))
    assert store.undo_stack.undoText().startswith("Adopt scale") and front.state.here >= 0


def test_mixes_under_one_point_are_all_told(desk: Desk, sweep: SweepController, qtbot: QtBot, settled: Settled) -> None:
    _run(desk, sweep, replace(GRID, y=Span("fader:", 0.0, 1.0, 2)), qtbot, settled)  # coefficient 0: the base, thrice
    assert sweep.panel().state.status == "6 of 6 mixes measured."
    words = sweep.panel().state.front.words
    assert "The same two scores: scale 0.4, coefficient of all experts 0; scale 0.6, coef" in words[0], words[0]


def test_mixes_that_fail_say_why_and_leave_csv_blank(
    desk: Desk, sweep: SweepController, qtbot: QtBot, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import evaluator

    score, told = evaluator.score_recipe, list[str]()

    def failing(recipe: Any, *rest: Any, **options: Any) -> Any:
        if dict(recipe.params).get("scale", 0.0) > 0.5:
            raise MixdownError("The mix has a NaN.", hint="Lower the scale.")
        return score(recipe, *rest, **options)

    monkeypatch.setattr(evaluator, "score_recipe", failing)
    monkeypatch.setattr(desk, "tell", lambda text, *_, **__: told.append(text))
    _run(desk, sweep, GRID, qtbot, settled)
    panel = sweep.panel()
    frame: Any = panel.frames["grid"]
    assert panel.state.status == "4 of 6 mixes measured. 2 failed (!): The mix has a NaN. Lower the scale."
    assert panel.state.is_wrong and not panel.form.mark.isHidden()
    assert [frame.view.state.text(0, c) == "!" for c in range(3)] == [False, False, True]
    assert frame.view.sentence(0, 2).endswith("The mix has a NaN. Lower the scale.")
    lines = frame.csv().splitlines()
    assert lines[3].endswith(",,,,,,,,,,0") and lines[1].count(",,") == 0
    QTest.mouseClick(frame.view.plot.viewport(), Qt.MouseButton.LeftButton, pos=_spot(frame.view, 2.5, 0.5))
    assert told == ["This mix could not be measured: The mix has a NaN. Lower the scale."]

    cells = sweep.cells
    assert cells is not None and not cells.all_failed
    bad = next(found for found in cells.found.values() if found.error is not None)
    none = replace(cells, found={index: replace(bad, index=index) for index in cells.found})
    front = sweep_state.front(none, ("digits", OTHER), desk.workspace.recipe)
    assert front.is_empty and "could be measured" in front.empty  # it does not say that it is still coming
