"""Two numbers of every run as points, with the Pareto front."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QFocusEvent, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.plots.clicks import Clicks, pointed_at
from widgets.plots.state import Table

_REACH = 16.0
"""Pixels around a point that count as the point."""
_BESIDE = 13
"""Pixels between a point and its words."""


def _none() -> np.ndarray:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points.

    Attributes:
        title: What it is.
        x_label: Of the axis, with its unit.
        y_label: The same upwards.
        ids: (N,) numbers of the runs.
        x: (N,) values.
        y: (N,) values.
        front: (N,) whether a point is on the Pareto front.
        names: N titles of the runs; may be empty.
        notes: What the user said about each ("★ starred, tags: good"), "" for nothing; may be empty.
        less: Whether less is better across, and upwards.
        meaning: One sentence on what the front is.
        empty: What to do while there is nothing to plot.
    """

    title: str = "Runs"
    x_label: str = ""
    y_label: str = ""
    ids: np.ndarray = field(default_factory=_none)
    x: np.ndarray = field(default_factory=_none)
    y: np.ndarray = field(default_factory=_none)
    front: np.ndarray = field(default_factory=_none)
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    less: tuple[bool, bool] = (False, False)
    meaning: str = ""
    empty: str = "No run has both numbers. Choose other columns, or score some mixes first."

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to plot."""
        return not len(self.ids)

    def table(self) -> Table:
        """The same as a table."""
        head = ("Run", self.x_label, self.y_label, "Pareto front", *(("Name", "Marks") if self.names else ()))
        rows = zip(self.ids.tolist(), self.x.tolist(), self.y.tolist(), self.front.tolist(), strict=True)
        body = ((str(n), f"{x:.6g}", f"{y:.6g}", "yes" if f else "") for n, x, y, f in rows)
        if not self.names:
            return head, tuple(body)
        words = zip(map(plain, self.names), self.notes, strict=True)
        return head, tuple((*cells, *texts) for cells, texts in zip(body, words, strict=True))


class ScatterView(QWidget):
    """Shows a `Scatter`.

    Signals:
        chosen: (number of a run, whether in addition to others) by click or Enter.
    """

    chosen = Signal(int, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Scatter()
        self._selected: frozenset[int] = frozenset()
        self._at, self._hovered = 0, -1
        self._pointer: QPointF | None = None
        self._clicks, self._is_posing = Clicks(), False
        self._order = np.zeros(0, int)
        self.plot = pg.PlotWidget(self)
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
        for side in ("left", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)
        self.front = pg.PlotCurveItem()
        self.points, self.best, self.marks = pg.ScatterPlotItem(), pg.ScatterPlotItem(), pg.ScatterPlotItem()
        for signal in (item.getViewBox().sigRangeChanged, item.getViewBox().sigResized):
            signal.connect(lambda *_: self._look())  # the plot moves under the mouse: zoom, or its first layout
        self.plot.viewport().installEventFilter(self)
        self.plot.viewport().setMouseTracking(True)
        for part in (self.front, self.points, self.best, self.marks):
            item.addItem(part)
        self.words = pg.TextItem(anchor=(0.5, 1.4))
        self.words.setZValue(30)
        item.addItem(self.words, ignoreBounds=True)
        self.marks.setZValue(20)
        self.marks.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)

    def set_state(self, state: Scatter) -> None:
        """Show other points."""
        moved = (state.x_label, state.y_label, len(state.ids)) != (
            self.state.x_label, self.state.y_label, len(self.state.ids))  # fmt: skip
        self.state = state
        self._order = np.lexsort((state.y, state.x)) if len(state.ids) else np.zeros(0, int)
        self._at, self._hovered = min(self._at, max(len(self._order) - 1, 0)), -1
        self.setAccessibleName(f"{state.title}: {len(state.ids)} points")
        self._paint()
        if moved:
            self.fit()
        self._look()

    def select(self, runs: frozenset[int]) -> None:
        """Ring these runs."""
        if runs != self._selected:
            self._selected = runs
            self._mark()

    def fit(self) -> None:
        """Show all of it."""
        if not self.state.is_empty:
            spans = [_span(values) for values in (self.state.x, self.state.y)]
            self.plot.getPlotItem().setRange(xRange=spans[0], yRange=spans[1], padding=0.06)

    def _paint(self) -> None:
        colours, state, item = theme(), self.state, self.plot.getPlotItem()
        self.plot.setBackground(QColor(colours.panel))
        for side, label in (("left", state.y_label), ("bottom", state.x_label)):
            item.getAxis(side).setTextPen(QColor(colours.text))
            item.getAxis(side).setPen(QColor(colours.line))
            item.getAxis(side).setLabel(plain(label, 60), color=colours.text)
        if state.is_empty:
            self.points.setData([], [])
            self.best.setData([], [])
            self.front.setData([], [])
        else:
            on = state.front.astype(bool)
            plain_brush = QColor(colours.dim)
            plain_brush.setAlpha(150)
            for part, rows, symbol, size, brush in ((self.points, ~on, "o", 8, plain_brush),
                                                    (self.best, on, "d", 11, QColor(colours.accent))):  # fmt: skip
                part.setData(x=state.x[rows], y=state.y[rows], data=state.ids[rows], pen=None, size=size,
                             symbol=symbol, brush=pg.mkBrush(brush))  # fmt: skip
            pen = pg.mkPen(QColor(colours.accent), width=1.5, style=Qt.PenStyle.DashLine)
            self.front.setData(*_stairs(state), pen=pen)
        self._mark()

    def _mark(self) -> None:
        """Rings around what is selected and where the keyboard and the mouse are."""
        state = self.state
        rows = [i for i, n in enumerate(state.ids.tolist()) if n in self._selected] if self._selected else []
        pens = [pg.mkPen(QColor(theme().selection), width=2.5)] * len(rows)
        here = int(self._order[self._at]) if self.hasFocus() and len(self._order) and not self._is_posing else -1
        self.words.setVisible(here >= 0)
        if here >= 0:
            self._say(here)
            rows.append(here)
            pens.append(pg.mkPen(QColor(theme().text), width=2))
        if 0 <= self._hovered < len(state.ids) and not self._is_posing:
            rows.append(self._hovered)
            pens.append(pg.mkPen(QColor(theme().text), width=1.5))
        self.marks.setData(x=[state.x[i] for i in rows], y=[state.y[i] for i in rows], size=17, symbol="o", pen=pens,
                           brush=[pg.mkBrush(None)] * len(rows))  # fmt: skip

    def _say(self, at: int) -> None:
        """Write beside a point what it is."""
        self.words.setText(self.text(at), QColor(theme().text))
        self.words.fill = pg.mkBrush(QColor(theme().raised))
        self.words.border = pg.mkPen(QColor(theme().line))
        box, tall = self.plot.getPlotItem().getViewBox(), self.words.textItem.boundingRect().height()
        (left, right), (_, high) = box.viewRange()
        x, y = float(self.state.x[at]), float(self.state.y[at])
        side = min(max((x - left) / max(right - left, 1e-30), 0.0), 1.0)
        above, gap = (high - y) / max(box.viewPixelSize()[1], 1e-30), _BESIDE / max(tall, 1.0)
        self.words.setAnchor((side, 1 + gap if above > tall + _BESIDE else -gap))
        self.words.setPos(x, y)

    def text(self, at: int) -> str:
        """A point in words: number and name, both values, star and tags, and whether nothing beats it."""
        state = self.state
        name = plain(state.names[at], 80) if state.names else ""
        lines = [f"Run {int(state.ids[at])}{f': {name}' if name else ''}",
                 f"{plain(state.x_label, 60)}: {_number(state.x[at])}",
                 f"{plain(state.y_label, 60)}: {_number(state.y[at])}",
                 state.notes[at] if state.notes else "", "On the Pareto front" if state.front[at] else ""]  # fmt: skip
        return "\n".join(line for line in lines if line)

    # Mouse and keys ------------------------------------------------------------------------------------------

    def point_at(self, place: QPointF) -> int:
        """Row of the nearest point to a place in the viewport, -1 if none is near."""
        box, state = self.plot.getPlotItem().getViewBox(), self.state
        scene = self.plot.mapToScene(place.toPoint())
        if state.is_empty or not box.sceneBoundingRect().contains(scene):
            return -1
        at, (wide, tall) = box.mapSceneToView(scene), box.viewPixelSize()
        gaps = np.hypot((state.x - at.x()) / wide, (state.y - at.y()) / tall)
        nearest = int(np.argmin(gaps))
        return nearest if gaps[nearest] <= _REACH else -1

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Say what is under the mouse; a click chooses it."""
        if (place := pointed_at(event)) is not None:
            self._pointer = place
            self._look()
        elif isinstance(event, QMouseEvent) and self._clicks.ends_with(event):
            self.setFocus()
            at = self.point_at(event.position())
            if at >= 0:
                self._at = int(np.flatnonzero(self._order == at)[0])
                self._mark()
                self.chosen.emit(int(self.state.ids[at]), bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier))
        elif event.type() == QEvent.Type.MouseButtonDblClick:
            self.fit()
        elif event.type() == QEvent.Type.Leave:
            self._pointer = None
            self._look()
        return False

    def _look(self) -> None:
        """Say what is under the mouse; after a change of the points too, which the mouse need not notice."""
        at = self.point_at(self._pointer) if self._pointer is not None else -1
        self.plot.setToolTip(tip(self.text(at)) if at >= 0 else "")
        if at != self._hovered:
            self._hovered = at
            self._mark()

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._is_posing = is_posing
        self._mark()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right walk the points, Enter chooses one (Ctrl adds), 0 shows all."""
        key, add = event.key(), bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and len(self._order):
            self._at = min(max(self._at + (1 if key == Qt.Key.Key_Right else -1), 0), len(self._order) - 1)
            here = int(self._order[self._at])
            self.setAccessibleDescription(plain(self.text(here)))
            self._mark()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and len(self._order):
            self.chosen.emit(int(self.state.ids[self._order[self._at]]), add)
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show where the keyboard is."""
        super().focusInEvent(event)
        self._mark()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide it again."""
        super().focusOutEvent(event)
        self._mark()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()


def _number(value: float) -> str:
    """Four digits, and no power of ten for what people count."""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}".replace("-", "−")


def _span(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value, never the same."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5 * max(abs(low), 1.0), high + 0.5 * max(abs(high), 1.0))


def _stairs(state: Scatter) -> tuple[np.ndarray, np.ndarray]:
    """The border of what the front beats: from point to point by the corner that is worse in both."""
    rows = np.flatnonzero(state.front)
    rows = rows[np.lexsort((state.y[rows], state.x[rows]))]
    x, y = [float(v) for v in state.x[rows]], [float(v) for v in state.y[rows]]
    path = [(a, b) for a, b in zip(x[:1], y[:1], strict=True)]
    for at in range(1, len(rows)):
        worse_x = max if state.less[0] else min
        worse_y = max if state.less[1] else min
        path += [(worse_x(x[at - 1], x[at]), worse_y(y[at - 1], y[at])), (x[at], y[at])]
    return np.array([p[0] for p in path]), np.array([p[1] for p in path])
