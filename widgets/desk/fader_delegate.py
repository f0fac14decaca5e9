"""Paints one cell of the desk: as a fader, a number, or heat; and makes the editor for typed values."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import (
    QEvent,
    QLineF,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPointF,
    QRect,
    QRectF,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QFont, QFontMetrics, QKeyEvent, QPainter, QPalette, QPen, QPolygonF
from PySide6.QtWidgets import QLineEdit, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from widgets.desk.geometry import FaderGeometry, fader_geometry, number_text, snapped
from widgets.desk.inks import expert_fill, expert_line, inks, mix, readable_on, small
from widgets.desk.metric_painter import paint_metric
from widgets.desk.tint import paint_slope, washed
from widgets.desk.wording import number, parse_number

if TYPE_CHECKING:
    from widgets.desk.coefficient_model import CoefficientModel
    from widgets.desk.state import DeskState, Face

Index = QModelIndex | QPersistentModelIndex


_CENTRE = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip


@lru_cache(maxsize=32)
def _dotted(rgb: int, offset: int) -> QPen:
    """Pen of the default's line; the offset keeps the dots of neighbouring cells in step."""
    pen = QPen(QColor.fromRgb(rgb), 1.0, Qt.PenStyle.CustomDashLine, Qt.PenCapStyle.FlatCap)
    pen.setDashPattern([1.0, 3.0])
    pen.setDashOffset(offset)
    return pen


class NumberEdit(QLineEdit):
    """A line edit for one number; text that is none turns red.

    Signals:
        left: Esc was pressed.
    """

    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrame(False)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setAcceptDrops(False)
        self.textChanged.connect(self._show_validity)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return and Esc end here: what lies below would take them for commands of its own."""
        if event.key() == Qt.Key.Key_Escape:
            self.left.emit()
            return
        super().keyPressEvent(event)
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.accept()

    def _show_validity(self, text: str) -> None:
        colours = self.palette()
        wrong = text.strip() not in ("", "-", ".", "-.") and parse_number(text) is None
        colours.setColor(QPalette.ColorRole.Text, inks().error if wrong else inks().text)
        colours.setColor(QPalette.ColorRole.Base, inks().raised)
        self.setPalette(colours)


class FaderDelegate(QStyledItemDelegate):
    """Draws cells straight from the model's state.

    Attributes:
        face: How coefficients are drawn; "curve" draws nothing here.
        chosen: (rows, C) bool, which cells are selected; kept up to date by the view.
        current: (row, column) with the keyboard focus, or (-1, -1).
        has_focus: Whether the view has it.
        editor: The line edit that was opened last.
        narrowest: Width of the narrowest column, so that all numbers are written alike.
        slopes: (T, C) what moving a fader up does to the score: 1 helps most, -1 hurts most, 0 unknown or nothing.

    Signals:
        leftEditor: (key, Shift held) after a typed value was committed with Return or Tab.
    """

    leftEditor = Signal(int, bool)

    def __init__(self, model: CoefficientModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.face: Face = "faders"
        self.chosen = np.zeros((0, 0), dtype=bool)
        self.current = (-1, -1)
        self.has_focus = False
        self.editor: NumberEdit | None = None
        self.narrowest = 10_000
        self.slopes = np.zeros((0, 0))
        self._font, self._small = QFont(), QFont()
        self._metrics = QFontMetrics(self._small)
        self._styles: dict[int, str] = {}

    def prepare(self, font: QFont, narrowest: int) -> None:
        """Take note of the view's font and of the width of its narrowest column."""
        self._font, self._small = QFont(font), small(font)
        self._metrics = QFontMetrics(self._small)
        self.narrowest = narrowest
        self._styles = {}

    def _slope(self, row: int, column: int) -> float:
        """What moving a fader up does, -1 to 1; 0 where it is not known."""
        fits = self.slopes.shape == self._model.state.values.shape
        return float(self.slopes[row, column]) if fits else 0.0

    def number_style(self, width: int) -> str:
        """The longest way to write numbers that fits every column."""
        width = min(width, self.narrowest)
        if width not in self._styles:
            widest = (("full", "−0.00"), ("short", "0.00"), ("one", "0.0"))
            fitting = (style for style, text in widest if self._metrics.horizontalAdvance(text) <= width - 2)
            self._styles[width] = next(fitting, "none")
        return self._styles[width]

    def geometry_of(self, cell: QRect, dpr: float) -> FaderGeometry:
        """Where the fader lies in a cell."""
        state, shown = self._model.state, self.number_style(cell.width()) != "none"
        return fader_geometry(cell, state.low, state.high, self._metrics.height(), shown, dpr)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint one cell, as views ask for it that do not paint themselves."""
        self.paint_cell(painter, option.rect, index.row(), index.column())

    def paint_cell(self, painter: QPainter, cell: QRect, row: int, column: int) -> None:
        """Paint one cell: a coefficient, or a number of a pinned row."""
        state, top = self._model.state, self._model.top
        chosen = row < len(self.chosen) and bool(self.chosen[row, column])
        painter.save()
        if row < top:
            paint_metric(painter, cell, self._model.pinned[row], column, self._font, chosen, self.narrowest)
        elif self.face != "curve":
            ground = inks().tint if chosen else inks().panel
            share = self._slope(row - top, column)
            painter.fillRect(cell, ground if self.face == "heat" else washed(ground, share))
            {"faders": self._paint_fader, "numbers": self._paint_number, "heat": self._paint_heat}[self.face](
                painter, cell, state, row - top, column
            )
            self._paint_marks(painter, cell, state, row - top, column)
            paint_slope(painter, cell, share)
        if self._starts_layer(state, column):
            painter.fillRect(QRect(cell.left(), cell.top(), 1, cell.height()), inks().hair)
        if row >= top and self.face != "curve" and chosen:
            self._paint_outline(painter, cell, row, column)
        if self.has_focus and (row, column) == self.current and self.face != "curve":
            self._paint_focus(painter, cell)
        painter.restore()

    def _paint_fader(self, painter: QPainter, cell: QRect, state: DeskState, row: int, column: int) -> None:
        colours, dpr = inks(), painter.device().devicePixelRatioF()
        place = self.geometry_of(cell, dpr)
        value, expert = float(state.values[row, column]), state.experts[row]
        painter.fillRect(
            QRectF(place.left, place.top, place.right - place.left, place.bottom - place.top), colours.track
        )
        hair = 1 / dpr if dpr >= 2 else 1.0
        zero, at = snapped(place.y_of(0.0), dpr), snapped(place.y_of(value), dpr)
        fill = QRectF(place.left, min(zero, at), place.right - place.left, abs(zero - at))
        painter.fillRect(fill, expert_fill(expert.index, expert.silenced))
        if state.low < 0:
            painter.fillRect(QRectF(cell.left(), zero, cell.width(), hair), colours.faint)
        self._paint_default(painter, cell, snapped(place.y_of(state.default), dpr))
        cap = QRectF(place.left - 2, at - 1.5, place.right - place.left + 4, 3)
        if dpr == 1:
            cap.moveTop(round(at) - 1)
        painter.fillRect(cap, colours.dim if expert.silenced else colours.text)
        self._paint_conflict(painter, cell, place, state, row, column)
        if not place.number.isEmpty():
            painter.setFont(self._small)
            painter.setPen(colours.dim if expert.silenced else colours.text)
            text = number_text(value, self.number_style(cell.width()))
            painter.drawText(place.number, _CENTRE, text)

    @staticmethod
    def _paint_default(painter: QPainter, cell: QRect, y: float) -> None:
        """The dotted line of the default, running on from cell to cell."""
        painter.setPen(_dotted(inks().dim.rgb(), cell.left() % 4))
        painter.drawLine(QLineF(cell.left(), y + 0.5, cell.right() + 1, y + 0.5))

    @staticmethod
    def _paint_conflict(
        painter: QPainter, cell: QRect, place: FaderGeometry, state: DeskState, row: int, column: int
    ) -> None:
        """A thin tick at the right edge, as tall as the share of weights in sign conflict."""
        share = 0.0 if state.conflict is None else float(state.conflict[row, column])
        if not share > 0 or cell.width() < 10:
            return
        dpr = painter.device().devicePixelRatioF()
        height = snapped(max(2.0, (place.bottom - place.top) * min(1.0, share)), dpr)
        colour = mix(inks().error, inks().panel, 0.4) if state.experts[row].silenced else inks().error
        painter.fillRect(QRectF(cell.right() - 2, place.bottom - height, 2, height), colour)

    def _paint_number(self, painter: QPainter, cell: QRect, state: DeskState, row: int, column: int) -> None:
        colours, expert = inks(), state.experts[row]
        value = float(state.values[row, column])
        painter.fillRect(QRect(cell.left(), cell.bottom(), cell.width(), 1), colours.hair)
        painter.fillRect(QRect(cell.right(), cell.top(), 1, cell.height()), colours.hair)
        usual = abs(value - state.default) < 5e-7
        painter.setPen(colours.dim if usual or expert.silenced else colours.text)
        made = QFont(self._font)
        made.setStrikeOut(expert.silenced)
        painter.setFont(made)
        box = cell.adjusted(2, 0, -6, 0)
        side = Qt.AlignmentFlag.AlignRight
        if QFontMetrics(made).horizontalAdvance("−0.00") > box.width():
            painter.setFont(self._small)
            side, box = Qt.AlignmentFlag.AlignHCenter, cell
        painter.drawText(box, side | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip, number(value))
        if not usual and not expert.silenced:
            painter.fillRect(QRect(cell.left() + 1, cell.top() + 2, 2, cell.height() - 5), expert_line(expert.index))

    def _paint_heat(self, painter: QPainter, cell: QRect, state: DeskState, row: int, column: int) -> None:
        value, expert = float(state.values[row, column]), state.experts[row]
        reach = max(abs(state.high - state.default), abs(state.low - state.default), 1e-9)
        fill = inks().heat((value - state.default) / reach)
        if expert.silenced:
            fill = mix(fill, inks().panel, 0.35)
        inner = cell.adjusted(1, 1, 0, 0) if self.narrowest > 10 else cell.adjusted(0, 1, 0, 0)
        painter.fillRect(inner, fill)
        style = self.number_style(cell.width())
        if style != "none" and cell.height() >= self._metrics.height():
            painter.setFont(self._small)
            painter.setPen(inks().dim if expert.silenced else readable_on(fill))
            painter.drawText(cell, _CENTRE, number_text(value, style))

    @staticmethod
    def _paint_marks(painter: QPainter, cell: QRect, state: DeskState, row: int, column: int) -> None:
        """The corner mark of finer overrides."""
        if state.mixed is None or not state.mixed[row, column]:
            return
        size = min(8, max(4, cell.width() // 4))
        corner = QPointF(cell.left() + 1, cell.top() + 1)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(inks().accent)
        painter.drawPolygon(QPolygonF([corner, corner + QPointF(size, 0), corner + QPointF(0, size)]))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    @staticmethod
    def _starts_layer(state: DeskState, column: int) -> bool:
        """Whether a hairline sets the column apart from the one before: borders of opened layers."""
        if column == 0:
            return False
        here, before = state.columns[column], state.columns[column - 1]
        return here.layer != before.layer and (here.is_part or before.is_part)

    def _paint_outline(self, painter: QPainter, cell: QRect, row: int, column: int) -> None:
        """Amber edges towards cells that are not selected, so that a block has one outline."""
        colour, rows, columns, top = inks().selection, *self.chosen.shape, self._model.top
        box, thick = QRectF(cell), 2.0 if inks().contrast else 1.5
        if row == top or not self.chosen[row - 1, column]:
            painter.fillRect(QRectF(box.left(), box.top(), box.width(), thick), colour)
        if row == rows - 1 or not self.chosen[row + 1, column]:
            painter.fillRect(QRectF(box.left(), box.bottom() - thick, box.width(), thick), colour)
        if column == 0 or not self.chosen[row, column - 1]:
            painter.fillRect(QRectF(box.left(), box.top(), thick, box.height()), colour)
        if column == columns - 1 or not self.chosen[row, column + 1]:
            painter.fillRect(QRectF(box.right() - thick, box.top(), thick, box.height()), colour)

    @staticmethod
    def _paint_focus(painter: QPainter, cell: QRect) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(inks().text if inks().contrast else inks().accent, 1.5))
        painter.drawRoundedRect(QRectF(cell).adjusted(2.5, 2.5, -2.5, -2.5), 2, 2)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        """A line edit for the value; text that is no number turns red."""
        self.editor = NumberEdit(parent)
        self.editor.setAccessibleName(str(index.data(Qt.ItemDataRole.AccessibleTextRole)))
        return self.editor

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        """As high as a line at the bottom of the cell, and wide enough for a number."""
        cell: QRect = option.rect
        height = min(cell.height(), editor.sizeHint().height())
        width = max(cell.width(), editor.fontMetrics().horizontalAdvance("−0.0000") + 8)
        editor.setGeometry(cell.center().x() - width // 2, cell.bottom() - height + 1, width, height)

    def eventFilter(self, editor: QObject, event: QEvent) -> bool:
        """Return commits and goes down, Tab commits and goes right, Esc leaves the value alone."""
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and isinstance(editor, QLineEdit):
            key = event.key()
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Tab, Qt.Key.Key_Backtab):
                if parse_number(editor.text()) is None:
                    return True
                self.commitData.emit(editor)
                self.closeEditor.emit(editor, QStyledItemDelegate.EndEditHint.NoHint)
                self.leftEditor.emit(key, bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))
                return True
        return super().eventFilter(editor, event)
