"""Explain the difference between two pins, or a pin and the recipe as it is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from app import places
from app.jobs import Job
from engine.errors import MixdownError
from engine.live.explain import Explained, all_experts, explain
from engine.merge.inputs import Inputs, make_inputs
from engine.progress import Token
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.evaluate.score import Score
    from widgets.plots.explain_dialog import ExplainDialog

_NOW, _KEY = "Now", "explain scores"
Scores = Mapping[str, "Score"]


class ExplainController(QObject):
    """Fills the window with what is known at once, and scores both recipes when asked to.

    Args:
        desk: The assembled desk.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk, self._workspace = desk, desk.workspace
        self._dialog: ExplainDialog | None = None
        self._names = (_NOW, _NOW)
        self._scores: dict[Recipe, Scores] = {}
        self._guests: dict[str, Recipe] = {}
        self._scoring = False
        self._soon = QTimer(self, interval=80, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        for signal in (self._workspace.store.recipeChanged, self._workspace.store.pinsChanged,
                       self._workspace.live.gramChanged):  # fmt: skip
            signal.connect(lambda *_: self._soon.start() if self._is_open() else None)
        self._workspace.runner.jobFinished.connect(self._on_job)
        desk.window.history.pinExplained.connect(lambda name: self.open(name, _NOW))

    def _is_open(self) -> bool:
        return self._dialog is not None and self._dialog.isVisible()

    def open(self, first: str = "", second: str = _NOW) -> None:
        """Show the window for two pins; by default the newest pin and now."""
        if self._dialog is None:
            from widgets.plots.explain_dialog import ExplainDialog

            self._dialog = ExplainDialog(self._desk.window)
            self._dialog.chosen.connect(self._choose)
            self._dialog.scoreRequested.connect(self.score)
            self._dialog.stopRequested.connect(self.stop)
        pins = list(self._workspace.store.pins)
        self._names = (first or (pins[-1] if pins else _NOW), second)
        self._dialog.show()
        self._dialog.activateWindow()
        self.refresh()

    def compare(self, guests: Mapping[str, Recipe], scores: Mapping[Recipe, Scores]) -> None:
        """Show the window for one or two recipes from elsewhere, by name; with one, against now."""
        self._guests = dict(guests)
        self._scores.update(scores)
        self.open(*list(guests)[:2])

    def _choose(self, first: int, second: int) -> None:
        names = self._all()
        self._names = (names[first], names[second])
        self.refresh()

    def _all(self) -> list[str]:
        return [*dict.fromkeys((*self._guests, *(n for n in self._workspace.store.pins if n != _NOW))), _NOW]

    def _recipe(self, name: str) -> Recipe:
        known = {**self._workspace.store.pins, **self._guests}
        return self._workspace.recipe if name == _NOW else known.get(name, self._workspace.recipe)

    def refresh(self) -> None:
        """Compare again and show it."""
        if self._dialog is None:
            return
        from app.explain_state import nothing, score_hint
        from widgets.plots.explain_dialog import ExplainState

        names = self._all()
        one, other = (n if n in names else _NOW for n in self._names)
        self._names = one, other
        first, second = self._recipe(one), self._recipe(other)
        found, why = self._explained(first, second)
        tasks = len(self._workspace.scoring.board.tasks)
        is_ready = all(self._inputs(r) is not None for r in (first, second))
        state = ExplainState(
            names=tuple(names),
            first=names.index(self._names[0]),
            second=names.index(self._names[1]),
            summary=why,
            scores=self._score_rows(first, second),
            can_score=bool(tasks) and is_ready,
            is_scoring=self._scoring,
            score_hint=score_hint(tasks, is_ready=is_ready, is_scoring=self._scoring),
        )
        if found is None:
            from app.explain_state import said_rows

            state = replace(state, changes=said_rows(first, second), heat=nothing(why))
        elif self._workspace.layout is not None:
            from app.explain_state import change_rows, heat, summary

            state = replace(state, summary=summary(found), changes=change_rows(found),
                            heat=heat(found, self._workspace.layout))  # fmt: skip
        self._dialog.set_state(state)

    def _explained(self, first: Recipe, second: Recipe) -> tuple[Explained | None, str]:
        """The difference, or why there is none to show."""
        layout, recipe = self._workspace.layout, self._workspace.recipe
        if first.stack or second.stack:
            return None, "Recipes that restack layers have no common layers to compare."
        if recipe.base is None or {r.base.path if r.base else "" for r in (first, second)} != {recipe.base.path}:
            return None, "Only merges of the base on the desk can be compared."
        experts = all_experts(first, second)
        gram = self._workspace.live.gram(replace(recipe, experts=experts))
        if layout is None or gram is None:
            missing = [e.name for e in experts if e.path not in {x.path for x in recipe.experts}]
            return None, (f"Put {', '.join(missing)} on the desk to compare." if missing
                          else "The task vectors are being measured…")  # fmt: skip
        return explain(first, second, layout, gram), ""

    # Scores --------------------------------------------------------------------------------------------------

    def _inputs(self, recipe: Recipe) -> Inputs | None:
        """A recipe's opened models; None while one is being read or cannot be."""
        refs = [*([recipe.base] if recipe.base else []), *recipe.experts]
        entries = self._workspace.library.ready([r.path for r in refs])
        if entries is None or recipe.base is None or not recipe.experts or recipe.stack:
            return None
        base, *experts = [e.checkpoint for e in entries if e.checkpoint is not None]
        return make_inputs(base, experts, [e.name for e in recipe.experts])

    def score(self) -> None:
        """Score both recipes on the tasks of the desk, as one job."""
        workspace = self._workspace
        tasks, rows = tuple(workspace.scoring.board.tasks.values()), workspace.scoring.rows
        recipes = tuple(dict.fromkeys(map(self._recipe, self._names)))
        made = {r: self._inputs(r) for r in recipes}
        if not tasks or any(inputs is None for inputs in made.values()):
            return

        def work(token: Token) -> dict[Recipe, Scores]:
            from app.evaluator import score_recipe
            from engine.store.cache import ScoreCache

            cache = ScoreCache(places.score_cache_file())
            ready = {r: inputs for r, inputs in made.items() if inputs is not None}
            return {r: score_recipe(r, i, tasks, limit=rows, cache=cache, progress=token) for r, i in ready.items()}

        self._scoring = True
        workspace.runner.submit("Scoring both recipes", work, key=_KEY, done=self._scored,
                                failed=self._failed)  # fmt: skip
        self.refresh()

    def stop(self) -> None:
        """Stop scoring at once; what the score cache already has stays there."""
        self._workspace.runner.cancel_key(_KEY)
        self._scoring = False
        self.refresh()

    def _scored(self, found: dict[Recipe, Scores]) -> None:
        self._scoring = False
        self._scores.update(found)
        self.refresh()

    def _failed(self, error: MixdownError) -> None:
        self._scoring = False
        self._workspace.problem.emit(error)
        self.refresh()

    def _on_job(self, job: Job) -> None:
        """A cancelled job calls nobody else."""
        if job.key == _KEY and job.state == "cancelled":
            self._scoring = False
            self.refresh()

    def _score_rows(self, first: Recipe, second: Recipe) -> tuple[tuple[str, ...], ...]:
        from app.explain_state import score_rows

        before, after = self._scores.get(first), self._scores.get(second)
        return score_rows(before, after) if before is not None and after is not None else ()


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the window to the desk; its handler."""
    controller = ExplainController(desk)
    return {"mix.explain": lambda: controller.open()}
