"""Trimming: set the elements of a task vector that hardly count to zero."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import TYPE_CHECKING, Literal

from engine.steps import ops
from engine.steps.reduce import Picks, pick_deltas, squared_norms, sums
from engine.steps.select import energy_magnitudes, kth_magnitudes, next_below

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.steps.ops import Array
    from engine.steps.view import View

Rule = Literal["topk", "count", "std", "normfrac"]
RULES = ("topk", "count", "std", "normfrac")


@dataclass(frozen=True, slots=True)
class Cut:
    """What is kept of one task vector: elements further than `limit` from `centre`.

    Attributes:
        limit: Magnitude to exceed.
        centre: Where magnitudes are measured from.
        inclusive: Whether elements exactly at the limit are kept, too.
    """

    limit: float
    centre: float = 0.0
    inclusive: bool = False


KEEP_ALL = Cut(-1.0)
KEEP_NONE = Cut(inf)


def trim(delta: Array, cut: Cut) -> Array:
    """The task vector with everything that the cut does not keep set to 0: (n,) to (n,)."""
    limit = next_below(cut.limit, wide=ops.is_wide(delta)) if cut.inclusive else cut.limit
    if cut.centre == 0:
        return ops.shrunk(delta, limit)
    far = delta - cut.centre
    ops.is_above(ops.absolute(far, out=far), limit, out=far)
    far *= delta
    return far


def trim_all(deltas: Sequence[Array], cuts: Sequence[Cut]) -> list[Array]:
    """T trimmed task vectors (n,)."""
    return [trim(delta, cut) for delta, cut in zip(deltas, cuts, strict=True)]


def cuts(
    view: View, rule: Rule, density: float, *, deviations: float = 1.0, picks: Picks = pick_deltas
) -> tuple[Cut, ...]:
    """Where to cut the task vector of every model, ranking all elements of the view together.

    Args:
        view: The whole model (global trim) or one tensor.
        rule: "topk": as the authors of TIES, int(d * density) + 1 largest magnitudes; "count": exactly
            max(1, int(d * density)), as mergekit and PEFT; "std": further than `deviations` standard
            deviations from the mean; "normfrac": the largest that hold `density` of the squared norm.
            All of them keep every element that ties with the smallest one kept.
        density: Share to keep, from 0 (nothing) to 1 (everything).
        deviations: For "std".
        picks: Which tensors of a chunk to trim, one for each model.

    Returns:
        T cuts.
    """
    if rule == "std":
        return _deviation_cuts(view, deviations, picks)
    if density >= 1 or view.numel == 0:
        return (KEEP_ALL,) * view.models
    if density <= 0:
        return (KEEP_NONE,) * view.models
    if rule == "normfrac":
        limits = energy_magnitudes(view, density, picks)
    elif rule == "topk":
        limits = kth_magnitudes(view, view.numel - int(view.numel * density), picks)
    else:
        limits = kth_magnitudes(view, view.numel - max(1, int(view.numel * density)) + 1, picks)
    return tuple(Cut(limit, inclusive=True) for limit in limits)


def _deviation_cuts(view: View, deviations: float, picks: Picks) -> tuple[Cut, ...]:
    """Cuts at a number of sample standard deviations (divisor d - 1) around each mean."""
    if view.numel < 2:
        return (KEEP_NONE,) * view.models
    means = [total / view.numel for total in sums(view, picks)]
    spreads = squared_norms(view, lambda chunk: [x - m for x, m in zip(picks(chunk), means, strict=True)])
    return tuple(
        Cut(deviations * sqrt(square / (view.numel - 1)), centre=mean)
        for mean, square in zip(means, spreads, strict=True)
    )
