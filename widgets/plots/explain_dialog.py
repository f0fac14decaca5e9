"""Explain the difference between two recipes: what they say, where the merged weights differ, how scores change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from widgets.common.pieces import CalmComboBox, labelled, push, row
from widgets.common.text import PlainLabel, plain, tip
from widgets.panels.panel_parts import EmptyHint
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.state import Heat

Rows = tuple[tuple[str, ...], ...]
_WIDEST = 220
"""Pixels of the widest column; longer texts are in the tooltip."""
_NAME = 11
"""Letters of an expert's name before its place; the tooltip has all."""


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
        score_hint: What stands where there are no scores yet: what to do about it.
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
    score_hint: str = ""


class ExplainDialog(QDialog):
    """A window beside the desk that follows two choices.

    Signals:
        chosen: (index of the first, index of the second).
        scoreRequested: Score both.
        stopRequested: Stop scoring.
    """

    chosen = Signal(int, int)
    scoreRequested = Signal()
    stopRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Explain difference")
        self.setObjectName("explain")
        self.resize(1060, 720)
        self.state = ExplainState()
        self.first, self.second = CalmComboBox(), CalmComboBox()
        self._summary = PlainLabel("", "section", wrap=True)
        self.frame = PlotFrame(HeatView())
        self.changes = _table("What the recipes say differently", ("What", "From", "To"))
        self.scores = _table("Scores", ("Task", "From", "To", "Difference", "95 % interval"))
        self._scores_empty = EmptyHint("evaluate", "No scores yet", "")
        self._score_pages = QStackedWidget()
        for page in (self._scores_empty, self.scores):
            self._score_pages.addWidget(page)
        self.score = push("Score both", name="explain-score")
        self.score.clicked.connect(
            lambda: (self.stopRequested if self.state.is_scoring else self.scoreRequested).emit()
        )
        for combo in (self.first, self.second):
            combo.activated.connect(lambda _: self.chosen.emit(self.first.currentIndex(), self.second.currentIndex()))
        self._arrange()

    def _arrange(self) -> None:
        head = QHBoxLayout()
        for text, combo in (("&From", self.first), ("&To", self.second)):
            combo.setMinimumWidth(180)
            head.addWidget(labelled(text, combo))
            head.addWidget(combo, 1)
        below = QGridLayout()
        below.setHorizontalSpacing(14)
        below.setVerticalSpacing(6)
        below.addWidget(PlainLabel("What the recipes say differently", "section"), 0, 0)
        below.addLayout(row(PlainLabel("Scores", "section"), None, self.score), 0, 1)
        below.addWidget(self.changes, 1, 0)
        below.addWidget(self._score_pages, 1, 1)
        below.setColumnStretch(0, 3)
        below.setColumnStretch(1, 4)
        below.setRowStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
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
        self._scores_empty.set_hint(state.score_hint)
        self._score_pages.setCurrentWidget(self.scores if state.scores else self._scores_empty)
        self.score.setEnabled(state.can_score or state.is_scoring)
        self.score.setText("Stop scoring" if state.is_scoring else "Score both")
        self.score.setToolTip("" if state.can_score else state.score_hint)

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
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
    header = table.horizontalHeader()
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    header.setMaximumSectionSize(_WIDEST)
    return table


def _fill(table: QTableWidget, rows: Rows) -> None:
    table.setRowCount(len(rows))
    for r, cells in enumerate(rows):
        for c, text in enumerate(cells):
            item = QTableWidgetItem(_placed(text) if c == 0 else plain(text, 200))
            item.setToolTip(tip(text))
            table.setItem(r, c, item)


def _placed(text: str) -> str:
    """A place with its expert's name cut short, so that layer and kind are seen: "legal…erge00 · 3 · attn"."""
    name, dot, place = text.partition(" · ")
    return f"{plain(name, _NAME)}{dot}{plain(place, 60)}" if dot else plain(text, 200)
