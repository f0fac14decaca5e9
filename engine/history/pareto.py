"""The Pareto front of two numbers: runs that no other run beats in both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LOWER = ("seconds", "bytes", "experts")


def front(x: NDArray[np.float64], y: NDArray[np.float64], *, x_up: bool, y_up: bool) -> NDArray[np.bool_]:
    """Which of N points are on the front.

    Args:
        x: (N,) finite numbers.
        y: (N,) finite numbers.
        x_up: Whether more of x is better.
        y_up: Whether more of y is better.

    Returns:
        (N,) True for points that no other point is at least as good as in both and better in one.
    """
    across, up = (x if x_up else -x), (y if y_up else -y)
    found = np.zeros(len(x), bool)
    best = -np.inf
    order = np.lexsort((-up, -across))
    for at, group in _equal(across[order]):
        rows = order[at : at + group]
        top = up[rows].max()
        if top > best:
            found[rows[up[rows] == top]] = True
            best = top
    return found


def _equal(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    """(start, length) of runs of equal values in a sorted array."""
    if not len(values):
        return []
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    ends = np.append(starts[1:], len(values))
    return [(int(a), int(b - a)) for a, b in zip(starts, ends, strict=True)]


def is_better_up(column: str) -> bool:
    """Whether more of a column is usually better: scores yes, time and size no."""
    return column not in _LOWER
