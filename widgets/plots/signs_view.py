"""Sign conflict: the share of the changed weights that pull against the elected sign, and the same by magnitude."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QWidget

from widgets.common.text import plain
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.signs_state import SignConflict
from widgets.plots.state import shown


class SignView(HeatView):
    """Shows a `SignConflict`; the tooltip has both numbers."""

    state: Any

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = SignConflict(title="")

    def sentence(self, row: int, column: int) -> str:
        """A cell in words, counted both ways."""
        state = self.state
        if row < 0 or column < 0 or row >= len(state.rows) or column >= len(state.columns):
            return ""
        counts, masses = (shown(float(v[row, column]), state.unit) for v in (state.counts, state.masses))
        return (f"{plain(state.rows[row])}, {plain(state.columns[column])}\n{counts} of the weights that it changes "
                f"go against the elected sign\n{masses} when weighted by magnitude")  # fmt: skip


class SignFrame(PlotFrame):
    """The view with a switch between the two ways of counting.

    Signals:
        weightingChosen: Whether the colours shall weigh by magnitude.
    """

    weightingChosen = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(SignView(), parent)
        self.weigh = QCheckBox("&Weigh by magnitude")
        self.weigh.setObjectName("signs-weigh")
        self.weigh.setToolTip("Count every weight as much as it changes, not once")
        self.weigh.clicked.connect(lambda: self.weightingChosen.emit(self.weigh.isChecked()))
        self.add_choice(self.weigh)

    def set_state(self, state: SignConflict) -> None:
        """Show another measurement."""
        super().set_state(state)
        self.weigh.setChecked(state.by_magnitude)
        self.weigh.setVisible(not state.is_empty)
