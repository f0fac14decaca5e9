"""TALL masks and consensus merging: which weights matter to which task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.elect import Ballot
    from engine.steps.view import Span, View

_MASKS = """
- A *fader* `cₜ` scales the expert's task vector before everything else: `τₜ` below means `cₜ · τₜ`.
- The **mask** of an expert is where `|τₜ| > λ · |τ_multi − τₜ|`. Small λ means dense masks; the paper picks λ
  from 0.2 … 0.6 for each task by validation, 0.4 is the middle. The comparison is strict, as in the official
  code (the paper has ≥): weights that nobody changed are in no mask. fusion_bench compares weights with task
  vectors, so that its masks are almost all ones; do not compare with it.
- The **multi-task vector** `τ_multi` is the sum of all task vectors (*vector* ta), or their TIES merge with the
  sum instead of the mean (*vector* ties): trimmed to *density* of the whole model, ties at the threshold all
  kept, signs elected by mass.
"""

HELP_CONSENSUS = f"""
**Consensus** keeps only the weights that matter to several tasks: those in at least *k* masks. It removes
*catastrophic* weights (in no mask) and *selfish* ones (in one mask): `base + scale · keep · τ_multi`.

- *k* 0 keeps everything (task arithmetic or TIES), 1 drops the catastrophic, 2 (the paper's value) also the
  selfish weights; more than there are experts gives the base.
{_MASKS.strip()}
- The paper tunes *scale* from 0.1 to 1 by validation; 0.3 is the default of task arithmetic.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_TALL = f"""
**TALL mask** restores one task from the merge of all: `base + mask · τ_multi`, with the mask of the chosen
*task*. It shows what the multi-task vector still knows about it; the result is a model for that task alone.

{_MASKS.strip()}
- *Scale* is 1 in the paper.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

STRICTNESS = Param("strictness", 0.4, help="λ of the masks; larger keeps fewer weights.", low=0.0, high=5.0, title="λ")
VECTOR = Param("vector", "ta", help="Multi-task vector: a sum, or TIES.", choices=("ta", "ties"))
DENSITY = Param("density", 0.2, help="Share that TIES keeps of each task vector.", low=0.0, high=1.0)


def _survey(view: View, *, vector: str, density: float, **_: Value) -> Ballot | None:
    """Cuts and majority sign of the whole model, if the multi-task vector is a TIES merge."""
    return steps.elect.prepare(view, trim="topk", density=density, elect="mass") if vector == "ties" else None


def _multi(deltas: Sequence[Tensor], weights: Sequence[float], ballot: Ballot | None) -> Tensor:
    """The multi-task vector (n,) of T task vectors."""
    if ballot is None:
        return steps.reduce.weighted_sum(deltas, weights)
    kept = steps.reduce.scaled(steps.trim.trim_all(deltas, ballot.cuts), weights)
    sign = steps.elect.signs(kept, "mass", ballot)
    return steps.disjoint.merge(kept, sign, "sum", weights, decided=ballot.fallback != 0)


def _unmasked(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors of the scaled multi-task vector before anything is masked."""
    kept = 1.0 if params["vector"] == "ta" else steps.estimate.kept_energy(float(params["density"]))
    return coefficients * (float(params["scale"]) * kept)


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: what the masks of unrelated task vectors leave."""
    share = steps.estimate.agreed_share(coefficients, float(params["strictness"]), int(params["k"]))
    factors: np.ndarray = _unmasked(coefficients, params) * share
    return factors


@merge_method(
    id="consensus",
    title="Consensus",
    family="masks",
    summary="Keeps the weights of the multi-task vector that matter to at least k tasks.",
    paper="Wang et al. 2024, Localizing Task Information (Consensus Merging)",
    space="delta",
    params=[
        Param("k", 2, help="Least number of tasks that a kept weight matters to.", low=0, high=64, live="mask", step=1),
        STRICTNESS,
        VECTOR,
        DENSITY,
        Param("scale", 0.3, help="Multiplies the masked multi-task vector.", low=-5.0, high=5.0),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales the expert's task vector before masks are made.",
    help=HELP_CONSENSUS,
    survey=_survey,
    effective=_effective,
)
def consensus(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    k: int,
    strictness: float,
    scale: float,
    stats: Ballot | None,
    **_: Value,
) -> Tensor:
    """Mask: scale * [n >= k] * tau_multi, where n counts the masks that hold an element.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        k: Least number of masks.
        strictness: lambda of the masks.
        scale: Common factor.
        stats: Statistics of TIES, or None for the sum.

    Returns:
        The merged task vector (n,).
    """
    multi = _multi(deltas, weights, stats)  # (n,)
    counts = steps.masks.agreement(steps.reduce.scaled(deltas, weights), multi, strictness)  # (n,)
    multi *= steps.masks.shared(counts, k)
    return steps.ops.times(multi, scale)


def _effective_tall(coefficients: np.ndarray, params: Mapping[str, Value], names: Sequence[str] = ()) -> np.ndarray:
    """(T, G) estimated factors: nearly all of the chosen expert's task vector, some of the others'."""
    row = names.index(str(params["task"])) if params["task"] in names else 0
    own, others = steps.estimate.restored_shares(coefficients, float(params["strictness"]))
    factors: np.ndarray = _unmasked(coefficients, params) * others
    factors[row] = _unmasked(coefficients, params)[row] * own
    return factors


@merge_method(
    id="tall_mask",
    title="TALL mask",
    family="masks",
    summary="Restores one task from the multi-task vector with that task's mask.",
    paper="Wang et al. 2024, Localizing Task Information (TALL masks)",
    space="delta",
    params=[
        Param("task", "", help="The expert whose task is restored.", role="expert", live="mask"),
        STRICTNESS,
        VECTOR,
        DENSITY,
        Param("scale", 1.0, help="Multiplies the masked multi-task vector.", low=-5.0, high=5.0),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales the expert's task vector before masks are made.",
    help=HELP_TALL,
    survey=_survey,
    effective=_effective_tall,
)
def tall_mask(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    task: str,
    strictness: float,
    scale: float,
    span: Span,
    stats: Ballot | None,
    **_: Value,
) -> Tensor:
    """Mask: scale * m_task * tau_multi.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        task: Name of the expert to restore; "" is the first.
        strictness: lambda of the mask.
        scale: Common factor.
        span: Names of the experts.
        stats: Statistics of TIES, or None for the sum.

    Returns:
        The merged task vector (n,).

    Raises:
        OutOfRange: if no expert that is heard has this name.
    """
    chosen = span.place(task)
    multi = _multi(deltas, weights, stats)  # (n,)
    mask = steps.masks.tall_mask(deltas[chosen] * weights[chosen], multi, strictness)  # (n,)
    multi *= mask
    return steps.ops.times(multi, scale)
