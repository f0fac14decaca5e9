"""Export a task bundle: what goes in, what it will take, how it goes, and what the restored tasks keep."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent
from PySide6.QtWidgets import QCheckBox, QDialog, QFormLayout, QGridLayout, QLineEdit, QWidget

from widgets.common.format import bytes_text
from widgets.common.icons import icon
from widgets.common.pieces import (
    CalmComboBox,
    Mark,
    TallArea,
    WrappedLabel,
    column,
    heading,
    labelled,
    push,
    row,
    rule,
)
from widgets.common.text import PlainLabel, tip
from widgets.dialogs.bundle_rows import BundleRows
from widgets.dialogs.bundle_state import BundleForm, BundleSizes, BundleState
from widgets.dialogs.bundle_table import BundleTable, csv_text
from widgets.panels.export_result import ExportResult
from widgets.panels.export_words import is_busy

_WHAT = ("One base, one multi-task vector and a bit mask for each expert, from which every expert can be restored "
         "(TALL masks).")  # fmt: skip
_BASES = (("reference", "by its hash: whoever restores needs it"), ("included", "included in the bundle"))
_CHECKS = {
    "coded": ("&Entropy-code the masks", "Lossless; a mask that would not become smaller stays as it is"),
    "eight": ("&8-bit multi-task vector", "A quarter of its size; rounded in blocks of 128 weights"),
    "rescale": ("&Rescale restored task vectors (off: as in the paper)",
                "Each restored tensor gets its task vector's size back. Off is exactly the paper."),
}  # fmt: skip


class BundleDialog(QDialog):
    """The form, the forecast, the job and the table. It can be closed while the job runs.

    Signals:
        formChanged: The `BundleForm` after an edit.
        exportRequested: The `BundleForm` to write.
        cancelRequested: Stop the running job.
        browseRequested: The user wants to choose the file.
        copied: What was copied to the clipboard.
        actionTriggered: Id of a button of the finished job.
        helpRequested: The help page is wanted.
    """

    formChanged = Signal(object)
    exportRequested = Signal(object)
    cancelRequested = Signal()
    browseRequested = Signal()
    copied = Signal(str)
    actionTriggered = Signal(str)
    helpRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state, self._form, self._quiet = BundleState(), BundleForm(), False
        self.setObjectName("bundle-dialog")
        self.setWindowTitle("Export as task bundle")
        self._make_fields()
        self._make_foot()
        self._shown: object = ()
        inner, area = QWidget(), TallArea()
        self._area = area
        body = column(
            WrappedLabel(_WHAT, wrap=True),
            self._arranged(), heading("Tasks", larger=1.0, wrap=False), self._rows, 2, self._forecast(), rule(),
            self._result, self._table, None, spacing=10,
        )  # fmt: skip
        body.setContentsMargins(0, 0, 8, 0)
        inner.setLayout(body)
        area.show_widget(inner)
        whole = column(area, rule(), self._foot(), spacing=8)
        whole.setContentsMargins(18, 16, 14, 14)
        self.setLayout(whole)
        self.setMinimumWidth(640)
        self.resize(700, 700)
        self.set_state(self.state)

    # Parts ---------------------------------------------------------------------------------------------------

    def _make_fields(self) -> None:
        self.target = QLineEdit()
        self.target.setObjectName("bundle-target")
        self.target.textEdited.connect(lambda text: self._edit(path=text))
        self._browse = push("Browse…", name="bundle-browse")
        self._browse.clicked.connect(self.browseRequested)
        self._base = CalmComboBox()
        self._base.setObjectName("bundle-base")
        self._base.set_choices(_BASES, "reference")
        self._base.currentIndexChanged.connect(lambda: self._edit(include_base=self._base.currentData() == "included"))
        self._checks = {name: self._check(name, *words) for name, words in _CHECKS.items()}
        self._rows = BundleRows()
        self._rows.changed.connect(lambda tasks: self._edit(tasks=tasks))
        self._figures = {name: WrappedLabel() for name in ("bundle", "experts", "bits")}
        self._result = ExportResult()
        self._result.actionTriggered.connect(self.actionTriggered)
        self._result.retryRequested.connect(self._export)
        self._table = BundleTable()
        self._table.hide()

    def _check(self, name: str, text: str, hint: str) -> QCheckBox:
        box = QCheckBox(text)
        box.setObjectName(f"bundle-{name}")
        box.setAccessibleName(text.replace("&", ""))
        box.setToolTip(tip(hint))
        box.toggled.connect(lambda on: self._edit(**{name: on}))
        return box

    def _arranged(self) -> QFormLayout:
        form = QFormLayout()
        form.setVerticalSpacing(8)
        form.setHorizontalSpacing(14)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(labelled("&To", self.target), row(self.target, self._browse))
        form.addRow(labelled("&Base", self._base), self._base)
        form.addRow("Options", column(*self._checks.values(), spacing=4))
        return form

    def _forecast(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(3)
        for number, (name, text) in enumerate(
            (("bundle", "Bundle"), ("experts", "Experts"), ("bits", "Bits a parameter"))
        ):
            self._figures[name].setObjectName(f"bundle-figure-{name}")
            grid.addWidget(PlainLabel(text), number, 0)
            grid.addWidget(self._figures[name], number, 1)
        grid.setColumnStretch(1, 1)
        return grid

    def _make_foot(self) -> None:
        self._button = push("Export bundle", name="bundle-export", primary=True, icon_name="export")
        self._button.clicked.connect(self._export)
        self._cancel = push("Cancel", name="bundle-cancel", icon_name="stop", hint="Nothing is left behind")
        self._cancel.clicked.connect(self.cancelRequested)
        self._close = push("Close", name="bundle-close", hint="A bundle that is being made goes on (Esc)")
        self._close.clicked.connect(self.reject)
        self._help = push("Help", name="bundle-help")
        self._help.clicked.connect(self.helpRequested)
        self._copy = push("Copy as CSV", name="bundle-copy", icon_name="copy")
        self._copy.clicked.connect(self._copy_table)
        self._settle = QTimer(self, singleShot=True, interval=2000)
        self._settle.timeout.connect(self._show_copy)
        self._ready = Mark("ok", "Ready")
        self._reason = WrappedLabel(wrap=True)
        self._reason.setObjectName("bundle-reason")

    def _foot(self) -> QWidget:
        why = row(self._ready, self._reason)
        why.setStretch(1, 1)
        foot = QWidget()
        buttons = row(self._help, self._copy, None, self._close, self._cancel, self._button)
        foot.setLayout(column(why, buttons, spacing=8))
        return foot

    # State ---------------------------------------------------------------------------------------------------

    def form(self) -> BundleForm:
        """The values as the user sees them."""
        return self._form

    def set_form(self, form: BundleForm) -> None:
        """Show other values; reports nothing."""
        self._quiet, self._form = True, form
        if self.target.text() != form.path:
            self.target.setText(form.path)
        self._base.set_choices(_BASES, "included" if form.include_base else "reference")
        for name, box in self._checks.items():
            box.setChecked(bool(getattr(form, name)))
        self._rows.set_tasks(form.tasks)
        self._quiet = False

    def set_state(self, state: BundleState) -> None:
        """Show how things stand; the form stays."""
        was_busy, busy = is_busy(self.state.job), is_busy(state.job)
        self.state = state
        for widget in (self.target, self._browse, self._base, self._rows, *self._checks.values()):
            widget.setEnabled(not busy)
        self._show_sizes(state.sizes)
        self._result.set_job(state.job)
        self._table.set_results(state.results)
        self._table.setVisible(bool(state.results) and not busy)
        self._copy.setVisible(bool(state.results) and not busy)
        reason = "A bundle is being made." if busy else state.reason
        self._button.setEnabled(not reason)
        self._button.setToolTip(tip(reason or "Choose λ where a task has data, write, and score what is restored"))
        self._button.setAccessibleDescription(reason)
        self._cancel.setVisible(busy)
        self._ready.show_severity("warning" if reason else "ok", "Not yet" if reason else "Ready")
        self._reason.setText(reason)
        for widget in (self._ready, self._reason):  # the job has a place of its own
            widget.setVisible(not busy)
        if busy and not was_busy:
            self._cancel.setFocus()
        elif state.results and not busy and state.results != self._shown:
            self._shown = state.results
            QTimer.singleShot(0, self, lambda: self._area.ensureWidgetVisible(self._table))

    def _show_sizes(self, sizes: BundleSizes | None) -> None:
        if sizes is None:
            texts = {"bundle": "–", "experts": "–", "bits": "–"}
        else:
            times = f"base and bundle are {sizes.ratio:.1f} times smaller" if sizes.ratio >= 1 else (
                "more experts are needed before a bundle is smaller")  # fmt: skip
            texts = {
                "bundle": f"at most {bytes_text(sizes.file_bytes)}",
                "experts": f"{bytes_text(sizes.experts_bytes)} in all: {times}",
                "bits": f"{sizes.bits:.2f} · {sizes.bits / max(1, sizes.tasks):.2f} for each task (base counted)",
            }
        for name, text in texts.items():
            self._figures[name].setText(text)

    # Events --------------------------------------------------------------------------------------------------

    def event(self, event: QEvent) -> bool:
        """Keep Ctrl+Enter for the dialog."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and _is_go(event):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl+Enter exports, Esc closes."""
        if _is_go(event):
            self._export()
        else:
            super().keyPressEvent(event)

    def _edit(self, **changes: object) -> None:
        if not self._quiet:
            self._form = replace(self._form, **changes)  # type: ignore[arg-type]  # fields of BundleForm
            self.formChanged.emit(self._form)

    def _export(self) -> None:
        if self._button.isEnabled():
            self.exportRequested.emit(self._form)

    def _copy_table(self) -> None:
        text = csv_text(self.state.results)
        QGuiApplication.clipboard().setText(text)
        self._copy.setText("Copied")
        self._copy.setIcon(icon("done", "ok"))
        self._settle.start()
        self.copied.emit(text)

    def _show_copy(self) -> None:
        self._copy.setText("Copy as CSV")
        self._copy.setIcon(icon("copy"))


def _is_go(event: QKeyEvent) -> bool:
    control = event.modifiers() & Qt.KeyboardModifier.ControlModifier
    return bool(control) and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
