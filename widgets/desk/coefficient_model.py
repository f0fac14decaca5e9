"""The desk as a table: pinned metric rows of the merged model on top, then one row for each expert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from widgets.desk import wording
from widgets.desk.state import Cell, DeskState, MetricRow, changed_cells, changed_metrics, same_shape

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_FEW = 6
"""So many cells are painted again sooner than views are told of one more change."""
_SHOWN = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemNeverHasChildren


def _nothing(row: int, column: int) -> str:
    """No remark on any cell."""
    return ""


_EDITABLE = _SHOWN | Qt.ItemFlag.ItemIsEditable


class CoefficientModel(QAbstractTableModel):
    """A `DeskState` for Qt's views and for screen readers; it never changes the state itself.

    Attributes:
        remark: What else is known about a coefficient (row among experts, column), for tooltip and screen reader.

    Signals:
        edited: (row among experts, column, value) that somebody typed.
        headsChanged: Only row headers may look different.
    """

    edited = Signal(int, int, float)
    headsChanged = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.state = DeskState()
        self.pinned: tuple[MetricRow, ...] = ()
        self.remark: Callable[[int, int], str] = _nothing

    @property
    def top(self) -> int:
        """Number of pinned rows; the first expert is this row."""
        return len(self.pinned)

    def setState(self, state: DeskState) -> None:
        """Show another state, telling views only about the cells that differ."""
        old, old_pinned = self.state, self.pinned
        if not same_shape(old, state):
            self.beginResetModel()
            self.state, self.pinned = state, state.pinned
            self.endResetModel()
            return
        self.state, self.pinned = state, state.pinned
        self._tell_pinned(old_pinned)
        changed = changed_cells(old, state)
        for row in np.flatnonzero(changed.any(axis=1)).tolist():
            self._tell(self.top + row, self.top + row, changed[row])
        if old.experts != state.experts or any(a is not b for a, b in zip(old_pinned, self.pinned, strict=True)):
            self.headsChanged.emit()
        if old.columns != state.columns and state.columns:
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(state.columns) - 1)

    def _tell_pinned(self, old: tuple[MetricRow, ...]) -> None:
        """Tell about the pinned rows: together where few other cells lie between, as when a fader moves."""
        nothing = np.zeros(len(self.state.columns), dtype=bool)
        changed = [changed_metrics(a, b) if a is not b else nothing for a, b in zip(old, self.pinned, strict=True)]
        rows = [row for row, flags in enumerate(changed) if flags.any()]
        if not rows:
            return
        union = np.logical_or.reduce(changed)
        around = int(union.sum()) * (rows[-1] - rows[0] + 1) - sum(int(flags.sum()) for flags in changed)
        if around <= _FEW:
            self._tell(rows[0], rows[-1], union)
            return
        for row in rows:
            self._tell(row, row, changed[row])

    def _tell(self, top: int, bottom: int, flags: np.ndarray) -> None:
        """Emit dataChanged for every run of flagged columns of some rows."""
        if not flags.any():
            return
        edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
        for first, after in edges.reshape(-1, 2).tolist():
            self.dataChanged.emit(self.createIndex(top, first), self.createIndex(bottom, after - 1))

    def expert_row(self, index: Index) -> int:
        """Row among the experts, or -1 for a pinned row or no index at all."""
        return index.row() - self.top if index.isValid() and index.row() >= self.top else -1

    def cell(self, index: Index) -> Cell | None:
        """The cell as signals name it, None for pinned rows."""
        row = self.expert_row(index)
        return None if row < 0 else (self.state.experts[row].id, index.column())

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        """Pinned rows and experts."""
        return 0 if parent.isValid() else self.top + len(self.state.experts)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        """Columns of the desk."""
        return 0 if parent.isValid() else len(self.state.columns)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Everything can be selected; coefficients can be edited unless the state is fixed."""
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        return _EDITABLE if index.row() >= len(self.pinned) and not self.state.fixed else _SHOWN

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Number, edit text, tooltip and spoken sentence of a cell."""
        if not index.isValid() or index.row() >= self.rowCount() or index.column() >= self.columnCount():
            return None
        row = index.row() - self.top
        if row < 0:
            return self._metric_data(self.pinned[index.row()], index.column(), role)
        if role == Qt.ItemDataRole.DisplayRole:
            return wording.number(self.state.values[row, index.column()])
        if role == Qt.ItemDataRole.EditRole:
            return wording.exact(self.state.values[row, index.column()]).replace(wording.MINUS, "-")
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(filter(None, (wording.cell_tip(self.state, row, index.column()),
                                           wording.plain(self.remark(row, index.column())))))  # fmt: skip
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join(filter(None, (wording.cell_sentence(self.state, row, index.column()),
                                           wording.plain(self.remark(row, index.column())))))  # fmt: skip
        return None

    def _metric_data(self, metric: MetricRow, column: int, role: int) -> Any:
        if role == Qt.ItemDataRole.DisplayRole:
            return wording.metric_text(metric, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return wording.metric_tip(self.state, metric, column)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return wording.metric_sentence(self.state, metric, column)
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Labels of columns and rows, with their spoken form."""
        if orientation == Qt.Orientation.Horizontal:
            return self._column_header(section, role)
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            return None
        if 0 <= section < self.top:
            return wording.one_line(self.pinned[section].title)
        if self.top <= section < self.rowCount():
            return wording.one_line(self.state.experts[section - self.top].name)
        return None

    def _column_header(self, section: int, role: int) -> Any:
        if not 0 <= section < len(self.state.columns):
            return None
        column = self.state.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return wording.one_line(column.text)
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            return wording.place(column)
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Pass a typed value on as a wish; the state changes when the owner says so."""
        row = self.expert_row(index)
        number = wording.parse_number(str(value)) if role == Qt.ItemDataRole.EditRole else None
        if row < 0 or number is None or self.state.fixed:
            return False
        self.edited.emit(row, index.column(), number)
        return True
