"""The desk's column headers: two lines, the layer above and its kinds or an arrow to open it below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QHelpEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QHeaderView, QToolTip, QWidget

from widgets.desk.inks import inks, paint_arrow, small
from widgets.desk.sizes import short_tensor, spans
from widgets.desk.wording import one_line, place, plain

if TYPE_CHECKING:
    from widgets.desk.coefficient_model import CoefficientModel
    from widgets.desk.state import Column


class ColumnHeader(QHeaderView):
    """Paints the headings; a click selects columns, a click on the arrow opens or closes a layer.

    Signals:
        expandToggled: (layer).
        picked: (first column, last column, keyboard modifiers).
    """

    expandToggled = Signal(str)
    picked = Signal(int, int, object)

    def __init__(self, model: CoefficientModel, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._model = model
        self._spans: list[tuple[int, int]] = []
        self._sparse = False
        self.lit: frozenset[int] = frozenset()
        self.setMinimumSectionSize(1)
        self.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setSectionsClickable(False)
        self.setMouseTracking(True)
        self.setAccessibleName("Columns: layers of the network")

    def prepare(self) -> None:
        """Take note of other columns."""
        self._spans = spans(self._model.state.columns)
        self._sparse = False
        self.updateGeometries()
        self.viewport().update()

    def setLit(self, columns: frozenset[int]) -> None:
        """Mark the columns of the selection."""
        changed, self.lit = columns ^ self.lit, columns
        if self._sparse or (changed and max(changed) >= len(self._spans)):
            self.viewport().update()
            return
        for first, last in {self._spans[column] for column in changed}:  # kinds with the layer above them
            left = self.sectionViewportPosition(first)
            right = self.sectionViewportPosition(last) + self.sectionSize(last)
            self.viewport().update(left, 0, right - left, self.height())

    def least_width(self, column: int) -> int:
        """Room that the column's own label needs."""
        made = self._model.state.columns[column]
        metrics, line = self._metrics(made.kind is not None), self.fontMetrics().height()
        wanted = metrics.horizontalAdvance(self.label(column)) + max(4, line // 3)
        first, last = self._spans[column]
        if first != last:
            over = QFontMetrics(self._bold()).horizontalAdvance(self._heading(made)) + 2 * line
            wanted = max(wanted, -(-over // (last - first + 1)))
        return min(wanted, 7 * line)

    def label(self, column: int) -> str:
        """The column's own label."""
        made = self._model.state.columns[column]
        return one_line(short_tensor(made.tensor) if made.tensor is not None else made.text)

    def sizeHint(self) -> QSize:
        """One line, or two where layers can be opened or are open."""
        line, columns = self.fontMetrics().height(), self._model.state.columns
        second = line if any(c.kind is not None for c in columns) else 0
        if not second and any(c.expandable for c in columns):
            second = line * 2 // 3
        return QSize(0, line + second + max(6, line // 2))

    def _bold(self) -> QFont:
        made = QFont(self.font())
        made.setBold(True)
        return made

    def _metrics(self, second: bool) -> QFontMetrics:
        made = self._bold()
        return QFontMetrics(small(made) if second else made)

    @staticmethod
    def _heading(column: Column) -> str:
        return one_line(column.layer)

    def _halves(self, rect: QRect) -> tuple[QRect, QRect]:
        """The upper and the lower line of a section."""
        line = self.fontMetrics().height()
        top = rect.top() + max(2, line // 6)
        upper = QRect(rect.left(), top, rect.width(), line)
        return upper, QRect(rect.left(), upper.bottom() + 1, rect.width(), rect.bottom() - upper.bottom() - 3)

    def paintSection(self, painter: QPainter, rect: QRect, logical: int) -> None:
        """Background, the label, and what lies above it."""
        columns = self._model.state.columns
        if not 0 <= logical < min(len(columns), len(self._spans)):
            return
        column, colours = columns[logical], inks()
        first, last = self._spans[logical]
        painter.save()
        painter.setClipRect(rect)
        lit = logical in self.lit
        painter.fillRect(rect, colours.tint if lit else colours.window)
        painter.fillRect(QRect(rect.left(), rect.bottom(), rect.width(), 1), colours.line)
        upper, lower = self._halves(rect)
        font = self._bold() if lit else self.font()
        if column.kind is None:
            if not self._sparse:
                self._write(painter, upper, self.label(logical), font, lit)
            if column.expandable and not self._sparse:
                self._arrow(painter, lower, "down", lit)
        else:
            left = self.sectionViewportPosition(first)
            right = self.sectionViewportPosition(last) + self.sectionSize(last)
            whole = QRect(left, upper.top(), right - left, upper.height())
            self._over(painter, whole, column, all(c in self.lit for c in range(first, last + 1)))
            self._write(painter, lower, self.label(logical), small(font), lit)
        self._edge(painter, rect, logical, first)
        painter.restore()

    def settle(self) -> None:
        """Look at the columns' widths: very narrow ones share one heading for several."""
        room = min((self.sectionSize(c) for c in range(self.count())), default=0)
        self._sparse = room < self.fontMetrics().horizontalAdvance("00")

    def _label_room(self, column: int) -> int:
        return QFontMetrics(self.font()).horizontalAdvance(self.label(column))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Sections, then the headings that are wider than their section, as far apart as they need to be."""
        super().paintEvent(event)
        if not self._sparse:
            return
        columns = self._model.state.columns
        narrow = [c for c in range(min(len(columns), self.count())) if columns[c].kind is None]
        painter = QPainter(self.viewport())
        painter.setFont(self.font())
        free = -1
        for column in narrow:
            wide = self._label_room(column)
            middle = self.sectionViewportPosition(column) + self.sectionSize(column) // 2
            left = max(0, middle - wide // 2)
            if left > free and left + wide <= self.viewport().width():
                upper = self._halves(QRect(left, 0, wide, self.height()))[0]
                painter.setPen(inks().text if column in self.lit else inks().dim)
                painter.drawText(upper, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip, self.label(column))
                free = left + wide + self.fontMetrics().height() // 2

    def _edge(self, painter: QPainter, rect: QRect, logical: int, first: int) -> None:
        """A hairline where another layer begins beside an open one."""
        columns = self._model.state.columns
        if logical and logical == first and (columns[logical].kind or columns[logical - 1].kind):
            painter.fillRect(QRect(rect.left(), rect.top() + 2, 1, rect.height() - 3), inks().line)

    def _over(self, painter: QPainter, box: QRect, column: Column, lit: bool) -> None:
        """The layer's name over its open kinds, with the arrow to close it."""
        text, font = self._heading(column), self._bold() if lit else self.font()
        line = self.fontMetrics().height()
        shows_arrow = column.expandable or column.expanded
        room = box.width() - (line if shows_arrow else 4)
        shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideMiddle, max(0, room))
        self._write(painter, box, shown, font, lit)
        if shows_arrow:
            x = box.center().x() + QFontMetrics(font).horizontalAdvance(shown) / 2 + line * 0.5
            paint_arrow(painter, QPointF(x, box.center().y() + 1), line * 0.45, "up", inks().dim)

    @staticmethod
    def _write(painter: QPainter, box: QRect, text: str, font: QFont, lit: bool) -> None:
        painter.setFont(font)
        painter.setPen(inks().text if lit else inks().dim)
        shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideLeft, box.width())
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip, shown)

    def _arrow(self, painter: QPainter, box: QRect, points: str, lit: bool) -> None:
        size = self.fontMetrics().height() * 0.42
        centre = QPointF(box.left() + box.width() / 2, box.top() + box.height() / 2)
        paint_arrow(painter, centre, size, points, inks().text if lit else inks().faint)

    def arrow_at(self, pos: QPointF) -> int:
        """The column whose arrow is there, or -1."""
        logical = self.logicalIndexAt(pos.toPoint())
        columns = self._model.state.columns
        if not 0 <= logical < len(columns):
            return -1
        column, box = columns[logical], QRect(0, 0, 1, self.height())
        upper, lower = self._halves(box)
        if column.kind is None:
            opens = column.expandable and not self._sparse
            return logical if opens and pos.y() >= lower.top() else -1
        return logical if (column.expanded or column.expandable) and pos.y() <= upper.bottom() else -1

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Open or close a layer, or select columns."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        logical = self.logicalIndexAt(event.position().toPoint())
        arrow = self.arrow_at(event.position())
        if arrow >= 0:
            self.expandToggled.emit(self._model.state.columns[arrow].layer)
        elif 0 <= logical < len(self._spans):
            self.picked.emit(logical, logical, event.modifiers())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """A hand over arrows."""
        over = self.arrow_at(event.position()) >= 0
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Nothing: everything happens at the press."""

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """A second quick click counts like the first."""
        self.mousePressEvent(event)

    def viewportEvent(self, event: QEvent) -> bool:
        """Tooltips with the full name."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            logical = self.logicalIndexAt(event.pos())
            if 0 <= logical < len(self._model.state.columns):
                QToolTip.showText(event.globalPos(), self._tip(logical, QPointF(event.pos())), self)
            return True
        return super().viewportEvent(event)

    def _tip(self, logical: int, pos: QPointF) -> str:
        column = self._model.state.columns[logical]
        words = place(column)
        if self.arrow_at(pos) >= 0:
            words = f"Close layer {column.layer}" if column.kind else f"Open {words}: attention, MLP, norms"
        return plain(words[:1].upper() + words[1:])
