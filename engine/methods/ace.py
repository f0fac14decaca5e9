"""ACE-Merging: adaptive covariance estimation from the task vectors, in closed form."""

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

HELP = f"""
**ACE** solves a ridge regression onto the task matrices, with covariances made from their columns after centring.
If the sizes of the task vectors differ much, each covariance is divided by its trace, and a correction is added: the
first singular directions of what the regression missed, all equally loud.

- *Ridge* is 0.01 in the official code; the paper names 1e-5 for ViT, 0.04 for GPT-2 and 2e-4 for RoBERTa-base.
- *Share* of the singular values that the correction uses: 0.3, and at least one (the official code gives NaN for
  matrices smaller than four).
- *Gate*: sizes differ much where the variance of `log ‖Dₜ‖²` is more than 0.3 times its squared mean. **This depends
  on scale**: the same experts with all faders doubled can fall on the other side, and near `‖Dₜ‖² = 1` nearly
  everything does. *Gate* 0 always corrects, the largest value never.
- One expert alone always takes the side without correction. *Scale* is 1 in the paper. mergekit has no ACE.
{spectral.HELP_COMMON.strip()}
{spectral.HELP_CLASS}"""


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: unrelated task vectors are kept whole by the regression."""
    return coefficients * float(params["scale"])


@merge_method(
    id="ace",
    title="ACE-Merging",
    family="spectral",
    summary="Ridge regression onto the task vectors with adaptive covariances, in closed form.",
    paper="ACE-Merging, CVPR 2026 (official code)",
    space="delta",
    scope="tensor",
    params=[
        spectral.SCALE,
        Param("ridge", 0.01, help="Added to the diagonal of each covariance.", low=0.0, high=10.0, step=0.001),
        Param("share", 0.3, help="Share of the singular values of the correction.", low=0.0, high=1.0),
        Param("gate", 0.3, help="How much sizes may differ before the correction is made.", low=0.0, high=1e12),
        spectral.matrices("paper"),
        spectral.SPLIT,
    ],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector before everything else.",
    help=HELP,
    effective=_effective,
)
def ace(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float,
    ridge: float,
    share: float,
    gate: float,
    matrices: str,
    split_qkv: bool,
    span: Span,
) -> Tensor:
    """X = (sum_t C_t S_t) (sum_t S_t + 1 c)^-1 for centred C_t and S_t = C_t^T C_t + eps I, and a correction.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        scale: Common factor.
        ridge: eps.
        share: Share of the singular values of the correction.
        gate: Largest relative variance of sizes without a correction.
        matrices: Which tensors are merged so.
        split_qkv: Whether fused matrices are split.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """

    def regress(blocks: list[Tensor]) -> Tensor:
        return steps.covariance.adaptive([x.double() for x in blocks], ridge, share, gate).to(blocks[0].dtype)

    return steps.spectral.matrixwise(deltas, weights, span, regress, matrices=matrices, split=split_qkv).mul_(scale)
