"""SCE: select by variance, calculate by energy, erase the minority."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.held import Held
    from engine.steps.view import Chunk, Span, View

HELP = """
**SCE** *selects* in each tensor the weights over which the experts vary most, *calculates* a coefficient for
each expert and tensor from the energy of what is left of its task vector, and *erases* the experts that do not
have the elected sign: `base + scale · Σ wₜ τₜ / Σ wₜ` over those that agree.

- A *fader* `cₜ` multiplies the task vector before everything else; a louder expert also gets more energy.
- *Density* is the share of the varying weights that is selected (mergekit's `select_topk`); 1 selects all.
  **Tie rule:** every weight whose variance ties with the smallest selected one is selected, too.
- Signs are elected by the sum of the task vectors; sums of 0 count as +.
- *Uniform floor*: like mergekit, all experts get the same coefficient in tensors where the mean energies add up
  to less than 1e-6, which is typical of large language models. The report counts these tensors as *uniform*.
  Off computes the paper's coefficients always.
- mergekit's `sce` gives the same numbers with faders and *scale* at 1; it also never divides by less than 1e-6.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

FLOOR = 1e-6
"""Sums of energies and of coefficients below this are not trusted, as in mergekit."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What SCE found out about one tensor.

    Attributes:
        limit: Least variance that is selected; infinite for none.
        energies: Coefficients of the experts, which add up to 1.
        note: "uniform" where all are equal because there is too little energy.
        selected: The selected task vectors, where they are held.
        spreads: The variances, where these are held instead.
    """

    limit: float
    energies: tuple[float, ...]
    note: str
    selected: Held
    spreads: Held


def _measure(view: View, *, density: float, uniform_floor: bool, **_: Value) -> Selection:
    """Two passes for the least variance (none at density 1), one for the energies."""
    held, spreads = steps.held.Held(view), steps.held.Held(view)
    limit = _limit(view, density, spreads)

    def squares(chunk: Chunk) -> list[list[float]]:
        spread = spreads.take(chunk.span)
        chosen = _selected(chunk.deltas, chunk.weights, limit, spread[0] if spread else None)
        if spread and steps.ops.is_host(chunk.base):  # what is in the cache is sooner made again than fetched
            spreads.keep(chunk.span, spread, ())
        else:
            held.keep(chunk.span, chosen, chunk.deltas)
        return [steps.reduce.dot_blocks(x, x) for x in chosen]

    energies = [x / max(1, view.numel) for x in steps.reduce.collect(view.map(squares))] or [0.0] * view.models
    whole = fsum(energies)
    if (whole < FLOOR and uniform_floor) or whole == 0:
        return Selection(limit, (1 / view.models,) * view.models, "uniform" if whole else "", held, spreads)
    return Selection(limit, tuple(x / whole for x in energies), "", held, spreads)


def _limit(view: View, density: float, held: Held) -> float:
    """The least variance of those selected; 0 selects all. Keeps the variances."""
    if density >= 1 or view.numel == 0:
        return 0.0

    def spread(chunk: Chunk) -> Tensor:
        found = variance(steps.reduce.scaled(chunk.deltas, chunk.weights))
        held.keep(chunk.span, [found], ())
        return found

    return steps.order.largest_share(view, density, spread)


def variance(tensors: Sequence[Tensor]) -> Tensor:
    """Population variance of each element over the experts: a new tensor (n,)."""
    mean = steps.ops.divided(steps.reduce.total(tensors), len(tensors))
    out = tensors[0] - mean
    out *= out
    away = steps.ops.empty_like(out)
    for x in tensors[1:]:
        steps.ops.subtract(x, mean, out=away)
        away *= away
        out += away
    return steps.ops.divided(out, len(tensors))


def _selected(
    deltas: Sequence[Tensor], weights: Sequence[float], limit: float, spread: Tensor | None = None
) -> list[Tensor]:
    """T scaled task vectors (n,), 0 where they do not vary enough; `spread` is their variance if it is known."""
    scaled = steps.reduce.scaled(deltas, weights)
    if limit <= 0:
        return scaled
    chosen = steps.pointwise.at_least(variance(scaled) if spread is None else spread, limit)  # (n,)
    return [x * chosen for x in scaled]


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: the average of those that vary and agree."""
    density = float(params["density"])

    def chosen(taus: np.ndarray) -> np.ndarray:
        spread = taus.var(axis=0)
        count = int((spread > 0).sum() * density)
        kept = taus * (spread >= (sorted(spread)[-count] if count else float("inf")) if density < 1 else 1.0)
        sign = 2.0 * (kept.sum(axis=0) >= 0) - 1
        agree = (kept * sign).clip(0)
        merged: np.ndarray = sign * agree.sum(axis=0) / (agree > 0).sum(axis=0).clip(1)
        return merged

    share = steps.guess.shares(coefficients, chosen, ("sce", density))
    factors: np.ndarray = coefficients * float(params["scale"]) * share
    return factors


@merge_method(
    id="sce",
    title="SCE",
    family="sparse",
    summary="Selects weights over which experts vary, weighs experts by energy and erases minority signs.",
    paper="Wan et al. 2024, FuseChat (SCE, as in mergekit)",
    space="delta",
    params=[
        Param("density", 1.0, help="Share of the varying weights that is selected.", low=0.0, high=1.0, live="mask"),
        Param("uniform_floor", True, help="Equal coefficients where there is little energy."),
        Param("scale", 1.0, help="Multiplies the merged task vector.", low=-5.0, high=5.0, live="linear"),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Multiplies the expert's task vector before the selection.",
    help=HELP,
    measure=_measure,
    effective=_effective,
)
def sce(
    deltas: Sequence[Tensor], weights: Sequence[float], *, scale: float, span: Span, stats: Selection, **_: Value
) -> Tensor:
    """Weighted mean of the selected task vectors that have the elected sign.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        scale: Common factor.
        span: Which elements these are.
        stats: Least variance and coefficients of this tensor.

    Returns:
        The merged task vector (n,).
    """
    spread = stats.spreads.take(span)
    known = spread[0] if spread else None
    kept = stats.selected.take(span) or _selected(deltas, weights, stats.limit, known)  # T x (n,)
    sign = steps.pointwise.at_least(steps.reduce.total(kept), 0)  # (n,)
    sign *= 2
    sign -= 1
    agree = [steps.disjoint.agreeing(x, sign, out=None if any(x is y for y in deltas) else x) for x in kept]  # T x (n,)
    merged = steps.reduce.weighted_sum(agree, stats.energies)
    divisor = steps.reduce.weighted_sum([steps.pointwise.present(x, out=x) for x in agree], stats.energies)
    merged /= steps.ops.at_least(divisor, FLOOR, out=divisor)
    merged *= sign
    return steps.ops.times(merged, scale)
