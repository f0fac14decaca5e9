"""Model Breadcrumbs: drop the smallest and the very largest elements of the task vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.disjoint import Merge
    from engine.steps.per_expert import Number
    from engine.steps.view import Chunk, Span, View

_BANDS = """
- *Density* (β) is the share that is **kept**, *gamma* the share of the largest that is **removed**.
- *Ranks* `row` ranks every row (the last dimension) for itself, as the authors' code does: it removes the
  `int(n · gamma)` largest, then keeps the `int(n · density)` largest of the rest. `tensor` ranks whole tensors
  as in the paper's text ("layer") and as mergekit does: it keeps `int(density · n)` elements after leaving out
  `int(gamma · n)`, fewer where that would not leave enough. Density 1 then keeps the whole tensor.
- *Remove first* off removes the largest of those that were kept instead; only for `row`.
- Gamma 0 keeps the largest of each row, density 1 removes only the largest (the authors' baselines).
- Scalars keep all of their task vector with `row`. Counts are rounded down: a row of 32 elements at gamma 0.007
  loses nothing.
- **Tie rule:** what ties in magnitude with the smallest or with the largest element kept is kept, too; other
  implementations keep an arbitrary choice. mergekit up to 0.1.4 emptied small tensors; that is not copied.
- *Rescale* gives every thinned tensor its former L1 norm back, as mergekit does when asked to; `tensor` only.
"""

HELP = f"""
**Breadcrumbs** keeps the middle of each task vector, neither the small elements nor the outliers, and adds
them up: `base + scale · Σ cₜ · middle(τₜ)`.

- A *fader* `cₜ` multiplies what is left of its expert's task vector.
{_BANDS.strip()}
- *The paper* has scale 0.3, density 0.15 and gamma 0.007; *mergekit* gamma 0.01, density and scale 1.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_TIES = f"""
**Breadcrumbs TIES** keeps the middle of each task vector, elects a sign for every weight and merges the experts
that agree, as mergekit's `breadcrumbs_ties`: `base + scale · merged`.

- A *fader* `cₜ` multiplies what is left of its expert's task vector before the election, and is its share in
  the *merge* `weighted`. mergekit's default is `sum` (its `normalize` off). Votes that cancel out count as +.
{_BANDS.strip()}

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

Bounds = list[tuple[float, float]]
"""For each expert, from which to which magnitude elements of a tensor are kept."""


def _band(
    density: float, gamma: float, ranks: str, remove_first: bool, rescale: bool, scale: float, choices: str
) -> tuple[Param, ...]:
    """The parameters, with the defaults of a method."""
    return (
        Param("density", density, help="Share that is kept.", low=0.0, high=1.0, live="mask", each=True),
        Param(
            "gamma",
            gamma,
            help="Share of the largest that is removed.",
            low=0.0,
            high=1.0,
            live="mask",
            step=0.001,
            each=True,
        ),
        Param("ranks", ranks, help="Rank each row or each tensor.", choices=("row", "tensor"), live="mask"),
        Param("remove_first", remove_first, help="Remove before choosing what is kept.", live="mask"),
        Param("rescale", rescale, help="Give tensors their former L1 norm back."),
        *((Param("merge", choices, help="How the experts that agree become one.", choices=MERGES),) if choices else ()),
        Param("scale", scale, help="Multiplies the merged task vector.", low=-5.0, high=5.0, live="linear"),
    )


MERGES = ("sum", "weighted", "mean")


def _measure(
    view: View, *, density: Number, gamma: Number, ranks: str, rescale: bool, **_: Value
) -> tuple[Bounds, tuple[float, ...]] | None:
    """Counts magnitudes once (as TIES does) for the bounds of a tensor, one pass for norms; nothing for rows."""
    if ranks == "row":
        return None
    pairs = list(zip(steps.per_expert.seen(density, view), steps.per_expert.seen(gamma, view), strict=True))
    bounds = {pair: _tensor_bounds(view, *pair) for pair in dict.fromkeys(pairs)}
    found = [bounds[pair][t] for t, pair in enumerate(pairs)]
    if not rescale:
        return found, (1.0,) * view.models

    def left(chunk: Chunk) -> list[Tensor]:
        return [steps.rows.between(x, *pair) for x, pair in zip(chunk.deltas, found, strict=True)]

    factors = list(steps.restore.factors(view, left).values())
    return found, factors[0] if factors else (1.0,) * view.models


def _tensor_bounds(view: View, density: float, gamma: float) -> Bounds:
    """From which to which magnitude, with the counts of mergekit."""
    kept = int(density * view.numel)
    bottom = max(0, view.numel - kept - int(gamma * view.numel))
    if density >= 1 or view.numel == 0:
        return [(0.0, float("inf"))] * view.models
    if kept == 0:
        return [(float("inf"), float("inf"))] * view.models
    low, high = steps.select.ranked_magnitudes(view, (bottom + 1, bottom + kept))
    return list(zip(low, high, strict=True))


def _rows(delta: Tensor, span: Span, density: float, gamma: float, remove_first: bool) -> Tensor:
    """The middle of every row as a new array: (r, c) to (r, c); rows are those of the last dimension."""
    if not span.shape:
        return steps.ops.copied(delta)
    width = span.shape[-1]
    removed = int(width * gamma)
    kept = int(width * density)
    count = min(kept, width - removed) if remove_first else max(0, kept - removed)
    rows = delta.reshape(-1, max(1, width))
    if count == 0 or width == 0:
        return delta * 0.0
    low, high = steps.rows.bounds(rows, width - removed - count + 1, width - removed)
    return steps.rows.between(rows, low, high).reshape(delta.shape)


def _middles(
    deltas: Sequence[Tensor],
    span: Span,
    stats: tuple[Bounds, tuple[float, ...]] | None,
    density: Number,
    gamma: Number,
    remove_first: bool,
) -> list[Tensor]:
    """What is left of T task vectors (r, c), as new arrays."""
    if stats is None:
        each = steps.per_expert.each
        bands = zip(deltas, each(density, span.names), each(gamma, span.names), strict=True)
        return [_rows(x, span, share, removed, remove_first) for x, share, removed in bands]
    kept = [steps.rows.between(x, *pair) for x, pair in zip(deltas, stats[0], strict=True)]
    return [steps.ops.times(x, factor) for x, factor in zip(kept, stats[1], strict=True)]


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: the energy in the middle."""
    gamma, density = float(params["gamma"]), float(params["density"])
    energy = steps.estimate.kept_energy
    middle = energy(min(1.0, density + gamma)) - energy(gamma)
    factors: np.ndarray = coefficients * (float(params["scale"]) * max(0.0, middle))
    return factors


def _effective_ties(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) the same, of which averaging leaves a share."""
    divided = params["merge"] != "sum"
    share = steps.estimate.disjoint_share(coefficients, float(params["density"]), divided=divided)
    factors: np.ndarray = _effective(coefficients, params) * share
    return factors


_COMMON: dict[str, Any] = {
    "family": "sparse",
    "space": "delta",
    "scope": "rows",
    "live": "mask",
    "host": True,
    "reproducibility": "A",
    "measure": _measure,
}


@merge_method(
    id="breadcrumbs",
    title="Breadcrumbs",
    summary="Adds the middle of the task vectors: neither small elements nor outliers.",
    paper="Davari and Belilovsky 2024, Model Breadcrumbs (official code, row by row)",
    params=_band(0.15, 0.007, "row", True, False, 0.3, ""),
    coefficient_help="Multiplies what is left of the expert's task vector.",
    help=HELP,
    effective=_effective,
    **_COMMON,
)
def breadcrumbs(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    density: Number,
    gamma: Number,
    remove_first: bool,
    scale: float,
    span: Span,
    stats: tuple[Bounds, tuple[float, ...]] | None,
    **_: Value,
) -> Tensor:
    """Keep the middle and add up.

    Args:
        deltas: T task vectors (r, c).
        weights: T coefficients.
        density: Share that is kept.
        gamma: Share of the largest that is removed.
        remove_first: Whether to remove before choosing.
        scale: Common factor.
        span: Shape of the tensor.
        stats: Bounds and norms of the tensor, None to rank rows.

    Returns:
        The merged task vector (r, c).
    """
    left = _middles(deltas, span, stats, density, gamma, remove_first)
    return steps.ops.times(steps.reduce.weighted_sum(left, weights), scale)


@merge_method(
    id="breadcrumbs_ties",
    title="Breadcrumbs TIES",
    summary="Keeps the middle of the task vectors, elects signs and merges the experts that agree.",
    paper="Davari and Belilovsky 2024 with Yadav et al. 2023, as in mergekit (per tensor)",
    params=_band(0.9, 0.01, "tensor", True, False, 1.0, "sum"),
    coefficient_help="Multiplies what is left of the task vector before the election.",
    help=HELP_TIES,
    effective=_effective_ties,
    **_COMMON,
)
def breadcrumbs_ties(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    density: Number,
    gamma: Number,
    remove_first: bool,
    merge: Merge,
    scale: float,
    span: Span,
    stats: tuple[Bounds, tuple[float, ...]] | None,
    **_: Value,
) -> Tensor:
    """Keep the middle, elect, merge.

    Args:
        deltas: T task vectors (r, c).
        weights: T coefficients.
        density: Share that is kept.
        gamma: Share of the largest that is removed.
        remove_first: Whether to remove before choosing.
        merge: How the experts that agree become one.
        scale: Common factor.
        span: Shape of the tensor.
        stats: Bounds and norms of the tensor, None to rank rows.

    Returns:
        The merged task vector (r, c).
    """
    middles = _middles(deltas, span, stats, density, gamma, remove_first)
    kept = [steps.ops.times(x, weight) for x, weight in zip(middles, weights, strict=True)]
    sign = steps.elect.signs(kept, "mass", steps.elect.Ballot((), (), 1))
    merged = steps.disjoint.merge(kept, sign, merge, weights, decided=True, spare=True)
    return steps.ops.times(merged, scale)
