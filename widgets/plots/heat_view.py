"""A heatmap with names, numbers where they fit, a cursor for mouse and keyboard, and zoom."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QColor,
    QFontMetrics,
    QKeyEvent,
    QMouseEvent,
)
from PySide6.QtWidgets import QHBoxLayout, QWidget

from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import readable_on, small
from widgets.plots import colour_maps
from widgets.plots.cell_texts import CellText, CellTexts
from widgets.plots.clicks import Clicks, pointed_at
from widgets.plots.keys import moved_view
from widgets.plots.marks import Outline, halo
from widgets.plots.ramp import Ramp
from widgets.plots.selected import Marks, runs
from widgets.plots.state import Heat

_MOST_TEXTS = 1200
_NAMES, _LEGIBLE = 0.22, 76
"""Share of the width that names of rows may take; pixels below which a part of a name says nothing."""

_SMALL = 0.8
"""Size of numbers in low cells."""


class HeatView(QWidget):
    """Shows a `Heat`.

    Signals:
        cellHovered: (row, column), or (-1, -1).
        cellChosen: (row, column), by click or Enter.
    """

    cellHovered = Signal(int, int)
    cellChosen = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Heat(title="")
        self._cursor = (-1, -1)
        self.plot = pg.PlotWidget(self, enableMenu=False)
        self._image = pg.ImageItem(axisOrder="row-major")
        self._frame = pg.PlotCurveItem()
        self._outline, self._marks = Outline(), Marks()
        self._texts, self._clicks = CellTexts(), Clicks()
        self._prepare()
        self._ramp = Ramp()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self._ramp)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def _prepare(self) -> None:
        item = self.plot.getPlotItem()
        item.invertY(True)
        item.hideButtons()
        item.addItem(self._image)
        item.addItem(self._texts, ignoreBounds=True)
        item.addItem(self._outline)
        item.addItem(self._frame)
        for side in ("left", "top"):
            item.showAxis(side)
            item.getAxis(side).enableAutoSIPrefix(False)
            item.getAxis(side).setStyle(tickLength=0)  # they would be drawn across the numbers
        item.hideAxis("bottom")
        item.getViewBox().sigRangeChanged.connect(lambda *_: self._fit_words())
        item.getViewBox().sigResized.connect(lambda *_: self._fit_words())
        self.plot.viewport().installEventFilter(self)
        self.plot.viewport().setMouseTracking(True)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def set_state(self, state: Heat) -> None:
        """Show another matrix; the zoom stays while the size is the same."""
        same = state.values.shape == self.state.values.shape
        self.state = state
        self.setAccessibleName(state.title)
        self._ramp.set_state(state)
        self._paint()
        if not same:
            self._cursor = (-1, -1)
            self.fit()
        self._show_cursor()
        self.plot.setToolTip(tip(self.sentence(*self._cursor)))  # the mouse need not move for that
        self.set_marks(self._marks)

    def set_marks(self, marks: Marks) -> None:
        """Outline the cells that are selected."""
        self._marks = marks
        self._outline.show_boxes(
            [
                (c0, c1 + 1, r0, r1 + 1)
                for rows, columns in self._marked()
                for r0, r1 in runs(rows)
                for c0, c1 in runs(columns)
            ]
        )

    def _marked(self) -> list[tuple[list[int], list[int]]]:
        """Rows and columns of the selected cells, as products."""
        marks, state = self._marks, self.state
        rows = [r for r, experts in enumerate(state.row_experts) if marks.hits(experts)]
        if state.column_experts:
            columns = [c for c, experts in enumerate(state.column_experts) if marks.hits(experts)]
            if len(marks.experts) == 1:
                return [(rows, list(range(len(state.columns)))), (list(range(len(state.rows))), columns)]
            return [(rows, columns)]
        return [(rows, [c for c, name in enumerate(state.columns) if name in marks.layers])]

    def fit(self) -> None:
        """Show all of it."""
        rows, columns = self.state.values.shape
        self.plot.getPlotItem().getViewBox().setRange(
            xRange=(0, max(columns, 1)), yRange=(0, max(rows, 1)), padding=0.01
        )

    def _paint(self) -> None:
        colours, state = theme(), self.state
        self.plot.setBackground(QColor(colours.panel))
        for side in ("left", "top"):
            axis = self.plot.getPlotItem().getAxis(side)
            axis.setTextPen(QColor(colours.text))
            axis.setPen(QColor(colours.line))
        picture = colour_maps.image(
            state.values,
            state.low,
            state.high,
            diverging=state.diverging,
            is_dark=colours.is_dark,
            nothing=colours.track,
        )
        if state.values.size:
            self._image.setImage(picture, levels=(0, 255))
            self._image.setRect(0, 0, state.values.shape[1], state.values.shape[0])
        self._image.setVisible(bool(state.values.size))
        self._write(picture)
        self._fit_words()

    def _fit_words(self) -> None:
        """Every n-th name where there is no room for all, and numbers only in cells that hold them."""
        box = self.plot.getPlotItem().getViewBox()
        wide, tall = (abs(v) for v in box.viewPixelSize())
        if not wide or not tall:
            return
        metrics = self.fontMetrics()
        line, rows = metrics.height(), list(self.state.rows)
        room = round(_NAMES * self.width())
        if self.state.short_rows and max(map(metrics.horizontalAdvance, rows), default=0) > room:
            rows = list(self.state.short_rows)
        left = [_fitted(metrics, name, room) for name in rows]
        columns = [_fitted(metrics, name, max(math.floor(1 / wide) - 9, 1)) for name in self.state.columns]
        longest = max(map(metrics.horizontalAdvance, columns), default=0) + 8
        low = line * tall > 1 and _SMALL * line * tall <= 1  # rows that hold smaller names
        every = {"left": max(1, math.ceil((_SMALL if low else 1.0) * line * tall)),
                 "top": max(1, math.ceil(longest * wide))}  # fmt: skip
        for side, names in (("left", left), ("top", columns)):
            axis = self.plot.getPlotItem().getAxis(side)
            axis.setStyle(tickFont=small(self.font(), _SMALL) if low and side == "left" else self.font())
            axis.setTicks([[(i + 0.5, name) for i, name in enumerate(names) if i % every[side] == 0]])
        share = 1.0 if tall * (line + 2) <= 1 else _SMALL
        self._texts.set_font(self.font() if share == 1.0 else small(self.font(), share))
        self._texts.setVisible(tall * (share * line + 1) <= 1 and wide * share * 3.4 * line <= 1)

    def _write(self, picture: np.ndarray) -> None:
        """Numbers in the cells, if there are few enough to be read."""
        self._texts.show_cells([
            CellText(r, c, self.state.text(r, c), readable_on(QColor(*(int(v) for v in picture[r, c]))))
            for r, c in self.written()
        ])  # fmt: skip

    def written(self) -> list[tuple[int, int]]:
        """Cells (row, column) that get a number where it fits: all of them, or none if they are many."""
        rows, columns = self.state.values.shape
        return [(r, c) for r in range(rows) for c in range(columns)] if rows * columns <= _MOST_TEXTS else []

    # Cursor --------------------------------------------------------------------------------------------------

    def cell_at(self, point: QPointF) -> tuple[int, int]:
        """The cell under a point of the plot's viewport, (-1, -1) outside."""
        at = self.plot.getPlotItem().getViewBox().mapSceneToView(self.plot.mapToScene(point.toPoint()))
        row, column = int(np.floor(at.y())), int(np.floor(at.x()))
        rows, columns = self.state.values.shape
        return (row, column) if 0 <= row < rows and 0 <= column < columns else (-1, -1)

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Hover and clicks on the plot."""
        if (place := pointed_at(event)) is not None:
            self._move_to(*self.cell_at(place))
        elif isinstance(event, QMouseEvent) and self._clicks.ends_with(event):
            self.setFocus()
            cell = self.cell_at(event.position())
            if cell != (-1, -1):
                self._move_to(*cell)
                self.cellChosen.emit(*cell)
        elif event.type() == QEvent.Type.MouseButtonDblClick:
            self.fit()
        elif event.type() == QEvent.Type.Leave and not self.hasFocus():
            self._move_to(-1, -1)
        return False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move the cursor, with Shift what is seen; Enter chooses, + and − zoom, 0 shows all."""
        steps = {Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Down: (1, 0), Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1)}
        key, box = event.key(), self.plot.getPlotItem().getViewBox()
        if moved_view(event, box):
            return
        if key in steps and self.state.values.size:
            rows, columns = self.state.values.shape
            dr, dc = steps[Qt.Key(key)]
            r, c = (max(self._cursor[0], 0), max(self._cursor[1], 0)) if self._cursor != (-1, -1) else (-dr, -dc)
            self._move_to(min(max(r + dr, 0), rows - 1), min(max(c + dc, 0), columns - 1))
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._cursor != (-1, -1):
            self.cellChosen.emit(*self._cursor)
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def _move_to(self, row: int, column: int) -> None:
        if (row, column) == self._cursor:
            return
        self._cursor = (row, column)
        self._show_cursor()
        self.cellHovered.emit(row, column)
        words = self.sentence(row, column)
        self.plot.setToolTip(tip(words))
        if self.hasFocus() and words:
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, words))

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._frame.setVisible(not is_posing)

    def sentence(self, row: int, column: int) -> str:
        """A cell in words."""
        if row < 0 or column < 0 or row >= len(self.state.rows) or column >= len(self.state.columns):
            return ""
        return f"{self.state.rows[row]}, {self.state.columns[column]}: {self.state.text(row, column)}"

    def _show_cursor(self) -> None:
        row, column = self._cursor
        if row < 0:
            self._frame.setData([], [])
            return
        x, y = np.array([0, 1, 1, 0, 0]) + column, np.array([0, 0, 1, 1, 0]) + row
        self._frame.setData(x, y, pen=pg.mkPen(QColor(theme().warning), width=2), shadowPen=halo(2))

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()
            self.set_marks(self._marks)


def _fitted(metrics: QFontMetrics, name: str, room: int) -> str:
    """As much of a name as fits, but at least its first word: the expert's letter or the layer."""
    clean = plain(name)
    made = metrics.elidedText(clean, Qt.TextElideMode.ElideMiddle, room)
    return clean.split(" ")[0] if made != clean and room < _LEGIBLE else made
