"""STAR and CART: task matrices of low rank, averaged or added to the average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods import spectral
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import Span

HELP_STAR = f"""
**STAR** cuts the small singular values of every task matrix and makes up for them: the smallest number of
singular values that holds *eta* of their sum is kept, multiplied so that the sum stays, and the task matrices are
averaged.

- *Eta* 0.4 is the paper's value; 1 keeps everything (the average), 0 one singular value.
- *Variant* `official` is IBM's code; `svc` is the code of the SVC repository, which also decomposes convolutions
  (flattened to output × rest). They count the same singular values but for a rounding error.
- IBM's code can sample the decomposition of LoRA matrices (*known rank*); Mixdown always makes the exact one. For
  a task matrix of zeros IBM's code gives NaN, Mixdown 0. mergekit has no STAR.
- *Scale* is 1 in the paper.
{spectral.HELP_COMMON.strip()}
{spectral.HELP_CLASS}"""

HELP_CART = f"""
**CART** takes the average of the experts as the centre: `τ̄ + scale · Σ lowrank(Dₜ − τ̄)`. Most of what a task needs
is in the few largest singular values of its difference from the average, and these differences interfere less
than task vectors do.

- *Rank* is the share of the singular values that is kept, `int(r · rank)` of r and at least one; the paper uses
  0.08 for vision models and 0.04 … 0.5 in its studies. 1 (or *scale* 0) is the plain average.
- *Scale* multiplies the sum of the differences, not the average. The paper tunes it with validation data; 1
  takes each of them as it is.
- *Matrices* is `inner` by default: published code decomposes the matrices of attention and MLP only. mergekit
  has no CART. There are no golden vectors for CART; it is tested against its formula.
{spectral.HELP_COMMON.replace("; *scale* multiplies them too", "; *scale* does not touch them").strip()}
{spectral.HELP_CLASS}"""


def _star_effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: the energy that is kept, made up for, averaged."""
    eta = max(float(params["eta"]), 1e-3)
    factor = spectral.kept_energy(spectral.share_of_sum(eta)) / eta * float(params["scale"])
    factors: np.ndarray = coefficients * factor / spectral.heard_count(coefficients)
    return factors


@merge_method(
    id="star",
    title="STAR",
    family="spectral",
    summary="Averages task matrices after cutting their small singular values.",
    paper="Lee et al. 2025, STAR: Spectral Truncation and Rescale for Model Merging",
    space="delta",
    scope="tensor",
    params=[
        Param("eta", 0.4, help="Share of the sum of the singular values that is kept.", low=0.0, high=1.0),
        spectral.SCALE,
        Param("variant", "official", help="Whose code.", choices=("official", "svc")),
        spectral.matrices("all"),
        spectral.SPLIT,
    ],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector.",
    help=HELP_STAR,
    effective=_star_effective,
)
def star(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    eta: float,
    scale: float,
    variant: str,
    matrices: str,
    split_qkv: bool,
    span: Span,
) -> Tensor:
    """Mean over tasks of U_k diag(s_k sum(s) / sum(s_k)) V_k^T.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        eta: Share of the sum of the singular values that is kept.
        scale: Common factor.
        variant: "official" or "svc".
        matrices: Which tensors are decomposed.
        split_qkv: Whether fused matrices are split.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """
    heard = steps.spectral.heard(deltas, weights)
    if not heard:
        return deltas[0].new_zeros(deltas[0].shape)
    flat = heard
    if variant == "svc" and len(span.shape) > 2:
        flat = [x.flatten(1) for x in heard]
    if not steps.spectral.is_matrix(span.tensor, flat[0].shape, matrices):
        return steps.spectral.mean(heard).mul_(scale)

    def cut(blocks: list[Tensor]) -> Tensor:
        return steps.spectral.mean([truncated(x, eta, variant) for x in blocks])

    merged = steps.spectral.blockwise(flat, span.tensor, split_qkv, cut)
    return merged.mul_(scale).reshape(span.shape)


def truncated(matrix: Tensor, eta: float, variant: str) -> Tensor:
    """The largest singular values of (m, n) that hold `eta` of their sum, multiplied to the whole sum."""
    parts = steps.spectral.svd(matrix)
    if float(parts.s.sum()) <= 0:
        return matrix.new_zeros(matrix.shape)
    top = parts.top(steps.spectral.smallest_rank(parts.s, eta, relative=variant == "svc"))
    return top.product(top.s * (parts.s.sum() / top.s.sum()))


def _cart_effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors of task vectors whose largest singular vectors do not meet those of others."""
    count, rank = spectral.heard_count(coefficients), float(params["rank"])
    added = (1 - 1 / count) * (spectral.kept_energy(rank) - rank * rank)  # (G,)
    factors: np.ndarray = coefficients * (1 / count + float(params["scale"]) * added)
    return factors


@merge_method(
    id="cart",
    title="CART",
    family="spectral",
    summary="Adds to the average what of each expert differs most from it, at low rank.",
    paper="Choi et al. 2024, Revisiting Weight Averaging for Model Merging (CART)",
    space="delta",
    scope="tensor",
    params=[
        Param("rank", 0.08, help="Share of the singular values that is kept.", low=0.0, high=1.0, step=0.02),
        Param("scale", 1.0, help="Multiplies the sum of the differences of low rank.", low=-5.0, high=5.0),
        spectral.matrices("inner"),
        spectral.SPLIT,
    ],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector before the average is taken.",
    help=HELP_CART,
    effective=_cart_effective,
)
def cart(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    rank: float,
    scale: float,
    matrices: str,
    split_qkv: bool,
    span: Span,
) -> Tensor:
    """Average + scale * sum_t lowrank(D_t - average).

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        rank: Share of the singular values that is kept.
        scale: Factor of the differences.
        matrices: Which tensors are decomposed.
        split_qkv: Whether fused matrices are split.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """

    def centred(blocks: list[Tensor]) -> Tensor:
        centre = steps.spectral.mean(blocks)
        count = max(1, int(rank * min(centre.shape)))
        parts = [steps.spectral.svds([x - centre], count)[0].product() for x in blocks]
        return steps.reduce.total(parts).mul_(scale).add_(centre)

    return steps.spectral.matrixwise(deltas, weights, span, centred, matrices=matrices, split=split_qkv)
