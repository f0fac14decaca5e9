"""A heatmap whose marks are given cell by cell: A − B in the desk's rows and columns."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QSize
from PySide6.QtWidgets import QWidget

from widgets.plots.heat_view import HeatView
from widgets.plots.selected import Marks
from widgets.plots.state import Heat

_MOST = 600
"""Numbers that are written; more could not be read."""

_SEEN_ROWS = 10


class DifferenceHeat(HeatView):
    """A `HeatView` that outlines exactly the cells that are selected on the desks."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.chosen = np.zeros((0, 0), dtype=bool)

    def set_state(self, state: Heat) -> None:
        """Show another matrix; marks of another shape are forgotten."""
        if state.values.shape != self.chosen.shape:
            self.chosen = np.zeros(state.values.shape, dtype=bool)
        grown = len(state.rows) != len(self.state.rows)
        super().set_state(state)
        if grown:
            self.updateGeometry()

    def written(self) -> list[tuple[int, int]]:
        """Only what differs gets a number: the others are 0 and stay calm."""
        values = self.state.values
        differs = np.argwhere(np.isfinite(values) & (values != 0)).tolist()
        return [(r, c) for r, c in differs] if len(differs) <= _MOST else []

    def minimumSizeHint(self) -> QSize:
        """Room for the names and numbers of a dozen rows."""
        line = self.fontMetrics().height()
        rows = min(len(self.state.rows), _SEEN_ROWS)
        return QSize(super().minimumSizeHint().width(), rows * (line + 2) + 2 * line + 8)

    def set_chosen(self, chosen: np.ndarray) -> None:
        """Outline cells, (R, C) bool."""
        if chosen.shape == self.state.values.shape:
            self.chosen = chosen
            self.set_marks(Marks())

    def _marked(self) -> list[tuple[list[int], list[int]]]:
        """Rows of cells that are selected alike, together."""
        alike: dict[bytes, list[int]] = {}
        for r in np.flatnonzero(self.chosen.any(axis=1)).tolist():
            alike.setdefault(self.chosen[r].tobytes(), []).append(r)
        return [(rows, np.flatnonzero(self.chosen[rows[0]]).tolist()) for rows in alike.values()]
