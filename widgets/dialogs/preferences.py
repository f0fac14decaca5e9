"""Preferences: every change applies at once, there is nothing to confirm."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QDialog, QFormLayout, QSizePolicy, QWidget

from widgets.common.pieces import CalmComboBox, CalmSpinBox, column, dimmed, heading, labelled, push, row
from widgets.dialogs.history_field import HistoryField
from widgets.dialogs.state import PreferencesState

_THEMES = (("system", "As the desktop"), ("dark", "Dark"), ("light", "Light"), ("contrast", "High contrast"))


class PreferencesDialog(QDialog):
    """Shows the preferences and reports each change.

    Signals:
        changed: Name of the field of `PreferencesState`, and its new value.

    Attributes:
        history: Where runs are recorded; whoever opens the dialog fills it and listens to it.
    """

    changed = Signal(str, object)

    def __init__(self, state: PreferencesState | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = state or PreferencesState()
        self.setObjectName("preferences")
        self.setWindowTitle("Preferences")
        self._theme = self._combo("theme")
        self._auto = QCheckBox("Score the mix after every &change")
        self._auto.setObjectName("preferences-auto_eval")
        self._auto.toggled.connect(lambda on: self._report("auto_eval", on))
        self._rows = self._spin("eval_rows", 16, 100_000, step=50, suffix=" rows")
        self._device = self._combo("device")
        self._runner = self._combo("runner")
        self._threads = self._spin("threads", 0, 1)
        self._threads_note = dimmed()
        self.history = HistoryField()
        close = push("Close", name="preferences-close", primary=True)
        close.clicked.connect(self.accept)
        body = column(self._form(), None, row(dimmed("Changes apply at once.", wrap=False), None, close), spacing=14)
        body.setContentsMargins(18, 16, 18, 14)
        self.setLayout(body)
        self.setMinimumWidth(500)
        self._fill()
        self.history.resized.connect(self._grow)

    def _grow(self) -> None:
        """Make room for wrapped text; Qt does not ask for it once a dialog is shown."""
        body = self.layout()
        if body is not None:
            body.activate()
            self.resize(self.width(), max(self.height(), body.totalHeightForWidth(self.width())))

    def _form(self) -> QFormLayout:
        form = QFormLayout()
        form.setVerticalSpacing(10)
        form.setHorizontalSpacing(14)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(heading("Look", larger=1.0))
        form.addRow(labelled("&Theme", self._theme), self._theme)
        form.addRow(heading("Quick eval", larger=1.0))
        form.addRow("", self._auto)
        form.addRow(labelled("Use at &most", self._rows), self._rows)
        form.addRow("", dimmed("More rows take longer and make the ± smaller."))
        form.addRow(labelled("Run&ner", self._runner), self._runner)
        form.addRow(heading("Computing", larger=1.0))
        form.addRow(labelled("&Device", self._device), self._device)
        form.addRow(labelled("Th&reads", self._threads), self._threads)
        form.addRow("", self._threads_note)
        form.addRow(heading("History", larger=1.0))
        form.addRow(labelled("Record r&uns", self.history.kind), self.history)
        return form

    def set_state(self, state: PreferencesState) -> None:
        """Show other values; reports nothing."""
        self.state = state
        self._fill()

    def _fill(self) -> None:
        state = self.state
        quiet = [QSignalBlocker(field) for field in (self._auto, self._rows, self._threads)]
        self._theme.set_choices(_THEMES, state.theme)
        self._device.set_choices(state.devices, state.device)
        self._runner.set_choices(state.runners, state.runner)
        self._auto.setChecked(state.auto_eval)
        self._threads.setMaximum(max(state.cores, state.threads, 1))
        self._threads.setSpecialValueText(f"One for each core ({state.cores})")
        for field, value in ((self._rows, state.eval_rows), (self._threads, state.threads)):
            if field.value() != value and not (field.hasFocus() and field.lineEdit().isModified()):
                field.setValue(value)
        for blocker in quiet:
            blocker.unblock()
        self._threads_note.setText("Any number gives the same bytes.")

    def _report(self, name: str, value: object) -> None:
        if getattr(self.state, name) != value:
            self.changed.emit(name, value)

    def _combo(self, name: str) -> CalmComboBox:
        combo = CalmComboBox()
        combo.setObjectName(f"preferences-{name}")
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        combo.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        combo.currentIndexChanged.connect(lambda: self._report(name, combo.currentData()))
        return combo

    def _spin(self, name: str, low: int, high: int, *, step: int = 1, suffix: str = "") -> CalmSpinBox:
        spin = CalmSpinBox()
        spin.setObjectName(f"preferences-{name}")
        spin.setRange(low, high)
        spin.setSingleStep(step)
        spin.setSuffix(suffix)
        spin.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        spin.valueChanged.connect(lambda value: self._report(name, value))
        return spin
