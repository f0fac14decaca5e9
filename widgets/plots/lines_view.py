"""Lines over one number, with intervals and a cursor: scores along a sweep, scores step by step."""

from __future__ import annotations

from html import escape

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QColor, QKeyEvent, QMouseEvent, QPen
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import expert_line
from widgets.plots.legend import Key, Legend
from widgets.plots.sweep_values import Line, Lines


class LinesView(QWidget):
    """Shows `Lines`.

    Signals:
        chosen: Index of a stop, by click or Enter.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Lines(title="")
        self._at, self._names = -1, tuple[str, ...]()
        self._parts: list[tuple[pg.PlotDataItem, pg.ErrorBarItem]] = []
        self.plot = pg.PlotWidget(self)
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
        for side in ("left", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)
        self._legend = Legend()
        self._cursor, self._home = pg.InfiniteLine(angle=90), pg.InfiniteLine(angle=90)
        for line in (self._home, self._cursor):
            item.addItem(line, ignoreBounds=True)
            line.hide()
        self.plot.viewport().installEventFilter(self)
        self.plot.viewport().setMouseTracking(True)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._legend)
        layout.addWidget(self.plot, 1)

    def set_state(self, state: Lines) -> None:
        """Show other lines; those of the same names are only moved."""
        self.state = state
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
        style = Qt.PenStyle.DashLine if line.dashed else Qt.PenStyle.SolidLine
        made: QPen = pg.mkPen(ink, width=3 if line.thick else 1.5, style=style)
        return made

    def _part(self, line: Line) -> tuple[pg.PlotDataItem, pg.ErrorBarItem]:
        pen = self._pen(line)
        ink = pen.color()
        curve = pg.PlotDataItem(pen=pen, symbol=None if line.dashed else "o", symbolSize=9 if line.thick else 6,
                                symbolBrush=ink, symbolPen=None)  # fmt: skip
        bars = pg.ErrorBarItem(beam=0.0, pen=pg.mkPen(ink, width=1))
        self.plot.addItem(curve)
        self.plot.addItem(bars)
        return curve, bars

    def fit(self) -> None:
        """Show all of it."""
        self.plot.getPlotItem().autoRange()
        self.plot.getPlotItem().enableAutoRange()

    # Cursor --------------------------------------------------------------------------------------------------

    def _stop_at(self, place: QPointF) -> int:
        if not self.state.stops:
            return -1
        at = self.plot.getPlotItem().getViewBox().mapSceneToView(self.plot.mapToScene(place.toPoint())).x()
        return int(np.argmin(np.abs(np.array(self.state.stops) - at)))

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Hover and clicks on the plot."""
        if isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseMove and not event.buttons():
            self.move_to(self._stop_at(event.position()))
        elif isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseButtonRelease:
            self.setFocus()
            at = self._stop_at(event.position())
            if at >= 0 and event.button() == Qt.MouseButton.LeftButton:
                self.move_to(at)
                self.chosen.emit(at)
        elif event.type() == QEvent.Type.MouseButtonDblClick:
            self.fit()
        return False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right move the cursor, Enter chooses, 0 shows all."""
        key, last = event.key(), len(self.state.stops) - 1
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and last >= 0:
            step = -1 if key == Qt.Key.Key_Left else 1
            self.move_to(min(max(self._at + step, 0), last))
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and 0 <= self._at <= last:
            self.chosen.emit(self._at)
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def move_to(self, index: int) -> None:
        """Put the cursor on a stop; -1 for none."""
        self._at = index
        inside = 0 <= index < len(self.state.stops)
        self._cursor.setVisible(inside)
        if inside:
            self._cursor.setValue(self.state.stops[index])
        words = self.state.words[index] if 0 <= index < len(self.state.words) else ""
        self.plot.setToolTip(tip(words))
        if self.hasFocus() and words:
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, words))

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._names = ()
            self.set_state(self.state)
