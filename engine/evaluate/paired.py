"""The difference of two models on the same rows, with its own 95 % interval.

Both models answer the same rows, so what they get wrong together says nothing about which is better: a paired
interval is narrower than one from two separate samples, and honest. Light: never imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.measures import MEASURES, Outcome
from engine.evaluate.metrics import wilson
from engine.evaluate.resample import interval
from engine.evaluate.score import Score, comparable, difference

Way = Literal["paired proportions", "paired bootstrap", "separate samples"]
"""How an interval was made; `Difference.words` says more."""

_WORDS = {
    "paired proportions": "same rows: Newcombe's paired interval, McNemar's mid-p test",
    "paired bootstrap": "same rows: paired bootstrap",
    "separate samples": "rows taken as separate samples (cautious): Newcombe's interval",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much better or worse the first of two models does on one task.

    Attributes:
        first: Score of the first.
        second: Score of the second.
        value: first - second, in the metric's own unit (shares from -1 to 1).
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        way: How the interval was made.
        only_first: Rows that only the first gets right; 0 unless the proportions are paired.
        only_second: Rows that only the second gets right.
        p: McNemar's mid-p, two-sided; None unless the proportions are paired.
    """

    first: Score
    second: Score
    value: float
    low: float
    high: float
    way: Way
    only_first: int = 0
    only_second: int = 0
    p: float | None = None

    @property
    def words(self) -> str:
        """How the interval was made, in words."""
        return _WORDS[self.way]

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    @property
    def better(self) -> Literal["first", "second", ""]:
        """Which model is better, as far as the interval tells; "" when it does not."""
        if not self.is_clear:
            return ""
        return "first" if (self.value > 0) == self.first.measure.higher_is_better else "second"


def compared(first: Score, second: Score, mine: Outcome | None = None, yours: Outcome | None = None) -> Difference:
    """The first minus the second on one task, paired when both models' results on the same rows are there.

    Args:
        first: Score of the first model.
        second: Score of the second.
        mine: What the first made of the rows.
        yours: What the second made of the same rows, in the same order.

    Raises:
        EvalProblem: if the scores are of different tasks, splits or metrics.
    """
    comparable(first, second)
    if mine is None or yours is None or first.metric not in MEASURES or not _same_rows(mine, yours):
        low, high = (-end for end in reversed(difference(first, second)))
        return Difference(first=first, second=second, value=first.value - second.value, low=low, high=high,
                          way="separate samples")  # fmt: skip
    if first.measure.is_share_of_rows and first.metric == "accuracy":
        return _proportions(first, second, right(mine), right(yours))
    return _bootstrapped(first, second, mine, yours)


def right(outcome: Outcome) -> NDArray[np.bool_]:
    """(N,) whether the row's largest output is the right class."""
    found: NDArray[np.bool_] = outcome.outputs.argmax(1) == outcome.targets
    return found


def _same_rows(mine: Outcome, yours: Outcome) -> bool:
    if mine.targets.shape != yours.targets.shape or mine.outputs.ndim != yours.outputs.ndim:
        return False
    return bool(np.array_equal(mine.targets, yours.targets, equal_nan=mine.targets.dtype.kind == "f"))


def _proportions(first: Score, second: Score, mine: NDArray[np.bool_], yours: NDArray[np.bool_]) -> Difference:
    table = tuple(int((x & y).sum()) for x, y in ((mine, yours), (mine, ~yours), (~mine, yours), (~mine, ~yours)))
    low, high = newcombe(*table)
    return Difference(first=first, second=second, value=(table[1] - table[2]) / len(mine), low=low, high=high,
                      way="paired proportions", only_first=table[1], only_second=table[2],
                      p=mcnemar(table[1], table[2]))  # fmt: skip


def _bootstrapped(first: Score, second: Score, mine: Outcome, yours: Outcome) -> Difference:
    function, value = first.measure.function, first.value - second.value

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return function(mine, weights) - function(yours, weights)

    low, high = interval(statistic, mine.count, value)
    return Difference(first=first, second=second, value=value, low=low, high=high, way="paired bootstrap")


def newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """95 % interval of the difference of two proportions of the same rows (Newcombe 1998, paired method 10).

    Args:
        both: Rows that both get right.
        only_first: Rows that only the first gets right.
        only_second: Rows that only the second gets right.
        neither: Rows that both get wrong; the four add to at least 1.

    Returns:
        Lower and upper bound of the first's share minus the second's.
    """
    count = both + only_first + only_second + neither
    one, other = both + only_first, both + only_second
    p1, p2 = one / count, other / count
    (low1, high1), (low2, high2) = wilson(one, count), wilson(other, count)
    margin = math.sqrt(one * (count - one) * other * (count - other))
    product = both * neither - only_first * only_second
    corrected = max(product - count / 2, 0.0) if product > 0 else product
    phi = corrected / margin if margin else 0.0

    def root(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    value = (only_first - only_second) / count
    return max(-1.0, value - root(p1 - low1, high2 - p2)), min(1.0, value + root(high1 - p1, p2 - low2))


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided mid-p of McNemar's test: could the rows on which just one is right fall so unevenly by chance?

    Fagerland, Lydersen & Laake 2013 recommend it over the exact and the asymptotic test. 1 when there is no such row.
    """
    total, few = only_first + only_second, min(only_first, only_second)
    if total == 0 or only_first == only_second:
        return 1.0
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
            for k in range(few + 1)]  # fmt: skip
    return min(1.0, 2 * math.fsum(map(math.exp, logs)) - math.exp(logs[-1]))
