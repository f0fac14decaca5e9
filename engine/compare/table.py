"""The table of scores of two recipes: both with their intervals, the difference with its own, and what it tells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.evaluate.measures import Outcome
from engine.evaluate.paired import Difference, compared
from engine.evaluate.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task of the table.

    Attributes:
        task: Name of the task.
        first: Score of the first recipe, or None while it is not known.
        second: Score of the second, or None.
        difference: first - second with its interval; None if a score is missing or they cannot be compared.
        problem: Why there is no difference, or "".
    """

    task: str
    first: Score | None = None
    second: Score | None = None
    difference: Difference | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean difference over tasks in percent, each task counting the same.

    Attributes:
        value: Mean of first - second, a share.
        low: Lower end of its 95 % interval, the tasks' errors taken as independent.
        high: Upper end of the interval.
        tasks: Number of tasks.
        is_paired: Whether every task's interval is paired.
    """

    value: float
    low: float
    high: float
    tasks: int
    is_paired: bool


def score_table(
    first: Mapping[str, Score],
    second: Mapping[str, Score],
    mine: Mapping[str, Outcome] | None = None,
    yours: Mapping[str, Outcome] | None = None,
) -> tuple[TaskRow, ...]:
    """A row for every task of either recipe, the first's order first.

    Args:
        first: Scores of the first recipe by task name.
        second: Scores of the second.
        mine: What the first made of the rows, where that is known; such tasks get paired intervals.
        yours: What the second made of the same rows.
    """
    rows = []
    for task in dict.fromkeys((*first, *second)):
        a, b = first.get(task), second.get(task)
        if a is None or b is None:
            rows.append(TaskRow(task=task, first=a, second=b, problem="not scored yet"))
        elif (a.metric, a.split) != (b.metric, b.split):
            rows.append(TaskRow(task=task, first=a, second=b, problem="measured in different ways"))
        else:
            made = compared(a, b, (mine or {}).get(task), (yours or {}).get(task))
            rows.append(TaskRow(task=task, first=a, second=b, difference=made))
    return tuple(rows)


def mean_difference(rows: Sequence[TaskRow]) -> Mean | None:
    """The mean over the tasks in percent; None for fewer than two of them."""
    known = [r.difference for r in rows if r.difference is not None and r.difference.first.measure.unit == "%"]
    if len(known) < 2:
        return None
    count, value = len(known), math.fsum(d.value for d in known) / len(known)
    down = math.hypot(*(d.value - d.low for d in known)) / count
    up = math.hypot(*(d.high - d.value for d in known)) / count
    return Mean(value=value, low=value - down, high=value + up, tasks=count,
                is_paired=all(d.way != "separate samples" for d in known))  # fmt: skip


def to_json(rows: Sequence[TaskRow]) -> list[dict[str, Any]]:
    """The table as plain values; "difference" is first - second."""
    return [
        {"task": r.task, "first": _score(r.first), "second": _score(r.second), "problem": r.problem or None,
         "difference": None if r.difference is None else _difference(r.difference)}
        for r in rows
    ]  # fmt: skip


def _score(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {"value": score.value, "low": score.low, "high": score.high, "metric": score.metric, "split": score.split,
            "rows": score.count}  # fmt: skip


def _difference(made: Difference) -> dict[str, Any]:
    return {"value": made.value, "low": made.low, "high": made.high, "interval": made.words, "better": made.better,
            "only_first": made.only_first, "only_second": made.only_second, "p": made.p}  # fmt: skip
