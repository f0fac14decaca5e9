"""DARE: drop elements of the task vectors at random and rescale the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.disjoint import Merge
    from engine.steps.drop import MaskSource
    from engine.steps.elect import Ballot
    from engine.steps.held import Held
    from engine.steps.per_expert import Number
    from engine.steps.restore import Factors
    from engine.steps.view import Chunk, Span, View

_MASKS = """
- *Density* is the share that is **kept** (the paper's `1 − p`). What is kept is divided by the density, so
  that the expected task vector stays the same; *rescale* off leaves that out. *Rescale by* `l1` gives each
  tensor its former L1 norm back instead, as mergekit does; that is only nearly the same.
- Whether an element is kept depends on the recipe's seed, the expert's content, the tensor's name and the
  element's index alone: the same mask on any machine, device and thread count, in any order of the experts.
  Other tools draw from a stream, so their masks cannot be had here and change with order and device.
- The official code writes each thinned model in its own dtype before it merges them; Mixdown rounds once.
"""

HELP_LINEAR = f"""
**DARE linear** thins out each task vector at random and then does task arithmetic:
`base + scale · Σ cₜ · drop(τₜ)`.

- A *fader* is the coefficient `cₜ` of one expert; negative values negate. At density 1 this is exactly task
  arithmetic; *scale* has the same default.
{_MASKS.strip()}

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_TIES = f"""
**DARE TIES** thins out each task vector at random, then elects a sign for every weight and averages the
experts that agree: `base + scale · mean`.

- A *fader* `cₜ` multiplies what is left of the task vector before the election, as in TIES.
- *Trim* is the share that TIES then keeps of the thinned task vectors, over the whole model. It is 1 (no
  trimming) as in mergekit; the official code uses 0.2. Zeros that were dropped count as elements, and ties at
  the threshold are all kept, as in TIES.
- *Merge* `mean` divides by the number of experts that agree, as TIES does, `weighted` by the sum of their
  faders, `sum` not at all. *Zero sum*: signs that cancel out take the majority's, or +.
- *mergekit's* `dare_ties` is rescale by `l1`, merge `sum`, zero sum `positive`.
{_MASKS.strip()}

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

DENSITY = Param(
    "density", 0.5, help="Share of each task vector that is kept.", low=0.0, high=1.0, live="mask", each=True
)
RESCALE = Param("rescale", True, help="Make up for what is dropped.")
RESCALE_BY = Param("rescale_by", "density", help="Divide by the density or restore norms.", choices=("density", "l1"))


def _effective_linear(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) expected factors of the task vectors; an estimate, since the mask adds noise."""
    kept = 1.0 if params["rescale"] and params["density"] else float(params["density"])
    return coefficients * float(params["scale"]) * kept


@dataclass(frozen=True, slots=True)
class Norms:
    """What rescaling by norms needs of a tensor or model.

    Attributes:
        factors: What restores the L1 norm of each tensor; empty if not asked for.
        left: The thinned task vectors, where they are held.
    """

    factors: Factors
    left: Held


def _norms(view: View, *, density: Number, rescale: bool, rescale_by: str, masks: MaskSource | None) -> Norms:
    """One pass over the view for the L1 norms before and after; none if they are not to be restored."""
    held = steps.held.Held(view)
    if not rescale or rescale_by != "l1" or not steps.per_expert.is_between(density):
        return Norms({}, held)

    def thinned(chunk: Chunk) -> list[Tensor]:
        left = steps.per_expert.drop_all(chunk.deltas, chunk.span, density, rescale=False, masks=masks)
        held.keep(chunk.span, left, chunk.deltas)
        return left

    return Norms(steps.restore.factors(view, thinned), held)


def _thinned(
    deltas: Sequence[Tensor],
    span: Span,
    *,
    density: Number,
    rescale: bool,
    rescale_by: str,
    norms: Norms,
    masks: MaskSource | None,
) -> Sequence[Tensor]:
    """T task vectors (n,) of which elements are dropped and the others rescaled."""
    divide = rescale and rescale_by == "density"
    left = norms.left.take(span) or steps.per_expert.drop_all(deltas, span, density, rescale=divide, masks=masks)
    return steps.reduce.scaled(left, norms.factors[span.tensor]) if span.tensor in norms.factors else left


def _measure(
    view: View, *, density: Number, rescale: bool, rescale_by: str, masks: MaskSource | None = None, **_: Value
) -> Norms:
    """One pass for the norms of a tensor, if they are to be restored."""
    return _norms(view, density=density, rescale=rescale, rescale_by=rescale_by, masks=masks)


@merge_method(
    id="dare_linear",
    title="DARE linear",
    family="sparse",
    summary="Drops elements of the task vectors at random, rescales the rest and adds them.",
    paper="Yu et al. 2024, Language Models are Super Mario (DARE with task arithmetic)",
    space="delta",
    params=[DENSITY, RESCALE, RESCALE_BY, Param("scale", 0.3, help="Multiplies the sum.", low=-5.0, high=5.0)],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Multiplies what is left of the expert's task vector.",
    help=HELP_LINEAR,
    measure=_measure,
    effective=_effective_linear,
)
def dare_linear(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    density: Number,
    rescale: bool,
    rescale_by: str,
    scale: float,
    span: Span,
    stats: Norms,
    masks: MaskSource | None = None,
) -> Tensor:
    """Drop and add up: scale * sum_t c_t drop(tau_t).

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        density: Share to keep.
        rescale: Whether to make up for what is dropped.
        rescale_by: How.
        scale: Common factor.
        span: Which elements these are.
        stats: Norms of the tensor.
        masks: Where masks come from, if not from the seed.

    Returns:
        The merged task vector (n,).
    """
    left = _thinned(
        deltas, span, density=density, rescale=rescale, rescale_by=rescale_by, norms=stats, masks=masks
    )  # T x (n,)
    return steps.ops.times(steps.reduce.weighted_sum(left, weights), scale)


@dataclass(frozen=True, slots=True)
class Thinned:
    """What DARE TIES needs of the whole model, or of one tensor.

    Attributes:
        ballot: Cuts and majority sign of the thinned task vectors.
        norms: What restores the L1 norm of each tensor, if asked for.
    """

    ballot: Ballot
    norms: Norms


def _survey(
    view: View,
    *,
    density: Number,
    rescale: bool,
    rescale_by: str,
    trim: float,
    zero_sum: str,
    masks: MaskSource | None = None,
    **_: Value,
) -> Thinned | None:
    """Cuts and majority sign of the thinned task vectors of the whole model; None if neither depends on it."""
    if trim >= 1 and zero_sum == "positive":
        return None
    how: dict[str, Any] = {"density": density, "rescale": rescale, "rescale_by": rescale_by, "masks": masks}
    norms = _norms(view, **how)

    def left(chunk: Chunk) -> Sequence[Tensor]:
        return _thinned(chunk.deltas, chunk.span, norms=norms, **how)

    found = steps.elect.prepare(view, trim="topk", density=trim, elect="mass", zero_sum=zero_sum, picks=left)
    return Thinned(found, norms)


def _whole(params: Mapping[str, Value]) -> set[str]:
    """What passes over the whole model depend on."""
    needed = params["trim"] != 1 or params["zero_sum"] != "positive"
    return {"trim", "zero_sum"} | ({"density", "rescale", "rescale_by"} if needed else set())


def _measure_ties(
    view: View,
    *,
    density: Number,
    rescale: bool,
    rescale_by: str,
    stats: Thinned | None,
    masks: MaskSource | None = None,
    **_: Value,
) -> Thinned:
    """The norms of a tensor, where the survey found nothing to do."""
    if stats is not None:
        return stats
    norms = _norms(view, density=density, rescale=rescale, rescale_by=rescale_by, masks=masks)
    everything = steps.elect.Ballot((steps.trim.KEEP_ALL,) * view.models, (1.0,) * view.models, 1)
    return Thinned(everything, norms)


def _effective_ties(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: what dropping, trimming and averaging leave."""
    density, trim = float(params["density"]), float(params["trim"])
    within = min(1.0, trim / density) if density else 0.0
    share = steps.estimate.disjoint_share(coefficients, density * within, divided=params["merge"] != "sum")
    factors: np.ndarray = _effective_linear(coefficients, params) * steps.estimate.kept_energy(within) * share
    return factors


@merge_method(
    id="dare_ties",
    title="DARE TIES",
    family="sparse",
    summary="Drops elements at random, elects a sign for every weight and averages the experts that agree.",
    paper="Yu et al. 2024, Language Models are Super Mario (DARE with TIES-Merging)",
    space="delta",
    params=[
        DENSITY,
        RESCALE,
        RESCALE_BY,
        Param("trim", 1.0, help="Share that TIES keeps of what is left.", low=0.0, high=1.0, live="mask"),
        Param("merge", "mean", help="How experts that agree become one.", choices=("mean", "weighted", "sum")),
        Param("zero_sum", "majority", help="Sign where votes cancel out.", choices=("majority", "positive")),
        Param("scale", 1.0, help="Multiplies the merged task vector.", low=-5.0, high=5.0),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales what is left of the task vector before the election of signs.",
    help=HELP_TIES,
    survey=_survey,
    measure=_measure_ties,
    whole=_whole,
    effective=_effective_ties,
)
def dare_ties(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    density: Number,
    rescale: bool,
    rescale_by: str,
    merge: Merge,
    scale: float,
    span: Span,
    stats: Thinned,
    masks: MaskSource | None = None,
    **_: Value,
) -> Tensor:
    """Drop, trim, elect, average.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        density: Share to keep.
        rescale: Whether to make up for what is dropped.
        rescale_by: How.
        merge: How the experts that agree become one.
        scale: Common factor.
        span: Which elements these are.
        stats: Cuts and majority sign of the thinned task vectors, and norms.
        masks: Where masks come from, if not from the seed.

    Returns:
        The merged task vector (n,).
    """
    left = _thinned(
        deltas, span, density=density, rescale=rescale, rescale_by=rescale_by, norms=stats.norms, masks=masks
    )  # T x (n,)
    kept = steps.trim.trim_all(left, stats.ballot.cuts)  # T x (n,)
    for x, weight in zip(kept, weights, strict=True):
        x *= weight
    sign = steps.elect.signs(kept, "mass", stats.ballot)  # (n,)
    merged = steps.disjoint.merge(kept, sign, merge, weights, decided=stats.ballot.fallback != 0, spare=True)
    return steps.ops.times(merged, scale)
