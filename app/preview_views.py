"""The live preview on the desk: tints of the faders, the curve of a held one, words on hover and for the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from PySide6.QtGui import QMouseEvent

from app.columns import Column
from app.preview_controller import PreviewController
from app.preview_drawn import of_one_unit
from app.preview_examples import ExamplesController
from app.preview_state import Pairs, cell_slopes, members, pairs_of, weighted
from engine.evaluate.measures import Measure
from engine.preview.basis import Floats
from engine.preview.curve import Curve
from engine.preview.surrogate import Slopes
from widgets.desk.ghost import Ghost, GhostCurve
from widgets.desk.state import Cell
from widgets.desk.wording import one_line, place

if TYPE_CHECKING:
    from app.desk import Desk

_FRAME_MS = 16
_PRESS_MS = 10
"""After a press the table selects and is painted; only then is the curve asked for."""


class PreviewViews(QObject):
    """What the desk shows of the live preview.

    Args:
        desk: The assembled desk.
        preview: The live preview.
    """

    def __init__(self, desk: Desk, preview: PreviewController) -> None:
        super().__init__(desk)
        self._desk, self._preview = desk, preview
        self._canvas = desk.window.canvas
        self._table = self._canvas.table
        self.ghost = GhostCurve(self._canvas)
        self.task = ""
        self._slopes: Slopes | None = None
        self._tinted_of: tuple[object, ...] = ()
        self._member: tuple[tuple[Column, ...], Floats] | None = None
        self._held: tuple[Cell, ...] = ()
        self._later = QTimer(self, interval=_FRAME_MS, singleShot=True)
        self._later.timeout.connect(self.tint)
        self._table.source.remark = self.remark
        desk.window.status_right.setMinimumWidth(1)  # a long sentence must not widen the window
        self._table.viewport().installEventFilter(self)
        self._table.hovered.connect(self._hover)
        self._table.currentMoved.connect(self._on_current)
        self._canvas.coefficientsEdited.connect(self._on_edited)
        self._canvas.gestureFinished.connect(lambda _: self.release())
        self._canvas.gestureCancelled.connect(lambda _: self.release())
        preview.slopesChanged.connect(self._later.start)
        preview.curveChanged.connect(self._show_curve)
        preview.estimated.connect(self._follow)
        desk.workspace.store.recipeChanged.connect(self._later.start)
        desk.window.scores.taskChosen.connect(self.choose)
        self._canvas.groupingChanged.connect(self._later.start)
        self._canvas.columnExpandToggled.connect(self._later.start)

    def choose(self, task: str) -> None:
        """Show tints and curves of a task, or of the average ("")."""
        self.task = task
        self.tint()
        self._show_curve()

    def _looked_at(self, curve: Curve) -> tuple[str, Measure]:
        """Name and measure of the task that is looked at, or of the average of those of one unit."""
        task = next((t for t in curve.tasks if t.name == self.task), None)
        if task is not None:
            return task.name, task.measure
        alike = of_one_unit(curve.tasks)
        return (f"Average of {len(alike)} tasks" if len(alike) > 1 else alike[0].name), alike[0].measure

    def _columns(self) -> tuple[Column, ...]:
        return self._desk.desk.columns

    # Tints and words -----------------------------------------------------------------------------------------

    def tint(self) -> None:
        """Colour every fader by what moving it up would do."""
        slopes, gain, frame = self._preview.slopes(), self._preview.gain(), self._preview.frame()
        columns = self._columns()
        made_of = (slopes, gain, frame, columns, self.task)
        if all(a is b for a, b in zip(made_of, self._tinted_of, strict=False)) and self._tinted_of:
            return  # a fader that moves changes none of them
        self._tinted_of = made_of
        shown = np.zeros((0, 0))
        self._slopes = None
        if slopes is not None and gain is not None and frame is not None and columns:
            if self._member is None or self._member[0] is not columns:
                self._member = columns, members(columns, frame.layout)
            self._slopes = weighted(slopes, gain)
            found = cell_slopes(slopes, gain, self._member[1], self.task)
            top = float(np.nanmax(np.abs(found))) if not np.isnan(found).all() else 0.0
            shown = np.nan_to_num(found / top) if top > 1e-6 else np.zeros_like(found)
        if not np.array_equal(shown, self._table.painter.slopes):
            self._table.painter.slopes = shown
            self._table.viewport().update()

    def pairs(self, row: int, column: int) -> Pairs:
        """The coefficients behind a cell."""
        frame = self._preview.frame()
        return pairs_of(self._columns(), frame.layout, row, column) if frame is not None else ()

    def remark(self, row: int, column: int) -> str:
        """What moving a fader up does: "up helps trec6, hurts sst2"; "" where nothing is known."""
        pairs = self.pairs(row, column)
        if self._slopes is None or not pairs or row >= self._slopes.values.shape[1]:
            return ""
        if any(np.isnan(self._slopes.values[:, t, g]).all() for t, g in pairs):
            return ""
        return self._slopes.words(pairs)

    def _hover(self, row: int, column: int) -> None:
        """Say it in the status bar: of the cell under the pointer, else of the one with the keyboard."""
        if row < 0 and self._table.current is not None and self._table.hasFocus():
            row, column = self._table.current
        state, words = self._table.source.state, self.remark(row, column) if row >= 0 else ""
        known = words and row < len(state.experts) and column < len(state.columns)
        text = f"{one_line(state.experts[row].name)}, {place(state.columns[column])}: {words}" if known else ""
        self._say(text)

    def _say(self, text: str) -> None:
        label, room = self._desk.window.status_right, self._desk.window.width() // 2
        label.setText(label.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room))

    def _on_current(self) -> None:
        here = self._table.current
        if here is not None:
            self._hover(*here)

    # The held fader ------------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Note presses and releases on faders; every event goes on."""
        if isinstance(event, QMouseEvent) and event.button() == Qt.MouseButton.LeftButton:
            if event.type() == QEvent.Type.MouseButtonPress:
                spot = self._table.spot_at(event.position().toPoint())
                if spot is not None and not event.modifiers():
                    QTimer.singleShot(_PRESS_MS, lambda: self._press_spot(spot))  # the selection is painted first
            elif event.type() == QEvent.Type.MouseButtonRelease:
                self.release()
        return False

    def _press_spot(self, spot: tuple[int, int]) -> None:
        table = self._table
        if table.mouse.mode not in ("pressed", "value") or table.source.state.is_empty:
            return
        spots = table.spots if table.chosen[spot] else (spot,)
        first = [spot, *(s for s in spots if s != spot)]
        self._press([(table.source.state.experts[r].id, c) for r, c in first])

    def _on_edited(self, cells: Sequence[Cell], values: Sequence[float], text: str, gesture: str) -> None:
        """A step by keyboard or wheel takes the fader, too."""
        if gesture and not self._held and self._table.wishes.in_burst:
            self._press(list(cells))

    def _press(self, cells: Sequence[Cell]) -> None:
        state = self._table.source.state
        rows = {e.id: i for i, e in enumerate(state.experts)}
        pairs = [pair for expert, column in cells for pair in self.pairs(rows[expert], column)]
        if not pairs or state.fixed:
            return
        self._held = tuple(cells)
        value = self._value()
        self._preview.press(tuple(pairs), min(state.low - value, 0.0), max(state.high - value, 0.0))

    def release(self) -> None:
        """The fader was let go."""
        was_held, self._held = self._held, ()
        self.ghost.clear()
        self._preview.release()
        if was_held:  # no longer what the score would be where the fader was
            self._say("")
            self._on_current()

    def _value(self) -> float:
        """Where the first held fader is."""
        state = self._table.source.state
        row, column = state.row_of(self._held[0][0]), self._held[0][1]
        return float(state.values[row, column])

    def _show_curve(self) -> None:
        """Draw the curve of the held fader, if there is one."""
        curve, gain, state = self._preview.curve, self._preview.gain(), self._table.source.state
        if curve is None or gain is None or not self._held or self._table.painter.face == "curve":
            self.ghost.clear()
            return
        unit = float(gain[curve.cell.experts[0], curve.cell.groups[0]])
        point = self._preview.point()
        moved = (curve.amount(point) or 0.0) / unit if point is not None and unit else 0.0
        drawn = self._preview.drawn
        if drawn is None or drawn.curve is not curve:
            return
        origin, here = self._value() - moved, self._value()
        (title, measure), (shares, at_nodes) = self._looked_at(curve), drawn.of(self.task)
        nodes, values = np.stack([origin + curve.amounts / unit, at_nodes], axis=1), origin + drawn.amounts / unit
        if unit < 0:
            values, shares = values[::-1], shares[::-1]
        estimate = self._preview.is_sketch
        ghost = Ghost(title=title, values=values, shares=shares, here=here, is_estimate=estimate,
                      nodes=np.zeros((0, 2)) if estimate else nodes, unit=measure.unit, places=measure.places,
                      higher_is_better=measure.higher_is_better)  # fmt: skip
        expert, column = self._held[0]
        cell = self._canvas.cellRect(expert, column)
        corner = self._canvas.mapFromGlobal(cell.topLeft())
        cell.moveTopLeft(corner)
        low, high = float(cell.bottom()), float(cell.top())
        if self._table.painter.face == "faders":
            low, high = (self._y_of(expert, column, v) for v in (state.low, state.high))
        self.ghost.show_beside(cell, low, high, ghost)
        self._say(ghost.sentence)

    def _y_of(self, expert: str, column: int, value: float) -> float:
        at: QPoint = self._canvas.mapFromGlobal(self._canvas.faderPoint(expert, column, value))
        return float(at.y())

    def _follow(self) -> None:
        if self._held and self.ghost.ghost is not None:
            self.ghost.move_to(self._value())
            self._say(self.ghost.ghost.sentence)


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the live preview; its switches."""
    preview = desk.scores.preview = desk.preview
    scores = QTimer(desk, interval=_FRAME_MS, singleShot=True)
    scores.timeout.connect(desk.scores.refresh)
    preview.estimated.connect(lambda: scores.start(0))  # estimates are rare enough by themselves
    preview.changed.connect(lambda: scores.isActive() or scores.start(_FRAME_MS))
    PreviewViews(desk, preview)
    examples = ExamplesController(desk, preview)
    commands, workspace = desk.window.commands, desk.workspace
    commands.check("view.live", workspace.settings.live)
    workspace.settingsChanged.connect(lambda s: commands.check("view.live", s.live))
    return {
        "view.live": lambda on: workspace.change_settings(live=on),
        "view.examples": examples.show,
    }
