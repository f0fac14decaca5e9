"""Many yes-or-no rows as one code for each weight, or as packed bits: what makes counting sets of experts fast."""

from __future__ import annotations

import threading
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
Counts = NDArray[np.int64]

_BYTE = 8
_AT_ONCE = 1 << 16  # words
_POWERS = (1 << np.arange(_BYTE)).astype(np.uint8)[:, None]


class Room:
    """A thread's own memory for arrays that are made anew for every piece; from one call to the next."""

    def __init__(self) -> None:
        self._local = threading.local()

    def array(self, name: str, shape: tuple[int, ...], kind: Any) -> Array:
        """An array with arbitrary contents, the same memory at every call from this thread with this name.

        Args:
            name: Distinguishes arrays that are needed at the same time.
            shape: Its shape.
            kind: Its dtype.
        """
        held: dict[Any, Array] = self._local.__dict__
        key, count = (name, kind), prod(shape)
        if key not in held or held[key].size < count:
            held[key] = np.empty(count, kind)
        return held[key][:count].reshape(shape)


def set_codes(rows: Array, room: Room) -> Array:
    """For every weight the set of rows that hold it.

    Args:
        rows: (T, n) of 0 and 1, uint8, for at most 15 rows.
        room: Memory for the result.

    Returns:
        (n,) uint8 (int16 for more than 8 rows): bit t says whether row t holds the weight; valid until the next call.
    """
    total, count = rows.shape
    low = _byte_codes("low", rows[:_BYTE], room)
    if total <= _BYTE:
        return low
    codes = room.array("codes", (count,), np.int16)
    np.copyto(codes, _byte_codes("high", rows[_BYTE:], room))
    np.left_shift(codes, _BYTE, out=codes)
    return np.bitwise_or(codes, low, out=codes)


def _byte_codes(name: str, rows: Array, room: Room) -> Array:
    """(n,) uint8 codes of at most 8 rows."""
    bits = room.array("bits", rows.shape, np.uint8)
    np.multiply(rows, _POWERS[: len(rows)], out=bits)
    made: Array = np.bitwise_or.reduce(bits, axis=0, out=room.array(name, rows.shape[1:], np.uint8))
    return made


def histogram(codes: Array, bins: int) -> Counts:
    """How often each code occurs, (bins,); codes are uint8 or not negative."""
    made: Counts = torch.bincount(torch.from_numpy(codes), minlength=bins).numpy()
    return made


def packed(rows: Array) -> NDArray[np.uint64]:
    """(T, n) of 0 and 1 as (T, ceil(n / 64)) words of bits, the last one filled with 0."""
    count = rows.shape[1]
    words = np.zeros((len(rows), -(-count // 64) * 8), np.uint8)
    words[:, : -(-count // 8)] = np.packbits(rows, axis=1)
    made: NDArray[np.uint64] = words.view(np.uint64)
    return made


def population(words: NDArray[np.uint64]) -> Counts:
    """Number of bits that are set in each row, (...,) of (..., w) words."""
    made: Counts = np.bitwise_count(words).sum(axis=-1, dtype=np.uint32).astype(np.int64)
    return made


def common(words: NDArray[np.uint64]) -> Counts:
    """(R, R) number of bits that two rows have in common; the diagonal is the size of each row.

    Args:
        words: (R, w) packed rows.
    """
    total = len(words)
    if words.size * total <= _AT_ONCE:  # few words: what a call costs is more than what is counted twice
        return population(words[:, None] & words)
    found = np.zeros((total, total), np.int64)
    for row in range(total):
        found[row, row:] = found[row:, row] = population(words[row] & words[row:])
    return found
