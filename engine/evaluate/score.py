"""Scores and what may honestly be said about them: uncertainty, comparison, averages.

Light values; splits are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import EvalProblem
from engine.evaluate.measures import Measure, find_measure
from engine.evaluate.task import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one model does on one task.

    Attributes:
        task: Name of the task.
        split: Which rows: "val" to choose with, "test" for the final figure.
        metric: Id of the metric.
        value: The metric; shares from 0 to 1, others as they are (`engine.evaluate.measures`).
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        correct: Right predictions, 0 for metrics that are not a share of rows.
        count: Rows (pairs, queries, texts, questions).
    """

    task: str
    split: Split
    metric: str
    value: float
    low: float
    high: float
    correct: int
    count: int

    @property
    def margin(self) -> float:
        """Half the width of the interval: the ± shown beside the value."""
        return (self.high - self.low) / 2

    @property
    def measure(self) -> Measure:
        """What the number means: unit, digits, which way is better."""
        return find_measure(self.metric)

    @property
    def merit(self) -> float:
        """A number that is larger for better models, to choose by; perplexity counts as a log likelihood."""
        if self.measure.higher_is_better:
            return self.value
        return -math.log(self.value) if self.metric == "perplexity" else -self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """The mean over tasks, each task counting the same.

    Only tasks of one unit have a mean: if there are several, those in percent are taken, else those of the
    first task's metric.

    Attributes:
        split: Which rows.
        value: Mean of the scores.
        low: Lower end of its 95 % interval, the tasks' errors taken as independent.
        high: Upper end of the interval.
        normalised: Mean of the scores divided by the own expert's; None if an expert's score is missing.
        tasks: Number of tasks.
        count: Rows of all tasks.
        left_out: Tasks of another unit, which are not in `value`; `normalised` has them all.
        metric: Metric of the tasks averaged; "accuracy" where they are different shares.
    """

    split: Split
    value: float
    low: float
    high: float
    normalised: float | None
    tasks: int
    count: int
    left_out: int = 0
    metric: str = "accuracy"

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def normalised(score: Score, expert: Score) -> float | None:
    """The score as a share of what the task's own expert reaches, 1 if equally good; None if that is 0 or less.

    Where lower is better it is the expert's value divided by the score's.

    Raises:
        EvalProblem: if the scores are of different tasks, splits or metrics.
    """
    comparable(score, expert)
    over, under = (score, expert) if score.measure.higher_is_better else (expert, score)
    return over.value / under.value if under.value > 0 else None


def difference(a: Score, b: Score) -> tuple[float, float]:
    """95 % interval of b - a (Newcombe 1998, method 10, from the two scores' own intervals).

    The rows are treated as if they were drawn separately for both; on the same rows that is cautious.

    Raises:
        EvalProblem: if the scores are of different tasks, splits or metrics.
    """
    comparable(a, b)
    change = b.value - a.value
    down = math.hypot(b.value - b.low, a.high - a.value)
    up = math.hypot(b.high - b.value, a.value - a.low)
    return change - down, change + up


def significant(a: Score, b: Score) -> bool:
    """Whether the difference of two scores exceeds its interval, so that it may be coloured.

    Which way is better is `Score.measure.higher_is_better`.

    Raises:
        EvalProblem: if the scores are of different tasks, splits or metrics.
    """
    low, high = difference(a, b)
    return low > 0 or high < 0


def average(scores: Sequence[Score], experts: Mapping[str, Score] | None = None) -> Average:
    """The mean over tasks.

    Args:
        scores: One score for each task, at least one, all of one split.
        experts: Score of each task's own expert, by task name.

    Raises:
        EvalProblem: if there is no score, or if splits are mixed.
    """
    if not scores:
        raise EvalProblem("There are no scores to average.", hint="Add a task first.")
    splits = {score.split for score in scores}
    if len(splits) > 1:
        raise EvalProblem("Scores on validation and test rows cannot be averaged.", hint="Evaluate one split.")
    alike = _of_one_unit(scores)
    value = math.fsum(score.value for score in alike) / len(alike)
    down = math.hypot(*(score.value - score.low for score in alike)) / len(alike)
    up = math.hypot(*(score.high - score.value for score in alike)) / len(alike)
    own = [normalised(s, experts[s.task]) if experts and s.task in experts else None for s in scores]
    known = [share for share in own if share is not None]
    return Average(
        split=scores[0].split,
        value=value,
        low=value - down,
        high=value + up,
        normalised=math.fsum(known) / len(known) if len(known) == len(scores) else None,
        tasks=len(scores),
        count=sum(score.count for score in scores),
        left_out=len(scores) - len(alike),
        metric=alike[0].metric if len({score.metric for score in alike}) == 1 else "accuracy",
    )


def _of_one_unit(scores: Sequence[Score]) -> list[Score]:
    """The scores that may be averaged: shares, else those with the first one's metric."""
    shares = [score for score in scores if score.measure.unit == "%"]
    return shares or [score for score in scores if score.metric == scores[0].metric]


def comparable(a: Score, b: Score) -> None:
    """Refuse to compare scores of different tasks, splits or metrics.

    Raises:
        EvalProblem: if they are.
    """
    if (a.task, a.split, a.metric) != (b.task, b.split, b.metric):
        raise EvalProblem(
            f"A score on {a.task} ({a.split}, {a.metric}) cannot be compared with one on {b.task} ({b.split}, "
            f"{b.metric}).",
            hint="Evaluate both on the same task and split.",
        )
