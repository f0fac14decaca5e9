"""The table of faders: Qt's own table view, so that keyboards and screen readers find what they expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import (
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRect,
    Qt,
    Signal,
)
from PySide6.QtGui import QContextMenuEvent, QFocusEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QAbstractItemView, QTableView, QWidget

from widgets.desk.column_header import ColumnHeader
from widgets.desk.fader_delegate import FaderDelegate
from widgets.desk.inks import inks
from widgets.desk.mouse import FaderMouse
from widgets.desk.painting import paint_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from widgets.desk.coefficient_model import CoefficientModel
    from widgets.desk.edits import Spot
    from widgets.desk.geometry import FaderGeometry
    from widgets.desk.keys import DeskKeys
    from widgets.desk.wishes import Wishes

_Flag = QItemSelectionModel.SelectionFlag


class DeskTable(QTableView):
    """Experts as rows, layers as columns; the pinned rows of the model are shown elsewhere.

    Signals:
        chosenChanged: (by the user) after the selection changed.
        currentMoved: The cell with the keyboard focus changed.
        hovered: (expert row or -1, column or -1).
        menuWanted: (global position).
    """

    chosenChanged = Signal(bool)
    currentMoved = Signal()
    hovered = Signal(int, int)
    menuWanted = Signal(QPoint)
    keys: DeskKeys | None = None  # here, because Qt sends events before __init__ is through

    def __init__(self, model: CoefficientModel, wishes: Wishes, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.source, self.wishes = model, wishes
        self.painter = FaderDelegate(model, self)
        self.heading = ColumnHeader(model, self)
        self.mouse = FaderMouse(self, wishes)
        self._quiet = False
        self.setModel(model)
        self.setItemDelegate(self.painter)
        self.setHorizontalHeader(self.heading)
        self._look()
        self.painter.leftEditor.connect(self._on_left_editor)
        self.heading.picked.connect(self.choose_columns)

    def _look(self) -> None:
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(1)
        self.setShowGrid(False)
        self.setFrameShape(QTableView.Shape.NoFrame)
        self.setCornerButtonEnabled(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMouseTracking(True)
        self.viewport().setAcceptDrops(False)
        self.setAcceptDrops(False)
        self.setAccessibleName("Coefficients: experts by layers")
        self.setAccessibleDescription("Arrows move, digits type, plus and minus step, Delete resets.")

    # Places --------------------------------------------------------------------------------------------------

    def index_of(self, spot: Spot) -> QModelIndex:
        """The model's index of a cell."""
        return self.source.index(self.source.top + spot[0], spot[1])

    def box(self, spot: Spot) -> QRect:
        """A cell in the viewport, also where it is scrolled out of sight."""
        row = self.source.top + spot[0]
        return QRect(self.columnViewportPosition(spot[1]), self.rowViewportPosition(row), self.columnWidth(spot[1]),
                     self.rowHeight(row))  # fmt: skip

    def fader(self, spot: Spot) -> FaderGeometry:
        """The fader in a cell, in the viewport."""
        return self.painter.geometry_of(self.box(spot), self.devicePixelRatioF())

    def spot_at(self, pos: QPoint) -> Spot | None:
        """The cell under a point of the viewport."""
        row, column = self.rowAt(pos.y()) - self.source.top, self.columnAt(pos.x())
        return (row, column) if row >= 0 and column >= 0 else None

    def nearest_spot(self, pos: QPoint) -> Spot:
        """The cell under a point or the closest one to it."""
        count, columns = len(self.source.state.experts), len(self.source.state.columns)
        column = self.columnAt(pos.x())
        if column < 0:
            column = 0 if pos.x() < self.columnViewportPosition(0) else columns - 1
        row = self.rowAt(pos.y()) - self.source.top
        if row < 0:
            row = 0 if pos.y() < self.rowViewportPosition(self.source.top) else count - 1
        return (row, column)

    # Selection -----------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> np.ndarray:
        """(T, C) bool, the selected coefficients."""
        state, flags = self.source.state, self.painter.chosen[self.source.top :]
        shape = (len(state.experts), len(state.columns))
        return flags if flags.shape == shape else np.zeros(shape, dtype=bool)

    @property
    def spots(self) -> tuple[Spot, ...]:
        """The selected coefficients, row by row; the current cell when nothing is selected."""
        found = tuple((int(r), int(c)) for r, c in np.argwhere(self.chosen))
        if found or self.current is None:
            return found
        return (self.current,)

    @property
    def current(self) -> Spot | None:
        """The cell with the keyboard focus."""
        index = self.currentIndex()
        row = self.source.expert_row(index)
        return None if row < 0 else (row, index.column())

    def choose(self, flags: np.ndarray, current: Spot | None = None, *, quiet: bool = False) -> None:
        """Select exactly the flagged cells.

        Args:
            flags: (T, C) bool.
            current: Cell that gets the keyboard focus.
            quiet: Whether this is not the user's doing.
        """
        selection, top = QItemSelection(), self.source.top
        for row, line in enumerate(flags):
            edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(np.int8), [0]))))
            for first, after in edges.reshape(-1, 2).tolist():
                selection.select(self.source.index(top + row, first), self.source.index(top + row, after - 1))
        before, self._quiet = self._quiet, quiet
        if current is not None:
            self.selectionModel().setCurrentIndex(self.index_of(current), _Flag.NoUpdate)
        self.selectionModel().select(selection, _Flag.ClearAndSelect)
        self._quiet = before

    def choose_box(self, one: Spot, other: Spot, *, add: np.ndarray | None = None) -> None:
        """Select the rectangle between two cells; the first keeps the focus."""
        flags = np.zeros(self.source.state.values.shape, dtype=bool) if add is None else np.array(add)
        rows, columns = sorted((one[0], other[0])), sorted((one[1], other[1]))
        flags[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
        self.choose(flags, one)

    def choose_columns(self, first: int, last: int, modifiers: Qt.KeyboardModifier) -> None:
        """Select whole columns; Shift extends from the current cell, Ctrl adds or removes."""
        if self.source.state.is_empty:
            return
        flags = np.zeros(self.source.state.values.shape, dtype=bool)
        if modifiers & Qt.KeyboardModifier.ShiftModifier and self.current is not None:
            first, last = sorted((self.current[1], last))
        flags[:, first : last + 1] = True
        if modifiers & Qt.KeyboardModifier.ControlModifier:
            flags = self.chosen & ~flags if self.chosen[:, first].all() else self.chosen | flags
        keeps = modifiers & Qt.KeyboardModifier.ShiftModifier and self.current is not None
        self.choose(flags, None if keeps else (0, first))
        self.setFocus(Qt.FocusReason.MouseFocusReason)

    def choose_row(self, row: int, *, extend: bool = False) -> None:
        """Select a whole row, or all rows from the current one to it."""
        if self.source.state.is_empty:
            return
        start = self.current[0] if extend and self.current is not None else row
        column = self.current[1] if self.current is not None else 0
        flags = np.zeros(self.source.state.values.shape, dtype=bool)
        flags[min(start, row) : max(start, row) + 1] = True
        self.choose(flags, (start, column))

    def forget(self) -> None:
        """Nothing is selected: the model has other rows or columns."""
        self.painter.chosen = np.zeros((self.source.rowCount(), self.source.columnCount()), dtype=bool)
        self.painter.current = (-1, -1)
        self.heading.setLit(frozenset())
        self.chosenChanged.emit(False)

    def selectionChanged(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        """Keep the painter's picture of the selection and repaint what it touches."""
        flags = np.zeros((self.source.rowCount(), self.source.columnCount()), dtype=bool)
        selection = self.selectionModel().selection()
        for i in range(selection.count()):
            part = selection.at(i)
            flags[part.top() : part.bottom() + 1, part.left() : part.right() + 1] = True
        flags[: self.source.top] = flags[self.source.top :].any(axis=0)
        old, self.painter.chosen = self.painter.chosen, flags
        self._repaint_around(old != flags if old.shape == flags.shape else np.ones_like(flags))
        self.heading.setLit(frozenset(np.flatnonzero(flags.any(axis=0)).tolist()))
        self.chosenChanged.emit(not self._quiet)

    def dataChanged(
        self,
        first: QModelIndex | QPersistentModelIndex,
        last: QModelIndex | QPersistentModelIndex,
        roles: Sequence[int] = (),
    ) -> None:
        """Repaint exactly these cells; Qt's own way repaints the rows around them too."""
        if first.row() >= self.source.top and self.painter.face != "curve":
            box = self.visualRect(first).united(self.visualRect(last))
            self.viewport().update(box)

    def _repaint_around(self, changed: np.ndarray) -> None:
        """Update changed cells and their neighbours, whose outline may change."""
        rows, columns = np.nonzero(changed[self.source.top :])
        if not len(rows):
            return
        first = self.box((max(0, int(rows.min()) - 1), max(0, int(columns.min()) - 1)))
        count, width = len(self.source.state.experts), len(self.source.state.columns)
        last = self.box((min(count - 1, int(rows.max()) + 1), min(width - 1, int(columns.max()) + 1)))
        self.viewport().update(first.united(last))

    def currentChanged(
        self, current: QModelIndex | QPersistentModelIndex, previous: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Move the focus ring."""
        super().currentChanged(current, previous)
        self.painter.current = (current.row(), current.column()) if current.isValid() else (-1, -1)
        for index in (current, previous):
            if index.isValid():
                self.update(index)
        self.currentMoved.emit()

    # Typing --------------------------------------------------------------------------------------------------

    def type_value(self, spot: Spot, text: str | None = None) -> None:
        """Open the editor in a cell, with its value or with what was typed already."""
        index = self.index_of(spot)
        if not self.source.flags(index) & Qt.ItemFlag.ItemIsEditable:
            self.mouse.say_fixed()
            return
        self.wishes.finish()
        if self.current != spot:
            self.selectionModel().setCurrentIndex(index, _Flag.NoUpdate)
        self.scrollTo(index)
        self.edit(index)
        editor = self.painter.editor
        if editor is not None and text is not None:
            editor.setText(text)
            editor.deselect()
            editor.end(False)

    def _on_left_editor(self, key: int, shifted: bool) -> None:
        """Return goes down, Tab goes right; with several cells selected the selection stays."""
        self.setFocus()
        here = self.current
        if here is None or self.chosen.sum() > 1:
            return
        step = -1 if shifted or key == Qt.Key.Key_Backtab else 1
        down = key in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        rows, columns = self.source.state.values.shape
        row = min(max(here[0] + (step if down else 0), 0), rows - 1)
        column = min(max(here[1] + (0 if down else step), 0), columns - 1)
        self.choose_box((row, column), (row, column))

    # Events --------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Select, or take hold of a fader."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.mouse.press(event)
        elif event.button() == Qt.MouseButton.RightButton:
            self.mouse.select_for_menu(event.position().toPoint())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag, or hover."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.mouse.move(event)
            return
        spot = self.spot_at(event.position().toPoint())
        self.viewport().setCursor(self.mouse.cursor_for(event.position(), spot))
        self.hovered.emit(*(spot or (-1, -1)))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let go."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.mouse.release(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Type a value, or put a fader back to the default."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.mouse.double_click(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Step the selection when it has the focus and is under the pointer; else scroll."""
        if not self.mouse.wheel(event):
            super().wheelEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Ask for the cells' menu."""
        self.menuWanted.emit(event.globalPos())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """The desk's keys first, then the table's own."""
        if self.keys is not None and self.keys.handle(event):
            event.accept()
            return
        self.wishes.finish()
        super().keyPressEvent(event)

    def keyboardSearch(self, search: str) -> None:
        """Letters are commands here, not a search."""

    def event(self, event: QEvent) -> bool:
        """Claim the desk's keys before shortcuts of the window take them."""
        keys = self.keys
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride and keys and keys.wants(event):
            event.accept()
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """The floor right of the last column, then the cells."""
        if self.painter.face != "curve":
            self._clear_beyond(event.rect())
            paint_cells(self, self.painter, event)

    def _clear_beyond(self, rect: QRect) -> None:
        """Fill what no cell covers; Qt leaves that to us because the viewport is opaque."""
        last, low = self.model().columnCount() - 1, self.model().rowCount() - 1
        right = self.columnViewportPosition(last) + self.columnWidth(last) if last >= 0 else 0
        below = self.rowViewportPosition(low) + self.rowHeight(low) if low >= 0 else 0
        if rect.right() >= right or rect.bottom() >= below:
            painter = QPainter(self.viewport())
            painter.fillRect(QRect(right, 0, max(0, self.width() - right), self.height()), inks().panel)
            painter.fillRect(QRect(0, below, self.width(), max(0, self.height() - below)), inks().panel)
            painter.end()

    def leaveEvent(self, event: QEvent) -> None:
        """Nothing is under the pointer any more."""
        self.hovered.emit(-1, -1)
        super().leaveEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show the focus ring; the first visit starts in the first cell."""
        self.painter.has_focus = True
        super().focusInEvent(event)
        if self.current is None and not self.source.state.is_empty:
            self.selectionModel().setCurrentIndex(self.index_of((0, 0)), _Flag.NoUpdate)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide the focus ring and end a row of steps."""
        self.painter.has_focus = False
        if self.wishes.in_burst:
            self.wishes.finish()
        super().focusOutEvent(event)
        self.viewport().update()
