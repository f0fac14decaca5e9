"""Merging trimmed task vectors: only those that agree with the elected sign, or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from engine.steps.reduce import total

if TYPE_CHECKING:
    from collections.abc import Sequence

Merge = Literal["mean", "weighted", "sum", "max", "all-mean", "all-sum", "all-median", "all-magnitude"]
_NOTHING = 1e-8
"""Coefficients that agree add up to less than this where they cancel out; then nothing is divided."""

MERGES = ("mean", "weighted", "sum", "max", "all-mean", "all-sum", "all-median", "all-magnitude")


def merge(
    kept: Sequence[Tensor],
    sign: Tensor | None,
    how: Merge,
    weights: Sequence[float],
    *,
    decided: bool = False,
    spare: bool = False,
) -> Tensor:
    """Merge T trimmed and scaled task vectors into one.

    Args:
        kept: T tensors (n,), zero where trimmed.
        sign: (n,) elected signs, or None for no election: then every element that is not 0 takes part.
        how: "mean", "weighted", "sum", "max" of those that agree with the sign: divided by how many agree,
            by the sum of their coefficients, not at all; or the largest. The "all-" variants take every
            task vector and give the result the elected sign.
        weights: T coefficients, the divisor of "weighted".
        decided: Whether no sign is 0, which saves time.
        spare: Whether the tensors of `kept` may be overwritten, which saves time.

    Returns:
        A new tensor (n,).
    """
    if how.startswith("all-"):
        merged = _everybody(kept, how)
        return merged if sign is None else merged.abs_().mul_(sign)
    if how == "max":
        return _largest(kept, sign)
    if sign is None:
        return _average(kept, how, weights)
    sign = sign if decided else _decided(sign)
    agree = [x.mul_(sign).clamp_min_(0) if spare else agreeing(x, sign) for x in kept]
    return _average(agree, how, weights).mul_(sign)


def agreeing(kept: Tensor, sign: Tensor) -> Tensor:
    """|kept| where it has the elected sign, 0 elsewhere: (n,)."""
    return (kept * sign).clamp_min_(0)


def _decided(sign: Tensor) -> Tensor:
    """The signs with a remaining 0 counted as negative, as in the official code."""
    return torch.gt(sign, 0, out=torch.empty_like(sign)).mul_(2).sub_(1)


def _average(chosen: Sequence[Tensor], how: Merge, weights: Sequence[float]) -> Tensor:
    """Sum of the chosen elements, divided as `how` says; empty places stay 0."""
    merged = total(chosen)
    if how == "sum":
        return merged
    factors = weights if how == "weighted" else [1.0] * len(chosen)
    divisor, one = torch.ne(chosen[0], 0, out=torch.empty_like(merged)), torch.empty_like(merged)
    if factors[0] != 1:
        divisor.mul_(factors[0])
    for x, factor in zip(chosen[1:], factors[1:], strict=True):
        torch.ne(x, 0, out=one)
        divisor.add_(one.mul_(factor) if factor != 1 else one)
    if min(factors) >= _NOTHING:  # then the divisor is at least that, or nobody is there and the sum is 0
        return merged.div_(divisor.clamp_min_(_NOTHING))
    return merged.div_(divisor.masked_fill_(divisor.abs() < _NOTHING, 1))


def _largest(kept: Sequence[Tensor], sign: Tensor | None) -> Tensor:
    """The largest magnitude among those that agree, with the elected sign."""
    if sign is None:
        return _loudest(kept)
    chosen = _decided(sign)
    best = agreeing(kept[0], chosen)
    for x in kept[1:]:
        best = torch.maximum(best, agreeing(x, chosen), out=best)
    return best.mul_(sign)


def _loudest(kept: Sequence[Tensor]) -> Tensor:
    """The element of largest magnitude, the first of equals: (n,)."""
    best = kept[0].clone()
    for x in kept[1:]:
        best = torch.where(x.abs() > best.abs(), x, best)
    return best


def _everybody(kept: Sequence[Tensor], how: Merge) -> Tensor:
    """Mean, sum, lower median or largest of all task vectors, zeros included."""
    if how == "all-median":
        return torch.stack(list(kept)).median(dim=0).values
    if how == "all-magnitude":
        return _loudest(kept)
    return total(kept) if how == "all-sum" else total(kept).div_(len(kept))
