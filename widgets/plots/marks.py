"""Frames around what is selected: the same mark in every view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor, QPen

from widgets.common.theme import theme

Box = tuple[float, float, float, float]
"""Left, right, bottom and top in the plot's own units."""


class Outline(pg.PlotCurveItem):
    """Frames around what is selected, in the colour that the desk selects with."""

    def show_boxes(self, boxes: Sequence[Box]) -> None:
        """Frame these places; none hides the outline."""
        if not boxes:
            self.setData([], [])
            return
        x = np.concatenate([[left, right, right, left, left] for left, right, _, _ in boxes])
        y = np.concatenate([[low, low, high, high, low] for _, _, low, high in boxes])
        joined = np.ones(len(x), np.int32)
        joined[4::5] = 0
        self.setZValue(50)
        self.setData(x, y, connect=joined, pen=pg.mkPen(QColor(theme().selection), width=3), shadowPen=halo(3))


def halo(width: int) -> QPen:
    """What lies under a line of some pixels, so that it is seen on bright and on dark colours."""
    made: QPen = pg.mkPen(QColor(theme().window), width=width + 3)
    return made
