"""The question when the window closes while jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from PySide6.QtWidgets import QPushButton, QWidget

from widgets.common.pieces import Mark, column, dimmed, heading, push, row
from widgets.common.text import ElidedLabel
from widgets.dialogs.fitted import FittedDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

Answer = Literal["wait", "stop", "stay"]
_LISTED = 6


class CloseJobsDialog(FittedDialog):
    """Asks whether to finish the jobs first, stop them, or stay; closing the question means stay.

    Args:
        jobs: Titles of the jobs that run or wait.
        parent: Qt parent.

    Attributes:
        answer: "wait" (finish, then close), "stop" (stop them and close) or "stay".
    """

    def __init__(self, jobs: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.answer: Answer = "stay"
        self.setObjectName("close-jobs")
        self.setWindowTitle("Mixdown")
        title = "1 job is still running" if len(jobs) == 1 else f"{len(jobs)} jobs are still running"
        body = column(Mark("warning"), heading(title, larger=1.1))
        for job in jobs[:_LISTED]:
            body.addWidget(ElidedLabel(f"•  {job}"))
        if len(jobs) > _LISTED:
            body.addWidget(dimmed(f"and {len(jobs) - _LISTED} more"))
        body.addWidget(dimmed("Stopping leaves nothing half-written behind; an export has to be started again."))
        body.addSpacing(6)
        buttons = row(
            self._button("stop", "Stop and close", "Stop the jobs now and close"),
            None,
            self._button("stay", "Stay", "Do not close (Esc)"),
            self._button("wait", "Finish, then close", "Close as soon as the jobs are done", primary=True),
        )
        body.addLayout(buttons)
        body.setContentsMargins(18, 16, 18, 14)
        self.setLayout(body)
        self.setMinimumWidth(460)
        self._stay.setFocus()

    def ask(self) -> Answer:
        """Show the question and wait for the answer."""
        self.exec()
        return self.answer

    def _button(self, answer: Answer, text: str, hint: str, *, primary: bool = False) -> QPushButton:
        button = push(text, name=f"close-{answer}", hint=hint, primary=primary)
        button.clicked.connect(lambda: self._answer(answer))
        if answer == "stay":
            self._stay = button
        return button

    def _answer(self, answer: Answer) -> None:
        self.answer = answer
        if answer == "stay":
            self.reject()
        else:
            self.accept()
