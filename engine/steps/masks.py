"""Which elements matter to which task: TALL masks and what they share (Wang et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.steps import ops
from engine.steps.reduce import total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.steps.ops import Array


def tall_mask(delta: Array, merged: Array, strictness: float) -> Array:
    """Where the task vector is larger than `strictness` times what the merged one is away from it.

    Strict comparison: elements that no expert changed belong to no mask.

    Args:
        delta: (n,) task vector of one expert.
        merged: (n,) multi-task vector.
        strictness: The paper's lambda; smaller means more elements.

    Returns:
        (n,) of 1 (in the mask) and 0.
    """
    away = merged - delta
    ops.times(ops.absolute(away, out=away), strictness)
    return ops.is_above(abs(delta), away, out=away)


def agreement(deltas: Sequence[Array], merged: Array, strictness: float) -> Array:
    """In how many experts' masks each element is: (n,) whole numbers from 0 to T."""
    return total([tall_mask(delta, merged, strictness) for delta in deltas])


def shared(counts: Array, least: int) -> Array:
    """1 where at least `least` masks agree, else 0: (n,)."""
    return ops.is_at_least(counts, least, out=ops.empty_like(counts))
