"""The question when something is at the target of an export already."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from widgets.common.format import bytes_text
from widgets.common.pieces import Mark, column, dimmed, heading, labelled, push, row
from widgets.common.text import ElidedLabel, PlainLabel, plain, tip
from widgets.dialogs.fitted import FittedDialog

if TYPE_CHECKING:
    from widgets.dialogs.state import ExistingExport

Answer = Literal["replace", "keep", "cancel"]


class ReplaceExportDialog(FittedDialog):
    """Asks whether to replace, to keep both, or to cancel; Enter and Esc never replace.

    What Mixdown did not make is only replaced after its folder name has been typed.

    Args:
        existing: What is there.
        other_path: Free path that "Keep both" would write to, "" to not offer it.
        parent: Qt parent.

    Attributes:
        answer: "replace", "keep" (write to `other_path`) or "cancel".
    """

    def __init__(self, existing: ExistingExport, other_path: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.answer: Answer = "cancel"
        self.setObjectName("replace-export")
        self.setWindowTitle("Export")
        self._name = PurePath(existing.path).name or existing.path
        self._typed = QLineEdit()
        self._typed.setObjectName("replace-name")
        self._typed.textChanged.connect(self._check)
        self._needs_name = not existing.is_export
        self._replace = push("Replace", name="replace-replace", icon_name="replace")
        self._replace.clicked.connect(lambda: self._answer("replace"))
        self._cancel = push("Cancel", name="replace-cancel", primary=not other_path, hint="Nothing changes (Esc)")
        self._cancel.clicked.connect(self.reject)
        body = column(Mark("warning" if existing.is_export else "error", None if existing.is_export else "Careful"))
        body.addWidget(heading(self._title(existing), larger=1.1))
        self._add_facts(body, existing)
        if self._needs_name:
            self._add_name_field(body)
        buttons = row(self._replace, None, self._cancel)
        if other_path:
            keep = push("Keep both", name="replace-keep", primary=True, hint=f"Write to {plain(other_path)} instead")
            keep.clicked.connect(lambda: self._answer("keep"))
            buttons.addWidget(keep)
        body.addSpacing(6)
        body.addLayout(buttons)
        body.setContentsMargins(18, 16, 18, 14)
        self.setLayout(body)
        self.setMinimumWidth(480)
        self._check()
        (self._typed if self._needs_name else self._cancel).setFocus()

    def ask(self) -> Answer:
        """Show the question and wait for the answer."""
        self.exec()
        return self.answer

    def _title(self, existing: ExistingExport) -> str:
        what = "an earlier export" if existing.is_export else "something that Mixdown did not make"
        return f"“{plain(self._name, 80)}” is {what}"

    @staticmethod
    def _add_facts(body: QVBoxLayout, existing: ExistingExport) -> None:
        facts = [existing.summary, "" if existing.size_bytes is None else bytes_text(existing.size_bytes)]
        facts.append(f"written {existing.changed}" if existing.changed else "")
        body.addWidget(ElidedLabel(existing.path, mode=Qt.TextElideMode.ElideMiddle))
        if text := " · ".join(plain(f) for f in facts if f):
            body.addWidget(dimmed(text))
        body.addWidget(PlainLabel("Replacing removes it for good, once the new export is complete.", wrap=True))

    def _add_name_field(self, body: QVBoxLayout) -> None:
        label = labelled(f"Type the folder's name to replace it: {plain(self._name, 120)}", self._typed)
        label.setWordWrap(True)
        body.addWidget(label)
        body.addWidget(self._typed)

    def _check(self) -> None:
        ready = not self._needs_name or self._typed.text() in (self._name, plain(self._name))
        self._replace.setEnabled(ready)
        self._replace.setToolTip(tip("Remove what is there, then write" if ready else "Type the folder's name first"))

    def _answer(self, answer: Answer) -> None:
        self.answer = answer
        self.accept()
