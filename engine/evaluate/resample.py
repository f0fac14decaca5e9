"""Bootstrap intervals from a counter-based generator: the same rows give the same interval on every machine.

Efron & Tibshirani 1993, percentile interval. A resample is told as how often each row was drawn, so that a
metric is one function of row weights: all ones for its value, the drawn counts for its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 300
SEED = 20_240_607
_CHUNK = 1 << 21
"""Most counts held at once: 16 MB."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(B, N) row weights -> (B,) values; NaN where a resample leaves the metric undefined."""


def draws(count: int, resamples: int = RESAMPLES, seed: int = SEED) -> Iterator[NDArray[np.float64]]:
    """How often each of `count` rows is drawn in each resample, (B, count) at a time.

    Every resample has a generator of its own (Philox, Salmon et al. 2011, keyed by its number), so that
    neither chunks nor threads change it.
    """
    step = max(1, _CHUNK // max(count, 1))
    for first in range(0, resamples, step):
        block = [_drawn(count, seed, number) for number in range(first, min(first + step, resamples))]
        yield np.stack(block).astype(np.float64)


def _drawn(count: int, seed: int, number: int) -> NDArray[Any]:
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    return np.bincount(generator.integers(0, count, count), minlength=count)


def interval(statistic: Statistic, count: int, value: float, seed: int = SEED) -> tuple[float, float]:
    """95 % percentile interval of a statistic of `count` rows; widened, if need be, to contain `value`.

    One row alone, or rows on which every resample is undefined, give an interval of no width.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.concatenate([statistic(weights) for weights in draws(count, seed=seed)])
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return value, value
    low, high = np.quantile(known, (0.025, 0.975))
    return min(float(low), value), max(float(high), value)
