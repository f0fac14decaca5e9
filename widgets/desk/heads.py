"""The frozen column of row headers at the left: experts, or the pinned rows of the merged model."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QTableView, QWidget

from widgets.desk.inks import inks
from widgets.desk.row_head import MetricHead, RowHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from widgets.desk.state import DeskState


class _InsertLine(QWidget):
    """Where a dragged row would land."""

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), inks().accent)


class HeadColumn(QWidget):
    """Row headers of the experts, kept level with the rows of a table.

    Signals:
        muteClicked, soloClicked: (expert id, wanted state).
        gainEdited: (expert id, gain, gesture); gainFinished, gainCancelled: (gesture).
        menuRequested: (expert id, global position).
        rowsReordered: (tuple of expert ids in the new order).
        rowChosen: (row, extend).
        tableWanted: A key asks to go on to the cells.
    """

    muteClicked = Signal(str, bool)
    soloClicked = Signal(str, bool)
    gainEdited = Signal(str, float, str)
    gainFinished = Signal(str)
    gainCancelled = Signal(str)
    menuRequested = Signal(str, QPoint)
    rowsReordered = Signal(object)
    rowChosen = Signal(int, bool)
    tableWanted = Signal()

    def __init__(self, table: QTableView, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = table
        self._heads: dict[str, RowHead] = {}
        self._order: list[str] = []
        self._top = 0
        self._body = QWidget(self)
        self._line = _InsertLine(self._body)
        self._line.hide()
        self.setAccessibleName("Experts")

    def heads(self) -> list[RowHead]:
        """The headers, top to bottom."""
        return [self._heads[i] for i in self._order]

    def setState(self, state: DeskState) -> None:
        """Show the experts of a state."""
        order = [e.id for e in state.experts]
        for gone in set(self._heads) - set(order):
            self._heads.pop(gone).deleteLater()
        for expert in state.experts:
            if expert.id not in self._heads:
                self._heads[expert.id] = self._made(expert.id)
            self._heads[expert.id].setRow(expert)
        if order != self._order or self._top != len(state.pinned):
            self._order, self._top = order, len(state.pinned)
            self._chain()
            self.arrange()

    def _chain(self) -> None:
        """Tab order follows the rows."""
        stops = [w for head in self.heads() for w in (head.mute, head.solo, head.gain)]
        for one, other in pairwise(stops):
            QWidget.setTabOrder(one, other)
        if stops:
            QWidget.setTabOrder(stops[-1], self._table)

    def _made(self, key: str) -> RowHead:
        head = RowHead(self._body)
        head.muteClicked.connect(lambda down: self.muteClicked.emit(key, down))
        head.soloClicked.connect(lambda down: self.soloClicked.emit(key, down))
        head.gainEdited.connect(lambda value, gesture: self.gainEdited.emit(key, value, gesture))
        head.gainFinished.connect(self.gainFinished)
        head.gainCancelled.connect(self.gainCancelled)
        head.menuRequested.connect(lambda at: self.menuRequested.emit(key, at))
        head.handleDragged.connect(lambda y: self._show_line(key, y))
        head.handleDropped.connect(lambda y: self._drop(key, y))
        head.handleCancelled.connect(self._line.hide)
        head.moveRequested.connect(lambda step: self.move_row(self._order.index(key), step))
        head.chosen.connect(lambda extend: self.rowChosen.emit(self._order.index(key), extend))
        head.leaveRequested.connect(lambda step: self._leave(key, step))
        head.show()
        return head

    def arrange(self) -> None:
        """Bring the headers level with the table's rows."""
        head = self._table.horizontalHeader().height()
        self._body.setGeometry(0, head, self.width(), max(0, self.height() - head))
        for i, widget in enumerate(self.heads()):
            row = self._top + i
            widget.setGeometry(0, self._table.rowViewportPosition(row), self.width(), self._table.rowHeight(row))

    def setCurrent(self, row: int) -> None:
        """Mark the row of the keyboard's cell."""
        for i, head in enumerate(self.heads()):
            head.setCurrent(i == row)

    def row_at(self, y: int) -> int:
        """Row under a height of this widget, -1 for none."""
        inside = self._body.mapFromParent(QPoint(0, y)).y()
        return next((i for i, h in enumerate(self.heads()) if h.y() <= inside < h.y() + h.height()), -1)

    def head_of(self, key: str) -> RowHead | None:
        """The header of an expert."""
        return self._heads.get(key)

    def _gap(self, global_y: int) -> int:
        """Between which rows a height lies: 0 is above the first."""
        y = self._body.mapFromGlobal(QPoint(0, global_y)).y()
        return sum(y > h.y() + h.height() / 2 for h in self.heads())

    def _show_line(self, key: str, global_y: int) -> None:
        gap, heads = self._gap(global_y), self.heads()
        y = heads[gap].y() if gap < len(heads) else heads[-1].y() + heads[-1].height()
        self._line.setGeometry(0, max(0, y - 1), self.width(), 3)
        self._line.setVisible(self._moved(key, gap) != self._order)
        self._line.raise_()

    def _moved(self, key: str, gap: int) -> list[str]:
        """The order with one row put into a gap."""
        here = self._order.index(key)
        order = [i for i in self._order if i != key]
        order.insert(gap - (gap > here), key)
        return order

    def _drop(self, key: str, global_y: int) -> None:
        self._line.hide()
        order = self._moved(key, self._gap(global_y))
        if order != self._order:
            self.rowsReordered.emit(tuple(order))

    def move_row(self, row: int, step: int) -> None:
        """Ask for a row to change places with its neighbour."""
        other = row + step
        if 0 <= row < len(self._order) and 0 <= other < len(self._order):
            order = list(self._order)
            order[row], order[other] = order[other], order[row]
            self.rowsReordered.emit(tuple(order))

    def _leave(self, key: str, step: int) -> None:
        """Go to the cells, or to the same control of another row."""
        if not step:
            self.tableWanted.emit()
            return
        here, heads = self._order.index(key), self.heads()
        if 0 <= here + step < len(heads):
            old, new = heads[here], heads[here + step]
            controls = [(old.mute, new.mute), (old.solo, new.solo), (old.gain, new.gain)]
            target = next((b for a, b in controls if a.hasFocus()), new.mute)
            target.setFocus(Qt.FocusReason.TabFocusReason)

    def sizeHint(self) -> QSize:
        """As wide as a header wants to be."""
        return QSize(self.fontMetrics().height() * 13, 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        """The corner beside the column headers."""
        painter, colours, height = QPainter(self), inks(), self._table.horizontalHeader().height()
        painter.fillRect(self.rect(), colours.panel)
        painter.fillRect(QRect(0, 0, self.width(), height), colours.window)
        painter.fillRect(QRect(0, height - 1, self.width(), 1), colours.line)
        count = len(self._order)
        painter.setPen(colours.dim)
        box = QRect(self.fontMetrics().height() * 3 // 4 + 2, 0, self.width(), height)
        words = f"{count} expert" + ("s" if count != 1 else "")
        painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, words)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep level."""
        self.arrange()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll the rows."""
        bar = self._table.verticalScrollBar()
        bar.setValue(bar.value() - event.angleDelta().y() // 2)
        event.accept()

    def changeEvent(self, event: QEvent) -> None:
        """Repaint the headers in other colours."""
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            for head in self._heads.values():
                head.restyle()
                head.update()
        super().changeEvent(event)


class MetricHeads(QWidget):
    """Row headers of the pinned rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._heads: list[MetricHead] = []
        self._shown: tuple[object, ...] = ()

    def setState(self, state: DeskState, heights: Sequence[int]) -> None:
        """Show the pinned rows of a state, with the heights of their rows."""
        pinned = state.pinned
        shown = (*((m.id, m.title, m.quality, m.tooltip, m.parts, m.colours) for m in pinned), *heights, self.width())
        if shown == self._shown:  # a fader changes none of it
            return
        self._shown = shown
        while len(self._heads) < len(pinned):
            self._heads.append(MetricHead(self))
        y = 0
        for i, head in enumerate(self._heads):
            head.setVisible(i < len(pinned))
            if i < len(pinned):
                head.setMetric(pinned[i])
                head.setGeometry(0, y, self.width(), heights[i])
                y += heights[i]

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Headers are as wide as the column."""
        for head in self._heads:
            head.resize(self.width(), head.height())
