"""The table of runs: sorted by its header, many at once, every command by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from widgets.panels.runs_model import RunsModel
from widgets.panels.runs_state import STAR

if TYPE_CHECKING:
    from PySide6.QtGui import QFocusEvent, QKeyEvent

    from widgets.panels.runs_state import RunsState


class RunsTable(QTableView):
    """Shows a `RunsModel`.

    Signals:
        chosen: Enter or a double click on a run.
        pressed_key: A command's key: "delete", "star", "tag", "note", "rerun", "compare", "beside".
        sortWanted: (column name, descending).
        menuWanted: Where, in the coordinates of the screen.
    """

    chosen = Signal(int)
    pressed_key = Signal(str)
    sortWanted = Signal(str, bool)
    menuWanted = Signal(QPoint)

    def __init__(self, model: RunsModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("runs-table")
        self.setAccessibleName("Runs")
        self._model = model
        self._sort = ("", True)
        self.setModel(model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setStyleSheet("QTableView::item { padding: 0 7px; }")
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 10)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setSectionsMovable(True)
        head.setSectionsClickable(True)
        head.setSortIndicatorShown(True)
        head.setStretchLastSection(True)
        head.sectionClicked.connect(self._on_header)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(lambda at: self.menuWanted.emit(self.viewport().mapToGlobal(at)))
        self.clicked.connect(self._on_click)
        self.doubleClicked.connect(self._on_double)

    def show_columns(self, state: RunsState) -> None:
        """Hide, size and mark columns."""
        letter = self.fontMetrics().averageCharWidth()
        fresh = self._model.columns != state.columns
        self._model.set_columns(state.columns)
        for at, column in enumerate(state.columns):
            self.setColumnHidden(at, column.name not in state.shown)
            if fresh:
                letters = max(column.letters, len(column.title) + len(column.unit) + 4)
                self.setColumnWidth(at, letter * letters + 14)
        at = next((i for i, c in enumerate(state.columns) if c.name == state.sort), -1)
        self._sort = (state.sort, state.descending)
        down, up = Qt.SortOrder.DescendingOrder, Qt.SortOrder.AscendingOrder
        self.horizontalHeader().setSortIndicator(at, down if state.descending else up)

    def chosen_runs(self) -> list[int]:
        """Numbers of the selected runs, from top to bottom."""
        rows = sorted({i.row() for i in self.selectionModel().selectedRows()})
        return [self._model.rows[r].id for r in rows if r < len(self._model.rows)]

    def choose(self, runs: list[int], *, quietly: bool = False) -> None:
        """Select runs that are in the table, and show the first."""
        rows = [r for r in map(self._model.row_of, runs) if r >= 0]
        blocked = self.selectionModel().blockSignals(quietly)
        self.clearSelection()
        select = self.selectionModel().SelectionFlag.Select | self.selectionModel().SelectionFlag.Rows
        for row in rows:
            self.selectionModel().select(self._model.index(row, 0), select)
        if rows:
            keep = self.selectionModel().SelectionFlag.NoUpdate
            self.selectionModel().setCurrentIndex(self._model.index(rows[0], 0), keep)
            self.scrollTo(self._model.index(rows[0], 0))
        self.selectionModel().blockSignals(blocked)
        self.viewport().update()

    def _on_header(self, section: int) -> None:
        name = self._model.columns[section].name
        same, descending = self._sort
        is_number = self._model.columns[section].is_number or name in ("created", STAR)
        self.sortWanted.emit(name, not descending if name == same else is_number)

    def _on_click(self, index: QModelIndex) -> None:
        if self._model.columns[index.column()].name == STAR:
            line = self._model.rows[index.row()]
            self._model.starToggled.emit(line.id, not line.star)

    def _on_double(self, index: QModelIndex) -> None:
        if self._model.columns[index.column()].name != STAR:
            self.chosen.emit(self._model.rows[index.row()].id)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter uses a recipe; Delete, S, T, N, R, C and B are commands; everything else moves."""
        keys = {Qt.Key.Key_Delete: "delete", Qt.Key.Key_S: "star", Qt.Key.Key_T: "tag", Qt.Key.Key_R: "rerun",
                Qt.Key.Key_C: "compare", Qt.Key.Key_B: "beside", Qt.Key.Key_N: "note"}  # fmt: skip
        index = self.currentIndex()
        plain = event.modifiers() in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and index.isValid():
            self.chosen.emit(self._model.rows[index.row()].id)
        elif plain and event.key() in keys and self.chosen_runs():
            self.pressed_key.emit(keys[Qt.Key(event.key())])
        elif event.key() == Qt.Key.Key_Menu and index.isValid():
            self.menuWanted.emit(self.viewport().mapToGlobal(self.visualRect(index).bottomLeft()))
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """The keyboard needs a row to stand on."""
        super().focusInEvent(event)
        if not self.currentIndex().isValid() and self._model.rowCount():
            shown = next((c for c in range(self._model.columnCount()) if not self.isColumnHidden(c)), 0)
            self.selectionModel().setCurrentIndex(self._model.index(0, shown),
                                                  self.selectionModel().SelectionFlag.NoUpdate)  # fmt: skip
