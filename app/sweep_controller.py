"""Sweeps: a grid or a triangle of mixes measured in the background; any of them can be put on the desk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal

from app import places, sweep_state
from app.project import without_hashes
from app.side_docks import show_dock
from app.sweep_axes import sweepables
from app.sweep_dock import JobDock
from app.sweep_plan import make_plan, remember, remembered
from app.sweep_state import Cells, Plan
from engine.errors import MixdownError
from engine.evaluate.task import Task
from engine.merge.inputs import Inputs
from engine.progress import Token
from widgets.plots.sweep_state import Phase, Quantity, SweepState, SweepWish

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.preview.sweep import Outcome
    from engine.recipe.recipe import Recipe
    from widgets.plots.sweep_panel import SweepPanel

KEY = "sweep"
SHOW_MS = 120
"""New cells are drawn at most this often."""
_ROWS = 128


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Add the sweep panel and its action."""
    controller = SweepController(desk)
    return {"mix.sweep": controller.open}


class SweepController(JobDock):
    """Connects the sweep panel with the workspace.

    Args:
        desk: The assembled desk.

    Signals:
        adopted: The recipe that was put on the desk.
    """

    adopted = Signal(object)
    _arrived = Signal(object, object)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, "sweep", "Sweep", "overlap", key=KEY, every_ms=SHOW_MS)
        self._panel: SweepPanel | None = None
        self.cells: Cells | None = None
        self.measure, self._pair = "", ("", "")
        self._running, self._error, self._asked = False, "", remembered()
        self._drawn: tuple[Any, ...] = ()
        self._views: dict[str, Any] = {}
        self._offered: tuple[object, tuple[Quantity, ...]] = (None, ())
        self._arrived.connect(self._on_arrived, Qt.ConnectionType.QueuedConnection)

    # Panel ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Show the panel and give it the keyboard."""
        panel = self.panel()
        show_dock(self._desk, self.dock, "overlap", "examples", "runs")
        self.refresh()
        panel.form.focus_first()

    def panel(self) -> SweepPanel:
        """The panel; made when it is first wanted, because pyqtgraph takes a moment to load."""
        if self._panel is None:
            from widgets.plots.sweep_panel import SweepPanel

            panel = self._panel = SweepPanel()
            panel.setMinimumHeight(370)
            panel.form.runWanted.connect(self.run)
            panel.form.pauseWanted.connect(self.pause)
            panel.form.stopWanted.connect(self.stop)
            panel.cellChosen.connect(self._choose_cell)
            panel.pointChosen.connect(self._choose_point)
            panel.measureChosen.connect(self._show_measure)
            panel.pairChosen.connect(self._show_pair)
            self._take(panel)
        return self._panel

    def refresh(self) -> None:
        """Show what is known; what has not changed is not made anew."""
        if not self.dock.isVisible():
            return
        workspace, recipe, cells = self._workspace, self._workspace.recipe, self.cells
        phase = self._phase()
        state = SweepState(
            quantities=self._quantities(recipe), experts=tuple((e.id, e.name) for e in recipe.experts),
            tasks=self._titles(),
            wish=self._asked, rows=min(workspace.settings.eval_rows, _ROWS), phase=phase,
            status=self._status(phase), is_wrong=bool(self._error or self._wrong()), reason=self._reason(),
        )  # fmt: skip
        if cells is not None:
            drawn = (id(cells.plan), len(cells.found), self.measure, self._pair, cells.here(recipe))
            if drawn != self._drawn:
                self._drawn = drawn
                self._views = {
                    "grid": sweep_state.grid(cells, self.measure, recipe),
                    "lines": sweep_state.lines(cells, self.measure, recipe),
                    "triangle": sweep_state.triangle(cells, self.measure, recipe),
                    "front": sweep_state.front(cells, self._pair, recipe),
                }
            known = cells.plan.tasks
            mean = (("", "Average over tasks"),) if len(known) > 1 else ()
            state = replace(state, shown=cells.plan.shown, measures=(*mean, *known), measure=self.measure,
                            pair=self._pair, **self._views)  # fmt: skip
        self.panel().set_state(state)

    def _quantities(self, recipe: Recipe) -> tuple[Quantity, ...]:
        """What can be swept; the same as before while only faders move."""
        key = recipe.method, recipe.params, recipe.experts
        if self._offered[0] != key:
            self._offered = key, sweepables(recipe)
        return self._offered[1]

    def _phase(self) -> Phase:
        job = self._job() if self._running else None
        return "idle" if job is None else "paused" if job.token.is_paused else "running"

    def _status(self, phase: Phase) -> str:
        if self._error:
            return self._error
        cells = self.cells
        if cells is None:
            return ""
        done, count, wrong = len(cells.found), len(cells.plan.recipes), self._wrong()
        if phase == "idle":
            good = sum(found.error is None for found in cells.found.values())
            more = "" if done == count else " Press Run to go on; what was measured is remembered."
            return f"{good} of {count} mixes measured.{more} {wrong}".rstrip()
        job = self._job()
        left = job.token.remaining_s if job is not None and job.state == "running" else None
        eta = f" · about {_duration(left)} left" if left is not None and done >= 2 else ""
        word = "paused" if phase == "paused" else "waiting" if job is not None and job.state == "waiting" else ""
        return f"{done} of {count} mixes{f' · {word}' if word else eta}{wrong and f'. {wrong}'}"

    def _wrong(self) -> str:
        """Which mixes could not be measured, and why."""
        return sweep_state.failures(self.cells) if self.cells is not None else ""

    # Running -------------------------------------------------------------------------------------------------

    def run(self, wish: SweepWish) -> None:
        """Measure what is asked for; what was measured before comes from the score cache at once."""
        workspace = self._workspace
        inputs, tasks, self._error = self._ready(wish.tasks)
        if inputs is None or self._error:
            self.refresh()
            return
        try:
            plan = make_plan(workspace.recipe, wish, tasks)
        except MixdownError as error:
            self._error = self._said(error)
            self.refresh()
            return
        self.cells, self._running = Cells(plan), True
        names = [t.name for t in tasks]
        self.measure = self.measure if self.measure in names else ("" if len(names) > 1 else names[0])
        self._pair = self._pair if set(self._pair) <= set(names) and self._pair[0] else (names[0], names[-1])
        remember(wish)
        workspace.runner.submit(
            f"Sweeping {len(plan.recipes)} mixes", lambda token: self._measure(plan, inputs, tasks, token), key=KEY,
            background=True, done=lambda _: self._ended(), failed=self._failed,
        )  # fmt: skip
        self.refresh()

    def _measure(self, plan: Plan, inputs: Inputs, tasks: tuple[Task, ...], token: Token) -> None:
        """In a worker: every mix on every task, coarse to fine."""
        from app.evaluator import score_recipe
        from engine.preview.sweep import run_recipes
        from engine.store.cache import ScoreCache

        todo = [(index, plan.recipes[index]) for index in plan.order]
        run_recipes(todo, inputs, tasks, rows=plan.wish.rows, cache=ScoreCache(places.score_cache_file()),
                    progress=token, score=score_recipe, done=lambda outcome: self._tell(plan, outcome))  # fmt: skip

    def _tell(self, plan: Plan, outcome: Outcome) -> None:
        """In a worker: hand a cell to the GUI thread."""
        self._arrived.emit(plan, outcome)

    def _on_arrived(self, plan: Plan, outcome: Outcome) -> None:
        if self.cells is not None and self.cells.plan is plan:
            self.cells = Cells(plan, {**self.cells.found, outcome.index: outcome})
            self._later()

    def _ended(self) -> None:
        self._running = False
        self._later()

    def _failed(self, error: MixdownError) -> None:
        self._error = self._said(error)
        self._ended()

    def stop(self) -> None:
        """Stop measuring; what is known stays."""
        self._workspace.runner.cancel_key(KEY)
        self._running = False
        self.refresh()

    # Choosing ------------------------------------------------------------------------------------------------

    def _show_measure(self, measure: str) -> None:
        self.measure = measure
        self.refresh()

    def _show_pair(self, first: str, second: str) -> None:
        self._pair = (first, second)
        self.refresh()

    def _choose_cell(self, row: int, column: int) -> None:
        if self.cells is not None and self.cells.plan.sweep is not None:
            self.adopt(row * self.cells.plan.sweep.shape[1] + column)

    def _choose_point(self, index: int) -> None:
        """The front shows only mixes that were measured when it was drawn; more may have come since."""
        if self.cells is None:
            return
        if self.panel().tabs.currentIndex() == 1:
            index = self.panel().frames["front"].view.state.ids[index]
        self.adopt(index)

    def adopt(self, index: int) -> None:
        """Put a mix on the desk, exactly as it was measured: one step to undo."""
        if self.cells is None:
            return
        plan, now = self.cells.plan, self._workspace.recipe
        start, here = without_hashes(plan.start), without_hashes(now)
        if (start.base, start.experts) != (here.base, here.experts):
            self._desk.tell("The models on the desk have changed since this sweep. Run it again.", "warning")
            return
        mix = replace(plan.recipes[index], base=now.base, experts=now.experts, tasks=now.tasks, extras=now.extras)
        self._workspace.store.apply(mix, f"Adopt {plan.labels[index]}")
        outcome = self.cells.found.get(index)
        if outcome is not None and outcome.error is not None:
            self._desk.tell(f"This mix could not be measured: {sweep_state.said(outcome.error)}", "warning")
        self.adopted.emit(mix)
        self.refresh()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
