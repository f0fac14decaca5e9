"""What is painted and told while a fader moves: only what looks different."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QModelIndex, QObject, QPoint
from PySide6.QtGui import QPaintEvent, QRegion
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from tests.widgets.desk_states import Owner, make_state
from widgets.desk.canvas import MergeCanvas
from widgets.desk.fader_delegate import FaderDelegate
from widgets.desk.ghost import Ghost
from widgets.panels.scores_delegate import ScoreDelegate
from widgets.panels.scores_model import BASE, DELTA, MIX, TASK, VERDICT, ScoresModel
from widgets.panels.state import Reading, ScoresState, TaskScore


class Painted(QObject):
    """What of a widget was painted."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.region = QRegion()
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Note the region of paint events."""
        if isinstance(event, QPaintEvent):
            self.region = self.region.united(event.region())
        return False


Told = tuple[int, int, int, int, bool]


def scores(**changes: Any) -> tuple[TaskScore, ...]:
    own, mix = Reading(0.9, 0.8, 0.95, 64), Reading(0.5, 0.4, 0.6, 64)
    return tuple(
        replace(TaskScore(task=name, base=Reading(0.3, 0.2, 0.4, 64), expert=own, expert_index=i, mix=mix), **changes)
        for i, name in enumerate(("one", "two", "three"))
    )


def told_of(model: ScoresModel, rows: tuple[TaskScore, ...]) -> list[Told]:
    """(first row, first column, last row, last column, whether cells look different) of every signal."""
    told: list[Told] = []

    def note(a: QModelIndex, b: QModelIndex, roles: list[int]) -> None:
        told.append((a.row(), a.column(), b.row(), b.column(), not roles))

    model.dataChanged.connect(note)
    model.set_rows(rows)
    model.dataChanged.disconnect(note)
    return told


def test_views_are_told_of_the_cells_that_look_different() -> None:
    model = ScoresModel()
    model.set_rows(scores())
    spoken = (0, TASK, 3, VERDICT, False)
    assert told_of(model, scores()) == []
    assert told_of(model, scores(why="Estimate.")) == [spoken]
    known = told_of(model, scores(quality="estimate", error=0.01))
    assert (0, MIX, 3, MIX, True) in known and spoken in known
    assert not {TASK, BASE, DELTA, VERDICT} & {told[1] for told in known if told[4]}
    other = scores(quality="estimate", error=0.01)
    better = replace(other[1], mix=Reading(0.6, 0.45, 0.75, 64))
    known = told_of(model, (other[0], better, other[2]))
    assert (1, TASK, 1, TASK, True) in known  # its margin
    assert {told for told in known if told[1] in (MIX, DELTA)} == {
        (1, MIX, 1, MIX, True), (3, MIX, 3, MIX, True), (1, DELTA, 1, DELTA, True), (3, DELTA, 3, DELTA, True),
    }  # fmt: skip


@pytest.mark.parametrize(("changes", "most"), [({"why": "x"}, 0), ({"quality": "estimate"}, 4)])
def test_cells_are_drawn_anew_where_they_look_different(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], most: int
) -> None:
    from widgets.panels.scores import ScoresPanel

    panel, drawn = ScoresPanel(), list[object]()
    qtbot.addWidget(panel)
    panel.resize(380, 420)
    panel.set_state(ScoresState(rows=scores()))
    with qtbot.waitExposed(panel):
        panel.show()
    QApplication.processEvents()
    draw: Callable[..., None] = ScoreDelegate._draw

    def note(self: ScoreDelegate, *given: Any) -> None:
        drawn.append(given)
        draw(self, *given)

    monkeypatch.setattr(ScoreDelegate, "_draw", note)
    panel.set_state(ScoresState(rows=scores(**changes)))
    QApplication.processEvents()
    assert len(drawn) == most


def test_a_press_paints_the_strip_of_its_column_only(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = MergeCanvas()
    qtbot.addWidget(canvas)
    canvas.resize(780, 640)
    with qtbot.waitExposed(canvas):
        canvas.show()
    Owner(canvas, make_state())
    canvas.table.choose_box((0, 0), (0, 0))
    qtbot.wait(50)
    painted, heading = set[tuple[int, int]](), canvas.table.heading
    paint, pinned, watch = FaderDelegate.paint_cell, canvas.table.source.top, Painted(heading.viewport())

    def note(self: FaderDelegate, painter: Any, cell: Any, row: int, column: int) -> None:
        painted.add((row, column))
        paint(self, painter, cell, row, column)

    monkeypatch.setattr(FaderDelegate, "paint_cell", note)
    for _ in range(50):  # until all is painted that the first showing asked for
        painted.clear()
        qtbot.wait(20)
        if not painted:
            break
    watch.region = QRegion()
    canvas.table.choose_box((0, 2), (0, 2))
    qtbot.wait(50)
    assert {column for row, column in painted if row < pinned} == {0, 2}
    assert heading.lit == {2}
    for column in range(heading.count()):
        middle = QPoint(heading.sectionViewportPosition(column) + heading.sectionSize(column) // 2, 3)
        assert watch.region.contains(middle) == (column in (0, 2))


def test_the_plate_keeps_its_ends() -> None:
    flat = Ghost(title="a", values=np.array([0.0, 1.0]), shares=np.array([0.5, 0.5]), nodes=np.zeros((0, 2)), here=0.5,
                 is_estimate=False)  # fmt: skip
    assert flat.ends == pytest.approx((0.47, 0.53))
    plain = replace(flat, unit="ppl", shares=np.array([2.0, 4.0]))
    assert plain.ends == pytest.approx((1.9, 4.1))
