"""The heatmap of a sweep: named axes, the best cell starred, the desk's own cell framed."""

from __future__ import annotations

from html import escape
from typing import Any

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QWidget

from widgets.common.text import plain
from widgets.common.theme import theme
from widgets.plots.heat_view import HeatView
from widgets.plots.sweep_values import Grid


class GridView(HeatView):
    """Shows a `Grid`; click or Enter chooses a cell."""

    state: Any

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Grid(title="")

    def set_state(self, state: Any) -> None:
        """Show another grid."""
        super().set_state(state)
        self._label()
        self._outline.show_boxes([(state.here[1], state.here[1] + 1, state.here[0], state.here[0] + 1)]
                                 if state.here else [])  # fmt: skip

    def _label(self) -> None:
        for side, text in (("left", self.state.y_label), ("top", self.state.x_label)):
            self.plot.getPlotItem().getAxis(side).setLabel(escape(plain(text, 60)), color=theme().dim)

    def set_marks(self, marks: object) -> None:
        """A sweep is about no selection."""

    def sentence(self, row: int, column: int) -> str:
        """A cell in words."""
        words: tuple[tuple[str, ...], ...] = self.state.words
        inside = 0 <= row < len(words) and 0 <= column < len(words[row])
        return words[row][column] if inside else ""

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._label()
