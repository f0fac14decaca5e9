"""What is known of the scores of the two recipes, and measuring both with the rows behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from app.project import without_hashes
from engine.compare.table import TaskRow, score_table
from engine.errors import MixdownError
from engine.evaluate.mix import Measured
from engine.merge.inputs import Inputs, make_inputs
from engine.progress import Token
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from app.workspace import Workspace
    from engine.evaluate.score import Score

_KEPT = 8
"""Recipes whose rows are kept: text tasks can have some MB of them."""


class CompareScores:
    """Scores of recipes, paired where both were run here.

    Args:
        workspace: Everything about the project.
        changed: Called when something new is known or a run starts or ends.
    """

    def __init__(self, workspace: Workspace, changed: Callable[[], None]) -> None:
        self._workspace, self._changed = workspace, changed
        self._known: dict[Recipe, Mapping[str, Score]] = {}
        self._rows: dict[tuple[Recipe, int], Measured] = {}
        self.is_running = False

    def note(self, recipe: Recipe, scores: Mapping[str, Score]) -> None:
        """Remember scores that were measured elsewhere (a run's, the desk's)."""
        self._known[_key(recipe)] = dict(scores)

    def forget(self) -> None:
        """Files changed: nothing that was measured is certain."""
        self._rows.clear()
        self._known.clear()

    def table(self, first: Recipe, second: Recipe) -> tuple[TaskRow, ...]:
        """A row for every task that either recipe has a score on."""
        mix, limit = self._workspace.scoring.board.mix, self._workspace.scoring.rows
        if mix is not None and mix.scores:
            self.note(mix.recipe, mix.scores)
        a, b = (self._rows.get((_key(r), limit), Measured()) for r in (first, second))
        mine, yours = ({**self._known.get(_key(r), {}), **m.scores} for r, m in ((first, a), (second, b)))
        return score_table(mine, yours, a.outcomes, b.outcomes)

    def inputs(self, recipe: Recipe) -> Inputs | None:
        """A recipe's opened models; None while one is being read or cannot be."""
        refs = [*([recipe.base] if recipe.base else []), *recipe.experts]
        entries = self._workspace.library.ready([r.path for r in refs])
        if entries is None or recipe.base is None or not recipe.experts:
            return None
        base, *experts = [e.checkpoint for e in entries if e.checkpoint is not None]
        return make_inputs(base, experts, [e.name for e in recipe.experts])

    def can_run(self, first: Recipe, second: Recipe) -> bool:
        """Whether there is something to score on, and both recipes' models are open."""
        return bool(self._workspace.scoring.board.tasks) and all(self.inputs(r) is not None for r in (first, second))

    def is_paired(self, first: Recipe, second: Recipe) -> bool:
        """Whether the rows of both are known."""
        return all((_key(r), self._workspace.scoring.rows) in self._rows for r in (first, second))

    def run(self, first: Recipe, second: Recipe) -> None:
        """Run both recipes over the rows of the desk's tasks, as one job; what is known already is not run again."""
        workspace = self._workspace
        tasks, limit = tuple(workspace.scoring.board.tasks.values()), workspace.scoring.rows
        made = {_key(r): (r, self.inputs(r)) for r in (first, second)}
        wanted = {key: (r, i) for key, (r, i) in made.items() if i is not None and (key, limit) not in self._rows}
        if not tasks or len(wanted) < len([k for k in made if (k, limit) not in self._rows]) or not wanted:
            return

        def work(token: Token) -> dict[Recipe, Measured]:
            from engine.evaluate.mix import measure_recipe

            return {key: measure_recipe(r, i, tasks, limit=limit, progress=token) for key, (r, i) in wanted.items()}

        def done(found: dict[Recipe, Measured]) -> None:
            self.is_running = False
            self._rows.update({(key, limit): m for key, m in found.items()})
            self._rows = dict(list(self._rows.items())[-_KEPT:])
            self._changed()

        self.is_running = True
        workspace.runner.submit("Scoring A and B on the same rows", work, key="compare scores", done=done,
                                failed=self._failed)  # fmt: skip
        self._changed()

    def _failed(self, error: MixdownError) -> None:
        self.is_running = False
        self._workspace.problem.emit(error)
        self._changed()


def _key(recipe: Recipe) -> Recipe:
    """What decides the scores: not content hashes, nor which tasks the recipe names."""
    return replace(without_hashes(recipe), tasks=(), extras=())
