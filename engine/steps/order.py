"""Exact order statistics of any numbers made of a chunk: signed ones, several ranks, any count of tensors.

The same radix select as `engine.steps.select`, which is for one rank of magnitudes: two passes over the view
for float32, four for float64, whatever the chunk size, device or number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.steps import bracket, ops
from engine.steps.select import BINS, DIGIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.steps.ops import Array
    from engine.steps.reduce import Picks
    from engine.steps.view import Chunk, View

Wanted = list[tuple[int, int]]
"""(prefix, rank among the keys with this prefix) of each wanted rank of one tensor."""


def order_statistics(view: View, ranks: Sequence[Sequence[int]], picks: Picks) -> list[tuple[float, ...]]:
    """The numbers that have the given ranks, of each of M tensors that are made of every chunk.

    Args:
        view: The elements to rank, all together.
        ranks: For each of the M tensors, ranks from 1 (smallest) to `view.numel` (largest).
        picks: Chunk to M tensors of as many elements as the chunk; they may be negative.

    Returns:
        For each tensor the numbers at its ranks; zeros for an empty view.

    Raises:
        ValueError: if a rank lies outside the view.
    """
    if view.numel == 0:
        return [(0.0,) * len(row) for row in ranks]
    if any(not 1 <= rank <= view.numel for row in ranks for rank in row):
        raise ValueError(f"ranks {ranks} of {view.numel} elements")
    wanted: list[Wanted] = [[(0, rank) for rank in row] for row in ranks]
    done, width = 0, 32
    while done < width:
        counts, widths = _pass(view, picks, wanted, done)
        if len(widths) > 1:  # some chunks are float64: widen the others, which is exact, and begin anew
            return order_statistics(view, ranks, lambda chunk: [ops.wide(x) for x in picks(chunk)])
        width = max(widths)
        wanted = [_narrowed(row, found, done) for row, found in zip(wanted, counts, strict=True)]
        done += DIGIT
    return [tuple(_number(prefix, width) for prefix, _ in row) for row in wanted]


def sortable_bits(values: Array) -> Array:
    """Integers that sort like the numbers: (n,) float32 or float64 to int32 or int64."""
    bits = ops.raw_bits(values)
    if ops.is_wide(values):
        return bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)
    return bits ^ ((bits >> 31) & 0x7FFF_FFFF)


def _number(key: int, width: int) -> float:
    """The number whose sortable bits these are; -0 becomes 0."""
    half = 1 << (width - 1)
    bits = key ^ (half - 1) if key < 0 else key
    return float(np.array(bits, f"<i{width // 8}").view(f"<f{width // 8}")) + 0.0


def _pass(
    view: View, picks: Picks, wanted: Sequence[Wanted], done: int
) -> tuple[list[dict[int, np.ndarray]], set[int]]:
    """Count the next digit of the keys of each tensor, for each prefix that is still wanted.

    Returns:
        M tables from prefix to histogram (BINS,), and the widths in bits of the floats that were met.
    """
    prefixes = [sorted({prefix for prefix, _ in row}) for row in wanted]

    def count(chunk: Chunk) -> tuple[list[list[np.ndarray]], int]:
        tensors = picks(chunk)
        width = 64 if ops.is_wide(tensors[0]) else 32
        keys = [sortable_bits(x.reshape(-1)) for x in tensors]
        return [[_histogram(k, width, p, done) for p in row] for k, row in zip(keys, prefixes, strict=True)], width

    totals = [{p: np.zeros(BINS, np.int64) for p in row} for row in prefixes]
    widths = set()
    for part, width in view.map(count):
        widths.add(width)
        for total, row, histograms in zip(totals, prefixes, part, strict=True):
            for prefix, histogram in zip(row, histograms, strict=True):
                total[prefix] += histogram
    return totals, widths


def _histogram(keys: Array, width: int, prefix: int, done: int) -> np.ndarray:
    """How often each next digit follows the prefix among the keys: (BINS,) counts."""
    if done:
        keys = ops.chosen(keys, (keys >> (width - done)) == prefix)
    digits = keys >> (width - done - DIGIT)
    digits = digits & (BINS - 1) if done else digits + BINS // 2
    counts: np.ndarray = np.zeros(BINS, np.int64)
    found = ops.bincount(digits)
    counts[: len(found)] = found
    return counts


def largest_share(view: View, share: float, pick: Callable[[Chunk], Array]) -> float:
    """The smallest of the int(share * m) largest of m numbers above 0, in two passes (float64: five).

    Args:
        view: One tensor.
        share: From 0 to 1.
        pick: Chunk to as many numbers of 0 and above, each made of its own element only.

    Returns:
        A number that occurs; infinity if int(share * m) is 0.
    """
    if view.resident and 0 < share < 1:
        found = bracket.largest_share(view, share, pick)
        if found is not None:
            return found

    def count(chunk: Chunk) -> tuple[int, np.ndarray | None]:
        values = pick(chunk).reshape(-1)
        above = ops.count_nonzero(values)
        if ops.is_wide(values):
            return above, None
        return above, _histogram(sortable_bits(values), 32, 0, 0)[BINS // 2 :]

    above, histogram, wide = 0, np.zeros(BINS // 2, np.int64), False
    for found, part in view.map(count):
        above += found
        if part is None:
            wide = True
        else:
            histogram += part
    wanted = int(above * share)
    if wanted < 1:
        return float("inf")
    if wide:
        return order_statistics(view, [[view.numel - wanted + 1]], lambda chunk: [pick(chunk)])[0][0]
    falling = np.cumsum(histogram[::-1])
    place = int(np.searchsorted(falling, wanted))
    prefix, rank = BINS // 2 - 1 - place, wanted - (int(falling[place - 1]) if place else 0)
    finer = np.zeros(BINS, np.int64)
    for found_finer in view.map(lambda chunk: _histogram(sortable_bits(pick(chunk).reshape(-1)), 32, prefix, DIGIT)):
        finer += found_finer
    ranked = int(np.searchsorted(np.cumsum(finer[::-1]), rank))
    return _number((prefix << DIGIT) | (BINS - 1 - ranked), 32)


def _narrowed(row: Wanted, counts: dict[int, np.ndarray], done: int) -> Wanted:
    """The prefixes one digit longer, and the ranks that are left below them."""
    out = []
    for prefix, rank in row:
        below = np.cumsum(counts[prefix])
        digit = int(np.searchsorted(below, rank))
        left = rank - (int(below[digit - 1]) if digit else 0)
        out.append(((prefix << DIGIT) | digit if done else digit - BINS // 2, left))
    return out
