"""What the view of the sign conflict shows: light, so that the program can name it before a plot is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from widgets.plots.state import Heat, Table, digits, shown, with_unit

COUNTED = ("weights", "magnitude")
"""How a conflict is counted, as the table calls it."""


def _nothing() -> np.ndarray:
    return np.zeros((0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignConflict(Heat):
    """Sign conflict of every expert in every layer, counted in two ways; `values` is the one that is drawn.

    Attributes:
        counts: (R, C) share of the weights that an expert changes.
        masses: (R, C) share of the sum of |τ| of the expert's changes.
        by_magnitude: Whether `values` are the masses.
    """

    counts: np.ndarray = field(default_factory=_nothing)
    masses: np.ndarray = field(default_factory=_nothing)
    by_magnitude: bool = False

    def table(self) -> Table:
        """Both ways of counting as a table, a row for each expert and way."""
        return ("", "counted by", *self.columns), tuple(
            (name, way, *(shown(float(v), self.unit) for v in line)) for name, way, line in self._lines()
        )

    def numbers(self) -> Table:
        """The same for other programs."""
        return ("", "counted by", *(with_unit(name, self.unit) for name in self.columns)), tuple(
            (name, way, *(digits(float(v), self.unit) for v in line)) for name, way, line in self._lines()
        )

    def _lines(self) -> list[tuple[str, str, np.ndarray]]:
        ways = tuple(zip(COUNTED, (self.counts, self.masses), strict=True))
        return [(name, way, values[r]) for r, name in enumerate(self.rows) for way, values in ways]
