"""Sums: element by element over experts, and over all elements of a tensor or model.

Nothing here depends on chunk size, threads or device: experts are added one by one in the order given,
with a rounded product and a rounded sum (no fused multiply-add); elements are added in fixed blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import fsum
from typing import TYPE_CHECKING

import numpy as np

from engine.steps import ops
from engine.steps.ops import Array
from engine.steps.view import BLOCK, Chunk, View

if TYPE_CHECKING:
    from torch import Tensor

_PIECES = 16
"""A block has BLOCK = 16 * 16 * 16 elements."""

Picks = Callable[[Chunk], Sequence[Array]]
"""Which arrays of a chunk a statistic is taken of; by default its deltas."""


def pick_deltas(chunk: Chunk) -> Sequence[Array]:
    """The task vectors as they are."""
    return chunk.deltas


def scaled(tensors: Sequence[Array], weights: Sequence[float]) -> list[Array]:
    """Each tensor times its coefficient; tensors with coefficient 1 are passed on, not copied.

    Args:
        tensors: T tensors (n,).
        weights: T coefficients.

    Returns:
        T tensors (n,); never change them in place.
    """
    return [x if w == 1 else x * w for x, w in zip(tensors, weights, strict=True)]


def weighted_sum(tensors: Sequence[Array], weights: Sequence[float]) -> Array:
    """sum_t weights[t] * tensors[t], added in the order given; experts with coefficient 0 are skipped.

    Args:
        tensors: T >= 1 tensors (n,).
        weights: T coefficients.

    Returns:
        A new tensor (n,).
    """
    heard = [(x, w) for x, w in zip(tensors, weights, strict=True) if w != 0]
    if not heard:
        return ops.zeros_like(tensors[0])
    (first, factor), *others = heard
    out = first * factor  # (n,)
    product = ops.empty_like(out)
    for x, w in others:
        out += ops.multiply(x, w, out=product) if w != 1 else x
    return out


def total(tensors: Sequence[Array]) -> Array:
    """sum_t tensors[t], added in the order given, as a new tensor (n,)."""
    if len(tensors) == 1:
        return ops.copied(tensors[0])
    out = tensors[0] + tensors[1]
    for x in tensors[2:]:
        out += x
    return out


def block_sums(values: Array) -> list[float]:
    """Sums of consecutive blocks of `BLOCK` elements, in float64.

    Every block is cut into 16 pieces that are added one after the other, their sum again, and the 16 numbers that
    are left are added in pairs: only element-wise additions in a fixed order, so that the result is the same on every
    device. Because chunks start at block borders, `math.fsum` over the block sums of all chunks does not depend on
    the chunk size either.

    Args:
        values: (n,) numbers, of a chunk that starts at a block border.

    Returns:
        ceil(n / BLOCK) float64 sums.
    """
    return _finished(_pieces(ops.wide(values)))


def size_blocks(values: Array) -> list[float]:
    """Sums of |values| (n,) by block; the first 16 numbers of each sum are added in the dtype of the values."""
    return _finished(_pieces(abs(values)))


def dot_blocks(a: Array, b: Array) -> list[float]:
    """Sums of a * b, both (n,), by block; the products of float32 numbers are exact in float64."""
    exact = not ops.is_wide(a) and not ops.is_wide(b)
    wide = ops.wide(a)
    return _products(wide, wide if b is a else ops.wide(b), exact=exact)


def product_blocks(tensors: Sequence[Array]) -> list[list[float]]:
    """Sums by block of the products of all pairs of T tensors (n,).

    Returns:
        T (T + 1) / 2 lists: the first with itself, with the second, ..., the last with itself.
    """
    exact = not any(map(ops.is_wide, tensors))
    wide = [_cut(ops.wide(x)) for x in tensors]
    return [_products(a, b, exact=exact) for i, a in enumerate(wide) for b in wide[i:]]


def _products(a: Array, b: Array, *, exact: bool) -> list[float]:
    """Block sums of the products of float64 numbers; `exact` if no product is rounded, fused or not."""
    a, b = _cut(a), _cut(b)
    if exact and ops.is_on_cpu(a):
        return _finished(np.einsum("bpi,bpi->bi", ops.to_host(a), ops.to_host(b)))
    return _finished(_pieces(a * b))


def _cut(values: Array) -> Array:
    """(n,) numbers as (blocks, 16, BLOCK / 16), filled up with zeros."""
    if values.ndim == 3:
        return values
    return ops.padded(values.reshape(-1), BLOCK).reshape(-1, _PIECES, BLOCK // _PIECES)


def _pieces(values: Array) -> np.ndarray:
    """The 16 pieces of every block added one after the other: (blocks, BLOCK / 16)."""
    cut = _cut(values)
    if ops.is_on_cpu(cut) and cut.shape[2] > 1:  # numpy adds single columns in another order
        added: np.ndarray = np.add.reduce(ops.to_host(cut), axis=1)
        return added
    total = ops.copied(cut[:, 0])
    for piece in range(1, _PIECES):
        total += cut[:, piece]
    return ops.to_host(total)


def _finished(pieces: np.ndarray) -> list[float]:
    """From (blocks, BLOCK / 16) partial sums to one float64 number for each block."""
    wide = pieces.astype(np.float64, copy=False).reshape(len(pieces), _PIECES, -1)
    columns = np.add.reduce(wide, axis=1).T  # (16, blocks)
    while len(columns) > 1:  # explicit: numpy adds in another order where there is only one column
        columns = columns[: len(columns) // 2] + columns[len(columns) // 2 :]
    sums: list[float] = columns[0].tolist()
    return sums


def row_sums(values: Tensor) -> Tensor:
    """Sum of each row, in float64: (r, c) to (r,).

    Every row is cut into 16 pieces that are added one after the other; the rest is folded in halves. So a row gives
    the same number in any chunk and on any device.
    """
    import torch

    rest = -values.shape[1] % _PIECES
    padded = torch.nn.functional.pad(values, (0, rest)) if rest else values
    if not padded.numel():
        return values.sum(dim=1, dtype=torch.float64)
    cut = padded.to(torch.float64).reshape(len(values), _PIECES, -1)  # (r, 16, c / 16)
    folded = torch.from_numpy(_pieces(cut))
    while folded.shape[1] > 1:
        width = folded.shape[1]
        half = (width + 1) // 2
        folded = torch.cat([folded[:, : width - half] + folded[:, half:], folded[:, width - half : half]], dim=1)
    return folded[:, 0]


def collect(parts: Iterable[Sequence[list[float]]]) -> list[float]:
    """Exact sums over all chunks.

    Args:
        parts: For every chunk, S lists of block sums.

    Returns:
        S numbers; empty if there are no chunks.
    """
    columns: list[list[float]] = []
    for part in parts:
        columns = columns or [[] for _ in part]
        for column, sums in zip(columns, part, strict=True):
            column.extend(sums)
    return [fsum(column) for column in columns]


def squared_norms(view: View, picks: Picks = pick_deltas) -> list[float]:
    """Sum of squares of every picked tensor over the whole view, one number for each model."""
    sums = collect(view.map(lambda chunk: [dot_blocks(x, x) for x in picks(chunk)]))
    return sums or [0.0] * view.models


def sums(view: View, picks: Picks = pick_deltas) -> list[float]:
    """Sum of every picked tensor over the whole view, one number for each model."""
    return collect(view.map(lambda chunk: [block_sums(x) for x in picks(chunk)])) or [0.0] * view.models
