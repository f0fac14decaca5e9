"""Explain the difference between two recipes: what they say, where the merged weights differ, how scores change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from widgets.common.pieces import CalmComboBox, labelled, push
from widgets.common.text import PlainLabel, plain
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.state import Heat

Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainState:
    """What the window shows.

    Attributes:
        names: What can be compared: "Now" and the pins.
        first: Index of the first.
        second: Index of the second.
        summary: One sentence about the whole model.
        changes: (what, before, after).
        scores: (task, first, second, difference, interval).
        heat: Where the merged weights differ.
        can_score: Whether there is something to score on.
        is_scoring: Whether scores are being measured.
    """

    names: tuple[str, ...] = ()
    first: int = 0
    second: int = 0
    summary: str = ""
    changes: Rows = ()
    scores: Rows = ()
    heat: Heat = field(default_factory=lambda: Heat(title="Difference of the merged weights"))
    can_score: bool = False
    is_scoring: bool = False


class ExplainDialog(QDialog):
    """A window beside the desk that follows two choices.

    Signals:
        chosen: (index of the first, index of the second).
        scoreRequested: Score both.
    """

    chosen = Signal(int, int)
    scoreRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Explain difference")
        self.setObjectName("explain")
        self.resize(860, 680)
        self.state = ExplainState()
        self.first, self.second = CalmComboBox(), CalmComboBox()
        self._summary = PlainLabel("", "section", wrap=True)
        self.frame = PlotFrame(HeatView())
        self.changes = _table("What the recipes say differently", ("What", "From", "To"))
        self.scores = _table("Scores", ("Task", "From", "To", "Difference", "95 % interval"))
        self.score = push("Score both", name="explain-score")
        self.score.clicked.connect(self.scoreRequested)
        for combo in (self.first, self.second):
            combo.activated.connect(lambda _: self.chosen.emit(self.first.currentIndex(), self.second.currentIndex()))
        self._arrange()

    def _arrange(self) -> None:
        head = QHBoxLayout()
        for text, combo in (("&From", self.first), ("&To", self.second)):
            combo.setMinimumWidth(180)
            head.addWidget(labelled(text, combo))
            head.addWidget(combo, 1)
        below = QHBoxLayout()
        below.addWidget(self.changes, 3)
        right = QVBoxLayout()
        right.addWidget(self.scores, 1)
        right.addWidget(self.score, 0, Qt.AlignmentFlag.AlignLeft)
        below.addLayout(right, 4)
        layout = QVBoxLayout(self)
        layout.addLayout(head)
        layout.addWidget(self._summary)
        layout.addWidget(self.frame, 3)
        layout.addLayout(below, 2)

    def set_state(self, state: ExplainState) -> None:
        """Show another difference."""
        self.state = state
        for combo, index in ((self.first, state.first), (self.second, state.second)):
            combo.clear()
            combo.addItems([plain(name, 60) for name in state.names])
            combo.setCurrentIndex(index)
        self._summary.setText(state.summary)
        self.frame.set_state(state.heat)
        _fill(self.changes, state.changes or (("Nothing", "", ""),))
        _fill(self.scores, state.scores)
        self.score.setEnabled(state.can_score and not state.is_scoring)
        self.score.setText("Scoring…" if state.is_scoring else "Score both")
        self.score.setToolTip("" if state.can_score else "Add a quick-eval task first.")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Escape closes; Enter does not."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.ignore()
        else:
            super().keyPressEvent(event)


def _table(name: str, head: Sequence[str]) -> QTableWidget:
    table = QTableWidget(0, len(head))
    table.setAccessibleName(name)
    table.setHorizontalHeaderLabels(list(head))
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setTabKeyNavigation(False)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    return table


def _fill(table: QTableWidget, rows: Rows) -> None:
    table.setRowCount(len(rows))
    for r, cells in enumerate(rows):
        for c, text in enumerate(cells):
            item = QTableWidgetItem(plain(text, 200))
            item.setToolTip(plain(text, 200))
            table.setItem(r, c, item)
