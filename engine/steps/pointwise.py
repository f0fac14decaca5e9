"""Choosing one value among the experts' for every element: median, largest, nearest."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np

from engine.steps import ops
from engine.steps.ops import Array


def at_least(values: Array, limit: float) -> Array:
    """1 where a value (n,) reaches the limit, else 0: a new array (n,) in the dtype of the values."""
    return ops.is_at_least(values, limit, out=ops.empty_like(values))


def present(values: Array, out: Array | None = None) -> Array:
    """1 where a value (n,) is not 0, else 0: (n,) in the dtype of the values, written to `out` if there is one."""
    return ops.differs(values, 0, out=ops.empty_like(values) if out is None else out)


def lower_median(values: Sequence[Array], weights: Sequence[float]) -> Array:
    """The weighted lower median of every element.

    Args:
        values: T >= 1 tensors (n,).
        weights: T numbers above 0.

    Returns:
        (n,): the smallest value such that values up to it hold at least half of all weights.
    """
    if all(w == weights[0] for w in weights):
        out = _ranked(values, (len(values) + 1) // 2)
    else:
        out = _weighted(values, weights)
    out += 0.0  # -0 and 0 are the same number: make them the same bytes
    return out


def _ranked(values: Sequence[Array], rank: int) -> Array:
    """The rank-th smallest (from 1) of every element as a new tensor: as many rounds of a bubble sort."""
    rest = list(values)
    while True:
        least, larger = ops.copied(rest[0]), []
        for x in rest[1:]:
            larger.append(ops.larger(least, x, out=ops.empty_like(least)))
            ops.smaller(least, x, out=least)
        rest, rank = larger, rank - 1
        if rank == 0:
            return least


def _weighted(values: Sequence[Array], weights: Sequence[float]) -> Array:
    """The weighted lower median of every element as a new array."""
    if ops.is_host(values[0]):
        return ops.from_host(_weighted_host([ops.to_host(x) for x in values], weights), like=values[0])
    import torch

    ranked, order = torch.sort(torch.stack(list(values), dim=1), dim=1, stable=True)  # (n, T)
    of_expert = torch.tensor(list(weights), dtype=torch.float64, device=ranked.device)
    below = torch.zeros(len(ranked), dtype=torch.float64, device=ranked.device)
    out, half = ranked[:, 0].clone(), fsum(weights) / 2
    for place in range(1, len(values)):
        below += of_expert[order[:, place - 1]]  # what all values before this place hold
        out = torch.where(below < half, ranked[:, place], out)
    return out


def _weighted_host(values: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The same for numpy arrays."""
    stacked = np.stack(values)  # (T, n)
    order = np.argsort(stacked, axis=0, kind="stable")
    ranked, held = np.take_along_axis(stacked, order, axis=0), np.array(weights)[order]
    below, half = np.zeros(stacked.shape[1]), fsum(weights) / 2
    out: np.ndarray = ranked[0].copy()
    for place in range(1, len(stacked)):
        below += held[place - 1]  # what all values before this place hold
        np.copyto(out, ranked[place], where=below < half)
    return out


def loudest(values: Sequence[Array], weights: Sequence[float]) -> Array:
    """The value whose weighted magnitude is largest; of two opposite ones the positive.

    Args:
        values: T >= 1 tensors (n,).
        weights: T numbers.

    Returns:
        A new tensor (n,).
    """
    out, size = ops.copied(values[0]), abs(values[0] * weights[0])
    for x, w in zip(values[1:], weights[1:], strict=True):
        rival = abs(x * w)
        better = (rival > size) | ((rival == size) & (x > out))
        out, size = ops.where(better, x, out), ops.larger(rival, size, out=size)
    return out


def near_share(delta: Array, reach: float, least: float) -> Array:
    """How much of a change to take: all of it up to `reach`, of larger ones as much as `reach`.

    Args:
        delta: (n,) changes.
        reach: Size of the change that is taken; 0 takes nothing.
        least: Changes smaller than this count as this.

    Returns:
        (n,) shares from 0 to 1.
    """
    share = abs(delta)
    ops.at_least(share, least, out=share)
    share = (ops.zeros_like(share) + reach) / share  # torch divides a mere number by multiplying twice
    return ops.at_most(share, 1, out=share)
