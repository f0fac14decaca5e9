"""Histograms of |tau| and what a density means in them, as light numpy values (no torch).

A bin holds the magnitudes whose float32 bits begin alike: sign, exponent and 7 bits of the mantissa, as in bfloat16.
Bins are 1/128 of an octave wide, so a threshold read from the histogram is right to less than 0.8 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.files.model import Group
from engine.recipe.per_expert import PerExpert, folded

Counts = NDArray[np.int64]

FINE = 1 << 15
"""Bins of the whole model: 8 bits of exponent, 7 of mantissa."""

COARSE = 1 << 9
"""Bins of a group: 8 bits of exponent, 1 of mantissa."""

DRAWN = 1 << 11
"""Bins of a histogram for people: 1/8 of an octave each."""


@dataclass(frozen=True)
class Drawn:
    """A histogram for people, from the smallest to the largest magnitude that occurs.

    Attributes:
        edges: (B + 1,) where the bins begin, and where the last one ends.
        counts: (T, B) elements in each.
        zeros: (T,) elements that are 0 or too small for the first bin.
    """

    edges: NDArray[np.float64]
    counts: Counts
    zeros: Counts


@dataclass(frozen=True)
class Magnitudes:
    """How large the task vectors' elements are.

    Attributes:
        names: The T experts.
        groups: The G groups.
        fine: (T, FINE) elements of the whole model by magnitude.
        coarse: (G, T, COARSE) elements of each group by magnitude.
        share: Share of the weights that was looked at; less than 1 for an estimate from a sample.
    """

    names: tuple[str, ...]
    groups: tuple[Group, ...]
    fine: Counts
    coarse: Counts
    share: float = 1.0

    def threshold(self, density: float | Sequence[float]) -> NDArray[np.float64]:
        """(T,) magnitude down to which the largest elements make up a share of all (frozen ones count).

        The share is one number, or one for each expert.

        The lower edge of the bin that holds it: at most 0.8 % below the exact order statistic.
        """
        total = self.fine.sum(1, keepdims=True)
        above = self.fine[:, ::-1].cumsum(1)
        shares = np.broadcast_to(np.clip(density, 0.0, 1.0), (len(self.names),))[:, None]
        place = (above < shares * total).sum(1)
        found: NDArray[np.float64] = edges(FINE)[np.maximum(FINE - 1 - place, 0)]
        return found

    def kept(self, magnitude: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """(T,) share of elements in bins that begin at or above a magnitude (one, or one for each expert)."""
        wanted = np.broadcast_to(np.asarray(magnitude, np.float64), (len(self.names),))
        first = np.searchsorted(edges(FINE), wanted, side="left")
        above = np.concatenate([self.fine[:, ::-1].cumsum(1)[:, ::-1], np.zeros((len(self.names), 1), np.int64)], 1)
        chosen = np.take_along_axis(above, np.minimum(first, FINE)[:, None], 1)[:, 0]
        found: NDArray[np.float64] = chosen / np.maximum(self.fine.sum(1), 1)
        return found

    def drawn(self) -> Drawn | None:
        """The whole model's histogram in bins of 1/8 of an octave; None if all elements are 0."""
        width = FINE // DRAWN
        counts = self.fine.reshape(len(self.names), DRAWN, width)[:, 1:].sum(axis=2)  # the first holds the zeros
        ends = edges(FINE)[::width][1:]
        used = np.flatnonzero(counts.any(axis=0) & np.isfinite(ends))
        if not used.size:
            return None
        first, last = int(used[0]), min(int(used[-1]) + 1, len(ends) - 1)
        counts = counts[:, first:last]
        return Drawn(ends[first : last + 1], counts, self.fine.sum(axis=1) - counts.sum(axis=1))

    def ordered(self, order: Sequence[int]) -> Magnitudes:
        """The same with the experts in another order."""
        return replace(
            self, names=tuple(self.names[t] for t in order), fine=self.fine[order], coarse=self.coarse[:, order]
        )


def edges(bins: int) -> NDArray[np.float64]:
    """(bins,) smallest magnitude of each bin; those of NaN and beyond are infinite."""
    shift = 31 - (bins.bit_length() - 1)
    bits = np.arange(bins, dtype=np.uint32) << np.uint32(shift)
    found: NDArray[np.float64] = np.minimum(bits, np.uint32(0x7F80_0000)).view(np.float32).astype(np.float64)
    return found


def densities(params: Mapping[str, object], names: Sequence[str]) -> tuple[float, ...] | None:
    """The density of every expert, of a method's completed parameters; None if the method has none.

    Args:
        params: As `Method.complete` gives them; "density@NAME" is for one expert.
        names: The experts.
    """
    value = folded(params).get("density")
    if value is None:
        return None
    return value.of(names) if isinstance(value, PerExpert) else (float(value),) * len(names)
