"""The experts of a task bundle: which data measures each, and its λ."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QGridLayout, QWidget

from widgets.common.pieces import CalmComboBox, CalmDoubleSpinBox, dimmed
from widgets.common.text import ElidedLabel, PlainLabel, tip
from widgets.dialogs.bundle_state import BundleTask

_NONE = ("", "no data")
_NEEDS = "Needs data: choose a quick-eval task first"


class _Row:
    """The widgets of one expert."""

    def __init__(self, task: BundleTask, number: int) -> None:
        self.task = task
        self.name = ElidedLabel(task.name)
        self.name.setMinimumWidth(110)
        self.data = CalmComboBox()
        self.data.setObjectName(f"bundle-data-{number}")
        self.data.setAccessibleName(f"Data of {task.name}")
        self.data.set_choices((_NONE, *task.data), task.chosen)
        self.data.setMinimumContentsLength(9)
        self.data.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.auto = QCheckBox("by quick eval")
        self.auto.setObjectName(f"bundle-auto-{number}")
        self.auto.setAccessibleName(f"Choose λ of {task.name} by quick eval")
        self.level = CalmDoubleSpinBox()
        self.level.setObjectName(f"bundle-level-{number}")
        self.level.setAccessibleName(f"λ of {task.name}")
        self.level.setRange(0.0, 10.0)
        self.level.setSingleStep(0.05)
        self.level.setDecimals(2)
        self.level.setValue(task.level)
        self.show()

    def show(self) -> None:
        """Show what is possible now."""
        quiet = QSignalBlocker(self.auto)
        self.auto.setEnabled(bool(self.task.chosen))
        self.auto.setChecked(self.task.is_tuned)
        self.auto.setToolTip(tip("Try 0.2 to 0.6 on validation rows and keep the best" if self.task.chosen else _NEEDS))
        self.level.setEnabled(not self.task.is_tuned)
        self.level.setToolTip(tip("Chosen when the bundle is made" if self.task.is_tuned else
                                  "Larger keeps fewer weights: |τ| > λ · |τ of all the others|"))  # fmt: skip
        self.data.setToolTip(tip(self.data.currentText()))
        quiet.unblock()


class BundleRows(QWidget):
    """A line for each expert: name, data, λ.

    Signals:
        changed: The tuple of `BundleTask` after an edit.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[_Row] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(0, 2)
        self._grid.setColumnStretch(1, 2)

    def tasks(self) -> tuple[BundleTask, ...]:
        """The values as the user sees them."""
        return tuple(row.task for row in self._rows)

    def set_tasks(self, tasks: tuple[BundleTask, ...]) -> None:
        """Show other experts; reports nothing."""
        if tasks == self.tasks() and self._rows:
            return
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self._rows = [_Row(task, number) for number, task in enumerate(tasks)]
        for column, text in enumerate(("Expert", "Measured on", "λ of its mask", "")):
            self._grid.addWidget(PlainLabel(text), 0, column)
        for number, row in enumerate(self._rows, 1):
            for column, widget in enumerate((row.name, row.data, row.auto, row.level)):
                self._grid.addWidget(widget, number, column)
            self._connect(row)
        if not tasks:
            self._grid.addWidget(dimmed("Add experts to the desk first."), 1, 0, 1, 4)

    def _connect(self, row: _Row) -> None:
        row.data.currentIndexChanged.connect(lambda: self._edit(row, chosen=row.data.currentData() or ""))
        row.auto.toggled.connect(lambda on: self._edit(row, auto=on))
        row.level.valueChanged.connect(lambda value: self._edit(row, level=round(value, 4)))

    def _edit(self, row: _Row, **changes: object) -> None:
        row.task = replace(row.task, **changes)  # type: ignore[arg-type]  # fields of BundleTask, by the callers above
        row.show()
        self.changed.emit(self.tasks())
