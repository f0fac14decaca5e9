"""Exact order statistics of magnitudes over a whole model, in bounded memory.

A tensor that is in memory is looked at twice (`engine.steps.bracket`); a model is read once and counted.
The magnitude of a float grows with its bit pattern, so the k-th smallest is found digit by digit in
histograms of 16 bits: one pass over the model for task vectors of 16-bit checkpoints (nearly all of them have
no lower bits; those that do are counted one by one), two for float32, five for float64. Counting is exact: the
result equals a full sort bit for bit, whatever the chunk size, device or number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.steps import bracket, ops
from engine.steps.reduce import Picks, pick_deltas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.steps.ops import Array
    from engine.steps.view import Chunk, View

DIGIT = 16
"""Bits that one pass settles."""

BINS = 1 << DIGIT

_MOST_FINER = 1 / 8  # share of elements with lower bits above which they are not collected
_MOST_MAGNITUDES = 1 << 21  # different ones with lower bits, of all models together
_SORTED_AT_ONCE = 1 << 17


def magnitude_bits(values: Array) -> Array:
    """The bits of |values| as integers, which sort like the magnitudes.

    Args:
        values: (n,) float32 or float64 (other floats are widened to float32, which is exact).

    Returns:
        (n,) int32 or int64.
    """
    return ops.magnitude_bits(values)


def magnitude_of(bits: int, width: int) -> float:
    """The magnitude whose bits these are; `width` is 32 or 64."""
    return float(np.array(bits, f"<u{width // 8}").view(f"<f{width // 8}"))


@dataclass(frozen=True, slots=True)
class Sketch:
    """How often which magnitude occurs in one model's task vector.

    Task vectors of 16-bit checkpoints have few different magnitudes, so that this is small and exact. Of others
    only the upper 16 bits are counted.

    Attributes:
        bits: (n,) uint32, rising: magnitudes as bits; with the lower 16 bits cleared if not exact.
        counts: (n,) int64 of elements.
        exact: Whether all bits are there.
    """

    bits: NDArray[np.uint32]
    counts: NDArray[np.int64]
    exact: bool

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.bits.nbytes + self.counts.nbytes

    def find(self, rank: int) -> tuple[int, int]:
        """Bits of the rank-th smallest magnitude, and its rank among those that share these bits."""
        below = np.cumsum(self.counts)
        place = int(np.searchsorted(below, rank))
        return int(self.bits[place]), rank - (int(below[place - 1]) if place else 0)


def sketches(view: View, picks: Picks = pick_deltas) -> tuple[Sketch, ...] | None:
    """Count all magnitudes of every model in one pass; None if any of them is float64.

    Sketches of the task vectors themselves are remembered by the view.
    """
    if picks is pick_deltas:
        return view.recall(lambda: _sketch(view, picks))
    return _sketch(view, picks)


def _sketch(view: View, picks: Picks) -> tuple[Sketch, ...] | None:
    def count(chunk: Chunk) -> list[tuple[np.ndarray, np.ndarray | None]] | None:
        tensors = picks(chunk)
        return None if ops.is_wide(tensors[0]) else [_counted(x) for x in tensors]

    tallies = [_Tally(_MOST_MAGNITUDES // max(1, view.models)) for _ in range(view.models)]
    for parts in view.map(count):
        if parts is None:
            return None
        for tally, part in zip(tallies, parts, strict=True):
            tally.add(*part)
    return tuple(tally.sketch() for tally in tallies)


def _counted(values: Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Counts by the upper 16 bits, and the magnitudes that have lower bits, too (None if they are many)."""
    keys = magnitude_bits(values)
    counts = ops.bincount(keys >> DIGIT)
    finer = ops.to_host(ops.chosen(keys, (keys & (BINS - 1)) != 0))
    return counts, (finer.view(np.uint32) if finer.size <= len(values) * _MOST_FINER else None)


class _Tally:
    """Adds up what `_counted` finds in the chunks of one model.

    Args:
        most: Different magnitudes with lower bits that are remembered; with more of them the sketch is coarse.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._coarse = np.zeros(BINS, np.int64)
        self._bits, self._counts = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        self._waiting: list[np.ndarray] = []
        self._size = 0
        self._exact = True

    def add(self, counts: np.ndarray, finer: np.ndarray | None) -> None:
        """Take one chunk."""
        self._coarse[: len(counts)] += counts
        if finer is None:
            self._exact, self._waiting = False, []
        if not self._exact or finer is None:
            return
        self._waiting.append(finer)
        self._size += finer.size
        if self._size > _SORTED_AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        """Sort what waits into the counts."""
        bits, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting, self._size = [], 0
        both, place = np.unique(np.concatenate([self._bits, bits]), return_inverse=True)
        self._counts = np.rint(np.bincount(place, np.concatenate([self._counts, counts]), len(both))).astype(np.int64)
        self._bits = both
        self._exact = len(both) <= self._most

    def sketch(self) -> Sketch:
        """All chunks together."""
        if self._exact and self._waiting:
            self._settle()
        coarse = self._coarse
        if self._exact and len(self._bits):
            finer = np.bincount(self._bits >> DIGIT, self._counts)  # exact: whole numbers below 2^53
            coarse = coarse.copy()
            coarse[: len(finer)] -= np.rint(finer).astype(np.int64)
        places = np.flatnonzero(coarse)
        bits, counts = places.astype(np.uint32) << DIGIT, coarse[places]
        if self._exact:
            bits, counts = np.concatenate([bits, self._bits]), np.concatenate([counts, self._counts])
            order = np.argsort(bits, kind="stable")  # two rising parts: merged, not sorted
            bits, counts = bits[order], counts[order]
        return Sketch(bits.astype(np.uint32, copy=False), counts, self._exact)


def kth_magnitudes(view: View, rank: int, picks: Picks = pick_deltas) -> tuple[float, ...]:
    """The rank-th smallest magnitude of every model's picked tensors; see `ranked_magnitudes`."""
    return ranked_magnitudes(view, (rank,), picks)[0]


def ranked_magnitudes(view: View, ranks: Sequence[int], picks: Picks = pick_deltas) -> list[tuple[float, ...]]:
    """The magnitudes of some ranks in every model's picked tensors.

    Args:
        view: The elements to rank, all together.
        ranks: From 1 (smallest) to `view.numel` (largest).
        picks: Which tensors of a chunk to rank, one for each model.

    Returns:
        For each rank T magnitudes, each one that occurs; zeros for an empty view.

    Raises:
        ValueError: if a rank lies outside the view.
    """
    if view.numel == 0:
        return [(0.0,) * view.models for _ in ranks]
    if not all(1 <= rank <= view.numel for rank in ranks):
        raise ValueError(f"ranks {list(ranks)} of {view.numel} elements")
    if view.resident:
        found = bracket.ranked(view, ranks, picks)
        if found is not None:
            return found
    counted = sketches(view, picks)
    if counted is None:  # widen all to float64, which is exact
        return [_kth_wide(view, rank, lambda chunk: [ops.wide(x) for x in picks(chunk)]) for rank in ranks]
    return [_descended(view, rank, counted, picks) for rank in ranks]


def _descended(view: View, rank: int, counted: Sequence[Sketch], picks: Picks) -> tuple[float, ...]:
    """What the sketches say; one more pass where they are not exact."""
    found = [sketch.find(rank) for sketch in counted]
    if all(sketch.exact for sketch in counted):
        return tuple(magnitude_of(bits, 32) for bits, _ in found)
    prefixes, ranks = [bits >> DIGIT for bits, _ in found], [left for _, left in found]
    histograms = _digits(view, picks, prefixes, DIGIT, 32)
    bits = [s.find(rank)[0] if s.exact else (p << DIGIT) | int(np.searchsorted(np.cumsum(h), r))
            for s, h, p, r in zip(counted, histograms, prefixes, ranks, strict=True)]  # fmt: skip
    return tuple(magnitude_of(b, 32) for b in bits)


def _kth_wide(view: View, rank: int, picks: Picks) -> tuple[float, ...]:
    """The same for float64, in four passes."""
    prefixes, ranks = [0] * view.models, [rank] * view.models
    for done in range(0, 64, DIGIT):
        for t, histogram in enumerate(_digits(view, picks, prefixes, done, 64)):
            below = np.cumsum(histogram)
            digit = int(np.searchsorted(below, ranks[t]))
            ranks[t] -= int(below[digit - 1]) if digit else 0
            prefixes[t] = (prefixes[t] << DIGIT) | digit
    return tuple(magnitude_of(bits, 64) for bits in prefixes)


def _digits(view: View, picks: Picks, prefixes: Sequence[int], done: int, width: int) -> list[np.ndarray]:
    """Count the next digit of all magnitudes of `width` bits whose first `done` bits are the prefix.

    Returns:
        T histograms (BINS,) int64.
    """

    def count(chunk: Chunk) -> list[np.ndarray]:
        keys = [magnitude_bits(x) for x in picks(chunk)]
        return [_histogram(k, width, p, done) for k, p in zip(keys, prefixes, strict=True)]

    totals = [np.zeros(BINS, np.int64) for _ in prefixes]
    for histograms in view.map(count):
        for total, histogram in zip(totals, histograms, strict=True):
            total[: len(histogram)] += histogram
    return totals


def _histogram(keys: Array, width: int, prefix: int, done: int) -> np.ndarray:
    """How often each next digit follows the prefix among the keys: (<= BINS,) counts."""
    shift = width - done - DIGIT
    if done:
        keys = _with_prefix(keys, prefix, width - done)
    digits = (keys >> shift) & (BINS - 1)
    return ops.bincount(digits)


def _with_prefix(keys: Array, prefix: int, shift: int) -> Array:
    """The keys whose bits above `shift` are the prefix."""
    return ops.chosen(keys, (keys >> shift) == prefix)


def energy_magnitudes(view: View, fraction: float, picks: Picks = pick_deltas) -> tuple[float, ...]:
    """The magnitude down to which the largest elements hold a fraction of each model's squared norm.

    Keeping every element of at least this magnitude keeps the shortest prefix, in descending order, whose
    squares add up to `fraction` of all squares (elements of equal magnitude are kept together). Squares are
    counted in units of 2^-22 of their power of 4, so that the sums are exact; float64 is read as float32.

    Args:
        view: The elements to rank, all together.
        fraction: Share of the squared norm to reach, above 0 and at most 1.
        picks: Which tensors of a chunk to rank.

    Returns:
        T magnitudes; 0 where all elements are 0.
    """
    energies = [np.zeros(BINS) for _ in range(view.models)]  # (BINS,) by the upper 16 bits of the magnitude
    for parts in view.map(lambda chunk: [_energies(x) for x in picks(chunk)]):
        for energy, part in zip(energies, parts, strict=True):
            energy += part
    prefixes, missing = [], []
    for energy in energies:
        falling = np.cumsum(energy[::-1])
        place = int(np.searchsorted(falling, fraction * falling[-1]))
        prefixes.append(BINS - 1 - place)
        missing.append(fraction * falling[-1] - (falling[place - 1] if place else 0.0))
    counts = _digits(view, lambda chunk: [ops.narrow(x) for x in picks(chunk)], prefixes, DIGIT, 32)
    return tuple(
        _reach(count, prefix, rest, fraction) for count, prefix, rest in zip(counts, prefixes, missing, strict=True)
    )


def _energies(values: Array) -> np.ndarray:
    """Sum of squares of the values by the upper 16 bits of their magnitude: (BINS,) float64."""
    values = ops.narrow(values)
    keys = ops.to_host(magnitude_bits(values) >> DIGIT)
    mantissa, exponent = np.frexp(ops.to_host(values).astype(np.float64))
    units = np.bincount(keys, np.rint(np.ldexp(mantissa**2, 22)), minlength=BINS)  # exact: integers
    powers = np.zeros(BINS, np.int64)
    powers[keys] = exponent  # every normal value of a bin has the same exponent
    return np.ldexp(units, 2 * powers - 22)


def _reach(counts: np.ndarray, prefix: int, missing: float, fraction: float) -> float:
    """Descend through one bin until the missing squares are found; its threshold magnitude."""
    lows = np.flatnonzero(counts)[::-1]
    if prefix == 0 or not len(lows):
        return 0.0
    magnitudes = np.array([magnitude_of((prefix << DIGIT) | int(low), 32) for low in lows])
    falling = np.cumsum(counts[lows] * magnitudes**2)
    place = min(int(np.searchsorted(falling, missing)), len(lows) - 1) if fraction < 1 else len(lows) - 1
    return float(magnitudes[place])


def next_below(magnitude: float, *, wide: bool = False) -> float:
    """The largest float32 (`wide`: float64) below a magnitude; -1 for 0 (every magnitude is above it)."""
    if magnitude == 0:
        return -1.0
    kind = np.float64 if wide else np.float32
    nearest = kind(magnitude)
    return float(np.nextafter(nearest, kind(0)) if float(nearest) >= magnitude else nearest)
