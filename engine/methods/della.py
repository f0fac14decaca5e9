"""DELLA: drop elements at random, small ones more often, and rescale the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Any

from engine import steps
from engine.errors import OutOfRange
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from engine.steps.disjoint import Merge
    from engine.steps.ops import Array
    from engine.steps.per_expert import Number
    from engine.steps.rows import Bits
    from engine.steps.view import Span, View

_DROPS = """
- An element is kept with a probability from *density* − *epsilon* for the smallest to *density* + *epsilon* for
  the largest; both must lie between 0 and 1. Density 1 drops nothing, 0 everything. The paper's drop rate is
  1 − density, its window size 2 · epsilon.
- *Ranks*: `row` by the rank in its row (the official `magprune` and mergekit), `layer` by the rank in its
  tensor, `norank` by the size itself between the smallest and the largest of its row. A row is everything that
  belongs to one output; official code and mergekit treat tensors of more than two dimensions otherwise.
- **Tie rule:** of equal magnitudes the later element ranks higher; the others use an arbitrary order.
- *Rescale* `chance` divides what is kept by its own probability (the paper and the official code), so that the
  expected task vector stays the same; `l1` gives each tensor its former L1 norm back as mergekit does, which is
  only nearly the same; `none` leaves it.
- What is kept depends on the recipe's seed, the expert's content, the tensor's name and the element's index
  alone; other tools draw from a stream, so their masks cannot be had here.
"""

HELP = f"""
**DELLA** thins out each task vector at random, small elements more often, elects a sign for every weight and
merges the experts that agree: `base + scale · merged`.

- A *fader* `cₜ` multiplies what is left of the task vector before the election. The *merge* `weighted` divides
  by the faders that agree (official code and mergekit), `mean` by their number, `sum` not at all. Votes that
  cancel out count as +.
{_DROPS.strip()}
- *Official example:* density 0.7, epsilon 0.07, scale 1.1. *mergekit:* epsilon 0.15, rescale `l1`, scale 1.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_LINEAR = f"""
**DELLA linear** thins out each task vector at random, small elements more often, and adds what is left:
`base + scale · Σ cₜ · drop(τₜ)`.

- A *fader* is the coefficient `cₜ` of one expert; negative values negate.
{_DROPS.strip()}
- *mergekit's* `della_linear` has epsilon 0.15, rescale `l1` and scale 1.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

DENSITY = Param("density", 0.7, help="Share that is kept on average.", low=0.0, high=1.0, live="mask", each=True)
EPSILON = Param(
    "epsilon", 0.07, help="How much the chance varies with the rank.", low=0.0, high=0.5, step=0.01, each=True
)
RANKS = Param("ranks", "row", help="What decides the chance.", choices=("row", "layer", "norank"))
RESCALE = Param("rescale", "chance", help="How what is kept is rescaled.", choices=("chance", "l1", "none"))


@dataclass(frozen=True, slots=True)
class Found:
    """What DELLA must know about a whole tensor; nothing for its defaults.

    Attributes:
        chances: For ranks by layer: T x (n,) chances to keep each element.
        masks: For the rescale l1: T x (n,) masks, so that they are drawn once.
        factors: For the rescale l1: T factors that restore the norms.
    """

    chances: tuple[Array, ...] = ()
    masks: tuple[Bits, ...] = ()
    factors: tuple[float, ...] = ()


def _measure(view: View, *, density: Number, epsilon: Number, ranks: str, rescale: str, **_: Value) -> Found:
    """Nothing for the defaults; the ranks of a whole tensor for `layer`, masks and L1 norms for `l1`."""
    found = Found()
    if not steps.per_expert.is_between(density) or view.numel == 0 or (ranks != "layer" and rescale != "l1"):
        return found
    bands = _bands(steps.per_expert.seen(density, view), steps.per_expert.seen(epsilon, view))
    if ranks == "layer":
        whole = steps.rows.whole(view)
        found = Found(tuple(_by_rank(x[None], *band)[0] for x, band in zip(whole, bands, strict=True)))
    return _normed(view, found, bands, ranks) if rescale == "l1" else found


Band = tuple[float, float]
"""Density and epsilon of one expert."""


def _bands(densities: Sequence[float], epsilons: Sequence[float]) -> tuple[Band, ...]:
    """Density and epsilon of each expert.

    Raises:
        OutOfRange: if density - epsilon or density + epsilon is not between 0 and 1 where elements are dropped.
    """
    bands = tuple(zip(densities, epsilons, strict=True))
    for density, epsilon in bands:
        if 0 < density < 1 and (density - epsilon <= 0 or density + epsilon >= 1):
            edges = f"{density - epsilon:g} to {density + epsilon:g}"
            raise OutOfRange(f"The chance to keep an element goes from {edges}.", hint="Choose a smaller epsilon.")
    return bands


def _by_rank(x: Array, density: float, epsilon: float) -> Array:
    """Chances by rank (r, c); all 0 or 1 where nothing is drawn."""
    if not 0 < density < 1:
        return steps.ops.zeros_like(x) + float(density >= 1)
    return steps.rows.by_rank(x, density - epsilon, 2 * epsilon)


def _normed(view: View, found: Found, bands: Sequence[Band], ranks: str) -> Found:
    """Draw the masks of a tensor and compare the L1 norms before and after."""
    masks = [steps.rows.Bits() for _ in range(view.models)]
    before: list[list[float]] = [[] for _ in masks]
    after: list[list[float]] = [[] for _ in masks]
    for span, rows in steps.rows.whole_rows(view):
        for t, x in enumerate(rows):
            mask = _mask(x, t, span, bands[t], ranks, found)
            masks[t].append(mask)
            size = abs(x)
            before[t] += steps.rows.sums(size)
            size *= mask
            after[t] += steps.rows.sums(size)
    factors = [steps.restore.ratio(fsum(b), fsum(a)) for b, a in zip(before, after, strict=True)]
    return Found((), tuple(masks), tuple(factors))


def _mask(x: Array, t: int, span: Span, band: Band, ranks: str, found: Found) -> Array:
    """Which elements of one expert's rows are kept: (r, c) of 1 and 0."""
    if not 0 < band[0] < 1:
        return steps.ops.zeros_like(x) + float(band[0] >= 1)
    return steps.drop.bernoulli_each(span, t, _chances(x, t, span, band, ranks, found))


def _chances(x: Array, t: int, span: Span, band: Band, ranks: str, found: Found) -> Array:
    """The chance to keep each element of one expert's rows: (r, c)."""
    if found.chances:
        return found.chances[t][span.start : span.stop].reshape(x.shape)
    if ranks == "norank":
        return steps.rows.by_size(x, band[0] - band[1], 2 * band[1])
    return _by_rank(x, *band)


def _thinned(
    rows: Sequence[Array], span: Span, density: Number, epsilon: Number, ranks: str, rescale: str, stats: Found
) -> list[Array]:
    """T task vectors (r, c) with elements dropped and the rest rescaled."""
    each = steps.per_expert.each
    bands = _bands(each(density, span.names), each(epsilon, span.names))
    out = []
    for t, (x, band) in enumerate(zip(rows, bands, strict=True)):
        if not 0 < band[0] < 1:
            out.append(x if band[0] >= 1 else steps.ops.zeros_like(x))
            continue
        if stats.masks:
            kept = stats.masks[t].part(span.start, span.stop, x)
            kept *= stats.factors[t]
            kept *= x
        else:
            chances = _chances(x, t, span, band, ranks, stats)
            kept = steps.drop.bernoulli_each(span, t, chances)
            kept = steps.ops.wide(kept) if steps.ops.is_wide(x) else kept
            kept *= x
            if rescale == "chance":
                kept /= chances
        out.append(kept)
    return out


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) expected factors; an estimate, since the mask adds noise."""
    density = float(params["density"])
    kept = density if params["rescale"] == "none" or density == 0 else 1.0
    factors: np.ndarray = coefficients * float(params["scale"]) * kept
    return factors


def _effective_elected(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) the same, of which the merge of those that agree leaves a share."""
    divided = params["merge"] != "sum"
    share = steps.estimate.disjoint_share(coefficients, float(params["density"]), divided=divided)
    factors: np.ndarray = _effective(coefficients, params) * share
    return factors


_COMMON: dict[str, Any] = {
    "family": "sparse",
    "space": "delta",
    "scope": "rows",
    "live": "mask",
    "reproducibility": "A",
    "measure": _measure,
    "host": True,
}


@merge_method(
    id="della",
    title="DELLA",
    summary="Drops small elements more often at random, elects signs and merges the experts that agree.",
    paper="Deep et al. 2024, DELLA-Merging (official code)",
    params=[
        DENSITY,
        EPSILON,
        RANKS,
        RESCALE,
        Param("merge", "weighted", help="How experts that agree become one.", choices=("weighted", "mean", "sum")),
        Param("scale", 1.0, help="Multiplies the merged task vector.", low=-5.0, high=5.0, live="linear"),
    ],
    coefficient_help="Multiplies what is left of the task vector before the election.",
    help=HELP,
    effective=_effective_elected,
    **_COMMON,
)
def della(
    deltas: Sequence[Array],
    weights: Sequence[float],
    *,
    density: Number,
    epsilon: Number,
    ranks: str,
    rescale: str,
    merge: Merge,
    scale: float,
    span: Span,
    stats: Found,
) -> Array:
    """Drop, elect, merge.

    Args:
        deltas: T task vectors (r, c).
        weights: T coefficients.
        density: Share that is kept.
        epsilon: Half of how much the chance varies.
        ranks: What decides the chance.
        rescale: How what is kept is rescaled.
        merge: How the experts that agree become one.
        scale: Common factor.
        span: Which elements these are.
        stats: Chances and factors of the tensor.

    Returns:
        The merged task vector (r, c).
    """
    left = _thinned(deltas, span, density, epsilon, ranks, rescale, stats)
    kept = steps.reduce.scaled(left, weights)
    sign = steps.elect.signs(kept, "mass", steps.elect.Ballot((), (), 1))
    fresh = all(x is not delta for x, delta in zip(kept, deltas, strict=True))
    return steps.ops.times(steps.disjoint.merge(kept, sign, merge, weights, decided=True, spare=fresh), scale)


@merge_method(
    id="della_linear",
    title="DELLA linear",
    summary="Drops small elements more often at random, rescales the rest and adds them.",
    paper="Deep et al. 2024, DELLA-Merging, without election as in mergekit",
    params=[
        DENSITY,
        EPSILON,
        RANKS,
        RESCALE,
        Param("scale", 0.3, help="Multiplies the sum.", low=-5.0, high=5.0, live="linear"),
    ],
    coefficient_help="Multiplies what is left of the expert's task vector.",
    help=HELP_LINEAR,
    effective=_effective,
    **_COMMON,
)
def della_linear(
    deltas: Sequence[Array],
    weights: Sequence[float],
    *,
    density: Number,
    epsilon: Number,
    ranks: str,
    rescale: str,
    scale: float,
    span: Span,
    stats: Found,
) -> Array:
    """Drop and add up.

    Args:
        deltas: T task vectors (r, c).
        weights: T coefficients.
        density: Share that is kept.
        epsilon: Half of how much the chance varies.
        ranks: What decides the chance.
        rescale: How what is kept is rescaled.
        scale: Common factor.
        span: Which elements these are.
        stats: Chances and factors of the tensor.

    Returns:
        The merged task vector (r, c).
    """
    left = _thinned(deltas, span, density, epsilon, ranks, rescale, stats)
    return steps.ops.times(steps.reduce.weighted_sum(left, weights), scale)
