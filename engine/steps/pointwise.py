"""Choosing one value among the experts' for every element: median, largest, nearest."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import torch
from torch import Tensor


def at_least(values: Tensor, limit: float) -> Tensor:
    """1 where a value (n,) reaches the limit, else 0: a new tensor (n,) in the dtype of the values."""
    return torch.ge(values, limit, out=torch.empty_like(values))


def present(values: Tensor) -> Tensor:
    """1 where a value (n,) is not 0, else 0: a new tensor (n,) in the dtype of the values."""
    return torch.ne(values, 0, out=torch.empty_like(values))


def lower_median(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
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
    return out.add_(0.0)  # -0 and 0 are the same number: make them the same bytes


def _ranked(values: Sequence[Tensor], rank: int) -> Tensor:
    """The rank-th smallest (from 1) of every element as a new tensor: as many rounds of a bubble sort."""
    rest = list(values)
    while True:
        least, larger = rest[0].clone(), []
        for x in rest[1:]:
            larger.append(torch.maximum(least, x))
            torch.minimum(least, x, out=least)
        rest, rank = larger, rank - 1
        if rank == 0:
            return least


def _weighted(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted lower median of every element as a new tensor."""
    ranked, order = torch.sort(torch.stack(list(values), dim=1), dim=1, stable=True)  # (n, T)
    of_expert = torch.tensor(list(weights), dtype=torch.float64, device=ranked.device)
    below = torch.zeros(len(ranked), dtype=torch.float64, device=ranked.device)
    out, half = ranked[:, 0].clone(), fsum(weights) / 2
    for place in range(1, len(values)):
        below += of_expert[order[:, place - 1]]  # what all values before this place hold
        out = torch.where(below < half, ranked[:, place], out)
    return out


def loudest(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The value whose weighted magnitude is largest; of two opposite ones the positive.

    Args:
        values: T >= 1 tensors (n,).
        weights: T numbers.

    Returns:
        A new tensor (n,).
    """
    out, size = values[0].clone(), values[0].mul(weights[0]).abs_()
    for x, w in zip(values[1:], weights[1:], strict=True):
        rival = x.mul(w).abs_()
        better = (rival > size) | ((rival == size) & (x > out))
        out, size = torch.where(better, x, out), torch.maximum(rival, size)
    return out


def near_share(delta: Tensor, reach: float, least: float) -> Tensor:
    """How much of a change to take: all of it up to `reach`, of larger ones as much as `reach`.

    Args:
        delta: (n,) changes.
        reach: Size of the change that is taken; 0 takes nothing.
        least: Changes smaller than this count as this.

    Returns:
        (n,) shares from 0 to 1.
    """
    return torch.full_like(delta, reach).div_(delta.abs().clamp_min_(least)).clamp_(0, 1)
