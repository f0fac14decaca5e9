"""Lines over one number, with intervals and a cursor: scores along a sweep, scores step by step."""

from __future__ import annotations

from html import escape
from typing import cast

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QPen
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.text import plain
from widgets.common.theme import theme
from widgets.desk.inks import expert_line
from widgets.plots.dashes import dash_of, mark_of
from widgets.plots.legend import Key, Legend
from widgets.plots.pointed import PointedView
from widgets.plots.sweep_values import Line, Lines


class LinesView(PointedView):
    """Shows `Lines`; stops of the cursor can be chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Lines(title="")
        self._names = tuple[str, ...]()
        self._parts: list[tuple[pg.PlotDataItem, pg.ErrorBarItem]] = []
        self._legend = Legend()
        self._cursor, self._home = pg.InfiniteLine(angle=90), pg.InfiniteLine(angle=90)
        for line in (self._home, self._cursor):
            self.plot.addItem(line, ignoreBounds=True)
            line.hide()
        layout = cast("QVBoxLayout", self.layout())
        layout.setSpacing(2)
        layout.insertWidget(0, self._legend)
        layout.setStretch(1, 1)

    def set_state(self, state: Lines) -> None:
        """Show other lines; those of the same names are only moved."""
        self.state = state
        self._at = min(self._at, len(state.stops) - 1)
        self.setAccessibleName(state.title)
        names = tuple(line.name for line in state.lines)
        if names != self._names:
            self._make(state)
            self._names = names
        for (curve, bars), line in zip(self._parts, state.lines, strict=True):
            curve.setData(line.x, line.y)
            if len(line.low):
                fine = np.isfinite(line.y)
                y = line.y[fine]
                bars.setData(x=line.x[fine], y=y, top=line.high[fine] - y, bottom=y - line.low[fine])
        self._home.setVisible(bool(np.isfinite(state.here)))
        if np.isfinite(state.here):
            self._home.setValue(state.here)
        self.say_again(state.words)

    def _make(self, state: Lines) -> None:
        """Curves, bars and legend anew, in the theme's colours."""
        colours, item = theme(), self.plot.getPlotItem()
        self.plot.setBackground(QColor(colours.panel))
        for curve, bars in self._parts:
            item.removeItem(curve)
            item.removeItem(bars)
        self._legend.show_keys([Key(name=line.name, label=plain(line.name, 40), short=plain(line.name, 12),
                                    pen=self._pen(line)) for line in state.lines])  # fmt: skip
        self._parts = [self._part(line) for line in state.lines]
        for side, label in (("left", state.y_label), ("bottom", state.x_label)):
            axis = item.getAxis(side)
            axis.setTextPen(QColor(colours.text))
            axis.setPen(QColor(colours.line))
            axis.setLabel(escape(plain(label, 60)), color=colours.dim)
        self._cursor.setPen(pg.mkPen(QColor(colours.warning), width=2))
        self._home.setPen(pg.mkPen(QColor(colours.selection), width=2, style=Qt.PenStyle.DotLine))

    @staticmethod
    def _pen(line: Line) -> QPen:
        ink = QColor(theme().text) if line.tone < 0 else expert_line(line.tone)
        style = Qt.PenStyle.DashLine if line.dashed else dash_of(max(line.tone, 0))
        made: QPen = pg.mkPen(ink, width=3 if line.thick else 1.5, style=style)
        return made

    def _part(self, line: Line) -> tuple[pg.PlotDataItem, pg.ErrorBarItem]:
        pen = self._pen(line)
        ink = pen.color()
        mark = None if line.dashed else mark_of(line.tone)
        curve = pg.PlotDataItem(pen=pen, symbol=mark, symbolSize=9 if line.thick else 7, symbolBrush=ink,
                                symbolPen=None)  # fmt: skip
        bars = pg.ErrorBarItem(beam=0.0, pen=pg.mkPen(ink, width=1))
        self.plot.addItem(curve)
        self.plot.addItem(bars)
        return curve, bars

    def fit(self) -> None:
        """Show all of it."""
        self.plot.getPlotItem().autoRange()
        self.plot.getPlotItem().enableAutoRange()

    # Cursor --------------------------------------------------------------------------------------------------

    def point_at(self, place: QPointF) -> int:
        """The nearest stop to a place in the viewport, -1 if there are none."""
        if not self.state.stops:
            return -1
        at = self.plot.getPlotItem().getViewBox().mapSceneToView(self.plot.mapToScene(place.toPoint())).x()
        return int(np.argmin(np.abs(np.array(self.state.stops) - at)))

    def step(self, key: int) -> bool:
        """Left and right move the cursor."""
        last = len(self.state.stops) - 1
        if key not in (Qt.Key.Key_Left, Qt.Key.Key_Right) or last < 0:
            return False
        self.move_to(min(max(self._at + (-1 if key == Qt.Key.Key_Left else 1), 0), last))
        return True

    def move_to(self, index: int) -> None:
        """Put the cursor on a stop; -1 for none."""
        self._at = index
        inside = 0 <= index < len(self.state.stops)
        self._cursor.setVisible(inside)
        if inside:
            self._cursor.setValue(self.state.stops[index])
        self.say(self.state.words)

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._cursor.setVisible(not is_posing and 0 <= self._at < len(self.state.stops))

    def follow_theme(self) -> None:
        """Paint in the present colours."""
        self._names = ()
        self.set_state(self.state)
