"""Ranks within rows: thresholds and probabilities of (r, c) arrays, row by row without a loop."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.steps import ops
from engine.steps.ops import Array
from engine.steps.reduce import row_sums
from engine.steps.select import magnitude_bits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from engine.steps.view import Chunk, Span, View

_PIECES = 16  # of a row, as in `engine.steps.reduce`
_REMEMBERED = 1 << 17  # most elements that are ranked at once, and of a table that is kept for the next ones
_NARROW = 1 << 12  # most columns of rows whose order is found by short keys


def bounds(values: Array, low: int, high: int) -> tuple[Array, Array]:
    """The low-th and high-th smallest magnitude of each row.

    Args:
        values: (r, c) float32 or float64.
        low: Rank from 1 to c.
        high: Rank from `low` to c.

    Returns:
        Two arrays (r, 1).
    """
    bits = magnitude_bits(values)
    if not ops.is_on_cpu(bits):
        rows = bits.sort(dim=1).values
        found = (rows[:, rank - 1 : rank].contiguous().view(values.dtype) for rank in (low, high))
        return next(found), next(found)
    rows_low = np.partition(ops.to_host(bits), low - 1, axis=1)  # much faster than two ranks at once
    rows_high = np.partition(rows_low[:, low - 1 :], high - low, axis=1)[:, high - low : high - low + 1]
    kind = np.float64 if ops.is_wide(values) else np.float32
    least, most = (x.copy().view(kind) for x in (rows_low[:, low - 1 : low], rows_high))
    return ops.from_host(least, like=values), ops.from_host(most, like=values)


def between(values: Array, low: Array | float, high: Array | float) -> Array:
    """The values whose magnitude lies from `low` to `high`, both included, and 0 for the others.

    Args:
        values: (r, c) or (n,).
        low: A number, or one for each row (r, 1).
        high: The same.

    Returns:
        A new array of the same shape.
    """
    if isinstance(low, float) and isinstance(high, float):
        return ops.within(values, low, high)
    size = abs(values)
    kept = ops.is_at_least(size, low, out=ops.empty_like(size))
    kept *= ops.is_at_least(-size, -high, out=size)
    kept *= values
    return kept


def by_rank(values: Array, lowest: float, spread: float) -> Array:
    """A number that grows evenly with the rank of the magnitude in its row.

    Of equal magnitudes the later one ranks higher.

    Args:
        values: (r, c) float32 or float64.
        lowest: Number of the smallest magnitude of each row.
        spread: How much more the largest has; a row of one element has the middle.

    Returns:
        (r, c) float32.
    """
    rows, width = values.shape
    if width < 2:
        return ops.from_host(np.full((rows, width), lowest + spread / 2, np.float32), like=values)
    if not ops.is_on_cpu(values):
        places = magnitude_bits(values).sort(dim=1, stable=True).indices
        out = ops.narrow(ops.empty_like(values))
        return out.scatter_(1, places, ops.from_host(_evenly(1, width, lowest, spread), like=values).expand_as(places))
    host, step = np.empty((rows, width), np.float32), max(1, _REMEMBERED // width)
    for first in range(0, rows, step):
        part = host[first : first + step]
        numbers = _evenly if part.size <= _REMEMBERED else _evenly.__wrapped__
        part.reshape(-1)[order(values[first : first + step])] = numbers(*part.shape, lowest, spread)
    return ops.from_host(host, like=values)


@lru_cache(maxsize=4)
def _evenly(rows: int, width: int, lowest: float, spread: float) -> NDArray[np.float32]:
    """The numbers of all ranks of rows of two elements or more, (rows * width,); never change them."""
    share = np.arange(width, dtype=np.float32)
    share /= width - 1
    share *= np.float32(spread)
    share += np.float32(lowest)
    return np.tile(share, rows)


def order(values: Array) -> NDArray[np.int64]:
    """Where the magnitudes of each row stand when they are sorted; equal ones keep their order.

    numpy sorts indices slowly, and numbers with the processor's wide registers. So magnitude and index are made one
    number; no two of these are equal, so that any sort is a stable one.

    Args:
        values: (r, c) float32 or float64 on the CPU.

    Returns:
        (r * c,) indices of the flat values: first those of the first row, from its smallest magnitude on.
    """
    rows, width = values.shape
    keys: NDArray[np.int64]
    if ops.is_wide(values) or (rows * width) >> 32:
        keys = np.argsort(ops.to_host(abs(values)), axis=1, kind="stable")
        keys += np.arange(rows)[:, None] * width
        return keys.reshape(-1)
    doubled = ops.to_host(values).view(np.uint32) << np.uint32(1)  # without the sign
    short = _by_short_keys(doubled) if 0 < doubled.size <= _REMEMBERED and width <= _NARROW else None
    keys = _by_long_keys(doubled) if short is None else short
    return keys.reshape(-1)


def _by_long_keys(doubled: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Flat indices (r, c) in the order of each row's magnitudes, by numbers of 64 bits; see `order`."""
    keys = doubled.astype(np.int64)
    keys <<= 31
    keys |= (np.arange if doubled.size > _REMEMBERED else _indices)(doubled.size).reshape(keys.shape)
    keys.view(np.float64).sort(axis=1)  # positive doubles sort like their bits, and faster
    keys &= 0xFFFF_FFFF
    return keys


def _by_short_keys(doubled: NDArray[np.uint32]) -> NDArray[np.int64] | None:
    """The same by numbers of 32 bits, which sort in two thirds of the time.

    The column takes the place of the lowest bits of the magnitude, which are 0 for nearly all task vectors of 16-bit
    checkpoints. Rows where one is not are looked at again, and sorted again if it mattered.

    Returns:
        (r, c); None where many magnitudes have such bits.
    """
    rows, width = doubled.shape
    low = np.uint32((1 << (width - 1).bit_length()) - 1)
    some = doubled[:: rows // 4 + 1] & low
    if np.count_nonzero(some) > some.size // 16:
        return None
    doubtful = np.flatnonzero(np.bitwise_or.reduce(doubled, axis=1) & low)
    columns, firsts = _columns(rows, width)
    keys = doubled & ~low if doubtful.size else doubled
    keys = keys | columns
    keys.sort(axis=1)
    keys &= low
    keys += firsts
    places = keys.astype(np.int64)
    if doubtful.size:
        _correct(places, doubled, doubtful)
    return places


def _correct(places: NDArray[np.int64], doubled: NDArray[np.uint32], doubtful: NDArray[np.intp]) -> None:
    """Sort those of the doubtful rows again, by long keys, that are not in order."""
    found = doubled.reshape(-1)[places[doubtful]]
    wrong = doubtful[(found[:, 1:] < found[:, :-1]).any(axis=1)]
    if wrong.size:
        first = (wrong - np.arange(wrong.size))[:, None] * doubled.shape[1]
        places[wrong] = _by_long_keys(doubled[wrong]) + first


@lru_cache(maxsize=4)
def _indices(count: int) -> NDArray[np.int64]:
    """Whole numbers from 0 on; never change them."""
    return np.arange(count)


@lru_cache(maxsize=4)
def _columns(rows: int, width: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Column, and index of the row's first element, of each element: two arrays (r, c); never change them."""
    flat = np.arange(rows * width, dtype=np.uint32).reshape(rows, width)
    columns = flat % np.uint32(width)
    return columns, flat - columns


def by_size(values: Array, lowest: float, spread: float) -> Array:
    """A number that grows evenly with the magnitude between the smallest and the largest of its row.

    Returns:
        (r, c) in the dtype of the values.
    """
    size = abs(values)
    least, most = _extremes(size)
    size -= least
    size /= most - least + 1e-7
    size *= spread
    size += lowest
    return size


def _extremes(values: Any) -> tuple[Array, Array]:
    """The smallest and the largest number of each row: two arrays (r, 1)."""
    if ops.is_host(values):
        return values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    least, most = values.aminmax(dim=1, keepdim=True)
    return least, most


def sums(values: Array) -> list[float]:
    """The numbers of `engine.steps.reduce.row_sums`, (r, c) to r, for numpy arrays as well."""
    if not ops.is_host(values):
        found: list[float] = row_sums(values).tolist()
        return found
    rest = -values.shape[1] % _PIECES
    cut = (np.pad(values, ((0, 0), (0, rest))) if rest else values).reshape(
        len(values), _PIECES, -(-values.shape[1] // _PIECES)
    )
    if cut.shape[2] > 1:
        folded = np.add.reduce(cut, axis=1, dtype=np.float64)  # (r, c / 16)
    else:  # numpy adds single columns in another order
        folded = np.add.accumulate(cut, axis=1, dtype=np.float64)[:, -1]
    while folded.shape[1] > 1:
        width = folded.shape[1]
        half = (width + 1) // 2
        folded[:, : width - half] += folded[:, half:]
        folded = folded[:, :half]
    added: list[float] = folded.sum(axis=1).tolist()
    return added


def whole_rows(view: View) -> Iterator[tuple[Span, list[Array]]]:
    """The task vectors of one tensor as whole rows (r, c), whatever pieces the view hands out.

    Args:
        view: One tensor.

    Yields:
        Where the rows are, and T copies of them.
    """
    held: list[Array] = []
    for span, pieces in view.map(_copied):
        parts = [_joined(pair) for pair in zip(held, pieces, strict=True)] if held else pieces
        width = prod(span.shape[1:]) if len(span.shape) > 1 else prod(span.shape)
        start = span.stop - len(parts[0])
        full = len(parts[0]) // width * width
        held = [x[full:] for x in parts]
        if full:
            yield replace(span, start=start, stop=start + full), [x[:full].reshape(-1, width) for x in parts]


def whole(view: View) -> list[Array]:
    """The task vectors of one tensor in one piece: T arrays (n,)."""
    parts = [pieces for _, pieces in view.map(_copied)]
    return [_joined([part[t] for part in parts]) for t in range(view.models)] if parts else []


def _copied(chunk: Chunk) -> tuple[Span, list[Array]]:
    """Where a chunk is, and its task vectors in memory of their own."""
    return chunk.span, [ops.copied(x.reshape(-1)) for x in chunk.deltas]


def _joined(parts: Sequence[Array]) -> Array:
    """Pieces (n_i,) as one."""
    if ops.is_host(parts[0]):
        return ops.from_host(np.concatenate(parts), like=parts[0])
    import torch

    return torch.cat(list(parts))


class Bits:
    """A mask of a whole tensor in one bit an element, filled from the front."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._starts: list[int] = [0]

    def append(self, mask: Array) -> None:
        """Add the next elements: any shape, 1 or 0."""
        bits = ops.to_host(mask.reshape(-1)) != 0
        self._parts.append(np.packbits(bits))
        self._starts.append(self._starts[-1] + bits.size)

    def part(self, start: int, stop: int, like: Array) -> Array:
        """The mask of the elements from `start` to `stop`, in the shape, dtype and device of `like`."""
        found, place = [], bisect_right(self._starts, start) - 1
        while place < len(self._parts) and self._starts[place] < stop:
            first, last = self._starts[place], self._starts[place + 1]
            low, high = max(start, first) - first, min(stop, last) - first
            bits = np.unpackbits(self._parts[place][low // 8 : -(-high // 8)])
            found.append(bits[low % 8 : low % 8 + high - low])
            place += 1
        kind = np.float64 if ops.is_wide(like) else np.float32
        return ops.from_host(np.concatenate(found).astype(kind), like=like).reshape(like.shape)
