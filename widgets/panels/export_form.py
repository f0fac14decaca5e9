"""The fields of the export panel, and the rule that nothing typed is ever overwritten."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QLineEdit, QWidget

from widgets.common.pieces import (
    CalmComboBox,
    CalmDoubleSpinBox,
    Mark,
    WrappedLabel,
    column,
    dimmed,
    labelled,
    push,
    row,
)
from widgets.panels.export_words import format_text
from widgets.panels.state import ExportForm, ExportState

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAF = "merged-model"
_CHECKS = (
    ("sidecars", "Config and to&kenizer of the base"),
    ("card", "Model ca&rd (README.md)"),
    ("verify", "&Verify the result against the recipe"),
)
_TIPS = {
    "sidecars": "Copies config.json, without anything that runs code, and the tokenizer's files",
    "card": "What was merged, how, and from which files",
    "verify": "Opens the result again and compares sampled tensors with what the recipe gives",
}


class ExportFields(QWidget):
    """Target, dtype, shards, device and what to include.

    The fields' values are the user's: a state that still has what was true before the last edit (the owner
    has not caught up) changes nothing; one with values of its own does, except for a field being typed in.

    Signals:
        changed: The `ExportForm` after an edit by the user.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._form = ExportForm()
        self._seen = self._form
        self._sent: list[ExportForm] = []
        self.target = QLineEdit()
        self.target.setObjectName("export-target")
        self.target.setPlaceholderText("Folder that the export makes")
        self.target.setAcceptDrops(False)
        self.target.textEdited.connect(lambda text: self._edit(path=text))
        self.browse = push("Browse…", name="export-browse", icon_name="browse", hint="Choose where the folder goes")
        self.browse.clicked.connect(self._open_dialog)
        self._exists_mark = Mark("warning")
        self._exists = dimmed("Something is there already; Export asks first.")
        self._format = self._combo("format")
        self._format_note = WrappedLabel(wrap=True)
        self._format_note.setObjectName("export-format-note")
        self._dtype = self._combo("dtype")
        self._device = self._combo("device")
        self._shard = self._make_shard()
        self._checks = {name: self._check(name, text) for name, text in _CHECKS}
        self.setLayout(self._arranged())
        self._show_exists(False)

    def _arranged(self) -> QFormLayout:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(8)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(labelled("&To", self.target), row(self.target, self.browse))
        there = row(self._exists_mark, self._exists)
        there.setStretch(1, 1)
        form.addRow(there)
        self._format_label = labelled("&Format", self._format)
        form.addRow(self._format_label, self._format)
        form.addRow(self._format_note)
        form.addRow(labelled("&Dtype", self._dtype), self._dtype)
        form.addRow(labelled("&Shards", self._shard), self._shard)
        form.addRow(labelled("Compute &on", self._device), self._device)
        form.addRow("Include", column(*self._checks.values(), spacing=4))
        return form

    def _combo(self, name: str) -> CalmComboBox:
        combo = CalmComboBox()
        combo.setObjectName(f"export-{name}")
        combo.setMinimumContentsLength(8)
        combo.currentIndexChanged.connect(lambda: self._edit(**{name: combo.currentData()}))
        return combo

    def _make_shard(self) -> CalmDoubleSpinBox:
        shard = CalmDoubleSpinBox()
        shard.setObjectName("export-shard")
        shard.setRange(0.0, 1000.0)
        shard.setDecimals(1)
        shard.setPrefix("up to ")
        shard.setSuffix(" GB a file")
        shard.setSpecialValueText("one file of any size")
        shard.setToolTip("Largest file; 0 writes a single file")
        shard.valueChanged.connect(lambda value: self._edit(shard_gb=value))
        return shard

    def _check(self, name: str, text: str) -> QCheckBox:
        box = QCheckBox(text)
        box.setObjectName(f"export-{name}")
        box.setAccessibleName(text.replace("&", ""))
        box.setToolTip(_TIPS[name])
        box.toggled.connect(lambda on: self._edit(**{name: on}))
        return box

    def form(self) -> ExportForm:
        """The values as the user sees them."""
        return self._form

    def commit(self) -> ExportForm:
        """The values, with a number that is still being typed."""
        self._shard.interpretText()
        return self._form

    def set_state(self, state: ExportState) -> None:
        """Show values and choices; reports nothing."""
        incoming = state.form
        if incoming in self._sent:
            del self._sent[: self._sent.index(incoming) + 1]
            wanted = incoming if not self._sent else self._form
        elif incoming == self._seen and self._sent:
            wanted = self._form
        else:
            self._sent.clear()
            wanted = incoming
        self._seen = incoming
        self._show(self._without_typing(wanted), state)
        self._show_exists(state.exists)

    def _without_typing(self, wanted: ExportForm) -> ExportForm:
        """The values wanted, but the user's own in a field being typed in."""
        kept: dict[str, Any] = {}
        if self.target.hasFocus() and self.target.isModified():
            kept["path"] = self.target.text()
        if self._shard.hasFocus() and self._shard.lineEdit().isModified():
            kept["shard_gb"] = self._form.shard_gb
        return replace(wanted, **kept)

    def _show(self, form: ExportForm, state: ExportState) -> None:
        self._form = form
        if self.target.text() != form.path:
            self.target.setText(form.path)
        self._format.set_choices(state.formats, form.format)
        self._dtype.set_choices(state.dtypes, form.dtype)
        self._device.set_choices(state.devices, form.device)
        for widget in (self._format, self._format_label):
            widget.setVisible(len(state.formats) > 1)
        self._format_note.setText(format_text(form))
        self._format_note.setVisible(bool(self._format_note.text()))
        self._shard.setEnabled(form.format != "onnx")
        self._quietly(self._shard, partial(self._show_shard, form.shard_gb))
        for name, box in self._checks.items():
            self._quietly(box, partial(box.setChecked, getattr(form, name)))

    def _show_shard(self, size: float) -> None:
        if self._shard.value() != size:
            self._shard.setValue(size)

    def _show_exists(self, exists: bool) -> None:
        self._exists_mark.setVisible(exists)
        self._exists.setVisible(exists)

    @staticmethod
    def _quietly(widget: QWidget, change: Callable[[], None]) -> None:
        before = widget.blockSignals(True)
        change()
        widget.blockSignals(before)

    def _edit(self, **values: Any) -> None:
        """The user changed something."""
        form = replace(self._form, **values)
        if form != self._form:
            self._form = form
            self._sent.append(form)
            del self._sent[:-200]
            self.changed.emit(form)

    def _open_dialog(self) -> None:
        """Choose the folder that the model folder goes into; the name stays."""
        here = PurePath(self.target.text())
        dialog = QFileDialog(self.window(), "Put the model folder into", str(here.parent) if here.name else "")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly, True)
        dialog.fileSelected.connect(self.put_into)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def put_into(self, folder: str) -> None:
        """Set the target to a folder of the same name inside `folder`."""
        path = str(PurePath(folder) / (PurePath(self.target.text()).name or _LEAF))
        self.target.setText(path)
        self._edit(path=path)
