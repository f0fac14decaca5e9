"""The scatter plot of runs with its choices: two columns, and which way is better."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from widgets.common.pieces import CalmComboBox, labelled
from widgets.plots.frame import PlotFrame
from widgets.plots.scatter_view import Scatter, ScatterView


class ScatterPanel(QWidget):
    """Columns above, points below.

    Signals:
        axesChosen: (column across, column up).
        directionChosen: (more across is better, more up is better).
        chosen: (run, whether in addition).
        told: A sentence worth a notification.
    """

    axesChosen = Signal(str, str)
    directionChosen = Signal(bool, bool)
    chosen = Signal(int, bool)
    told = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view = ScatterView()
        self.frame = PlotFrame(self.view)
        self.across, self.up = CalmComboBox(), CalmComboBox()
        self.across.setObjectName("scatter-x")
        self.up.setObjectName("scatter-y")
        self.less_across, self.less_up = QCheckBox("less is better"), QCheckBox("less is better")
        bar = QHBoxLayout()
        bar.setContentsMargins(10, 4, 10, 0)
        bar.setSpacing(8)
        rows = (("A&cross", self.across, self.less_across), ("&Up", self.up, self.less_up))
        for text, combo, less in rows:
            combo.setMinimumContentsLength(16)
            bar.addWidget(labelled(text, combo))
            bar.addWidget(combo)
            less.setAccessibleName(f"{text.replace('&', '')}: less is better")
            bar.addWidget(less)
            bar.addSpacing(16)
            combo.activated.connect(self._choose)
            less.clicked.connect(self._turn)
        bar.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(bar)
        layout.addWidget(self.frame, 1)
        self.view.chosen.connect(self.chosen)
        self.frame.told.connect(self.told)

    def set_axes(self, choices: Sequence[tuple[str, str]], across: str, up: str, less: tuple[bool, bool]) -> None:
        """Offer (name, title) of columns, with the two that are chosen."""
        self.across.set_choices(choices, across)
        self.up.set_choices(choices, up)
        for box, on in ((self.less_across, less[0]), (self.less_up, less[1])):
            box.setChecked(on)

    def set_state(self, state: Scatter) -> None:
        """Show other points."""
        self.frame.set_state(state)

    def _choose(self) -> None:
        self.axesChosen.emit(str(self.across.currentData()), str(self.up.currentData()))

    def _turn(self) -> None:
        self.directionChosen.emit(not self.less_across.isChecked(), not self.less_up.isChecked())
