"""Singular values: checked decompositions, polar factors, ranks, and which tensors count as matrices.

Work is done in the dtype of the task vectors (float32, or float64 if any model is). Every decomposition is
checked; one that fails or does not add up is done again in float64, then in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from engine.errors import NotFinite
from engine.steps.reduce import total
from engine.steps.view import Span

Failed: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]  # missing in torch's __all__

DRIFT = 1e-3
"""Largest relative difference between the squared norms of a matrix and of its singular values."""

BATCH_ELEMENTS = 1 << 24
"""Stacks up to this size are decomposed in one call on a GPU."""

OUTER = ("text_projection", "embed", "wte.weight", "wpe.weight", "lm_head", "shared.weight")
"""Parts of names of matrices at the ends of a model: vocabularies, positions, projections to a joint space."""

FUSED_ROWS = ("in_proj_weight", "in_proj.weight", "qkv.weight", "qkv_proj.weight", "Wqkv.weight")
"""Endings of names of matrices that hold query, key and value on top of each other."""

FUSED_COLUMNS = ("c_attn.weight",)
"""The same side by side (GPT-2 stores its matrices transposed)."""


@dataclass(frozen=True, slots=True)
class Factors:
    """An economical singular value decomposition u @ diag(s) @ vt.

    Attributes:
        u: (m, k) left singular vectors.
        s: (k,) singular values, largest first.
        vt: (k, n) right singular vectors.
    """

    u: Tensor
    s: Tensor
    vt: Tensor

    def top(self, rank: int) -> Factors:
        """The `rank` largest singular values; the same if there are no more."""
        return Factors(self.u[:, :rank], self.s[:rank], self.vt[:rank])

    def copy(self) -> Factors:
        """The same in memory of its own, so that what was cut off can go."""
        return Factors(self.u.clone(), self.s.clone(), self.vt.clone())

    def above(self, limit: float) -> Factors:
        """The singular values larger than `limit`."""
        return self.top(int((self.s > limit).sum()))

    def product(self, s: Tensor | None = None) -> Tensor:
        """The matrix (m, n), or the one with other singular values `s` (k,)."""
        return (self.u * (self.s if s is None else s)) @ self.vt


# -- decompositions ----------------------------------------------------------------------------------------


def svd(matrix: Tensor) -> Factors:
    """Singular value decomposition of (m, n) with min(m, n) singular values.

    Raises:
        NotFinite: if the matrix is not finite or cannot be decomposed even in float64 on the CPU.
    """
    return _svd(matrix, matrix.square().sum(dtype=torch.float64))


def _svd(matrix: Tensor, energy: Tensor) -> Factors:
    """Try the matrix's own dtype, float64, and float64 on the CPU, until singular values and norm agree.

    Wide matrices are decomposed as tall ones, which takes LAPACK about half the time.
    """
    if matrix.numel() == 0:
        return Factors(matrix.new_zeros(matrix.shape[0], 0), matrix.new_zeros(0), matrix.new_zeros(0, matrix.shape[1]))
    if matrix.shape[0] < matrix.shape[1]:
        tall = _svd(matrix.mT, energy)
        return Factors(tall.vt.mT, tall.s, tall.u.mT)
    tries: tuple[Callable[[Tensor], Tensor], ...] = (Tensor.contiguous, Tensor.double, lambda x: x.double().cpu())
    for prepared in tries:
        try:
            parts = torch.linalg.svd(prepared(matrix), full_matrices=False)
        except Failed:
            continue
        if _adds_up(parts[1], energy):
            return Factors(*(x.to(matrix) for x in parts))
    raise NotFinite("A task vector could not be decomposed into singular values.", hint="Check it for NaN and Inf.")


def _adds_up(s: Tensor, energy: Tensor) -> bool:
    """Whether singular values (k,) hold the squared norm of the matrix; False if anything is not finite."""
    found = s.square().sum(dtype=torch.float64).to(energy.device)
    return bool((found - energy).abs() <= DRIFT * energy)


def svds(matrices: Sequence[Tensor], rank: int | None = None) -> list[Factors]:
    """Decompositions of T matrices (m, n), cut to `rank`; in one call on a GPU where they are small.

    Raises:
        NotFinite: see `svd`.
    """
    first = matrices[0]
    if first.is_cuda and 1 < len(matrices) <= BATCH_ELEMENTS // max(first.numel(), 1):
        return [x.top(rank) if rank is not None else x for x in _batched(matrices)]
    whole = (svd(x) for x in matrices)
    return [x if rank is None else x.top(rank).copy() for x in whole]


def _batched(matrices: Sequence[Tensor]) -> list[Factors]:
    """One call for all; those that do not add up are done again alone."""
    try:
        u, s, vt = torch.linalg.svd(torch.stack(list(matrices)), full_matrices=False)
    except Failed:
        return [svd(x) for x in matrices]
    found = []
    for t, x in enumerate(matrices):
        good = _adds_up(s[t], x.square().sum(dtype=torch.float64))
        found.append(Factors(u[t], s[t], vt[t]) if good else svd(x))
    return found


def polar(matrix: Tensor, *, guard: bool = True, eigen: bool = False) -> Tensor:
    """The nearest matrix with orthonormal columns (rows, if it is wide): U V^T of its SVD.

    Args:
        matrix: (m, n).
        guard: Leave out directions that the matrix does not have (up to rounding), where U V^T would be
            arbitrary; then the result is a partial isometry.
        eigen: Use X (X^T X)^(-1/2), from an eigendecomposition in float64, instead of a singular value
            decomposition.

    Returns:
        (m, n).

    Raises:
        NotFinite: see `svd`.
    """
    if eigen:
        return _polar_by_eigen(matrix)
    parts = svd(matrix)
    if guard:
        parts = parts.above(noise(parts.s, matrix.shape))
    return parts.u @ parts.vt


def _polar_by_eigen(matrix: Tensor) -> Tensor:
    """The polar factor through the smaller Gram matrix; directions that are not there stay 0."""
    if matrix.shape[0] < matrix.shape[1]:
        return _polar_by_eigen(matrix.mT).mT
    wide = matrix.double()
    try:
        values, vectors = torch.linalg.eigh(wide.mT @ wide)  # (n,), (n, n)
    except Failed:
        return polar(matrix)
    if values.numel() == 0 or not bool(torch.isfinite(values).all()):
        return polar(matrix)
    floor = float(values[-1]) * max(matrix.shape) * torch.finfo(matrix.dtype).eps ** 2
    inverse = torch.where(values > floor, values.clamp_min(floor).rsqrt(), torch.zeros_like(values))
    found: Tensor = wide @ ((vectors * inverse) @ vectors.mT)
    return found.to(matrix.dtype)


def noise(s: Tensor, shape: Sequence[int], floor: float = 0.0) -> float:
    """Singular values of at most this are rounding errors of the decomposition, or at most `floor`.

    The bound of LAPACK and of `numpy.linalg.matrix_rank`: the largest one times the longer side times the dtype's eps.

    Args:
        s: (k,) singular values, the largest first.
        shape: Of the matrix that was decomposed.
        floor: What counts as nothing in any case.
    """
    largest = float(s[0]) if s.numel() else 0.0
    return max(largest * max(shape) * torch.finfo(s.dtype).eps, floor)


def rounding(base: Tensor, count: int) -> float:
    """Largest singular value to expect of the rounding errors of `count` float32 checkpoints near `base`.

    An error of a weight w is at most 2^-24 |w|; those of a matrix of random signs have singular values up to
    their size times sqrt(m) + sqrt(n).

    Args:
        base: (m, n) weights.
        count: How many task vectors are added.

    Returns:
        A singular value.
    """
    if base.dtype != torch.float32 or base.numel() == 0:
        return 0.0
    size = float(base.square().mean(dtype=torch.float64).sqrt())
    return 2.0**-24 * size * (sqrt(base.shape[0]) + sqrt(base.shape[1])) * sqrt(count)


def joined(parts: Sequence[Factors]) -> Factors:
    """All factors side by side: [u_1 | u_2 ...], the singular values one after the other, vt_t stacked."""
    return Factors(
        torch.cat([x.u for x in parts], 1), torch.cat([x.s for x in parts]), torch.cat([x.vt for x in parts])
    )


# -- tensors -----------------------------------------------------------------------------------------------


def is_matrix(name: str, shape: Sequence[int], matrices: str) -> bool:
    """Whether a tensor is treated as a matrix.

    Args:
        name: Of the tensor.
        shape: Of the tensor.
        matrices: "paper": two dimensions and no text_projection; "all": two dimensions; "inner": also no
            embedding and no language model head.

    Returns:
        True or False; False for empty tensors.
    """
    if len(shape) != 2 or min(shape) == 0:
        return False
    left_out = {"all": (), "paper": OUTER[:1], "inner": OUTER}[matrices]
    return not any(part in name for part in left_out)


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """Mean of T tensors of any shape, added in the order given."""
    return total(tensors).div_(len(tensors))


def heard(deltas: Sequence[Tensor], weights: Sequence[float]) -> list[Tensor]:
    """T task vectors of any shape times their coefficients, without those whose coefficient is 0."""
    return [x if w == 1 else x * w for x, w in zip(deltas, weights, strict=True) if w != 0]


def blockwise(
    matrices: Sequence[Tensor], name: str, split: bool, merge: Callable[..., Tensor], *also: Tensor
) -> Tensor:
    """Merge T matrices (m, n), or, if `split`, query, key and value of fused ones each for itself.

    Args:
        matrices: T matrices (m, n).
        name: Of the tensor; its ending says whether it is fused.
        split: Whether to split fused matrices.
        merge: Takes T matrices and one block of each of `also`.
        also: Further matrices (m, n).

    Returns:
        (m, n).
    """
    axis = fused_axis(name, matrices[0].shape) if split else None
    if axis is None:
        return merge(list(matrices), *also)
    whole = [x.chunk(3, axis) for x in (*matrices, *also)]
    count = len(matrices)
    blocks = [[x[i] for x in whole] for i in range(3)]
    return torch.cat([merge(b[:count], *b[count:]) for b in blocks], axis)


def matrixwise(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    span: Span,
    merge: Callable[..., Tensor],
    *also: Tensor,
    matrices: str,
    split: bool,
) -> Tensor:
    """Merge the task vectors that are heard if they count as matrices; average them if not.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        span: Name and shape of the tensor.
        merge: Takes the matrices (m, n) that are heard, times their coefficients, and one block of each of `also`.
        also: Further matrices (m, n).
        matrices: Which tensors count, as for `is_matrix`.
        split: Whether query, key and value of fused matrices are merged each for itself.

    Returns:
        The merged task vector, in the same shape; zeros if none is heard.
    """
    loud = heard(deltas, weights)
    if not loud:
        return deltas[0].new_zeros(deltas[0].shape)
    if not is_matrix(span.tensor, span.shape, matrices):
        return mean(loud)
    return blockwise(loud, span.tensor, split, merge, *also)


def fused_axis(name: str, shape: Sequence[int]) -> int | None:
    """Along which axis query, key and value of equal sizes are joined in one matrix; None if they are not."""
    axis = 0 if name.endswith(FUSED_ROWS) else 1 if name.endswith(FUSED_COLUMNS) else None
    return axis if axis is not None and shape[axis] % 3 == 0 and shape[axis] else None


def smallest_rank(s: Tensor, share: float, *, relative: bool) -> int:
    """How many singular values hold `share` of their sum, as STAR counts: the first that reaches it, at least 1.

    Args:
        s: (k,) singular values, largest first, not all 0.
        share: 0 ... 1.
        relative: Divide by the sum before comparing (SVC's code) instead of multiplying the share (IBM's).

    Returns:
        1 ... k.
    """
    sums, whole = torch.cumsum(s, 0), s.sum()
    reached = (sums / whole < share) if relative else (sums < whole * share)
    return min(int(reached.sum()) + 1, s.numel())


def responses(parts: Factors, merged: Tensor, tasks: Sequence[Tensor], least: float) -> Tensor:
    """How far a merged matrix goes along each task, as seen by each left singular vector u_r.

    Args:
        parts: Decomposition of `merged`, k singular values.
        merged: (m, n).
        tasks: T matrices (m, n).
        least: Smallest squared norm of a task's response.

    Returns:
        (k, T): <u_r^T merged, u_r^T task> / |u_r^T task|^2.
    """
    seen = parts.u.mT @ merged  # (k, n)
    shares = []
    for task in tasks:
        own = parts.u.mT @ task  # (k, n)
        shares.append((seen * own).sum(1) / (own * own).sum(1).clamp_min(least))
    return torch.stack(shares, 1)
