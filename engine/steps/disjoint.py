"""Merging trimmed task vectors: only those that agree with the elected sign, or all of them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.steps import ops
from engine.steps.ops import Array
from engine.steps.reduce import total

if TYPE_CHECKING:
    from collections.abc import Sequence

Merge = Literal["mean", "weighted", "sum", "max", "all-mean", "all-sum", "all-median", "all-magnitude"]
_NOTHING = 1e-8
"""Coefficients that agree add up to less than this where they cancel out; then nothing is divided."""

_MOST_COUNTED = 128

MERGES = ("mean", "weighted", "sum", "max", "all-mean", "all-sum", "all-median", "all-magnitude")


def merge(
    kept: Sequence[Array],
    sign: Array | None,
    how: Merge,
    weights: Sequence[float],
    *,
    decided: bool = False,
    spare: bool = False,
) -> Array:
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
        if sign is not None:
            ops.absolute(merged, out=merged)
            merged *= sign
        return merged
    if how == "max":
        return _largest(kept, sign)
    if sign is None:
        return _average(kept, how, weights)
    sign = sign if decided else _decided(sign)
    agree = [agreeing(x, sign, out=x if spare else None) for x in kept]
    merged = _average(agree, how, weights)
    merged *= sign
    return merged


def agreeing(kept: Array, sign: Array, out: Array | None = None) -> Array:
    """|kept| where it has the elected sign, 0 elsewhere: (n,), written to `out` if there is one."""
    same = ops.multiply(kept, sign, out=ops.empty_like(kept) if out is None else out)
    return ops.positive_part(same, out=same)


def _decided(sign: Array) -> Array:
    """The signs with a remaining 0 counted as negative, as in the official code."""
    decided = ops.is_above(sign, 0, out=ops.empty_like(sign))
    decided *= 2
    decided -= 1
    return decided


def _average(chosen: Sequence[Array], how: Merge, weights: Sequence[float]) -> Array:
    """Sum of the chosen elements, divided as `how` says; empty places stay 0."""
    merged = total(chosen)
    if how == "sum":
        return merged
    factors = tuple(weights) if how == "weighted" else (1.0,) * len(chosen)
    if _can_be_counted(factors, wide=ops.is_wide(merged)):
        merged /= ops.times(ops.counts_of_nonzero(chosen), factors[0])  # where nobody is the sum is 0
        return merged
    divisor, one = ops.differs(chosen[0], 0, out=ops.empty_like(merged)), ops.empty_like(merged)
    if factors[0] != 1:
        divisor *= factors[0]
    for x, factor in zip(chosen[1:], factors[1:], strict=True):
        ops.differs(x, 0, out=one)
        if factor != 1:
            one *= factor
        divisor += one
    if min(factors) >= _NOTHING:  # then the divisor is at least that, or nobody is there and the sum is 0
        ops.at_least(divisor, _NOTHING, out=divisor)
    else:
        ops.fill_where(divisor, abs(divisor) < _NOTHING, 1)
    merged /= divisor
    return merged


@lru_cache(maxsize=64)
def _can_be_counted(factors: tuple[float, ...], *, wide: bool) -> bool:
    """Whether a divisor is a number of experts times their common coefficient, in all bits of adding it up."""
    if len(set(factors)) > 1 or factors[0] < _NOTHING or len(factors) >= _MOST_COUNTED:
        return False
    each = np.full(len(factors), factors[0], np.float64 if wide else np.float32)
    return bool(np.all(np.cumsum(each, dtype=each.dtype) == each * np.arange(1, len(each) + 1, dtype=each.dtype)))


def _largest(kept: Sequence[Array], sign: Array | None) -> Array:
    """The largest magnitude among those that agree, with the elected sign."""
    if sign is None:
        return _loudest(kept)
    chosen = _decided(sign)
    best = agreeing(kept[0], chosen)
    for x in kept[1:]:
        ops.larger(best, agreeing(x, chosen), out=best)
    best *= sign
    return best


def _loudest(kept: Sequence[Array]) -> Array:
    """The element of largest magnitude, the first of equals: (n,)."""
    best = ops.copied(kept[0])
    for x in kept[1:]:
        best = ops.where(abs(x) > abs(best), x, best)
    return best


def _everybody(kept: Sequence[Array], how: Merge) -> Array:
    """Mean, sum, lower median or largest of all task vectors, zeros included."""
    if how == "all-median":
        return ops.lower_median(kept)
    if how == "all-magnitude":
        return _loudest(kept)
    merged = total(kept)
    if how == "all-mean":
        merged /= len(kept)
    return merged
