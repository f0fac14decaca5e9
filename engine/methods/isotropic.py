"""Iso-C and Iso-CTS: isotropic merging, all singular values made equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods import spectral
from engine.methods.spec import Param, merge_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from engine.steps.spectral import Factors
    from engine.steps.view import Span

_GUARD = """
- *Guard* leaves out directions that the sum of the task matrices does not have: singular values that are only
  rounding errors, of the decomposition or of float32 checkpoints. In LoRA merges and frozen rows that is most of
  them, and the official code (*guard* off) fills them with noise of full energy. The mean is then that of the
  singular values that are left, so that their sum stays. Where the sum has full rank both give the same.
  Rounding errors of bf16 checkpoints are not told apart from small changes: prefer float32 ones.
- The paper tunes *scale* on validation data from 0.1 to 3; fusion_bench uses 1.5 with *matrices* all. mergekit has
  neither Iso-C nor Iso-CTS.
"""

HELP_C = f"""
**Iso-C** adds up the task matrices and makes all singular values of the sum equal to their mean:
`mean(s) · U Vᵀ`. No direction of the merged task vector is louder than another.
{_GUARD.strip()}
{spectral.HELP_COMMON.strip()}
{spectral.HELP_CLASS}"""

HELP_CTS = f"""
**Iso-CTS** is Iso-C with room for each task: the smallest singular vectors of the sum are replaced by the largest
ones of what each task has outside the common part; all are made orthogonal to each other, and all singular values
equal to their mean.

- *Common* is the share of the singular vectors that is taken from the sum (the paper's common space fraction,
  0.8). The rest is split evenly among the tasks, with Python's rounding as in the official code; if that asks for
  more than there is (*common* near 0), each task gets one less.
- The common part is taken out from the left (the rows of a matrix), so a model that stores its matrices
  transposed (GPT-2) gives another result, as in the official code.
{_GUARD.strip()}
{spectral.HELP_COMMON.strip()}
{spectral.HELP_CLASS}"""


def _flat(parts: Factors, floor: float, guard: bool) -> Tensor:
    """mean(s) U V^T (m, n) of a decomposition."""
    if guard:
        parts = parts.above(steps.spectral.noise(parts.s, (len(parts.u), parts.vt.shape[1]), floor))
    level = parts.s.mean() if parts.s.numel() else parts.s.new_zeros(())
    return parts.product(level.expand(parts.s.shape))


@merge_method(
    id="iso_c",
    title="Iso-C",
    family="spectral",
    summary="Adds the task matrices and makes all singular values of the sum equal.",
    paper="Marczak et al. 2025, No Task Left Behind (Iso-C)",
    space="delta",
    scope="tensor",
    params=[spectral.SCALE, spectral.GUARD, spectral.matrices("paper"), spectral.SPLIT],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector before all are added.",
    help=HELP_C,
    effective=spectral.flat_effective,
)
def iso_c(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float,
    guard: bool,
    matrices: str,
    split_qkv: bool,
    base: Tensor,
    span: Span,
) -> Tensor:
    """mean(s) U V^T for sum_t D_t = U diag(s) V^T.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        scale: Common factor.
        guard: Whether singular values that are only rounding errors are left out.
        matrices: Which tensors are decomposed.
        split_qkv: Whether fused matrices are split.
        base: The base's weights, which say how large rounding errors are.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """

    def flatten(blocks: list[Tensor], under: Tensor) -> Tensor:
        total = steps.reduce.total(blocks)
        return _flat(steps.spectral.svd(total), steps.spectral.rounding(under, len(blocks)), guard)

    merged = steps.spectral.matrixwise(deltas, weights, span, flatten, base, matrices=matrices, split=split_qkv)
    return merged.mul_(scale)


def spaces(size: int, common: float, experts: int) -> tuple[int, int]:
    """How many singular vectors are common, and how many each expert gets.

    Args:
        size: Smaller side of the matrix.
        common: Share of the common part.
        experts: T.

    Returns:
        Their numbers; together at most `size`.
    """
    each = round((size - int(size * common)) / experts)
    each = each - 1 if each * experts > size else each
    return size - each * experts, each


@merge_method(
    id="iso_cts",
    title="Iso-CTS",
    family="spectral",
    summary="Iso-C with a part of the singular vectors reserved for each task.",
    paper="Marczak et al. 2025, No Task Left Behind (Iso-CTS)",
    space="delta",
    scope="tensor",
    params=[
        spectral.SCALE,
        Param("common", 0.8, help="Share of the singular vectors taken from the sum of all.", low=0.0, high=1.0),
        spectral.GUARD,
        spectral.matrices("paper"),
        spectral.SPLIT,
    ],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector before its singular values are taken.",
    help=HELP_CTS,
    effective=spectral.flat_effective,
)
def iso_cts(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float,
    common: float,
    guard: bool,
    matrices: str,
    split_qkv: bool,
    base: Tensor,
    span: Span,
) -> Tensor:
    """mean(s) polar([U_1 | ... | U_c]) polar([V_1 | ... | V_c])^T of task-specific and common singular vectors.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        scale: Common factor.
        common: Share of the common part.
        guard: Whether singular values that are only rounding errors are left out.
        matrices: Which tensors are decomposed.
        split_qkv: Whether fused matrices are split.
        base: The base's weights, which say how large rounding errors are.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """

    def flatten(blocks: list[Tensor], under: Tensor) -> Tensor:
        return _common_and_specific(blocks, steps.spectral.rounding(under, len(blocks)), common, guard)

    merged = steps.spectral.matrixwise(deltas, weights, span, flatten, base, matrices=matrices, split=split_qkv)
    return merged.mul_(scale)


def _common_and_specific(blocks: list[Tensor], floor: float, common: float, guard: bool) -> Tensor:
    """The merged matrix (m, n) of T task matrices."""
    shared, each = spaces(min(blocks[0].shape), common, len(blocks))
    sums = steps.spectral.svd(steps.reduce.total(blocks)).top(shared)
    rests = [x - sums.u @ (sums.u.mT @ x) for x in blocks] if each else []
    parts = [*(steps.spectral.svds(rests, each) if each else []), sums]
    if guard:
        largest = max((x.s[0] for x in parts if x.s.numel()), default=floor)
        limit = steps.spectral.noise(sums.s.new_full((1,), float(largest)), blocks[0].shape, floor)
        parts = [x.above(limit) for x in parts]
    whole = steps.spectral.joined(parts)
    u = steps.spectral.polar(whole.u, guard=guard)  # (m, k)
    vt = steps.spectral.polar(whole.vt, guard=guard)  # (k, n)
    return (u @ vt).mul_(whole.s.mean() if whole.s.numel() else 0.0)
