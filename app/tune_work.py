"""What tuning does in a worker: open a live session, run the tuner, score the result on test rows. Imports late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from app import places
from app.evaluator import open_live, score_recipe
from engine.evaluate.score import Score
from engine.evaluate.task import Task
from engine.merge.inputs import Inputs
from engine.preview.frame import bounds_of, by_layer
from engine.progress import Token
from engine.recipe.recipe import Recipe
from engine.tuners import Step

if TYPE_CHECKING:
    from engine.methods.spec import Value
    from engine.preview.hearing import Session


@dataclass(slots=True)
class Held:
    """The live session of a run; used by one worker at a time and kept while the user pins faders."""

    live: Session | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to tune.

    Attributes:
        recipe: Where to start.
        inputs: Its models.
        tasks: Tasks to look at, all of them.
        chosen: Names of those to tune for.
        tuner: Id of the tuner.
        params: Its parameters.
        rows: Validation rows of each task.
        seed: For whatever is drawn at random.
        by_layer: Whether a layer's groups move together.
        pinned: (T, G) faders that stay, or None.
    """

    recipe: Recipe
    inputs: Inputs
    tasks: tuple[Task, ...]
    chosen: tuple[str, ...]
    tuner: str
    params: Mapping[str, Value] = field(default_factory=dict)
    rows: int = 64
    seed: int = 0
    by_layer: bool = True
    pinned: np.ndarray | None = None


def run_order(
    order: Order, held: Held, token: Token, opened: Callable[[tuple[str, ...], int], None],
    stepped: Callable[[Step, Recipe], None],
) -> None:  # fmt: skip
    """Tune; every step is told as it comes, on the calling thread.

    Args:
        order: What to tune.
        held: Where the session is kept.
        token: Pauses and cancels.
        opened: Told notes for the user and the rows of each task.
        stepped: Told every step, and the recipe that it makes.

    Raises:
        EvalProblem: if there is nothing to tune, or no task can be run live.
        Cancelled: if the user stopped it.
    """
    from engine.preview.tuning import tune

    if held.live is None:
        held.live = open_live(order.recipe, order.inputs, order.tasks, rows=order.rows, progress=token)
    live = held.live
    dropped = tuple(f"{name} takes no part: {error.message}" for name, error in live.report.dropped.items())
    opened((*live.report.notes, *dropped), live.report.rows)
    low, high = bounds_of(order.recipe)
    blocks = list(by_layer(order.inputs.layout).values()) if order.by_layer else None
    steps = tune(live, order.recipe, order.tuner, tasks=order.chosen, pinned=order.pinned, blocks=blocks, low=low,
                 high=high, seed=order.seed, params=order.params, progress=token)  # fmt: skip
    for step in steps:
        token.check()
        stepped(step, live.frame.applied(order.recipe, step.point))


def test_scores(
    before: Recipe, after: Recipe, inputs: Inputs, tasks: tuple[Task, ...], token: Token
) -> tuple[dict[str, Score], dict[str, Score]]:
    """Both mixes on all test rows, as an export of them would score; remembered by content.

    Raises:
        MixdownError: if one cannot be merged or evaluated.
    """
    from engine.store.cache import ScoreCache

    cache = ScoreCache(places.score_cache_file())
    first, second = (dict(score_recipe(mix, inputs, tasks, split="test", cache=cache, progress=token))
                     for mix in (before, after))  # fmt: skip
    return first, second
