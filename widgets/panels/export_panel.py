"""Export beside the desk: what, where, whether it will work, and how it goes."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent
from PySide6.QtWidgets import QWidget

from widgets.common.icons import icon
from widgets.common.pieces import Mark, TallArea, WrappedLabel, column, heading, icon_button, push, row, rule
from widgets.common.text import ElidedLabel, tip
from widgets.common.toast import KEEP_CLEAR
from widgets.panels.export_checks import ExportChecks
from widgets.panels.export_form import ExportFields
from widgets.panels.export_result import ExportResult
from widgets.panels.export_words import is_busy
from widgets.panels.state import ExportForm, ExportState

_KEYS = "Ctrl+Enter"


class ExportPanel(QWidget):
    """The export form, its checks and its job.

    Signals:
        formChanged: The `ExportForm` after an edit.
        exportRequested: The `ExportForm` to export (also for "Try again").
        cancelRequested: Stop the running export.
        closeRequested: The user is done with the panel.
        copied: What was copied to the clipboard.
        refused: Why nothing was exported when a key asked for it.
        jobActionTriggered: Id of a button of the finished job.
    """

    formChanged = Signal(object)
    exportRequested = Signal(object)
    cancelRequested = Signal()
    closeRequested = Signal()
    copied = Signal(str)
    refused = Signal(str)
    jobActionTriggered = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = ExportState()
        self.setObjectName("export-panel")
        self.setProperty(KEEP_CLEAR, True)
        self.setAccessibleName("Export merged model")
        self._fields = ExportFields()
        self._fields.changed.connect(self.formChanged)
        self._checks = ExportChecks()
        self._result = ExportResult()
        self._result.actionTriggered.connect(self.jobActionTriggered)
        self._result.retryRequested.connect(self._export)
        self._close = icon_button("close", "Close the export panel (Esc)", name="export-close")
        self._close.clicked.connect(self.closeRequested)
        self._make_buttons()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.timeout.connect(self._show_copy)
        title = row(heading("Export merged model", larger=1.15, wrap=False), None)
        body = column(title, self._scrolled(), rule(), self._foot(), spacing=8)
        body.setContentsMargins(12, 8, 12, 12)
        self.setLayout(body)
        title.addWidget(self._close)  # last, so that Tab comes to the form first
        self.set_state(self.state)

    def _make_buttons(self) -> None:
        self._button = push("Export", name="export-button", primary=True, icon_name="export")
        self._button.clicked.connect(self._export)
        self._cancel = push("Cancel", name="export-cancel", icon_name="stop", hint="Nothing is left behind")
        self._cancel.clicked.connect(self.cancelRequested)
        self._copy = push("Copy as command", name="export-copy", icon_name="copy",
                          hint="The command line that writes the same model")  # fmt: skip
        self._copy.clicked.connect(self._copy_command)
        self._command = ElidedLabel("", "mono")
        self._command.setObjectName("export-command")
        self._ready = Mark("ok", "Ready")
        self._reason = WrappedLabel(wrap=True)
        self._reason.setObjectName("export-reason")

    def _scrolled(self) -> QWidget:
        inner, area = QWidget(), TallArea()
        body = column(self._fields, 4, self._checks, None, spacing=8)
        body.setContentsMargins(0, 0, 6, 0)
        inner.setLayout(body)
        area.show_widget(inner)
        return area

    def _foot(self) -> QWidget:
        why = row(self._ready, self._reason)
        why.setStretch(1, 1)
        buttons = row(self._copy, None, self._cancel, self._button)
        foot = QWidget()
        foot.setLayout(column(self._result, why, self._command, buttons, spacing=8))
        return foot

    def form(self) -> ExportForm:
        """The form's values as the user sees them."""
        return self._fields.form()

    def focus_target(self) -> None:
        """Put the keyboard into the target, its text selected."""
        self._fields.target.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._fields.target.selectAll()

    def set_state(self, state: ExportState) -> None:
        """Show something else; emits nothing, and leaves what is being typed alone."""
        self.state = state
        busy = is_busy(state.job)
        self._fields.set_state(state)
        self._fields.setEnabled(not busy)
        self._checks.set_state(state)
        self._result.set_job(state.job)
        reason = "An export is running." if busy else state.reason
        self._button.setEnabled(not reason)
        self._button.setToolTip(tip(reason or f"Write the merged model ({_KEYS})"))
        self._button.setAccessibleDescription(reason)
        self._cancel.setVisible(busy)
        self._ready.show_severity("warning" if reason else "ok", "Not yet" if reason else "Ready")
        self._reason.setText(reason)
        for widget in (self._reason, self._ready):  # always there, so that nothing jumps while one types
            widget.setVisible(not busy)
        self._command.setText(state.command)
        self._command.setVisible(bool(state.command))
        self._copy.setEnabled(bool(state.command))

    def event(self, event: QEvent) -> bool:
        """Keep Ctrl+Enter and Esc for the panel while the keyboard is in it."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and self._own(event):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl+Enter exports, and Enter in the target; Esc closes."""
        if not self._own(event):
            super().keyPressEvent(event)
        elif event.key() == Qt.Key.Key_Escape:
            self.closeRequested.emit()
        else:
            self._export()

    def _own(self, event: QKeyEvent) -> bool:
        control = event.modifiers() & Qt.KeyboardModifier.ControlModifier or self._fields.target.hasFocus()
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        return event.key() == Qt.Key.Key_Escape or bool(enter and control)

    def _export(self) -> None:
        """Ask for the export; if there is a reason against it, say it."""
        if self._button.isEnabled():
            self.exportRequested.emit(self._fields.commit())
        elif self.state.reason:
            self.refused.emit(self.state.reason)

    def _show_copy(self) -> None:
        self._copy.setText("Copy as command")
        self._copy.setIcon(icon("copy"))

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(self.state.command)
        self._copy.setText("Copied")
        self._copy.setIcon(icon("done", "ok"))
        self._settle.start(2000)
        self.copied.emit(self.state.command)
