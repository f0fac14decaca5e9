"""The question which of two states of a project goes on: what the project file holds, or what was recovered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from widgets.common.pieces import Mark, column, heading, push, row
from widgets.common.text import PlainLabel, plain, tip

Answer = Literal["recovered", "saved", "both"]
_MOST_ROWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverState:
    """What the dialog compares.

    Attributes:
        project: Name of the project file.
        saved: When the file was saved, for people.
        recovered: When the recovered state was written, for people.
        newer: Whether the file was saved after that.
        rows: (what, in the file, recovered), the most important first.
    """

    project: str
    saved: str
    recovered: str
    newer: bool
    rows: tuple[tuple[str, str, str], ...]


class RecoverDialog(QDialog):
    """Compares both states; closing it keeps what was recovered, which is on the desk already.

    Attributes:
        answer: "recovered", "saved" (go on with the file) or "both" (the file, and the recovered state kept aside).
    """

    def __init__(self, state: RecoverState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.answer: Answer = "recovered"
        self.setObjectName("recover")
        self.setWindowTitle("Recovered work")
        count = len(state.rows)
        title = f"{plain(state.project, 60)} differs from what was recovered"
        body = column(Mark("warning" if state.newer else "info"), heading(title, larger=1.1))
        body.addWidget(PlainLabel(self._facts(state), wrap=True))
        self.table = _Table(state.rows)
        body.addWidget(self.table, 1)
        more = f"{count} differences. " if count != 1 else "1 difference. "
        body.addWidget(
            PlainLabel(f"{more}The recovered state is on the desk now; Undo takes any choice back.", wrap=True)
        )
        body.addSpacing(6)
        saved = self._button("saved", "Use the saved file", "Put what the project file holds on the desk")
        both = self._button("both", "Keep both", "Open the saved file; keep the recovered state in another")
        self._keep = self._button("recovered", "Keep recovered", "Go on with the recovered state (Esc)", primary=True)
        body.addLayout(row(saved, both, None, self._keep))
        body.setContentsMargins(18, 16, 18, 14)
        self.setLayout(body)
        self.setMinimumSize(600, 380)
        self.resize(680, 440)
        self._keep.setDefault(True)
        self._keep.setFocus()

    @staticmethod
    def _facts(state: RecoverState) -> str:
        when = f"Saved: {state.saved}.  Recovered: {state.recovered}."
        return f"{when} The file was saved later, perhaps by another program." if state.newer else when

    def _button(self, answer: Answer, text: str, hint: str, *, primary: bool = False) -> QPushButton:
        button = push(text, name=f"recover-{answer}", hint=hint, primary=primary)
        button.clicked.connect(lambda: self._answer(answer))
        return button

    def _answer(self, answer: Answer) -> None:
        self.answer = answer
        self.accept()


class _Table(QTableWidget):
    """What differs: one line each."""

    def __init__(self, rows: tuple[tuple[str, str, str], ...]) -> None:
        shown = rows[:_MOST_ROWS]
        super().__init__(len(shown), 3)
        self.setObjectName("recover-table")
        self.setAccessibleName("Differences between the saved file and the recovered state")
        for number, text in enumerate(("What", "Saved file", "Recovered")):
            head = QTableWidgetItem(text)
            head.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            self.setHorizontalHeaderItem(number, head)
        for number, cells in enumerate(shown):
            for place, text in enumerate(cells):
                item = QTableWidgetItem(plain(text, 300))
                item.setToolTip(tip(plain(text, 1000)))
                self.setItem(number, place, item)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
