"""What sweeps and tuning have in common: a dock that follows one long job, drawn anew while it can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from app.jobs import FINISHED, Job
from app.side_docks import add_dock

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.errors import MixdownError
    from engine.evaluate.task import Task
    from engine.merge.inputs import Inputs
    from widgets.plots.sweep_panel import SweepPanel
    from widgets.plots.tune_panel import TunePanel

_NONE_TICKED = "Tick at least one task."


class JobDock(QObject):
    """A dock and its job; the panel is made by whoever inherits.

    Args:
        desk: The assembled desk.
        name: Name of the dock.
        title: Its title.
        beside: The dock that it shares a place with.
        key: Of the job.
        every_ms: It is drawn anew at most this often.
    """

    def __init__(self, desk: Desk, name: str, title: str, beside: str, *, key: str, every_ms: int) -> None:
        super().__init__(desk)
        self._desk, self._workspace, self._key = desk, desk.workspace, key
        self.dock = add_dock(desk, name, title, beside)
        self._soon = QTimer(self, interval=every_ms, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        self.dock.visibilityChanged.connect(self._later)
        workspace = self._workspace
        for signal in (workspace.store.recipeChanged, workspace.modelsChanged, workspace.scoring.scoresChanged,
                       workspace.settingsChanged, workspace.runner.jobsChanged):  # fmt: skip
            signal.connect(self._later)

    def refresh(self) -> None:
        """Show how it stands."""

    def _take(self, panel: SweepPanel | TunePanel) -> None:
        """Put the panel into the dock, and connect what every such panel has."""
        panel.told.connect(lambda text: self._desk.tell(text, "ok"))
        panel.closeWanted.connect(self._close)
        self.dock.setWidget(panel)

    def _reason(self) -> str:
        """Why nothing can be started now; "" if it can."""
        if not self._workspace.scoring.board.tasks:
            return "Add a quick-eval task first (Mix > Add task)."
        if self._workspace.inputs() is None or not self._workspace.recipe.experts:
            return "Needs a base and an expert that fit together."
        return ""

    def _tasks(self) -> tuple[Task, ...]:
        """The tasks of the desk."""
        return tuple(self._workspace.scoring.board.tasks.values())

    def _titles(self) -> tuple[tuple[str, str], ...]:
        """(id, what is shown) of them: the name, as in the rows of the score panel."""
        return tuple((task.name, task.name) for task in self._tasks())

    def _ready(self, names: Sequence[str]) -> tuple[Inputs | None, tuple[Task, ...], str]:
        """Models and those of the desk's tasks that are ticked, or why it cannot start."""
        inputs, chosen = self._workspace.inputs(), tuple(t for t in self._tasks() if t.name in names)
        return inputs, chosen, "" if inputs is not None and chosen else self._reason() or _NONE_TICKED

    @staticmethod
    def _said(error: MixdownError) -> str:
        """A problem as the panel's line of status says it."""
        return f"{error.message} {error.hint}".strip()

    def pause(self) -> None:
        """Hold, or go on."""
        job = self._job()
        if job is not None:
            self._workspace.runner.pause(job, not job.token.is_paused)
            self.refresh()

    def _later(self, *_: object) -> None:
        if self.dock.isVisible() and not self._soon.isActive():
            self._soon.start()

    def _close(self) -> None:
        self.dock.hide()
        self._desk.window.canvas.setFocus()

    def _job(self) -> Job | None:
        """The job; the newest, because a background job may have been started again."""
        jobs = (job for job in reversed(self._workspace.runner.jobs) if job.key == self._key)
        return next((job for job in jobs if job.state not in FINISHED and not job.dropped), None)
