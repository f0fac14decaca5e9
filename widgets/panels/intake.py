"""Asks which of many dropped models are wanted on the desk."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QItemSelectionModel, QSortFilterProxyModel, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from widgets.common.format import plural
from widgets.common.text import PlainLabel
from widgets.panels.intake_model import SORT_ROLE, IntakeFacts, IntakeModel
from widgets.panels.panel_parts import bold, dim

BATCH = 500
"""Rows that are put into the list in one turn of the event loop."""


class IntakeTable(QTableView):
    """The list; Space ticks all selected rows, or unticks them when all are ticked."""

    def __init__(self, model: IntakeModel, shown: QSortFilterProxyModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._shown = model, shown
        self.setModel(shown)
        self.setAccessibleName("Dropped models")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setStyleSheet("QTableView::item { padding: 0 7px; }")
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 10)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setStretchLastSection(True)
        wide = self.fontMetrics().averageCharWidth()
        for column, letters in enumerate((36, 8, 12, 19, 10, 20)):
            head.resizeSection(column, letters * wide)
        self.setSortingEnabled(True)
        head.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)  # in the order of the drop
        shown.sort(-1)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Space for many rows; everything else as in any table."""
        rows = [self._shown.mapToSource(i).row() for i in self.selectionModel().selectedRows()]
        if event.key() == Qt.Key.Key_Space and rows:
            self._model.tick(rows, not all(self._model.is_ticked(row) for row in rows))
            return
        super().keyPressEvent(event)


class IntakeDialog(QDialog):
    """A list with ticks, a filter and two ways out; it stays beside the desk, which goes on working.

    Args:
        most: How many models may be ticked.
        parent: Qt parent.

    Signals:
        chosen: Paths of the ticked models, in the order of the drop.
        left: Closed without adding anything.
    """

    chosen = Signal(list)
    left = Signal()

    def __init__(self, most: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("intake")
        self.setWindowTitle("Choose models")
        self._most, self._waiting, self._total = most, list[str](), 0
        self.model = IntakeModel(self)
        self.shown = QSortFilterProxyModel(self)
        self.shown.setSourceModel(self.model)
        self.shown.setSortRole(SORT_ROLE)
        self.shown.setFilterKeyColumn(-1)
        self.shown.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.title, self.words = bold(PlainLabel(wrap=True), 1.15), dim(PlainLabel(wrap=True))
        self.status = dim(PlainLabel())
        self._nothing = dim(PlainLabel("No dropped model has this in its name, type or folder. Clear the filter to "
                                       "see them all; ticks stay.", wrap=True))  # fmt: skip
        self.filter = QLineEdit()
        self.table = IntakeTable(self.model, self.shown, self)
        self._make_buttons()
        self._lay_out()
        self._next = QTimer(self, interval=0, singleShot=True)
        self._next.timeout.connect(self._put_in)
        self.filter.textChanged.connect(self._on_filter)
        self.model.ticksChanged.connect(self._show_status)
        self.resize(900, 560)

    def _make_buttons(self) -> None:
        self.all, self.none = QPushButton("Tick shown"), QPushButton("Untick all")
        self.all.setToolTip(f"Tick the models that the filter shows, up to {self._most} in all")
        self.none.setToolTip("Start again with none")
        for button in (self.all, self.none):
            button.setAutoDefault(False)
        self.all.clicked.connect(self._tick_shown)
        self.none.clicked.connect(lambda: self.model.tick(range(self.model.rowCount()), False))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.add = self.buttons.addButton("Add", QDialogButtonBox.ButtonRole.AcceptRole)
        self.add.setDefault(True)
        self.add.setProperty("primary", True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def _lay_out(self) -> None:
        self.filter.setPlaceholderText("Filter by name, type or folder")
        self.filter.setAccessibleName("Filter the models")
        self.filter.setClearButtonEnabled(True)
        line = QHBoxLayout()
        line.addWidget(self.filter, 1)
        line.addWidget(self.all)
        line.addWidget(self.none)
        foot = QHBoxLayout()
        foot.addWidget(self.status, 1)
        foot.addWidget(self.buttons)
        column = QVBoxLayout(self)
        for part in (self.title, self.words, line, self.table, foot):
            column.addWidget(part) if isinstance(part, QWidget) else column.addLayout(part)
        column.setStretch(3, 1)
        inside = QVBoxLayout(self.table.viewport())
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        inside.addWidget(self._nothing)
        self._nothing.hide()

    def start(self, paths: Sequence[str]) -> None:
        """List these models; the rows come in batches."""
        self._waiting, self._total = list(paths), len(paths)
        self.title.setText(f"{plural(len(paths), 'model')} were dropped at once")
        self.words.setText(
            f"The desk takes up to {self._most} from one drop. Tick the base and the experts that you want to mix; "
            "so far only headers are read."
        )
        self._put_in()

    def _put_in(self) -> None:
        if not self._waiting:
            return
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        first = self.model.rowCount() == 0
        self.model.add(batch)
        if first:
            self.table.selectionModel().setCurrentIndex(
                self.shown.index(0, 0), QItemSelectionModel.SelectionFlag.Current
            )
            self.filter.setFocus()
        self._show_status()
        if self._waiting:
            self._next.start()

    def learn(self, facts: Sequence[IntakeFacts]) -> None:
        """Show what was read in the meantime."""
        self.model.learn(facts)
        self._show_status()

    def _tick_shown(self) -> None:
        rows = [self.shown.mapToSource(self.shown.index(i, 0)).row() for i in range(self.shown.rowCount())]
        fresh = [row for row in rows if not self.model.is_ticked(row)]
        self.model.tick(fresh[: max(0, self._most - len(self.model.ticked))], True)

    def _on_filter(self, text: str) -> None:
        self.shown.setFilterFixedString(text.strip())
        self._nothing.setVisible(self.shown.rowCount() == 0)
        self.all.setEnabled(self.shown.rowCount() > 0)
        self._show_status()

    def _show_status(self) -> None:
        ticked, read = len(self.model.ticked), self.model.known
        every = plural(self._total, "model")
        parts = [f"{number(read)} of {every} read" if read < self._total else every]
        if self.filter.text().strip():
            parts.append(f"{number(self.shown.rowCount())} shown")
        parts.append(f"{ticked} ticked" if ticked <= self._most else f"{ticked} ticked, {ticked - self._most} too many")
        self.status.setText(" · ".join(parts))
        self.add.setEnabled(0 < ticked <= self._most)
        self.add.setText(f"Add {plural(ticked, 'model')}" if ticked else "Add")
        self.none.setEnabled(ticked > 0)

    def accept(self) -> None:
        """Say which models are wanted, and close."""
        paths = list(self.model.ticked)
        if 0 < len(paths) <= self._most:
            super().accept()
            self.chosen.emit(paths)

    def reject(self) -> None:
        """Close; nothing is added."""
        super().reject()
        self.left.emit()


def number(count: int) -> str:
    """A count with its thousands apart, as everywhere in the window."""
    return plural(count, "").rstrip("s").strip()
