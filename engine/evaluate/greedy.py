"""Greedy soup: average the experts one by one, best first, for as long as the average does not get worse.

Wortsman et al. 2022, Model Soups, recipe 1. The order comes from each expert's own validation score; every
further expert is tried once and stays if the mean score over the tasks is at least that of the soup so far.
Scores are compared on validation rows only: what was chosen with must not be the final figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import EvalProblem, NotEnoughExperts
from engine.evaluate.mix import score_recipe
from engine.evaluate.score import Score
from engine.evaluate.task import Task
from engine.merge.inputs import Inputs
from engine.progress import Checked, Progress, Silent
from engine.recipe.recipe import Recipe, Rule

if TYPE_CHECKING:
    from engine.store.cache import ScoreCache

_SAME = 1e-12  # equal means of different scores may differ by a rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One expert that was tried.

    Attributes:
        expert: Its id in the recipe.
        own: Its own validation score, by which it was sorted.
        value: Mean validation score of the soup with it.
        kept: Whether it stayed.
    """

    expert: str
    own: float
    value: float
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Soup:
    """What the greedy search found.

    Attributes:
        recipe: The average of the experts that stayed; the others are at 0.
        members: Their ids, best first.
        value: Mean validation score over the tasks.
        trials: All experts in the order in which they were tried.
    """

    recipe: Recipe
    members: tuple[str, ...]
    value: float
    trials: tuple[Trial, ...]


def greedy_soup(
    recipe: Recipe,
    inputs: Inputs,
    tasks: Sequence[Task],
    *,
    own: Mapping[str, float] | None = None,
    limit: int | None = None,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
    score: Callable[..., Mapping[str, Score]] | None = None,
) -> Soup:
    """Search the average of experts that does best on validation rows.

    All experts that mute and solo let through take part, in their original weights: rules, gains and the
    method of the recipe are replaced. Experts of equal score are tried in the recipe's order, so the result
    depends on the files, the tasks and this order alone.

    Args:
        recipe: Whose experts are averaged.
        inputs: Its models, in the recipe's order.
        tasks: What to score on, at least one; each counts the same.
        own: Validation score of every expert by id, if known; measured else.
        limit: Only the first rows of each task; None for all.
        cache: Scores that are known already.
        progress: Told the experts done, and what each scoring tells.
        score: Scores a mix; something with the signature of `score_recipe`, which it is else.

    Raises:
        EvalProblem: if there is no task, or `own` lacks an expert.
        NotEnoughExperts: if no expert is heard.
        MixdownError: if a mix cannot be merged or evaluated.
        Cancelled: if the user stopped the job.
    """
    if not tasks:
        raise EvalProblem("A greedy soup needs scores to choose by.", hint="Add a task first.")
    heard = [ref.id for ref in recipe.experts if recipe.is_heard(ref.id)]
    if not heard:
        raise NotEnoughExperts("No expert is heard.", hint="Unmute the experts to choose from.")
    outer, scored = progress or Silent(), score or score_recipe
    outer.begin(len(heard) if own is not None else 2 * len(heard) - 1, "Greedy soup", "mixes")

    def value(members: Sequence[str]) -> float:
        mix = soup_of(recipe, members)
        scores = scored(mix, inputs, tasks, split="val", limit=limit, cache=cache, progress=Checked(outer))
        outer.advance(1)
        return math.fsum(found.merit for found in scores.values()) / len(scores)

    alone = {expert: value([expert]) for expert in heard} if own is None else _known(own, heard)
    ranked = sorted(heard, key=lambda expert: -alone[expert])  # stable: equals stay in the recipe's order
    best = alone[ranked[0]] if own is None else value(ranked[:1])
    members, trials = ranked[:1], [Trial(expert=ranked[0], own=alone[ranked[0]], value=best, kept=True)]
    for expert in ranked[1:]:
        found = value([*members, expert])
        kept = found >= best - _SAME
        trials.append(Trial(expert=expert, own=alone[expert], value=found, kept=kept))
        if kept:
            members, best = [*members, expert], found
    return Soup(recipe=soup_of(recipe, members), members=tuple(members), value=best, trials=tuple(trials))


def soup_of(recipe: Recipe, members: Sequence[str]) -> Recipe:
    """The plain average of some experts of a recipe: they at 1, all others at 0, nothing muted or soloed."""
    levels = [Rule(expert=ref.id, value=float(ref.id in members)) for ref in recipe.experts]
    return replace(recipe.with_method("linear"), rules=tuple(levels), muted=(), soloed=(), gains=())


def _known(own: Mapping[str, float], heard: Sequence[str]) -> dict[str, float]:
    """The given scores of all experts that are heard."""
    missing = [expert for expert in heard if expert not in own]
    if missing or any(own[expert] != own[expert] for expert in heard):
        raise EvalProblem(
            "Not every expert has a validation score.", where=", ".join(missing), hint="Evaluate the experts first."
        )
    return {expert: own[expert] for expert in heard}
