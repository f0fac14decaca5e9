"""Exact order statistics of magnitudes where another pass costs no reading: a sample says where to look.

The ranks of a sample of 2^14 elements bound where the wanted magnitude lies (four standard deviations on either side);
one pass counts what is below and picks out what is inside, a few hundredths of all elements. Counting is exact, and
where the sample was unlucky the caller counts everything: the result is that of a full sort, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.steps import ops
from engine.steps.reduce import pick_deltas
from engine.steps.view import Chunk

if TYPE_CHECKING:
    from engine.steps.ops import Array
    from engine.steps.reduce import Picks
    from engine.steps.view import View

SAMPLE = 1 << 14
_DEVIATIONS = 4.0
_SLACK = 8
_MANY = 1 / 64  # share of the sample above which elements that are the guess are counted, not picked out
_LARGEST = np.uint32(0x7FFF_FFFF)

Bits = NDArray[np.uint32]


def ranked(view: View, ranks: Sequence[int], picks: Picks) -> list[tuple[float, ...]] | None:
    """The magnitudes of some ranks in every model's picked tensors.

    Args:
        view: One tensor, of which another pass is cheap.
        ranks: From 1 (smallest) to `view.numel` (largest).
        picks: Which tensors of a chunk to rank, one for each model.

    Returns:
        For each rank T magnitudes; None where they were not found: float64, another device, an unlucky sample.
    """
    samples = _samples(view, picks)
    if samples is None:
        return None
    brackets = [[_Bracket.around(sample, (rank - 0.5) / view.numel) for rank in ranks] for sample in samples]
    _look(view, brackets, picks)
    found = [[bracket.found(rank) for bracket, rank in zip(row, ranks, strict=True)] for row in brackets]
    if any(bits is None for row in found for bits in row):
        return None
    table = np.array(found, np.uint32).reshape(len(brackets), len(ranks)).view(np.float32)
    return [tuple(map(float, column)) for column in table.T]


def largest_share(view: View, share: float, pick: Callable[[Chunk], Array]) -> float | None:
    """The smallest of the int(share * m) largest of m numbers above 0.

    Args:
        view: One tensor, of which another pass is cheap.
        share: Above 0 and below 1.
        pick: Chunk to as many numbers of 0 and above, each made of its own element only: it is also called with
            elements that do not lie side by side.

    Returns:
        A number that occurs; infinity if int(share * m) is 0; None where it was not found, as `ranked`.
    """

    def picks(chunk: Chunk) -> list[Array]:
        return [pick(chunk)]

    samples = _samples(view, lambda chunk: picks(_thinned(chunk, _stride(view))), whole=True)
    if samples is None:
        return None
    present = float(np.count_nonzero(samples[0])) / len(samples[0])
    doubt = share * sqrt(present * (1 - present) / len(samples[0]))  # of the number of numbers above 0
    bracket = _Bracket.around(samples[0], 1 - share * present, doubt)
    above = 0

    def counted(chunk: Chunk) -> list[Array]:
        nonlocal above
        values = pick(chunk)
        above += ops.count_nonzero(values)
        return [values]

    _look(view, [[bracket]], counted)
    wanted = int(above * share)
    if wanted < 1:
        return float("inf")
    bits = bracket.found(view.numel - wanted + 1)
    return None if bits is None else float(np.array(bits, np.uint32).view(np.float32))


def _look(view: View, brackets: Sequence[Sequence[_Bracket]], picks: Picks) -> None:
    """Pass over the view once."""

    def look(chunk: Chunk) -> None:
        for row, x in zip(brackets, picks(chunk), strict=True):
            bits = _bits(x)
            for bracket in row:
                bracket.look(bits)

    for _ in view.map(look):
        pass


def _bits(values: Array) -> Bits:
    """The bits of |values|, which sort like the magnitudes: (n,)."""
    bits: Bits = ops.to_host(values.reshape(-1)).view(np.uint32) & _LARGEST
    return bits


def _stride(view: View) -> int:
    """The distance of the sample's elements; odd, so that the columns of a matrix take turns."""
    return max(1, view.numel // SAMPLE) | 1


def _thinned(chunk: Chunk, stride: int) -> Chunk:
    """Some elements of a chunk, as one."""
    base, *deltas = (ops.copied(x.reshape(-1)[::stride]) for x in (chunk.base, *chunk.deltas))
    span = replace(chunk.span, stop=chunk.span.start + len(base))
    return Chunk(span, base, tuple(deltas), chunk.weights)


def _samples(view: View, picks: Picks, *, whole: bool = False) -> list[Bits] | None:
    """Every model's magnitudes at regular places, sorted; None for other than float32 on the CPU.

    Args:
        view: One tensor.
        picks: What to sample.
        whole: Whether all that is picked belongs to the sample.
    """
    stride = 1 if whole else _stride(view)

    def some(tensors: Sequence[Array]) -> list[Bits] | None:
        if any(ops.is_wide(x) or not ops.is_on_cpu(x) for x in tensors):
            return None
        return [_bits(x.reshape(-1)) for x in tensors]

    def thinned(chunk: Chunk) -> list[Bits] | None:
        return some([x.reshape(-1)[::stride] for x in picks(chunk)])

    parts = list(map(some, view.sample(stride)) if picks is pick_deltas else view.map(thinned))
    if any(part is None for part in parts):
        return None
    return [np.sort(np.concatenate(column)) for column in zip(*(p for p in parts if p is not None), strict=True)]


@dataclass(slots=True)
class _Bracket:
    """Where one rank of one model is looked for, and what was found there.

    Attributes:
        low: Smallest bits that are looked at.
        high: Largest ones.
        guess: The sample's own answer where many elements share it: these are only counted.
        below: How many elements are smaller than `low`.
        equal: How many are the guess.
        others: Bits of the others in between.
    """

    low: np.uint32
    high: np.uint32
    guess: np.uint32 | None
    below: int = 0
    equal: int = 0
    others: list[Bits] = field(default_factory=list)

    @classmethod
    def around(cls, sample: Bits, share: float, doubt: float = 0.0) -> _Bracket:
        """The bracket that a sorted sample of all elements suggests.

        Args:
            sample: Sorted.
            share: Of the elements below the wanted one.
            doubt: Standard deviation of the share, where it rests on the sample itself.
        """
        last = len(sample) - 1
        place = min(last, int(share * len(sample)))
        spread = sqrt(share * (1 - share) / len(sample)) + doubt
        reach = int(_DEVIATIONS * spread * len(sample)) + _SLACK
        low = sample[place - reach] if place >= reach else np.uint32(0)
        high = sample[place + reach] if place + reach <= last else _LARGEST
        guess = sample[place]
        many = np.searchsorted(sample, guess, "right") - np.searchsorted(sample, guess) > _MANY * len(sample)
        return cls(low, high, guess if many else None)

    def look(self, bits: Bits) -> None:
        """Take one chunk."""
        inside = bits <= self.high
        if self.low:
            smaller = bits < self.low
            self.below += int(np.count_nonzero(smaller))
            inside ^= smaller
        if self.guess is not None:
            self.equal += int(np.count_nonzero(bits == self.guess))
            inside &= bits != self.guess
        self.others.append(bits[np.flatnonzero(inside)])  # faster than a mask as index

    def found(self, rank: int) -> int | None:
        """The bits that have a rank, from 1; None if they lie outside."""
        others = np.sort(np.concatenate(self.others)) if self.others else np.zeros(0, np.uint32)
        smaller = int(np.searchsorted(others, self.guess)) if self.guess is not None else len(others)
        place = rank - self.below - 1
        if not 0 <= place < len(others) + self.equal:
            return None
        if self.guess is not None and smaller <= place < smaller + self.equal:
            return int(self.guess)
        return int(others[place if place < smaller else place - self.equal])
