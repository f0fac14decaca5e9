"""The panel of background jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from widgets.common.text import ElidedLabel
from widgets.panels.jobs_row import JobLine
from widgets.panels.panel_parts import EmptyHint, column, dim, scroller

if TYPE_CHECKING:
    from widgets.panels.state import JobRow

OVER = ("done", "failed", "cancelled")

AT_ONCE = 4
"""Lines that are made in one turn of the event loop."""


class JobsPanel(QWidget):
    """Background work: what runs, what waits, how it ended.

    Signals:
        pauseRequested, resumeRequested, cancelRequested, retryRequested: number of the job.
        clearRequested: Forget the jobs that are over.
        actionTriggered: number of the job and id of its button.
    """

    pauseRequested = Signal(int)
    resumeRequested = Signal(int)
    cancelRequested = Signal(int)
    retryRequested = Signal(int)
    clearRequested = Signal()
    actionTriggered = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("jobs")
        self.state: tuple[JobRow, ...] = ()
        self._lines: dict[int, JobLine] = {}
        self._more = QTimer(self, interval=20, singleShot=True)
        self._more.timeout.connect(self._show_lines)
        self._count = dim(ElidedLabel())
        self._clear = QPushButton("Clear")
        self._clear.setObjectName("jobs-clear")
        self._clear.setAccessibleName("Clear finished jobs")
        self._clear.setToolTip("Take jobs that are over off the list")
        self._clear.clicked.connect(self.clearRequested)
        self._empty = EmptyHint("jobs", "No jobs", "Reading, evaluation and export appear here while they run.")
        inside = QWidget()
        self._layout = column(inside, 8, 8)
        self._layout.addStretch(1)
        self._area = scroller(inside, "Jobs")
        head = QHBoxLayout()
        head.setContentsMargins(10, 6, 8, 0)
        head.addWidget(self._count, 1)
        head.addWidget(self._clear)
        outer = column(self, 0, 0)
        outer.addLayout(head)
        outer.addWidget(self._area, 1)
        outer.addWidget(self._empty, 1)
        self.set_state(())

    def set_state(self, state: tuple[JobRow, ...]) -> None:
        """Show other jobs; a job that stays keeps its line, its focus and its open log."""
        self.state = state
        self._show_lines()
        self._area.setVisible(bool(state))
        self._empty.setVisible(not state)
        self._count.setText(count_text(state))
        self._clear.setVisible(bool(state))
        self._clear.setEnabled(any(row.state in OVER for row in state))

    def _show_lines(self) -> None:
        """Lines for the jobs; of many new ones only some at once, the others after the window had its turn."""
        fresh = [row.number for row in self.state if row.number not in self._lines]
        late = set(fresh[AT_ONCE:])
        shown = [row for row in self.state if row.number not in late]
        wanted = [row.number for row in shown]
        if wanted != list(self._lines):
            self._arrange(wanted)
        for row in shown:
            self._lines[row.number].show_job(row)
        if late:
            self._more.start()

    def _arrange(self, wanted: list[int]) -> None:
        """Remove, add and order lines."""
        for number in [n for n in self._lines if n not in wanted]:
            gone = self._lines.pop(number)
            self._layout.removeWidget(gone)
            gone.hide()
            gone.deleteLater()
        for number in wanted:
            if number not in self._lines:
                self._lines[number] = self._make(number)
        self._lines = {number: self._lines[number] for number in wanted}
        for place, line in enumerate(self._lines.values()):
            if self._layout.indexOf(line) != place:
                self._layout.removeWidget(line)
                self._layout.insertWidget(place, line)

    def _make(self, number: int) -> JobLine:
        line = JobLine(number)
        line.paused.connect(self.pauseRequested)
        line.resumed.connect(self.resumeRequested)
        line.cancelled.connect(self.cancelRequested)
        line.retried.connect(self.retryRequested)
        line.actionTriggered.connect(self.actionTriggered)
        return line


def count_text(jobs: tuple[JobRow, ...]) -> str:
    """Like "1 running, 2 waiting"; "all finished" when nothing is left to do."""
    counts = [(sum(j.state == s for j in jobs), s) for s in ("running", "paused", "waiting", "failed")]
    return ", ".join(f"{n} {word}" for n, word in counts if n) or ("all finished" if jobs else "")
