"""Metrics: each one function of labels and predictions, registered by its id.

To add one, write a function and decorate it; tasks may then name it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.resample import interval

_Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's value and its 95 % interval, all from 0 (worst) to 1 (best)."""

    value: float
    low: float
    high: float


Metric = Callable[[NDArray[Any], NDArray[Any], int], Measured]
"""(labels (N,), predictions (N,), number of classes) -> value and interval; N is at least 1."""

_METRICS: dict[str, Metric] = {}
METRICS: Mapping[str, Metric] = _METRICS
"""All metrics by id."""


def metric(name: str) -> Callable[[Metric], Metric]:
    """Register the decorated function as a metric."""

    def register(function: Metric) -> Metric:
        if name in _METRICS:
            raise ValueError(f"two metrics are called {name!r}")
        _METRICS[name] = function
        return function

    return register


def wilson(correct: int, count: int, z: float = _Z95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, JASA 22, 1927), clipped to 0 and 1.

    Args:
        correct: Successes.
        count: Trials, at least 1.
        z: Normal quantile.

    Returns:
        Lower and upper bound; they contain correct / count.
    """
    share, z2 = correct / count, z * z
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


@metric("accuracy")
def accuracy(labels: NDArray[Any], predictions: NDArray[Any], classes: int) -> Measured:
    """Share of right predictions with its Wilson interval."""
    correct, count = int((labels == predictions).sum()), len(labels)
    return Measured(correct / count, *wilson(correct, count))


@metric("macro_f1")
def macro_f1(labels: NDArray[Any], predictions: NDArray[Any], classes: int) -> Measured:
    """Unweighted mean of the F1 of every class that occurs in labels or predictions, with its bootstrap interval."""

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return f1_of(labels, predictions, classes, weights)

    value = float(statistic(np.ones((1, len(labels))))[0])
    return Measured(value, *interval(statistic, len(labels), value))


def f1_of(
    labels: NDArray[Any], predictions: NDArray[Any], classes: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Macro-F1 (B,) of weighted rows (B, N); classes that occur nowhere do not count."""
    found, rows = np.zeros((3, len(weights), classes)), np.arange(len(labels))
    for at, chosen in enumerate((labels, predictions, np.where(labels == predictions, labels, -1))):
        inside = chosen >= 0
        order = np.argsort(chosen[inside], kind="stable")
        used, starts = np.unique(chosen[inside][order], return_index=True)
        if len(used):
            found[at][:, used] = np.add.reduceat(weights[:, rows[inside][order]], starts, axis=1)
    truth, said, hits = found
    occurs = (truth + said) > 0
    each = np.divide(2 * hits, truth + said, out=np.zeros_like(hits), where=occurs)
    means: NDArray[np.float64] = each.sum(1) / occurs.sum(1)
    return means
