"""Merging in the subspaces that task vectors span: KnOTS, Core Space and DC-Merge.

All of it works in float64 on whole matrices (m, n). Directions that a matrix does not have, up to rounding,
are left out, so that no result depends on an arbitrary basis of a null space.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from engine.steps.disjoint import Merge, merge
from engine.steps.elect import votes
from engine.steps.reduce import scaled, total
from engine.steps.select import BINS, DIGIT, magnitude_bits, magnitude_of
from engine.steps.spectral import Factors, is_matrix, joined, mean, noise, polar, svd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.steps.view import Span, View

Smoothing = Literal["none", "average", "linear"]

SLACK = 1e-6
"""How much lower, relatively, limits are set that come from another decomposition of the same matrix."""

KNOTS_FLOOR = 1e-5
"""KnOTS leaves out singular values of at most this (absolute, as in the official code)."""


def sound(deltas: Sequence[Tensor], weights: Sequence[float]) -> tuple[list[Tensor], list[float], list[int]]:
    """The task vectors (any shape) whose coefficient is not 0, these coefficients, and their places among all T."""
    places = [t for t, w in enumerate(weights) if w != 0]
    return [deltas[t] for t in places], [weights[t] for t in places], places


# -- trimming and electing in any coordinates ------------------------------------------------------------


def top_limit(values: Tensor, density: float) -> float:
    """Smallest magnitude that is kept of int(n * density) + 1 largest ones, as in TIES; -1 keeps everything."""
    if density >= 1 or values.numel() == 0:
        return -1.0
    if density <= 0:
        return inf
    rank = values.numel() - int(values.numel() * density)
    return float(values.reshape(-1).float().abs().kthvalue(rank).values)


def at_least(values: Tensor, limit: float) -> Tensor:
    """The values (any shape) whose magnitude, in float32, reaches the limit; 0 elsewhere."""
    return values * (values.float().abs() >= limit)


def combine(kept: Sequence[Tensor], weights: Sequence[float], how: Merge, *, elect: bool) -> Tensor:
    """Merge T trimmed tensors of one shape, after an election of signs by mass if asked for.

    Votes that cancel out take the sign that most elements of this tensor have.

    Args:
        kept: T tensors, 0 where trimmed.
        weights: T coefficients; they scale the tensors before the election.
        how: See `engine.steps.disjoint.merge`.
        elect: Whether only those that agree with the elected sign take part.

    Returns:
        A new tensor of the same shape.
    """
    loud = scaled(kept, weights)
    if not elect:
        return merge(loud, None, how, weights)
    sign = votes(loud, "mass", ())
    return merge(loud, torch.where(sign == 0, sign.sum().sign(), sign), how, weights)


# -- KnOTS -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Knot:
    """The basis in which KnOTS merges one tensor.

    Attributes:
        basis: (m, r) left singular vectors of [D_1 | ... | D_T] in float64; None: the elements themselves.
    """

    basis: Tensor | None

    def coordinates(self, delta: Tensor) -> Tensor:
        """diag(s) V_t of one task vector: (r, n); the task vector itself if it is no matrix."""
        if self.basis is None:
            return delta
        return (self.basis.mT @ delta.reshape(delta.shape[0], -1).double()).to(delta.dtype)

    def back(self, merged: Tensor, shape: Sequence[int]) -> Tensor:
        """The task vector, in this shape, that has these coordinates (r, n)."""
        return merged if self.basis is None else (self.basis @ merged.double()).to(merged.dtype).reshape(tuple(shape))


def knot(deltas: Sequence[Tensor], name: str, matrices: str) -> Knot:
    """The common basis of T task vectors.

    Args:
        deltas: T task vectors of any shape; convolutions (o, i, h, w) count as matrices (o, i h w).
        name: Of the tensor.
        matrices: Which tensors count as matrices, see `engine.steps.spectral.is_matrix`.

    Returns:
        The basis; that of the elements themselves for other tensors.
    """
    shape = deltas[0].shape
    if deltas[0].numel() == 0 or not (len(shape) > 2 or is_matrix(name, shape, matrices)):
        return Knot(None)
    side = torch.cat([x.reshape(x.shape[0], -1).double() for x in deltas], 1)  # (m, T n)
    return Knot(svd(side).above(KNOTS_FLOOR).u)


def knot_limits(view: View, density: float, matrices: str) -> tuple[float, ...]:
    """What `top_limit` gives for the KnOTS coordinates of the whole model: one limit for every expert.

    Two passes over the models with one decomposition of every tensor each; magnitudes are compared in float32. The
    limits lie a hair below the exact ones (`SLACK`), so that no element falls to the rounding of the decomposition
    that the merge makes. At most one tensor of all experts is in memory.

    Args:
        view: The whole model.
        density: Share of each expert's coordinates to keep.
        matrices: Which tensors count as matrices.

    Returns:
        T magnitudes.
    """
    if not 0 < density < 1:
        return ((-1.0 if density >= 1 else inf),) * view.models
    upper = _digits(view, matrices, [None] * view.models)
    found, lowest = [], []
    for counts in upper:
        size, below = int(counts.sum()), np.cumsum(counts)
        rank = size - int(size * density)
        digit = int(np.searchsorted(below, rank)) if size else 0
        found.append(digit)
        lowest.append(rank - (int(below[digit - 1]) if digit else 0))
    lower = _digits(view, matrices, found)
    last = [int(np.searchsorted(np.cumsum(c), r)) for c, r in zip(lower, lowest, strict=True)]
    exact = [magnitude_of((d << DIGIT) | min(e, BINS - 1), 32) for d, e in zip(found, last, strict=True)]
    return tuple(limit * (1 - SLACK) for limit in exact)


def _digits(view: View, matrices: str, prefixes: Sequence[int | None]) -> list[np.ndarray]:
    """Histograms (BINS,) of the upper half of all magnitudes' bits, or of the lower half behind a prefix."""
    counts = [np.zeros(BINS, np.int64) for _ in prefixes]
    for span, deltas, weights in whole_tensors(view):
        loud, _, places = sound(deltas, weights)
        if not loud:
            continue
        basis = knot(loud, span.tensor, matrices)
        for t, delta in zip(places, loud, strict=True):
            bits = magnitude_bits(basis.coordinates(delta).reshape(-1).float())
            chosen = bits >> DIGIT if prefixes[t] is None else bits[bits >> DIGIT == prefixes[t]] & (BINS - 1)
            counts[t] += torch.bincount(chosen, minlength=BINS).cpu().numpy()
    return counts


def whole_tensors(view: View) -> Iterator[tuple[Span, list[Tensor], tuple[float, ...]]]:
    """The view tensor by tensor: the last chunk's span, T whole task vectors, T coefficients."""
    parts: list[list[Tensor]] = []
    for span, deltas, weights in view.map(lambda c: (c.span, [x.reshape(-1).clone() for x in c.deltas], c.weights)):
        parts.append(deltas)
        if span.stop == prod(span.shape):
            yield span, [torch.cat(pieces).reshape(span.shape) for pieces in zip(*parts, strict=True)], weights
            parts = []


# -- Core Space ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Core:
    """The common core of T low-rank task vectors.

    Attributes:
        u: (m, p) orthonormal columns that span all the task vectors' columns, float64.
        vt: (q, n) orthonormal rows that span all their rows, float64.
        cores: T matrices (p, q), the task vectors in these bases; nothing is lost.
    """

    u: Tensor
    vt: Tensor
    cores: tuple[Tensor, ...]

    def back(self, merged: Tensor) -> Tensor:
        """The matrix (m, n) whose core this is."""
        return self.u @ merged @ self.vt


def significant(delta: Tensor, floor: float = 0.0) -> Factors:
    """Decomposition of (m, n) in float64, without what is rounding error in its own dtype or at most `floor`."""
    parts = svd(delta.double())
    largest = float(parts.s[0]) if parts.s.numel() else 0.0
    return parts.above(max(largest * max(delta.shape) * torch.finfo(delta.dtype).eps, floor))


def low_rank(delta: Tensor, rank: int, floor: float = 0.0) -> tuple[Tensor, Tensor]:
    """Balanced factors of a task vector, as a LoRA adapter would have them.

    Args:
        delta: (m, n).
        rank: Singular values to keep at most; 0 is all that are no rounding errors.
        floor: Singular values of at most this are rounding errors.

    Returns:
        B (m, r) and A (r, n) in float64, with B A close to delta.
    """
    parts = significant(delta, floor)
    parts = parts.top(rank) if rank else parts
    root = parts.s.sqrt()
    return parts.u * root, root[:, None] * parts.vt


def core(lefts: Sequence[Tensor], rights: Sequence[Tensor]) -> Core:
    """The bases and cores of T task vectors B_t A_t; ranks may differ.

    Args:
        lefts: T matrices B (m, r_t).
        rights: T matrices A (r_t, n).

    Returns:
        Bases from the singular vectors of [B_1 | ... | B_T] and of the stacked A_t.
    """
    side, stack = svd(torch.cat(list(lefts), 1).double()), svd(torch.cat(list(rights)).double())
    u = side.above(noise(side.s, (side.u.shape[0], stack.vt.shape[1]))).u
    vt = stack.above(noise(stack.s, (side.u.shape[0], stack.vt.shape[1]))).vt
    pairs = zip(lefts, rights, strict=True)
    return Core(u, vt, tuple((u.mT @ b.double()) @ (a.double() @ vt.mT) for b, a in pairs))


def merge_cores(cores: Sequence[Tensor], weights: Sequence[float], merger: str, density: float) -> Tensor:
    """Merge T cores (p, q).

    Args:
        cores: T matrices (p, q).
        weights: T coefficients.
        merger: "tsv", "sum", "mean" or "ties".
        density: Share of each core that TIES keeps.

    Returns:
        A new matrix (p, q).
    """
    if merger == "ties":
        kept = [at_least(x, top_limit(x, density)) for x in cores]
        return combine(kept, weights, "mean", elect=True)
    loud = scaled(cores, weights)
    if merger == "tsv":
        return task_singular(loud)
    return total(loud) if merger == "sum" else mean(loud)


def task_singular(matrices: Sequence[Tensor]) -> Tensor:
    """TSV-M of T matrices (m, n): int(min(m, n) / T) singular vectors of each, made orthogonal together."""
    rank = int(min(matrices[0].shape) * (1 / len(matrices)))
    if rank == 0:
        return torch.zeros_like(matrices[0])
    parts = joined([svd(x).top(rank) for x in matrices])
    return (polar(parts.u) * parts.s) @ polar(parts.vt)


def isotropic(matrix: Tensor) -> Tensor:
    """The matrix (m, n) with every singular value that is there set to their mean."""
    parts = svd(matrix)
    parts = parts.above(noise(parts.s, matrix.shape))
    return parts.product(parts.s.mean().expand_as(parts.s)) if parts.s.numel() else torch.zeros_like(matrix)


# -- DC-Merge ------------------------------------------------------------------------------------------------


def smoothed(s: Tensor, how: Smoothing, ratio: float) -> Tensor:
    """Singular values (k,) with the same sum, but all equal or falling evenly by at most `ratio`.

    Args:
        s: (k,) singular values, the largest first.
        how: "none" leaves them, "average" makes them equal, "linear" lets them fall.
        ratio: Of the largest to the smallest of "linear".
    """
    if how == "none" or s.numel() == 0:
        return s
    steep = min(ratio, float(s[0] / s[-1])) if float(s[-1]) > 0 else ratio
    shape = torch.linspace(steep if how == "linear" else 1.0, 1.0, s.numel(), dtype=s.dtype, device=s.device)
    return shape * (s.sum() / shape.sum())


def directional(matrices: Sequence[Tensor], *, rank: int, keep: float, smoothing: Smoothing, ratio: float) -> Tensor:
    """DC-Merge of T matrices; the work is done in float64.

    Args:
        matrices: T matrices (m, n).
        rank: Singular vectors of each; 0 is int(min(m, n) / T), and never more.
        keep: Share of the elements of each core that is kept.
        smoothing: What is done to the singular values first.
        ratio: Of the largest to the smallest singular value after "linear" smoothing.

    Returns:
        (m, n) in the dtype of the matrices.
    """
    count, whole = len(matrices), min(matrices[0].shape)
    k = int(whole * (1 / count)) if rank == 0 else min(rank, whole // count)
    parts = [significant(x).top(k) for x in matrices]
    cover = joined(parts)
    if cover.s.numel() == 0:
        return torch.zeros_like(matrices[0])
    u, vt = polar(cover.u), polar(cover.vt)  # (m, T k), (T k, n)
    cores = [(u.mT @ p.u * smoothed(p.s, smoothing, ratio)) @ (p.vt @ vt.mT) for p in parts]  # T x (T k, T k)
    size = whole if rank == 0 else count * k  # the official cores are padded with zeros to this size
    kept = [at_least(x, _largest(x, max(1, int(keep * size * size)))) for x in cores]
    merged = combine(kept, [1.0] * count, "mean", elect=True)
    task = _owners([p.s.numel() for p in parts], k, size // count).to(u.device)
    return (u @ (merged * (task[:, None] == task[None])) @ vt).to(matrices[0].dtype)


def _owners(ranks: Sequence[int], rank: int, block: int) -> Tensor:
    """Which task each row and column of the cores belongs to.

    The official code cuts blocks of one size, which may be one more than the rank; where tasks have fewer
    singular values than the rank, they are counted instead.
    """
    if all(r == rank for r in ranks):
        return torch.arange(rank * len(ranks)) // block
    return torch.repeat_interleave(torch.arange(len(ranks)), torch.tensor(ranks))


def _largest(core_matrix: Tensor, count: int) -> float:
    """The magnitude, in float32, of the count-th largest element."""
    flat = core_matrix.reshape(-1).float().abs()
    return float(flat.topk(min(count, flat.numel())).values[-1])


# -- Twin-Merging ----------------------------------------------------------------------------------------------


def compressed(delta: Tensor, density: float, how: str) -> Tensor:
    """What is left of a task vector that is stored small.

    Args:
        delta: Of any shape; two dimensions for "svd".
        density: Share of the singular values or elements that is kept.
        how: "svd", "magnitude" (all that tie with the smallest one kept stay), or "whole".

    Returns:
        The same shape.
    """
    if how == "whole" or density >= 1 or delta.numel() == 0:
        return delta
    if how == "svd":
        parts = svd(delta)
        return parts.top(int(density * parts.s.numel())).product()
    count = int(density * delta.numel())
    return at_least(delta, _largest(delta, count)) if count else torch.zeros_like(delta)
