"""ACTMat: regression to the experts' answers with covariances made from the task vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods import spectral
from engine.methods.spec import Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import Span

HELP = f"""
**ACTMat** is RegMean without data: the inputs' covariance of each task is replaced by `DₜᵀDₜ` of its task matrix,
so that `X = (Σ Dₜ DₜᵀDₜ) (Σ DₜᵀDₜ)⁺`. Unlike WUDI's closed form it does not divide by the sizes of the task vectors:
experts that changed more have more say.

- Solved in float64 by a pseudoinverse, as in the reference code (merge-and-rebase): what no task matrix has is left
  at the base. There is nothing to tune but *scale*. mergekit has no ACTMat.
{spectral.HELP_COMMON.strip()}
{spectral.HELP_CLASS}"""


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: unrelated task vectors are kept whole."""
    return coefficients * float(params["scale"])


@merge_method(
    id="actmat",
    title="ACTMat",
    family="spectral",
    summary="Regression to the experts' answers, with covariances made from the task vectors.",
    paper="ACTMat 2026, data-free covariance (reference code of merge-and-rebase)",
    space="delta",
    scope="tensor",
    params=[spectral.SCALE, spectral.matrices("paper"), spectral.SPLIT],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector before everything else.",
    help=HELP,
    effective=_effective,
)
def actmat(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float,
    matrices: str,
    split_qkv: bool,
    span: Span,
) -> Tensor:
    """X = (sum_t D_t D_t^T D_t) (sum_t D_t^T D_t)^+.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        scale: Common factor.
        matrices: Which tensors are merged so.
        split_qkv: Whether fused matrices are split.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """

    def regress(blocks: list[Tensor]) -> Tensor:
        return steps.covariance.solve([x.double() for x in blocks], 0.0, normed=False).to(blocks[0].dtype)

    return steps.spectral.matrixwise(deltas, weights, span, regress, matrices=matrices, split=split_qkv).mul_(scale)
