"""Stacked bars: the shares of every column, with the parts that a method would leave out in grey."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QFocusEvent, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.colours import HUES
from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.plots.clicks import Clicks
from widgets.plots.keys import moved_view
from widgets.plots.legend import Key, Legend
from widgets.plots.marks import Box, Outline
from widgets.plots.selected import Marks, runs
from widgets.plots.state import Bars, equal, shown

_WIDTH = 0.82
_LONGEST = 26
"""Letters of a name in the legend."""

_AGAIN = Qt.BrushStyle.Dense3Pattern
"""Fills what has a hue that an earlier expert has, too."""
_GRAB = 8
"""Pixels around the line of k within which it can be grabbed."""


class BarsView(QWidget):
    """Shows `Bars`.

    Signals:
        partChosen: (column, part), by click or Enter.
        cutDragged: (k, gesture) while the line is dragged or moved by keys.
    """

    partChosen = Signal(int, int)
    cutDragged = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Bars(title="")
        self._column, self._part = 0, -1
        self._marks, self._outline, self._cursor = Marks(), Outline(), Outline()
        self._line = pg.PlotCurveItem()
        self._label = pg.TextItem(anchor=(0.0, 0.5))
        self._dragging, self._gesture, self._clicks = False, 0, Clicks()
        self.plot = pg.PlotWidget(self, enableMenu=False)
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.setMouseEnabled(x=True, y=False)
        item.getAxis("left").enableAutoSIPrefix(False)
        self._legend = Legend()
        self.plot.viewport().installEventFilter(self)
        self.plot.viewport().setMouseTracking(True)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._legend)
        layout.addWidget(self.plot, 1)

    def set_state(self, state: Bars) -> None:
        """Show other bars."""
        if equal(state, self.state, "meaning", "title"):
            self.state = state
            self.setAccessibleName(state.title)
            return
        same = state.columns == self.state.columns and (state.cut is None) == (self.state.cut is None)
        self.state = state
        self.setAccessibleName(state.title)
        self._paint()
        if not same:
            self.fit()

    def set_marks(self, marks: Marks) -> None:
        """Outline the selected columns and parts."""
        self._marks = marks
        self._mark()

    def _mark(self) -> None:
        """Frames around what is selected, and around the cursor of the keyboard."""
        marks, state = self._marks, self.state
        columns = [c for c, name in enumerate(state.columns) if name in marks.layers]
        parts = [k for k in range(len(state.parts)) if self._is_marked(k)]
        if not parts and marks.every_layer:
            columns = []
        tops = 100 * np.cumsum(state.values, axis=1) if state.values.size else np.zeros((0, 0))
        boxes = [self._box(tops, c, a, b) for c in columns for a, b in (runs(parts) or [(0, len(state.parts) - 1)])]
        self._outline.show_boxes(boxes)
        here = 0 <= self._column < len(state.columns) and 0 <= self._part < len(state.parts) and self.hasFocus()
        self._cursor.show_boxes([self._box(tops, self._column, self._part, self._part)] if here else [])

    def _is_marked(self, part: int) -> bool:
        """Whether a part is about the selection: its role, or the one expert that it belongs to."""
        marks, state = self._marks, self.state
        if marks.role and marks.role != "only":
            return part < len(state.roles) and state.roles[part] == marks.role
        return part < len(state.part_experts) and not marks.every_expert and marks.hits(state.part_experts[part])

    def _box(self, tops: np.ndarray, column: int, first: int, last: int) -> Box:
        low = float(tops[column, first - 1]) if first else 0.0
        return column - _WIDTH / 2, column + _WIDTH / 2, low, float(tops[column, last])

    def fit(self) -> None:
        """Show all columns."""
        columns = max(len(self.state.columns), 1)
        room = 0.06 * columns if self.state.cut is not None else 0.0  # for the label beside the line of k
        self.plot.getPlotItem().getViewBox().setRange(
            xRange=(-0.6, columns - 0.4 + room), yRange=(-3, 103), padding=0.01
        )

    def _paint(self) -> None:
        colours, state, item = theme(), self.state, self.plot.getPlotItem()
        self.plot.setBackground(QColor(colours.panel))
        item.clear()
        for side in ("left", "bottom"):
            item.getAxis(side).setTextPen(QColor(colours.text))
            item.getAxis(side).setPen(QColor(colours.line))
        item.getAxis("left").setLabel("weights, %", color=colours.text)  # after the pen
        item.getAxis("bottom").setTicks([[(i, plain(name)[:14]) for i, name in enumerate(state.columns)]])
        below = np.zeros(len(state.columns))
        for k in range(len(state.parts)):
            height = 100 * state.values[:, k]
            bars = pg.BarGraphItem(x=np.arange(len(below)), y0=below, height=height, width=_WIDTH, brush=self._brush(k),
                                   pen=pg.mkPen(QColor(colours.panel), width=1))  # fmt: skip
            item.addItem(bars)
            below = below + height
        self._draw_cut()
        item.addItem(self._outline)
        item.addItem(self._cursor)
        self._mark()
        self._legend.show_keys([
            Key(name=part, label=plain(part, _LONGEST), short=plain(short, _LONGEST), brush=self._brush(k))
            for k, (part, short) in enumerate(zip(state.parts, state.short or state.parts, strict=True))
        ])  # fmt: skip

    def _draw_cut(self) -> None:
        """The line below which Consensus drops everything; it can be dragged."""
        state, item, colour = self.state, self.plot.getPlotItem(), QColor(theme().selection)
        if state.cut is None or not state.columns:
            return
        heights = 100 * state.below(state.cut)
        x = np.ravel([[c - 0.5, c + 0.5] for c in range(len(heights))])
        self._line.setData(x, np.repeat(heights, 2), pen=pg.mkPen(colour, width=2, style=Qt.PenStyle.DashLine))
        self._label.setText(f"k = {state.cut}", color=colour)
        self._label.setPos(float(x[-1]), float(heights[-1]))
        item.addItem(self._line)
        item.addItem(self._label)

    def cut_at(self, column: int, y: float) -> int:
        """The k whose line is nearest to a height (in percent) in a column."""
        levels = range(max(self.state.levels, default=0) + 2)
        return min(levels, key=lambda k: (abs(100 * float(self.state.below(k)[column]) - y), k))

    def _drag(self, event: QMouseEvent, x: float, y: float) -> bool:
        """Grab, move and leave the line; whether the event was about it."""
        state, column = self.state, round(x)
        if state.cut is None or not state.levels:
            return False
        if event.type() == QEvent.Type.MouseButtonPress and event.button() == Qt.MouseButton.LeftButton:
            tall = self.plot.getPlotItem().getViewBox().viewPixelSize()[1]
            inside = 0 <= column < len(state.columns)
            self._dragging = inside and abs(100 * float(state.below(state.cut)[column]) - y) < _GRAB * abs(tall)
            return self._dragging
        if not self._dragging:
            return False
        if event.type() == QEvent.Type.MouseMove:
            k = self.cut_at(min(max(column, 0), len(state.columns) - 1), y)
            if k != state.cut:
                self.cutDragged.emit(k, f"cut line {id(self)} {self._gesture}")
        elif event.type() == QEvent.Type.MouseButtonRelease:
            self._dragging, self._gesture = False, self._gesture + 1
        return True

    def _brush(self, part: int) -> QBrush:
        if part in self.state.dropped:
            return QBrush(QColor(theme().dim), Qt.BrushStyle.BDiagPattern)
        experts = self.state.part_experts[part] if part < len(self.state.part_experts) else ()
        again = len(experts) == 1 and experts[0] >= HUES  # the hue of an earlier expert
        return QBrush(QColor(self.state.colours[part]), _AGAIN if again else Qt.BrushStyle.SolidPattern)

    def part_at(self, x: float, y: float) -> tuple[int, int]:
        """(column, part) at a place of the plot, (-1, -1) for none."""
        column = round(x)
        if not 0 <= column < len(self.state.columns) or abs(x - column) > _WIDTH / 2 or y < 0:
            return -1, -1
        tops = np.cumsum(100 * self.state.values[column])
        part = int(np.searchsorted(tops, y, side="right"))
        return (column, part) if part < len(tops) else (-1, -1)

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Hover and clicks on the plot."""
        if isinstance(event, QMouseEvent):
            at = self.plot.getPlotItem().getViewBox().mapSceneToView(self.plot.mapToScene(event.position().toPoint()))
            if self._drag(event, at.x(), at.y()):
                return True
            column, part = self.part_at(at.x(), at.y())
            was_click = self._clicks.ends_with(event)
            if event.type() == QEvent.Type.MouseMove:
                self.plot.setToolTip(tip(self.sentence(column, part)))
            elif was_click and column >= 0:
                self.setFocus()
                self._column, self._part = column, part
                self.partChosen.emit(column, part)
        return False

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._cursor.setVisible(not is_posing)

    def sentence(self, column: int, part: int) -> str:
        """A segment in words."""
        if column < 0:
            return ""
        share = shown(float(self.state.values[column, part]), "%")
        return f"{self.state.columns[column]}, {self.state.parts[part]}: {share}"

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows walk columns and parts, Enter or a digit chooses, [ ] move k, + − zoom, Shift moves, 0 shows all."""
        steps = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1)}
        state, key, text = self.state, event.key(), event.text()
        if moved_view(event, self.plot.getPlotItem().getViewBox(), tall=False):
            return
        if key in steps and state.columns:
            across, up = steps[Qt.Key(key)]
            self._column = min(max(self._column + across, 0), len(state.columns) - 1)
            self._part = min(max(self._part + up, 0 if up else -1), len(state.parts) - 1)
            self._tell()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._part >= 0 and state.columns:
            self.partChosen.emit(self._column, self._part)
        elif text.isdigit() and 0 < int(text) <= len(state.parts) and state.columns:
            self._part = int(text) - 1
            self.partChosen.emit(self._column, self._part)
        elif text in ("[", "]") and text and state.cut is not None:
            top = max(state.levels, default=0) + 1
            self.cutDragged.emit(min(max(state.cut + (1 if text == "]" else -1), 0), top), "")
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def _tell(self) -> None:
        """Say what the cursor is on."""
        parts = [self._part] if self._part >= 0 else range(len(self.state.parts))
        words = [self.sentence(self._column, k) for k in parts]
        self.plot.setToolTip(tip("\n".join(words)))
        self.setAccessibleDescription("; ".join(words))
        self._mark()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide the cursor."""
        super().focusOutEvent(event)
        self._mark()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()
