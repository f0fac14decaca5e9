"""Magnitudes of the task vectors; the threshold line is the density parameter."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPen
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.colours import expert_letter
from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import expert_line
from widgets.plots.axes import PowerAxis
from widgets.plots.dashes import dash_of
from widgets.plots.keys import moved_view
from widgets.plots.legend import Key, Legend
from widgets.plots.selected import Marks
from widgets.plots.state import Histogram, equal

_KEY_STEP = 0.02
_BESIDE = ((1.05, 0.5), (-0.05, 0.5))
"""Where the label of the line is: left of it, or right where there is no room."""


class HistogramView(QWidget):
    """Shows a `Histogram` on logarithmic axes.

    Signals:
        densityDragged: (density, gesture) while the line is dragged or moved by keys.
        densityReleased: (gesture).
        expertChosen: Index of the expert whose line was clicked, or chosen by keys.
    """

    densityDragged = Signal(float, str)
    densityReleased = Signal(str)
    expertChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Histogram(title="")
        self._gesture, self._at, self._marks = 0, -1, Marks()
        self._is_posing = False
        self._curves: list[pg.PlotDataItem] = []
        axes = {side: PowerAxis(side) for side in ("left", "bottom")}
        self.plot = pg.PlotWidget(self, axisItems=axes, enableMenu=False)
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.layout.setContentsMargins(1, 8, 1, 1)  # room for half of a number at the top
        self.plot.scene().sigMouseMoved.connect(self._on_mouse)
        self._legend = Legend()
        self.line = pg.InfiniteLine(angle=90, movable=True, label="", labelOpts={"position": 0.12, "anchors": _BESIDE})
        self.line.sigDragged.connect(self._on_drag)
        self.line.sigPositionChangeFinished.connect(self._on_release)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._legend)
        layout.addWidget(self.plot, 1)

    def set_state(self, state: Histogram) -> None:
        """Show other distributions."""
        is_same = equal(state, self.state, "thresholds", "density", "title", "meaning")
        self.state = state
        self.setAccessibleName(state.title)
        if is_same:
            self._show_line()
        else:
            self._paint()

    def set_marks(self, marks: Marks) -> None:
        """Draw the selected experts' lines thick and the others thin."""
        if marks != self._marks:
            self._marks = marks
            self._draw_pens()

    def _draw_pens(self) -> None:
        """Draw the same lines in other widths; a click is being handled, so nothing may leave the scene."""
        for t, curve in enumerate(self._curves):
            curve.setPen(self._pen(t))
        self._legend.show_keys([
            Key(name=f"{expert_letter(t)} {name}", label=f"{expert_letter(t)} {plain(name, 22)}",
                short=expert_letter(t), pen=self._pen(t))
            for t, name in enumerate(self.state.names)
        ])  # fmt: skip

    def _pen(self, expert: int) -> QPen:
        made: QPen = pg.mkPen(expert_line(expert), width=self._width(expert), style=dash_of(expert))
        return made

    def _width(self, expert: int) -> int:
        if self._at == expert and self.hasFocus() and not self._is_posing:
            return 3
        if not self._marks.experts or self._marks.every_expert:
            return 2
        return 4 if expert in self._marks.experts else 1

    def fit(self) -> None:
        """Show all of it."""
        self.plot.getPlotItem().autoRange()

    def _paint(self) -> None:
        colours, state, item = theme(), self.state, self.plot.getPlotItem()
        self.plot.setBackground(QColor(colours.panel))
        item.clear()
        self._curves = []
        for side, label in (("left", "weights"), ("bottom", "|τ|")):
            item.getAxis(side).setTextPen(QColor(colours.text))
            item.getAxis(side).setPen(QColor(colours.line))
            item.getAxis(side).setLabel(label, color=colours.text)  # after the pen, which would give it its colour
        if len(state.edges) < 2:
            self._draw_pens()
            return
        x = np.log10(np.maximum(state.edges, 1e-30))
        for t in range(len(state.names)):
            y = np.log10(np.maximum(state.counts[t], 0.5))
            curve = pg.PlotDataItem(x, y, stepMode="center", pen=self._pen(t))
            curve.curve.setClickable(True, 10)
            curve.sigClicked.connect(lambda *_, t=t: self.expertChosen.emit(t))
            item.addItem(curve)
            self._curves.append(curve)
        self._draw_pens()
        self._show_line()

    def _show_line(self) -> None:
        """Put the line where the method cuts."""
        colours, state, item = theme(), self.state, self.plot.getPlotItem()
        known = state.thresholds[np.isfinite(state.thresholds)] if state.thresholds.size else state.thresholds
        if known.size:
            self.line.setPen(pg.mkPen(QColor(colours.warning), width=2))
            self.line.setValue(float(np.log10(_middle(known))))
            self.line.setMovable(state.density is not None)
            self.line.label.setColor(QColor(colours.warning))
            self.line.label.setFormat("" if state.density is None else f"keep {state.density:.1%}".replace("%", " %"))
        if bool(known.size) != (self.line.scene() is not None):
            (item.addItem if known.size else item.removeItem)(self.line)

    def _on_mouse(self, spot: object) -> None:
        """Say what lies under the mouse."""
        box = self.plot.getPlotItem().getViewBox()
        inside = box.sceneBoundingRect().contains(spot)
        self.plot.setToolTip(tip(self.sentence(box.mapSceneToView(spot).x())) if inside else "")

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._is_posing = is_posing
        self._draw_pens()

    def sentence(self, x: float) -> str:
        """How many weights of every expert are as large as 10**x; "" outside of the bins."""
        state = self.state
        at = int(np.searchsorted(np.log10(np.maximum(state.edges, 1e-30)), x, side="right")) - 1
        if not 0 <= at < len(state.edges) - 1:
            return ""
        lines = [f"{expert_letter(t)} {plain(name, 40)}: {int(state.counts[t, at]):,} weights"
                 for t, name in enumerate(state.names)]  # fmt: skip
        return "\n".join([f"|τ| from {state.edges[at]:.3g} to {state.edges[at + 1]:.3g}", *lines])

    def density_at(self, x: float) -> float:
        """Share of all weights (zeros included) whose magnitude is at least 10**x."""
        counts = self.state.counts.sum(axis=0)
        total = max(float(counts.sum() + self.state.zeros.sum()), 1.0)
        edges = np.log10(np.maximum(self.state.edges, 1e-30))
        above = np.concatenate([[0.0], np.cumsum(counts[::-1])])[::-1]
        return float(np.interp(x, edges, above) / total)

    def _on_drag(self) -> None:
        self.densityDragged.emit(self.density_at(float(self.line.value())), f"density line {self._gesture}")

    def _on_release(self) -> None:
        self.densityReleased.emit(f"density line {self._gesture}")
        self._gesture += 1

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right move the line, up and down walk the experts, Enter chooses, + − zoom, Shift moves, 0 fits."""
        if moved_view(event, self.plot.getPlotItem().getViewBox()):
            return
        steps = {Qt.Key.Key_Left: _KEY_STEP, Qt.Key.Key_Right: -_KEY_STEP}
        if event.key() in steps and self.state.density is not None:
            density = min(max(self.state.density + steps[Qt.Key(event.key())], 0.0), 1.0)
            self.densityDragged.emit(density, "")
        elif event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down) and self.state.names:
            step = -1 if event.key() == Qt.Key.Key_Up else 1
            self._at = min(max(self._at + step, 0), len(self.state.names) - 1)
            self.setAccessibleDescription(self.state.names[self._at])
            self._draw_pens()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and 0 <= self._at < len(self.state.names):
            self.expertChosen.emit(self._at)
        elif event.key() == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()


def _middle(values: np.ndarray) -> float:
    """The median; numpy's own takes a twentieth of a second to load what it needs when it is first called."""
    ordered = np.sort(values)
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
