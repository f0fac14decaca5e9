"""Singular values of the task vectors of one matrix, their effective ranks, and how their subspaces overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QColor, QKeyEvent
from PySide6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from widgets.common.colours import expert_letter
from widgets.common.pieces import row
from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import expert_line
from widgets.plots.axes import PowerAxis
from widgets.plots.bitmap_panel import chip
from widgets.plots.dashes import dash_of, mark_of
from widgets.plots.frame import set_heads
from widgets.plots.heat_view import HeatView
from widgets.plots.keys import moved_view
from widgets.plots.selected import Marks
from widgets.plots.state import Heat, Table

_HEADS = ("Expert", "Effective rank", "90 % energy")
_TABLE = 330


def _nothing() -> np.ndarray:
    return np.zeros((0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Singular values of one matrix for T experts.

    Attributes:
        title: What it is.
        names: T names.
        values: (T, r) singular values, largest first.
        effective: (T,) effective ranks.
        energy: (T,) directions that hold 90 % of the squared norm.
        overlap: (T, T) how much the strongest directions coincide, 0 to 1.
        rank: How many directions that compares.
        meaning: One sentence.
        empty: What to do when there is nothing to show.
    """

    title: str = "Spectrum"
    names: tuple[str, ...] = ()
    values: np.ndarray = field(default_factory=_nothing)
    effective: np.ndarray = field(default_factory=_nothing)
    energy: np.ndarray = field(default_factory=_nothing)
    overlap: np.ndarray = field(default_factory=_nothing)
    rank: int = 0
    meaning: str = ""
    empty: str = "Needs a base and an expert. Drop a model or open the demo."

    def table(self) -> Table:
        """Ranks, overlaps and singular values, one row for each expert."""
        overlaps = tuple(f"overlap with {expert_letter(t)}" for t in range(len(self.names)))
        singular = tuple(f"σ{i + 1}" for i in range(self.values.shape[1]))
        body = tuple(
            (f"{expert_letter(t)} {name}", f"{self.effective[t]:.1f}", f"{int(self.energy[t])}",
             *(f"{v:.3f}" for v in self.overlap[t]), *(f"{v:.4g}" for v in self.values[t]))
            for t, name in enumerate(self.names)
        )  # fmt: skip
        return (*_HEADS, *overlaps, *singular), body


class SpectrumView(QWidget):
    """Shows a `Spectrum`: lines, ranks, and a matrix of overlaps.

    Signals:
        pairChosen: (expert, expert) of a cell of the overlap.
        expertChosen: Row of an expert in the table.
    """

    pairChosen = Signal(int, int)
    expertChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Spectrum()
        self._at, self._marks = -1, Marks()
        self.plot = pg.PlotWidget(self, axisItems={"left": PowerAxis("left")}, enableMenu=False)
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.layout.setContentsMargins(1, 8, 1, 1)  # room for half of a number at the top
        item.getAxis("bottom").enableAutoSIPrefix(False)
        self._line = pg.InfiniteLine(angle=90)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.plot.scene().sigMouseMoved.connect(self._on_mouse)
        self.ranks = QTableWidget(0, len(_HEADS))
        self.heat = HeatView()
        self.heat.cellChosen.connect(self.pairChosen)
        self._prepare()
        line = row(self.plot, self.ranks, self.heat, spacing=8)
        line.setStretch(0, 5)
        line.setStretch(2, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(line)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def _prepare(self) -> None:
        table = self.ranks
        table.setAccessibleName("Effective ranks")
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        table.setTabKeyNavigation(False)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.setFixedWidth(_TABLE)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        set_heads(table, _HEADS)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            table.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        table.cellActivated.connect(lambda r, _: self.expertChosen.emit(r))

    def set_state(self, state: Spectrum) -> None:
        """Show another matrix."""
        same = state.values.shape == self.state.values.shape
        self.state = state
        self.setAccessibleName(state.title)
        self._paint()
        self._fill()
        letters = tuple(expert_letter(t) for t in range(len(state.names)))
        self.heat.set_state(Heat(
            title=f"Overlap of the {state.rank} strongest directions", rows=letters, columns=letters,
            values=state.overlap, low=0.0, high=1.0, row_experts=tuple((t,) for t in range(len(letters))),
        ))  # fmt: skip
        self.heat.setVisible(len(letters) > 1)
        if not same:
            self._at = -1
            self.fit()

    def set_marks(self, marks: Marks) -> None:
        """Draw the selected experts' lines thick, frame their cells and write their names bold."""
        if marks != self._marks:
            self._marks = marks
            self._paint()
            self._fill()
            self.heat.set_marks(marks)

    def _is_marked(self, expert: int) -> bool:
        return expert in self._marks.experts and not self._marks.every_expert

    def fit(self) -> None:
        """Show all of it."""
        self.plot.getPlotItem().autoRange()
        self.heat.fit()

    def logs(self) -> np.ndarray:
        """(T, r) log10 of the singular values; NaN below what float32 differences can tell apart from 0."""
        values = self.state.values
        floor = values[:, :1] * 1e-7 if values.size else values
        return np.where(values > floor, np.log10(np.maximum(values, 1e-300)), np.nan)

    def _paint(self) -> None:
        colours, state, item = theme(), self.state, self.plot.getPlotItem()
        self.plot.setBackground(QColor(colours.panel))
        item.clear()
        for side, label in (("left", "singular value σ"), ("bottom", "direction")):
            item.getAxis(side).setTextPen(QColor(colours.text))
            item.getAxis(side).setPen(QColor(colours.line))
            item.getAxis(side).setLabel(label, color=colours.text)
        item.getViewBox().setLimits(xMin=0, xMax=state.values.shape[1] + 1)
        x, every = np.arange(1, state.values.shape[1] + 1), max(1, state.values.shape[1] // 12)
        for t, y in enumerate(self.logs()):
            colour = expert_line(t)
            item.addItem(
                pg.PlotDataItem(
                    x, y, connect="finite", pen=pg.mkPen(colour, width=4 if self._is_marked(t) else 2, style=dash_of(t))
                )
            )
            marks = pg.PlotDataItem(x[t % every :: every], y[t % every :: every], pen=None, symbol=mark_of(t),
                                    symbolSize=8, symbolBrush=colour, symbolPen=pg.mkPen(colours.panel))  # fmt: skip
            item.addItem(marks)
        self._line.setPen(pg.mkPen(QColor(colours.warning), width=1))
        self._line.setVisible(self._at >= 0)
        item.addItem(self._line)

    def _fill(self) -> None:
        state, table = self.state, self.ranks
        table.setRowCount(len(state.names))
        for t, name in enumerate(state.names):
            texts = (plain(name), f"{state.effective[t]:.1f}", f"{int(state.energy[t])}")
            for c, text in enumerate(texts):
                item = QTableWidgetItem(text)
                font = item.font()
                font.setBold(self._is_marked(t))
                item.setFont(font)
                if c:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                else:
                    item.setIcon(chip(t))
                    item.setToolTip(tip(name))
                table.setItem(t, c, item)

    # Cursor --------------------------------------------------------------------------------------------------

    def _on_mouse(self, spot: object) -> None:
        box = self.plot.getPlotItem().getViewBox()
        if box.sceneBoundingRect().contains(spot):
            self.move_to(round(box.mapSceneToView(spot).x()) - 1)

    def move_to(self, direction: int) -> None:
        """Put the cursor on a direction, counted from 0."""
        if not self.state.values.size:
            return
        self._at = min(max(direction, 0), self.state.values.shape[1] - 1)
        self._line.setValue(self._at + 1)
        self._line.setVisible(True)
        words = self.sentence()
        self.plot.setToolTip(tip(words))
        if self.hasFocus():
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, words))

    def sentence(self) -> str:
        """The singular values at the cursor, one line for each expert."""
        if self._at < 0:
            return ""
        lines = [f"{expert_letter(t)} {plain(n)}: {self.state.values[t, self._at]:.4g}"
                 for t, n in enumerate(self.state.names)]  # fmt: skip
        return "\n".join([f"Direction {self._at + 1}", *lines])

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and Right move the cursor, with Shift what is seen; + and − zoom, 0 shows all."""
        steps, key = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}, event.key()
        if moved_view(event, self.plot.getPlotItem().getViewBox()):
            return
        if key in steps:
            self.move_to(self._at + steps[Qt.Key(key)])
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()
