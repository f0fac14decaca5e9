"""Quick eval and its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.preview_state import reading, why
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.evaluate.score import Score
from engine.evaluate.task import Task, load_task, task_hash
from engine.graphs.policy import RUNNERS
from engine.recipe.recipe import TaskRef
from widgets.panels.scores import ScoresPanel
from widgets.panels.state import Reading, ScoresState, TaskScore

if TYPE_CHECKING:
    from app.preview_controller import PreviewController


class ScoresController(QObject):
    """Connects the scores panel with the workspace.

    Signals:
        taskWanted: The user wants to choose a task file.
        problem: An error to show.
    """

    taskWanted = Signal()
    problem = Signal(object)

    def __init__(self, workspace: Workspace, panel: ScoresPanel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._panel = workspace, panel
        self.preview: PreviewController | None = None
        panel.evaluateRequested.connect(workspace.scoring.evaluate)
        panel.stopRequested.connect(workspace.scoring.stop)
        panel.autoToggled.connect(self.set_auto)
        panel.addTaskRequested.connect(self.taskWanted)
        panel.removeTaskRequested.connect(self.remove_task)
        workspace.scoring.scoresChanged.connect(self.refresh)
        workspace.settingsChanged.connect(self.refresh)

    def set_auto(self, is_on: bool) -> None:
        """Whether quick eval starts by itself."""
        self._workspace.change_settings(auto_eval=is_on)

    def add_task(self, path: str) -> None:
        """Add a task file to the recipe."""
        recipe = self._workspace.recipe
        try:
            task = load_task(Path(path))
        except MixdownError as error:
            self.problem.emit(error)
            return
        if path in [t.path for t in recipe.tasks]:
            return
        if any(t.name == task.name for t in recipe.tasks):
            self.problem.emit(MixdownError(f"There is a task {task.name!r} already.", where=path,
                                           hint="Remove it, or give the new task another name."))  # fmt: skip
            return
        ref = TaskRef(name=task.name, path=path, sha256=task_hash(Path(path)))
        self._workspace.store.change_tasks((*recipe.tasks, ref), f"Add task {task.name}")

    def remove_task(self, name: str) -> None:
        """Take a task out of the recipe."""
        recipe = self._workspace.recipe
        kept = tuple(t for t in recipe.tasks if t.name != name)
        self._workspace.store.change_tasks(kept, f"Remove task {name}")

    def refresh(self, *_: object) -> None:
        """Show the scores as they are now."""
        scoring, live = self._workspace.scoring, self.preview.state if self.preview is not None else None
        board = scoring.board
        rows = [self._row(task) for task in board.tasks.values()]
        known = {t.name for t in board.tasks.values()}
        rows += [
            TaskScore(task=name, problem=_why(error)) for name, error in board.problems.items() if name not in known
        ]
        self._panel.set_state(
            ScoresState(
                rows=tuple(rows),
                is_auto=self._workspace.settings.auto_eval,
                is_running=scoring.is_running,
                reason=self._reason(),
                note=self._note(),
                live=live.line if live is not None else "",
                live_tip=live.tip if live is not None else "",
            )
        )

    def _row(self, task: Task) -> TaskScore:
        workspace, board = self._workspace, self._workspace.scoring.board
        recipe = workspace.recipe
        index = next((i for i, e in enumerate(recipe.experts) if e.name == task.expert), -1)
        expert = recipe.experts[index] if index >= 0 else None
        mix = board.mix.scores.get(task.name) if board.mix else None
        problem = board.problems.get(task.name)
        shown = TaskScore(
            task=task.name,
            base=_reading(board.models.get((recipe.base.path, task.name))) if recipe.base else None,
            expert=_reading(board.models.get((expert.path, task.name))) if expert else None,
            expert_name=expert.name if expert else "",
            expert_index=index,
            mix=_reading(mix),
            is_stale=workspace.scoring.is_stale,
            is_running=workspace.scoring.is_running and (mix is None or workspace.scoring.is_stale),
            problem=_why(problem) if problem else "",
        )
        return self._heard(shown) if mix is None or shown.is_stale else shown

    def _heard(self, row: TaskScore) -> TaskScore:
        """The same with the live preview's number of the present recipe, where quick eval has none."""
        live = self.preview
        guess = live.estimates.get(row.task) if live is not None else None
        if live is None or guess is None:
            return row
        stale = live.is_overridden and guess.state != "exact"
        return replace(
            row, mix=reading(guess), is_stale=False, problem="", quality="stale" if stale else guess.state,
            error=guess.error or None, why=why(guess, overridden=stale),
        )  # fmt: skip

    def _reason(self) -> str:
        recipe = self._workspace.recipe
        if not recipe.experts:
            return "Needs at least one expert."
        if not self._workspace.scoring.board.tasks:
            return "Add a task first."
        return "" if self._workspace.scoring.can_run else "Waiting for the models to be read."

    def _note(self) -> str:
        scoring = self._workspace.scoring
        if scoring.changed_tasks:
            return f"Changed since the project was saved: {', '.join(scoring.changed_tasks)}."
        mix = scoring.board.mix
        if not mix or not mix.scores:
            return ""
        rows = max(s.count for s in mix.scores.values())
        split = next(iter(mix.scores.values())).split
        word = "validation" if split == "val" else "test"
        by = ", ".join(sorted(set(RUNNERS.used.values())))
        return f"Up to {rows} {word} rows a task{f', run by {by}' if by else ''}; bars show the 95 % interval."


def _reading(score: Score | None) -> Reading | None:
    if score is None:
        return None
    measure = score.measure
    return Reading(score.value, score.low, score.high, score.count, measure.title, measure.unit, measure.places,
                   measure.higher_is_better)  # fmt: skip


def _why(error: MixdownError) -> str:
    return f"{error.message} {error.hint}".strip()
