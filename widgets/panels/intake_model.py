"""Many dropped models as a table with ticks: rows at once, what their headers say as it becomes known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from widgets.common.format import bytes_text, count_text
from widgets.common.text import plain, tip

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()

HEADINGS = ("Name", "Family", "Parameters", "Type", "Size", "Folder")
_TIPS = {"Family": "Models with the same letter have the same tensors: they can be merged with each other.",
         "Size": "Bytes on the disk."}  # fmt: skip
_NUMBERS = ("Parameters", "Size")
SORT_ROLE = Qt.ItemDataRole.UserRole
READING = "reading…"


@dataclass(frozen=True, slots=True)
class IntakeFacts:
    """What the header of a dropped model says.

    Attributes:
        path: As it was found.
        parameters: Number of floating-point elements.
        dtype: Like "bf16".
        size_bytes: On the disk.
        family: Same for models with the same tensors and shapes.
        problem: Why it cannot be opened; "" if it can.
    """

    path: str
    parameters: int = 0
    dtype: str = ""
    size_bytes: int = 0
    family: int = 0
    problem: str = ""


class IntakeModel(QAbstractTableModel):
    """The models of one drop, with a tick for each that is wanted.

    Signals:
        ticksChanged: Another set of models is ticked.
    """

    ticksChanged = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._paths: list[str] = []
        self._names: list[str] = []
        self._rows: dict[str, int] = {}
        self._facts: dict[str, IntakeFacts] = {}
        self._families: dict[int, int] = {}
        self._ticked: dict[str, None] = {}

    def add(self, paths: Sequence[str]) -> None:
        """Append rows for models of which only the path is known."""
        if not paths:
            return
        first = len(self._paths)
        self.beginInsertRows(QModelIndex(), first, first + len(paths) - 1)
        self._rows.update({path: first + i for i, path in enumerate(paths)})
        self._paths += paths
        self._names += [plain(Path(p).name.removesuffix(".safetensors"), 200) for p in paths]
        self.endInsertRows()

    def learn(self, facts: Iterable[IntakeFacts]) -> None:
        """Show what headers say; models that cannot be opened lose their tick."""
        rows, lost = list[int](), False
        for fact in facts:
            if fact.path in self._rows:
                self._facts[fact.path] = fact
                rows.append(self._rows[fact.path])
                if fact.problem:
                    lost = self._ticked.pop(fact.path, self) is None or lost
                else:
                    self._families.setdefault(fact.family, len(self._families))
        if rows:
            self.dataChanged.emit(self.index(min(rows), 0), self.index(max(rows), len(HEADINGS) - 1))
        if lost:
            self.ticksChanged.emit()

    @property
    def known(self) -> int:
        """Number of models whose header was read."""
        return len(self._facts)

    @property
    def ticked(self) -> tuple[str, ...]:
        """Paths of the models that are wanted, in the order of the drop."""
        return tuple(sorted(self._ticked, key=self._rows.__getitem__))

    def tick(self, rows: Iterable[int], on: bool) -> None:
        """Want some rows, or not any more; those that cannot be opened stay without a tick."""
        rows = list(rows)
        for row in rows:
            path = self._paths[row]
            fact = self._facts.get(path)
            if on and not (fact is not None and fact.problem):
                self._ticked[path] = None
            elif not on:
                self._ticked.pop(path, None)
        if rows:
            self.dataChanged.emit(self.index(min(rows), 0), self.index(max(rows), 0))
            self.ticksChanged.emit()

    def is_ticked(self, row: int) -> bool:
        """Whether a row is wanted."""
        return self._paths[row] in self._ticked

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        """One row for each model."""
        return 0 if parent.isValid() else len(self._paths)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        """Name, family, parameters, type, size, folder."""
        return 0 if parent.isValid() else len(HEADINGS)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Names have a box to tick, unless the model cannot be opened."""
        shown = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemNeverHasChildren
        fact = self._facts.get(self._paths[index.row()]) if index.isValid() else None
        if fact is not None and fact.problem:
            return shown
        return shown | Qt.ItemFlag.ItemIsEnabled | (Qt.ItemFlag.ItemIsUserCheckable if not index.column() else shown)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Headings; numbers stand at the right."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADINGS[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return _TIPS.get(HEADINGS[section])
        return _alignment(HEADINGS[section]) if role == Qt.ItemDataRole.TextAlignmentRole else None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tick, spoken sentence and what rows are sorted by."""
        if not index.isValid():
            return None
        path, heading = self._paths[index.row()], HEADINGS[index.column()]
        fact = self._facts.get(path)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(path, heading, fact)
        if role == Qt.ItemDataRole.CheckStateRole and not index.column():
            return Qt.CheckState.Checked if path in self._ticked else Qt.CheckState.Unchecked
        if role == SORT_ROLE:
            return self._sort_value(path, heading, fact)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(f"{path}\n{fact.problem}" if fact is not None and fact.problem else path)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(heading)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            wanted = ("ticked, " if path in self._ticked else "not ticked, ") if not index.column() else f"{heading} "
            return wanted + (self._text(path, heading, fact) or "unknown")
        return None

    def _text(self, path: str, heading: str, fact: IntakeFacts | None) -> str:
        if heading == "Name":
            return self._names[self._rows[path]]
        if heading == "Folder":
            return plain(str(Path(path).parent), 400)
        if fact is None:
            return READING if heading == "Parameters" else ""
        if fact.problem:
            return "cannot be opened" if heading == "Type" else ""
        texts = {"Family": self._letter(fact), "Parameters": count_text(fact.parameters), "Type": fact.dtype,
                 "Size": bytes_text(fact.size_bytes)}  # fmt: skip
        return texts[heading]

    def _letter(self, fact: IntakeFacts) -> str:
        """A, B … Z, then A2, B2 and so on."""
        number = self._families.get(fact.family, 0)
        return chr(ord("A") + number % 26) + (str(number // 26 + 1) if number >= 26 else "")

    def _sort_value(self, path: str, heading: str, fact: IntakeFacts | None) -> Any:
        if heading in ("Name", "Folder"):
            return self._text(path, heading, fact).casefold()
        if heading == "Type":
            return fact.dtype if fact is not None else ""
        if fact is None or fact.problem:
            return -1
        numbers = {"Family": self._families.get(fact.family, 0), "Parameters": fact.parameters,
                   "Size": fact.size_bytes}  # fmt: skip
        return numbers[heading]


def _alignment(heading: str) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if heading in _NUMBERS else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
