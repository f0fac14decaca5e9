"""The jobs panel: what runs, how far it is, and what can be done about it."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal

from app.jobs import FINISHED, Job
from app.workspace import Workspace
from widgets.panels.jobs import JobsPanel
from widgets.panels.panel_parts import is_seen
from widgets.panels.state import JobRow


class JobsController(QObject):
    """Connects the jobs panel with the runner.

    Signals:
        countChanged: Number of visible jobs that are not finished.
        actionTriggered: (number of the job, action id).
    """

    countChanged = Signal(int)
    actionTriggered = Signal(int, str)

    def __init__(self, workspace: Workspace, panel: JobsPanel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runner, self._panel = workspace.runner, panel
        self._cleared: set[int] = set()
        panel.pauseRequested.connect(lambda number: self._pause(number, True))
        panel.resumeRequested.connect(lambda number: self._pause(number, False))
        panel.cancelRequested.connect(self._cancel)
        panel.retryRequested.connect(self._retry)
        panel.clearRequested.connect(self._clear)
        panel.actionTriggered.connect(self.actionTriggered)
        self._soon = QTimer(self, interval=50, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        self._runner.jobsChanged.connect(self.refresh_soon)

    def refresh_soon(self, *_: object) -> None:
        """Show the jobs in a moment; a panel whose tab was just chosen is not in its place before."""
        if not self._soon.isActive():
            self._soon.start()

    def refresh(self, *_: object) -> None:
        """Show the jobs as they are now, newest first.

        A panel behind another tab is left alone: its progress bars would paint at once.
        """
        shown = [j for j in self._runner.jobs if j.shown and not j.dropped and j.number not in self._cleared]
        if is_seen(self._panel):
            self._panel.set_state(tuple(row(job) for job in reversed(shown[-50:])))
        self.countChanged.emit(len([j for j in shown if j.state not in FINISHED]))

    def job(self, number: int) -> Job | None:
        """The job with this number."""
        return next((j for j in self._runner.jobs if j.number == number), None)

    def _pause(self, number: int, paused: bool) -> None:
        if job := self.job(number):
            self._runner.pause(job, paused)

    def _cancel(self, number: int) -> None:
        if job := self.job(number):
            self._runner.cancel(job)

    def _retry(self, number: int) -> None:
        job = self.job(number)
        if job is not None and job.state in ("failed", "cancelled"):
            self._cleared.add(number)
            self._runner.submit(job.title, job.work, done=job.done, failed=job.failed, key=job.key, lane=job.lane)

    def _clear(self) -> None:
        self._cleared |= {j.number for j in self._runner.jobs if j.state in FINISHED}
        self.refresh()


def row(job: Job) -> JobRow:
    """What the panel shows of a job."""
    token = job.token
    running = job.state in ("running", "paused")
    return JobRow(
        number=job.number,
        title=job.title,
        state=job.state,
        done=token.done,
        total=token.total,
        unit=token.unit,
        stage=token.text if running else "",
        remaining_s=token.remaining_s if running else None,
        elapsed_s=token.elapsed_s if running else job.elapsed_s,
        can_pause=running,
        can_retry=job.state in ("failed", "cancelled"),
        message=job.message or (job.error.message if job.error else ""),
        hint=job.error.hint if job.error else "",
        log=tuple(line for text in job.log for line in text.splitlines()),
        actions=job.actions,
    )
