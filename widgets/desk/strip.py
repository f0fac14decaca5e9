"""The pinned rows of the merged model, in step with the columns of the faders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QAbstractItemView, QTableView, QWidget

from widgets.desk.fader_delegate import FaderDelegate
from widgets.desk.inks import inks
from widgets.desk.painting import paint_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtCore import QModelIndex, QPersistentModelIndex
    from PySide6.QtGui import QFocusEvent, QMouseEvent, QPaintEvent, QWheelEvent

    from widgets.desk.coefficient_model import CoefficientModel
    from widgets.desk.table import DeskTable


class PinnedStrip(QTableView):
    """Shows only the model's pinned rows; scrolls with the table of faders and selects columns there."""

    def __init__(self, model: CoefficientModel, table: DeskTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = table
        self.painter = FaderDelegate(model, self)
        self.setModel(model)
        self.setItemDelegate(self.painter)
        for header in (self.horizontalHeader(), self.verticalHeader()):
            header.hide()
            header.setMinimumSectionSize(1)
        self.setShowGrid(False)
        self.setFrameShape(QTableView.Shape.NoFrame)
        self.setCornerButtonEnabled(False)
        self.setTabKeyNavigation(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAcceptDrops(False)
        self.setAcceptDrops(False)
        self.setAccessibleName("Merged model: measured rows by layers")
        here, there = self.horizontalScrollBar(), table.horizontalScrollBar()
        there.valueChanged.connect(here.setValue)
        here.valueChanged.connect(there.setValue)
        self.selectionModel().currentChanged.connect(self._on_current)
        table.chosenChanged.connect(lambda _: self._on_chosen())

    def dataChanged(
        self,
        first: QModelIndex | QPersistentModelIndex,
        last: QModelIndex | QPersistentModelIndex,
        roles: Sequence[int] = (),
    ) -> None:
        """Repaint exactly these cells."""
        if first.row() < self._table.source.top:
            self.viewport().update(self.visualRect(first).united(self.visualRect(last)))

    def _on_current(self) -> None:
        index = self.currentIndex()
        self.painter.current = (index.row(), index.column()) if index.isValid() else (-1, -1)
        self.viewport().update()

    def _on_chosen(self) -> None:
        """Repaint the columns that are selected or no longer."""
        old, new = self.painter.chosen, self._table.painter.chosen
        self.painter.chosen = new
        if old.shape != new.shape:
            self.viewport().update()
            return
        for column in np.flatnonzero((old != new).any(axis=0)).tolist():
            self.viewport().update(self.columnViewportPosition(column), 0, self.columnWidth(column), self.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """The floor right of the last column, then the cells."""
        last = self.model().columnCount() - 1
        right = self.columnViewportPosition(last) + self.columnWidth(last) if last >= 0 else 0
        if event.rect().right() >= right:
            painter = QPainter(self.viewport())
            painter.fillRect(QRect(right, 0, max(0, self.width() - right), self.height()), inks().band)
            painter.end()
        paint_cells(self, self.painter, event)

    def keyboardSearch(self, search: str) -> None:
        """Letters do nothing here."""

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Select the column among the faders."""
        column = self.columnAt(round(event.position().x()))
        if column >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self._table.choose_columns(column, column, event.modifiers())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Nothing is dragged here."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll the faders sideways."""
        self._table.horizontalScrollBar().event(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show the focus ring."""
        self.painter.has_focus = True
        super().focusInEvent(event)
        if not self.currentIndex().isValid() and self.model().rowCount():
            self.setCurrentIndex(self.model().index(0, 0))
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide the focus ring."""
        self.painter.has_focus = False
        super().focusOutEvent(event)
        self.viewport().update()
