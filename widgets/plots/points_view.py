"""Points in a plane of two scores, or in a triangle of three experts' shares; each can be chosen."""

from __future__ import annotations

import math
from html import escape
from typing import cast

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QTextOption
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.pieces import row
from widgets.common.text import plain
from widgets.common.theme import theme
from widgets.desk.inks import readable_on
from widgets.plots import colour_maps
from widgets.plots.pointed import PointedView
from widgets.plots.ramp import Ramp
from widgets.plots.state import Heat
from widgets.plots.sweep_values import Points

_REACH = 22
"""Pixels around a point that count as the point."""
_TOP = math.sqrt(3) / 2
_HEX = 42
"""Pixels across a point of a triangle."""


class PointsView(PointedView):
    """Shows `Points`; each can be chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Points(title="")
        self._count = -1
        self._front, self._edge = pg.PlotCurveItem(), pg.PlotCurveItem()
        self._dots, self._ring, self._home = pg.ScatterPlotItem(), pg.ScatterPlotItem(), pg.ScatterPlotItem()
        self._front.setZValue(-2)
        for part in (self._edge, self._front, self._dots, self._home, self._ring):
            self.plot.addItem(part)
        self._texts: list[pg.TextItem] = []
        self._ramp = Ramp()
        layout = cast("QVBoxLayout", self.layout())
        layout.removeWidget(self.plot)
        beside = row(self.plot, self._ramp, spacing=6)
        beside.setStretch(0, 1)
        layout.addLayout(beside)

    def set_state(self, state: Points) -> None:
        """Show other points; the zoom stays while their number is the same."""
        before, self._at, self.state = self._count, self._same_in(state), state
        self._count = len(state.xy)
        self.setAccessibleName(state.title)
        self._ramp.set_state(Heat(title="", rows=("",), values=state.values[None, :], low=state.low, high=state.high,
                                  unit=state.unit))  # fmt: skip
        self._paint()
        if self._count != before:
            self.fit()
        self.say_again(state.words)

    def _same_in(self, state: Points) -> int:
        """Where the cursor's point is among others; it has another index when points came before it."""
        ids = self.state.ids
        if not ids or not state.ids or not 0 <= self._at < len(ids):
            return min(self._at, len(state.xy) - 1)
        return state.ids.index(ids[self._at]) if ids[self._at] in state.ids else -1

    def fit(self) -> None:
        """Show all of it."""
        box, state = self.plot.getPlotItem().getViewBox(), self.state
        box.setAspectLocked(bool(state.corners))
        if state.corners:
            box.setRange(xRange=(-0.3, 1.3), yRange=(-0.09, _TOP + 0.09), padding=0)
        elif len(state.xy):
            low, high = state.xy.min(0), state.xy.max(0)
            pad = np.maximum((high - low) * 0.12, 1e-3)
            box.setRange(xRange=(low[0] - pad[0], high[0] + pad[0]),  # room for words on top
                         yRange=(low[1] - pad[1], high[1] + 1.5 * pad[1]), padding=0)  # fmt: skip

    # Drawing -------------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        colours, state, item = theme(), self.state, self.plot.getPlotItem()
        self.plot.setBackground(QColor(colours.panel))
        for side, label in (("left", state.y_label), ("bottom", state.x_label)):
            axis = item.getAxis(side)
            axis.setVisible(not state.corners)
            axis.setTextPen(QColor(colours.text))
            axis.setPen(QColor(colours.line))
            axis.setLabel(escape(plain(label, 60)), color=colours.dim)
        inks = colour_maps.image(state.values[None, :], state.low, state.high, diverging=False,
                                 is_dark=colours.is_dark, nothing=colours.track)[0]  # fmt: skip
        size = _HEX if state.corners else 13
        self._dots.setData(x=state.xy[:, 0], y=state.xy[:, 1], size=size,
                           brush=[pg.mkBrush(*(int(v) for v in ink)) for ink in inks],
                           pen=pg.mkPen(QColor(colours.line)), symbol="h" if state.corners else "o")  # fmt: skip
        front = state.xy[list(state.front)]
        self._front.setData(front[:, 0], front[:, 1], pen=pg.mkPen(QColor(colours.accent), width=2))
        corner = np.array([[0, 0], [1, 0], [0.5, _TOP], [0, 0]]) if state.corners else np.zeros((0, 2))
        self._edge.setData(corner[:, 0], corner[:, 1], pen=pg.mkPen(QColor(colours.line), width=1))
        here = state.xy[[state.here]] if 0 <= state.here < len(state.xy) else np.zeros((0, 2))
        self._home.setData(x=here[:, 0], y=here[:, 1], size=size + 7, symbol="s", brush=None,
                           pen=pg.mkPen(QColor(colours.selection), width=3))  # fmt: skip
        self._write(inks)
        self._show_cursor()

    def _write(self, inks: np.ndarray) -> None:
        """Numbers in a triangle's points, names beside those of a front, names at the corners."""
        state, wanted = self.state, list[tuple[str, float, float, QColor, tuple[float, float]]]()
        text = QColor(theme().text)
        for index, words in enumerate(state.texts):
            x, y = (float(v) for v in state.xy[index])
            if words and state.corners:
                wanted.append((words, x, y, readable_on(QColor(*(int(v) for v in inks[index]))), (0.5, 0.5)))
            elif words:
                wanted.append((words, x, y, text, (self._side(x), 1.2)))
        places = ((-0.1, 0, (1.0, 0.5)), (1.1, 0, (0.0, 0.5)), (0.6, _TOP, (0.0, 0.5)))
        for name, (x, y, anchor) in zip(state.corners, places, strict=False):
            wanted.append((plain(name, 24), x, y, text, anchor))
        while len(self._texts) > len(wanted):
            self.plot.removeItem(self._texts.pop())
        while len(self._texts) < len(wanted):
            made = pg.TextItem("")
            self.plot.addItem(made)
            self._texts.append(made)
        for made, (words, x, y, ink, anchor) in zip(self._texts, wanted, strict=True):
            made.setAnchor(pg.Point(*anchor))
            made.setText(words, ink)
            made.fill = pg.mkBrush(None if state.corners else QColor(theme().panel))  # the front's line passes below
            made.setZValue(1 if state.corners else -1)  # never over a point of the plane
            document = made.textItem.document()
            document.setDefaultTextOption(QTextOption(Qt.AlignmentFlag.AlignHCenter))
            document.setTextWidth(-1)  # it may have held shorter words
            document.setTextWidth(document.idealWidth())  # a star is in the middle above its number
            made.updateTextPos()
            made.setPos(x, y)

    def _side(self, x: float) -> float:
        """Which end of its words is at a point: the left one, or the right one where the plot ends."""
        low, high = float(self.state.xy[:, 0].min()), float(self.state.xy[:, 0].max())
        return 1.0 if x > (low + high) / 2 else 0.0

    def _show_cursor(self) -> None:
        at = self.state.xy[[self._at]] if 0 <= self._at < len(self.state.xy) else np.zeros((0, 2))
        self._ring.setData(x=at[:, 0], y=at[:, 1], size=_HEX + 6 if self.state.corners else 20, brush=None,
                           pen=pg.mkPen(QColor(theme().warning), width=2))  # fmt: skip

    # Choosing ------------------------------------------------------------------------------------------------

    def point_at(self, place: QPointF) -> int:
        """The nearest point to a place in the viewport, -1 if none is near."""
        if not len(self.state.xy):
            return -1
        box = self.plot.getPlotItem().getViewBox()
        pixels = [box.mapViewToScene(QPointF(float(x), float(y))) for x, y in self.state.xy]
        scene = self.plot.mapToScene(place.toPoint())
        gaps = [math.hypot(p.x() - scene.x(), p.y() - scene.y()) for p in pixels]
        nearest = int(np.argmin(gaps))
        return nearest if gaps[nearest] <= _REACH else -1

    def step(self, key: int) -> bool:
        """Arrows go to the nearest point that way."""
        ways = {Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1), Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0)}
        if key not in ways or not len(self.state.xy):
            return False
        self.move_to(self._towards(ways[Qt.Key(key)]))
        return True

    def _towards(self, way: tuple[int, int]) -> int:
        """The nearest point in a direction; the first step goes to the best one."""
        state = self.state
        if self._at < 0:
            return max(state.best, 0)
        span = np.maximum(np.ptp(state.xy, axis=0), 1e-12) if not state.corners else np.ones(2)
        gaps = (state.xy - state.xy[self._at]) / span
        ahead, aside = gaps @ np.array(way), np.abs(gaps @ np.array(way[::-1]))
        cost = np.where((ahead > 1e-9) & (aside <= 2 * ahead), ahead + 2 * aside, np.inf)
        return int(np.argmin(cost)) if np.isfinite(cost).any() else self._at

    def move_to(self, index: int) -> None:
        """Put the cursor on a point; -1 for none."""
        if index == self._at:
            return
        self._at = index
        self._show_cursor()
        self.say(self.state.words)

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._ring.setVisible(not is_posing)

    def follow_theme(self) -> None:
        """Paint in the present colours."""
        self._paint()
