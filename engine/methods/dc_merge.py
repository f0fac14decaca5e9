"""DC-Merge: merge in a common cover space, keeping the few strongest directions of each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine import steps
from engine.methods import spectral
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from engine.steps.subspace import Smoothing
    from engine.steps.view import Span

HELP = f"""
**DC-Merge** keeps the largest singular vectors of every task matrix, makes those of all tasks orthogonal to each
other (the *cover space*), writes each task matrix in it, keeps only the strongest elements there, merges them by
agreeing signs, and drops what lies outside the tasks' own blocks.

- *Rank* is how many singular vectors each expert keeps; 0 is the paper's `int(r / T)` for full fine-tuning, 16 is
  the official code for LoRA (at most r / T).
- *Keep* is the share of the elements of each core that is kept, 0.001 in the official code, at least one; those
  that tie with the smallest one stay. It is aggressive: try larger values.
- *Smoothing* of the singular values before that: `none` (official for full fine-tuning), `average` makes them equal,
  `linear` lets them fall evenly from *ratio* (at most the real ratio) to 1; their sum stays. The official code for
  LoRA uses average or linear with ratio 5.
- *Scale* multiplies the result. mergekit has no DC-Merge.
- Where the singular vectors of all tasks do not span r directions, the official code fills up with arbitrary ones;
  Mixdown leaves them out, and directions of a task that are only rounding errors (the result is the same for task
  matrices of full rank).
{spectral.HELP_COMMON.strip()}
{spectral.HELP_CLASS}"""

COVER = 0.6
"""What making the singular vectors of unrelated tasks orthogonal leaves of each task (measured: 0.58 to 0.66)."""


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors of unrelated task vectors: kept singular values, less what the cover space takes."""
    shares = 1 / spectral.heard_count(coefficients)
    energy = np.array([spectral.kept_energy(float(x)) * (COVER if x < 1 else 1) for x in shares])
    factors: np.ndarray = coefficients * energy * float(params["scale"])
    return factors


@merge_method(
    id="dc_merge",
    title="DC-Merge",
    family="spectral",
    summary="Merges the strongest directions of each task in a space made orthogonal for all.",
    paper="DC-Merge, CVPR 2026 (official code, full fine-tuning; LoRA by rank and smoothing)",
    space="delta",
    scope="tensor",
    params=[
        spectral.SCALE,
        Param("rank", 0, help="Singular vectors of each expert; 0 is r / T.", low=0, high=4096, step=1),
        Param("keep", 0.001, help="Share of each core's elements that is kept.", low=0.0, high=1.0, step=0.001),
        Param("smoothing", "none", help="How singular values are evened out.", choices=("none", "average", "linear")),
        Param("ratio", 5.0, help="Largest to smallest singular value after linear smoothing.", low=1.0, high=100.0),
        spectral.matrices("paper"),
        spectral.SPLIT,
    ],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector before everything else.",
    help=HELP,
    effective=_effective,
)
def dc_merge(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float,
    rank: int,
    keep: float,
    smoothing: Smoothing,
    ratio: float,
    matrices: str,
    split_qkv: bool,
    span: Span,
) -> Tensor:
    """U merge(U^T D_1 V, ...) V^T in the cover space of the first singular vectors of all tasks.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        scale: Common factor.
        rank: Singular vectors of each task; 0 is r / T.
        keep: Share of each core that is kept.
        smoothing: "none", "average" or "linear".
        ratio: Of linear smoothing.
        matrices: Which tensors are decomposed.
        split_qkv: Whether fused matrices are split.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """

    def join(blocks: list[Tensor]) -> Tensor:
        return steps.subspace.directional(blocks, rank=rank, keep=keep, smoothing=smoothing, ratio=ratio)

    return steps.spectral.matrixwise(deltas, weights, span, join, matrices=matrices, split=split_qkv).mul_(scale)
