"""Axes that write powers of ten as people do: 10⁻³, 10⁻², 0.1, 1, 10, 100, 10³."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyqtgraph as pg

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST = 9
"""Decades that each have a tick."""


class PowerAxis(pg.AxisItem):
    """An axis whose values are decimal logarithms."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self.enableAutoSIPrefix(False)

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:
        """Whole decades, several at a time on long axes; parts of one where little more is seen."""
        span = high - low
        step = float(max(1, math.ceil(span / _MOST))) if span > 1.5 else 0.25 if span < 0.75 else 0.5
        return [(step, 0.0)]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """The numbers themselves."""
        return [power(value) for value in values]


def power(exponent: float) -> str:
    """ "10⁻³", "0.1", "100", "10⁵"; between two decades two digits: "0.0056"."""
    whole = round(exponent)
    if abs(exponent - whole) > 1e-6:
        return f"{10.0**exponent:.2g}"
    if -1 <= whole <= 2:
        return f"{10.0**whole:g}"
    return f"10{str(whole).translate(_RAISED)}"
