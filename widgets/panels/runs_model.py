"""Runs as a Qt table model that asks for more rows when they are scrolled to."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from widgets.common.text import plain, tip
from widgets.panels.runs_state import STAR, RunColumn, RunLine

Index = QModelIndex | QPersistentModelIndex


class RunsModel(QAbstractTableModel):
    """Rows arrive in pages.

    Signals:
        moreWanted: Number of rows that are there; the next ones are wanted.
        starToggled: (run, whether it should be starred).
    """

    moreWanted = Signal(int)
    starToggled = Signal(int, bool)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.columns: tuple[RunColumn, ...] = ()
        self.rows: list[RunLine] = []
        self._total, self._asked = 0, -1

    def set_columns(self, columns: tuple[RunColumn, ...]) -> None:
        """Show other columns."""
        if columns != self.columns:
            self.beginResetModel()
            self.columns = columns
            self.endResetModel()

    def set_rows(self, rows: Sequence[RunLine], total: int) -> None:
        """Show other runs; those that are the same stay as they are, so that a selection survives."""
        same = [r.id for r in rows] == [r.id for r in self.rows[: len(rows)]] and len(rows) <= len(self.rows)
        self._asked, self._total = -1, total
        if same and rows:
            if len(rows) < len(self.rows) and total < len(self.rows):
                self.beginRemoveRows(QModelIndex(), len(rows), len(self.rows) - 1)
                del self.rows[len(rows) :]
                self.endRemoveRows()
            self.rows[: len(rows)] = list(rows)
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, max(len(self.columns) - 1, 0)))
            return
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def add_rows(self, offset: int, rows: Sequence[RunLine]) -> None:
        """The next page; one that does not continue what is there is dropped."""
        self._asked = -1
        if offset != len(self.rows) or not rows:
            return
        self.beginInsertRows(QModelIndex(), offset, offset + len(rows) - 1)
        self.rows += rows
        self.endInsertRows()

    def row_of(self, run: int) -> int:
        """Row of a run, -1 if it is not there (yet)."""
        return next((at for at, line in enumerate(self.rows) if line.id == run), -1)

    def rowCount(self, parent: Index | None = None) -> int:
        """Rows that are there."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index | None = None) -> int:
        """All columns, hidden ones too."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def canFetchMore(self, parent: Index) -> bool:
        """Whether there are more rows than these."""
        return not parent.isValid() and len(self.rows) < self._total

    def fetchMore(self, parent: Index) -> None:
        """Ask for the next page, once."""
        if self._asked != len(self.rows):
            self._asked = len(self.rows)
            self.moreWanted.emit(self._asked)

    def headerData(self, section: int, way: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Titles with their units."""
        if way != Qt.Orientation.Horizontal or not 0 <= section < len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return "★" if column.name == STAR else f"{column.title} ({column.unit})" if column.unit else column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(f"{column.title}. In filters: {column.name}")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.is_number else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text, alignment, tooltip, star."""
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        line, column = self.rows[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return ("★" if line.star else "☆") if column.name == STAR else line.cells.get(column.name, "")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.is_number else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(line.hint)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            if column.name == STAR:
                return "starred" if line.star else "not starred"
            return plain(f"{column.title} {line.cells.get(column.name, '') or 'none'}")
        return None
