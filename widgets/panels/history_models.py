"""Steps and pins as Qt models that change in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QAbstractListModel, QMimeData, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from widgets.common.format import score_text
from widgets.common.recipe_drag import MIME, recipe_mime
from widgets.common.text import plain, tip
from widgets.panels.state import PinRow, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

Index = QModelIndex | QPersistentModelIndex
ROW_ROLE = int(Qt.ItemDataRole.UserRole) + 1
PLACE_ROLE = int(Qt.ItemDataRole.UserRole) + 2
"""-1 before the current step, 0 the current one, 1 after it (undone)."""


class StepModel(QAbstractListModel):
    """The undo stack; the step at `current` is what the desk shows."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.steps: tuple[Step, ...] = ()
        self.current = 0

    def set_steps(self, steps: tuple[Step, ...], current: int) -> bool:
        """Show other steps and return whether their number changed."""
        old, old_current = self.steps, self.current
        same = min(len(old), len(steps))
        if len(old) > same:
            self.beginRemoveRows(QModelIndex(), same, len(old) - 1)
            self.steps = old[:same]
            self.endRemoveRows()
        if len(steps) > same:
            self.beginInsertRows(QModelIndex(), same, len(steps) - 1)
            self.steps = (*self.steps, *steps[same:])
            self.endInsertRows()
        self.steps, self.current = steps, current
        changed = [i for i in range(same) if old[i] is not steps[i] and old[i] != steps[i]]
        if current != old_current:
            changed += [i for i in range(min(current, old_current), max(current, old_current) + 1) if i < len(steps)]
        if changed:
            self.dataChanged.emit(self.index(min(changed), 0), self.index(max(changed), 0))
        return len(old) != len(steps)

    def rowCount(self, parent: Index | None = None) -> int:
        """All steps."""
        return 0 if parent is not None and parent.isValid() else len(self.steps)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """The sentence; what screen readers add; the value for the painter."""
        if not index.isValid() or index.row() >= len(self.steps):
            return None
        step, place = self.steps[index.row()], (index.row() > self.current) - (index.row() < self.current)
        if role == Qt.ItemDataRole.DisplayRole:
            return plain(step.text)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(_step_text(step, place))
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return plain(_step_text(step, place))
        return {ROW_ROLE: step, PLACE_ROLE: place}.get(role)


class PinModel(QAbstractListModel):
    """The pins; editing a name emits a wish, the model itself stays as it is.

    Signals:
        renamed: Old and new name.
    """

    renamed = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.pins: tuple[PinRow, ...] = ()

    def set_pins(self, pins: tuple[PinRow, ...]) -> None:
        """Show other pins; new ones come last, so a name that is being typed stays open."""
        old, same = self.pins, min(len(self.pins), len(pins))
        if len(old) > same:
            self.beginRemoveRows(QModelIndex(), same, len(old) - 1)
            self.pins = old[:same]
            self.endRemoveRows()
        if len(pins) > same:
            self.beginInsertRows(QModelIndex(), same, len(pins) - 1)
            self.pins = (*self.pins, *pins[same:])
            self.endInsertRows()
        self.pins = pins
        if same and old[:same] != pins[:same]:
            self.dataChanged.emit(self.index(0, 0), self.index(same - 1, 0))

    def name(self, index: Index) -> str:
        """Name of the pin in a row."""
        return self.pins[index.row()].name

    def rowCount(self, parent: Index | None = None) -> int:
        """All pins."""
        return 0 if parent is not None and parent.isValid() else len(self.pins)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Names can be edited, pins dragged onto A or B of a comparison."""
        return super().flags(index) | Qt.ItemFlag.ItemIsEditable | Qt.ItemFlag.ItemIsDragEnabled

    def mimeTypes(self) -> list[str]:
        """Recipes."""
        return [MIME]

    def mimeData(self, indexes: Sequence[Index]) -> QMimeData:
        """The pin's whole name."""
        return recipe_mime(self.name(indexes[0]) if indexes else "")

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """The name; what screen readers add; the value for the painter."""
        if not index.isValid() or index.row() >= len(self.pins):
            return None
        pin = self.pins[index.row()]
        if role == Qt.ItemDataRole.EditRole:
            return pin.name
        if role == Qt.ItemDataRole.DisplayRole:
            return plain(pin.name, 80)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(f"{_pin_text(pin)}\nClick to use it, F2 to rename it, Del to remove it.")
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return plain(_pin_text(pin).replace("\n", ", "))
        return pin if role == ROW_ROLE else None

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Wish for another name."""
        name = str(value).strip()
        if role != Qt.ItemDataRole.EditRole or not name or name == self.name(index):
            return False
        self.renamed.emit(self.name(index), name)
        return True


def _step_text(step: Step, place: int) -> str:
    parts = [step.text, *(["the desk shows this"] if place == 0 else ["undone"] if place > 0 else [])]
    if step.score is not None:
        parts.append(f"score {score_text(step.score)}")
    return ", ".join([*parts, *(["saved"] if step.is_saved else [])])


def _pin_text(pin: PinRow) -> str:
    lines = [pin.name, *([pin.detail] if pin.detail else [])]
    if pin.score is not None:
        lines.append(f"score {score_text(pin.score)}")
    return "\n".join([*lines, *(["the desk shows this"] if pin.is_current else [])])
