"""The sweep panel: what to sweep on the left; heatmap, line or triangle and the Pareto front on the right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from widgets.common.pieces import CalmComboBox, TallArea, icon_button, labelled, row
from widgets.common.text import plain
from widgets.panels.panel_parts import squeezed
from widgets.plots.frame import PlotFrame
from widgets.plots.lines_view import LinesView
from widgets.plots.points_view import PointsView
from widgets.plots.sweep_form import SweepForm
from widgets.plots.sweep_grid import GridView
from widgets.plots.sweep_state import SweepState

_PAGES = ("grid", "lines", "triangle")


class SweepPanel(QWidget):
    """Shows a `SweepState`.

    Signals:
        cellChosen: (row, column) of a grid's cell that shall be adopted.
        pointChosen: Index of a line's, triangle's or front's mix that shall be adopted.
        measureChosen: Id of what the colours shall show.
        pairChosen: Names of two tasks.
        told: A sentence worth a notification.
        closeWanted: Put the panel away.
    """

    cellChosen = Signal(int, int)
    pointChosen = Signal(int)
    measureChosen = Signal(str)
    pairChosen = Signal(str, str)
    told = Signal(str)
    closeWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sweep")
        self.state = SweepState()
        self.form = SweepForm()
        self.frames = {"grid": PlotFrame(GridView()), "lines": PlotFrame(LinesView()),
                       "triangle": PlotFrame(PointsView()), "front": PlotFrame(PointsView())}  # fmt: skip
        self.measure, self.first, self.second = CalmComboBox(), CalmComboBox(), CalmComboBox()
        self.tabs, self.pages = QTabWidget(), QStackedWidget()
        self._drawn: dict[str, tuple[Any, str]] = {}
        self._arrange()
        self._connect()

    def _arrange(self) -> None:
        for name in _PAGES:
            self.pages.addWidget(self.frames[name])
        scores, front = QWidget(), QWidget()
        self._fill(scores, row(labelled("&Show", self.measure), self.measure, None), self.pages)
        self._fill(front, row(labelled("A&cross", self.first), self.first, 8, labelled("&Up", self.second),
                              self.second, None), self.frames["front"])  # fmt: skip
        for combo in (self.measure, self.first, self.second):
            combo.setMinimumWidth(170)
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(scores, "Scores")
        self.tabs.addTab(front, "Two tasks")
        close = icon_button("close", "Close the sweep panel", name="sweep-close")
        close.clicked.connect(self.closeWanted)
        self.tabs.setCornerWidget(close, Qt.Corner.TopRightCorner)
        area = TallArea()
        area.show_widget(self.form)
        area.setFixedWidth(366)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(area)
        layout.addWidget(squeezed(self.tabs), 1)
        self.tabs.setMinimumWidth(420)

    @staticmethod
    def _fill(page: QWidget, bar: QHBoxLayout, below: QWidget) -> None:
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 4, 0, 0)
        bar.setContentsMargins(10, 2, 10, 0)
        layout.addLayout(bar)
        layout.addWidget(below, 1)

    def _connect(self) -> None:
        self.frames["grid"].view.cellChosen.connect(self.cellChosen)
        for name in ("lines", "triangle", "front"):
            self.frames[name].view.chosen.connect(lambda index, n=name: self._chosen(n, index))
        for frame in self.frames.values():
            frame.told.connect(self.told)
        self.tabs.currentChanged.connect(lambda _: self._draw())
        self.measure.activated.connect(lambda _: self.measureChosen.emit(str(self.measure.currentData())))
        for combo in (self.first, self.second):
            combo.activated.connect(lambda _: self.pairChosen.emit(
                str(self.first.currentData() or ""), str(self.second.currentData() or "")))  # fmt: skip

    def _chosen(self, name: str, index: int) -> None:
        self.pointChosen.emit(index)

    def set_state(self, state: SweepState) -> None:
        """Show another state."""
        before, self.state = self.state, state
        self.form.set_state(state, before)
        self.pages.setCurrentIndex(_PAGES.index(state.shown))
        self.measure.set_choices([(key, plain(title, 50)) for key, title in state.measures], state.measure)
        tasks = [(key, title) for key, title in state.measures if key]
        for combo, chosen in zip((self.first, self.second), state.pair, strict=True):
            combo.set_choices([(key, plain(title, 50)) for key, title in tasks], chosen)
        self._draw()

    def _draw(self) -> None:
        """Draw the plot in front, if it shows something else than before."""
        name = "front" if self.tabs.currentIndex() == 1 else self.state.shown
        value, reason = getattr(self.state, name), self.state.reason
        drawn = self._drawn.get(name)
        if drawn is None or drawn[0] is not value or drawn[1] != reason:
            self._drawn[name] = value, reason
            self.frames[name].set_state(replace(value, empty=reason) if reason else value)
        for combo in (self.measure, self.first, self.second):
            combo.setEnabled(combo.count() > 0)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Escape puts the panel away."""
        if event.key() == Qt.Key.Key_Escape:
            self.closeWanted.emit()
        else:
            super().keyPressEvent(event)
