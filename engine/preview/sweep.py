"""Measuring the cells of a sweep one by one; what the score cache knows comes at once, so a stop costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import Cancelled, MixdownError
from engine.evaluate.mix import score_recipe
from engine.evaluate.score import Score
from engine.evaluate.task import Split, Task
from engine.merge.inputs import Inputs
from engine.preview.grid import Sweep
from engine.progress import Checked, Progress, Silent
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from engine.store.cache import ScoreCache


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one cell.

    Attributes:
        index: Position of the recipe in what was asked for (for a sweep row * columns + column).
        recipe: The recipe.
        scores: By task name; empty if it failed.
        error: Why it could not be measured, or None.
    """

    index: int
    recipe: Recipe
    scores: Mapping[str, Score]
    error: MixdownError | None = None


def run_sweep(
    sweep: Sweep, recipe: Recipe, inputs: Inputs, tasks: Sequence[Task], *, split: Split = "val",
    rows: int | None = None, cache: ScoreCache | None = None, progress: Progress | None = None,
    done: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:  # fmt: skip
    """Measure all cells, coarse to fine; see `run_recipes`."""
    columns = sweep.shape[1]
    cells = [(r * columns + c, sweep.recipe(recipe, r, c)) for r, c in sweep.order()]
    return run_recipes(cells, inputs, tasks, split=split, rows=rows, cache=cache, progress=progress, done=done)


def run_recipes(
    recipes: Iterable[tuple[int, Recipe]], inputs: Inputs, tasks: Sequence[Task], *, split: Split = "val",
    rows: int | None = None, cache: ScoreCache | None = None, progress: Progress | None = None,
    done: Callable[[Outcome], None] | None = None, score: Callable[..., Mapping[str, Score]] | None = None,
) -> list[Outcome]:  # fmt: skip
    """Measure recipes of the same models, each on all tasks.

    Args:
        recipes: (index, recipe) in the order in which to measure; a triangle from `engine.preview.grid.simplex`, say.
        inputs: Their models.
        tasks: What to score on.
        split: "val"; "test" only for figures that choose nothing.
        rows: First rows of each task; None for all.
        cache: With it, a sweep that was stopped goes on where it was.
        progress: Told the cells; asked all the time.
        done: Told every outcome as it comes, on the calling thread.
        score: Scores a mix; something with the signature of `score_recipe`, which it is else.

    Returns:
        All outcomes in the order measured; a cell that cannot be merged has its error and stops nothing.

    Raises:
        Cancelled: if the user stopped the job.
    """
    outer, scored, found = progress or Silent(), score or score_recipe, list[Outcome]()
    todo = list(recipes)
    outer.begin(len(todo), "Sweeping", "mixes")
    for index, mix in todo:
        outer.check()
        try:
            scores = scored(mix, inputs, tasks, split=split, limit=rows, cache=cache, progress=Checked(outer))
            outcome = Outcome(index, mix, scores)
        except Cancelled:
            raise
        except MixdownError as error:
            outcome = Outcome(index, mix, {}, error)
        found.append(outcome)
        outer.advance(1)
        if done is not None:
            done(outcome)
    return found
