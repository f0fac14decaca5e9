"""Scoring a recipe so that it can be compared: its scores and what it made of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.evaluate.measures import Outcome
from engine.evaluate.mix import recipe_outcomes
from engine.evaluate.score import Score
from engine.evaluate.task import Split, Task
from engine.merge.inputs import Inputs
from engine.progress import Progress
from engine.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What is known of one recipe, by task name.

    Attributes:
        scores: Its scores.
        outcomes: What it made of the rows; empty where only the scores are known.
    """

    scores: Mapping[str, Score] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)


def measure(
    recipe: Recipe,
    inputs: Inputs,
    tasks: Sequence[Task],
    *,
    split: Split = "val",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Merge and run a recipe; the same scores as `engine.evaluate.mix.score_recipe`, with the rows behind them.

    Args:
        recipe: What to merge.
        inputs: Its models.
        tasks: What to score on.
        split: "val" to choose with, "test" for the final figure.
        limit: Only the first rows of each task; None for all.
        progress: Told the bytes merged, then the rows done.

    Raises:
        MixdownError: if the recipe cannot be merged, or a task or the model cannot be evaluated.
    """
    found = recipe_outcomes(recipe, inputs, tasks, split=split, limit=limit, progress=progress)
    if not found:
        return Measured()
    from engine.evaluate.runner import judged

    return Measured({task.name: judged(task, split, found[task.name]) for task in tasks}, found)
