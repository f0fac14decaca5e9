"""Singular values of the task vectors of one matrix, their effective ranks, and how their subspaces overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QColor, QFocusEvent, QKeyEvent, QMouseEvent, QPen
from PySide6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from widgets.common.colours import expert_letter
from widgets.common.pieces import row
from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import expert_line
from widgets.plots.axes import PowerAxis
from widgets.plots.bitmap_panel import chip
from widgets.plots.clicks import Clicks
from widgets.plots.dashes import dash_of, mark_of
from widgets.plots.frame import set_heads
from widgets.plots.heat_view import HeatView
from widgets.plots.keys import moved_view
from widgets.plots.selected import Marks
from widgets.plots.state import Heat, Table

_HEADS = ("Expert", "Effective rank", "90 % energy")
_TABLE = 360
_REACH = 14.0
"""Pixels around a line that count as the line."""


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
        expertChosen: Index of an expert: a line that was clicked, a row of the table, or Enter on a line.
    """

    pairChosen = Signal(int, int)
    expertChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Spectrum()
        self._at, self._expert, self._marks = -1, -1, Marks()
        self._is_posing, self._clicks, self._curves = False, Clicks(), list[pg.PlotDataItem]()
        self.plot = pg.PlotWidget(self, axisItems={"left": PowerAxis("left")}, enableMenu=False)
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.layout.setContentsMargins(1, 8, 1, 1)  # room for half of a number at the top
        item.getAxis("bottom").enableAutoSIPrefix(False)
        self._line = pg.InfiniteLine(angle=90)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.plot.scene().sigMouseMoved.connect(self._on_mouse)
        self.plot.viewport().installEventFilter(self)
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
            self._at, self._expert = -1, -1
            self.fit()

    def set_marks(self, marks: Marks) -> None:
        """Draw the selected experts' lines thick, frame their cells and write their names bold."""
        if marks != self._marks:
            self._marks = marks
            self._draw_pens()
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
        self._curves = []
        for side, label in (("left", "singular value σ"), ("bottom", "direction")):
            item.getAxis(side).setTextPen(QColor(colours.text))
            item.getAxis(side).setPen(QColor(colours.line))
            item.getAxis(side).setLabel(label, color=colours.text)
        item.getViewBox().setLimits(xMin=0, xMax=state.values.shape[1] + 1)
        x, every = np.arange(1, state.values.shape[1] + 1), max(1, state.values.shape[1] // 12)
        for t, y in enumerate(self.logs()):
            colour = expert_line(t)
            self._curves.append(pg.PlotDataItem(x, y, connect="finite", pen=self._pen(t)))
            item.addItem(self._curves[-1])
            marks = pg.PlotDataItem(x[t % every :: every], y[t % every :: every], pen=None, symbol=mark_of(t),
                                    symbolSize=8, symbolBrush=colour, symbolPen=pg.mkPen(colours.panel))  # fmt: skip
            item.addItem(marks)
        self._draw_pens()
        self._line.setPen(pg.mkPen(QColor(colours.warning), width=1))
        self._line.setVisible(self._at >= 0)
        item.addItem(self._line)

    def _pen(self, expert: int) -> QPen:
        """Thick for what is selected, thicker than the rest for what the keyboard is on."""
        is_here = expert == self._expert and self.hasFocus() and not self._is_posing
        width = 4 if self._is_marked(expert) else 3 if is_here else 2
        made: QPen = pg.mkPen(expert_line(expert), width=width, style=dash_of(expert))
        return made

    def _draw_pens(self) -> None:
        """Draw the same lines in other widths, selected ones on top; a click may be under way, so none may leave."""
        for t, curve in enumerate(self._curves):
            curve.setPen(self._pen(t))
            curve.setZValue(1 if self._is_marked(t) else 0)

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

    def line_at(self, place: QPointF) -> int:
        """The expert whose line is nearest to a place in the viewport, -1 if none is near."""
        box, logs = self.plot.getPlotItem().getViewBox(), self.logs()
        scene, last = self.plot.mapToScene(place.toPoint()), logs.shape[1] - 1
        if last < 0 or not box.sceneBoundingRect().contains(scene):
            return -1
        wide, tall = box.viewPixelSize()
        at = box.mapSceneToView(scene)
        return nearest_line(logs, (at.x() - 1, at.y()), (wide, tall), _REACH)

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Clicks on the plot."""
        if isinstance(event, QMouseEvent) and self._clicks.ends_with(event):
            self.setFocus()
            expert = self.line_at(event.position())
            if expert >= 0:
                self._expert = expert
                self.expertChosen.emit(expert)
        elif event.type() == QEvent.Type.MouseButtonDblClick:
            self.fit()
        return False

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._is_posing = is_posing
        self._draw_pens()
        self._line.setVisible(not is_posing and self._at >= 0)
        self.heat.pose(is_posing)

    def sentence(self) -> str:
        """The singular values at the cursor, one line for each expert."""
        if self._at < 0:
            return ""
        lines = [f"{expert_letter(t)} {plain(n)}: {self.state.values[t, self._at]:.4g}"
                 for t, n in enumerate(self.state.names)]  # fmt: skip
        return "\n".join([f"Direction {self._at + 1}", *lines])

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and Right move the cursor, Up and Down walk the experts, Enter chooses; + −, Shift, 0 as elsewhere."""
        steps, key = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}, event.key()
        if moved_view(event, self.plot.getPlotItem().getViewBox()):
            return
        if key in steps:
            self.move_to(self._at + steps[Qt.Key(key)])
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and self.state.names:
            self._walk(-1 if key == Qt.Key.Key_Up else 1)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and 0 <= self._expert < len(self.state.names):
            self.expertChosen.emit(self._expert)
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def _walk(self, step: int) -> None:
        """The next expert's line."""
        self._expert = min(max(self._expert + step, 0), len(self.state.names) - 1)
        words = f"{expert_letter(self._expert)} {plain(self.state.names[self._expert])}"
        self.setAccessibleDescription(words)
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, words))
        self._draw_pens()

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show where the keyboard is."""
        super().focusInEvent(event)
        self._draw_pens()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide it again."""
        super().focusOutEvent(event)
        self._draw_pens()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()


def nearest_line(logs: np.ndarray, at: tuple[float, float], pixel: tuple[float, float], reach: float) -> int:
    """The line that passes nearest to a place, -1 if none does within reach.

    Args:
        logs: (T, r) heights of T lines over 0, 1, …; NaN where a line has ended.
        at: The place, in the units of the lines.
        pixel: Width and height of a pixel in these units.
        reach: In pixels.
    """
    scale, spot = np.array(pixel), np.array(at)
    first = min(max(int(np.floor(at[0] - reach * pixel[0])), 0), logs.shape[1] - 1)
    last = min(max(int(np.ceil(at[0] + reach * pixel[0])), first), logs.shape[1] - 1)
    x = np.arange(first, last + 1, dtype=float)
    gaps = np.full(len(logs), np.inf)
    for t, y in enumerate(logs[:, first : last + 1]):
        points = (np.stack([x, y], axis=1) - spot) / scale  # in pixels, from the place
        starts, ways = points[:-1], np.diff(points, axis=0)
        along = np.clip(-(starts * ways).sum(1) / np.maximum((ways**2).sum(1), 1e-30), 0.0, 1.0)
        feet = np.concatenate([points, starts + along[:, None] * ways])
        distances = np.hypot(feet[:, 0], feet[:, 1])
        gaps[t] = np.min(distances, initial=np.inf, where=np.isfinite(distances))
    best = int(np.argmin(gaps)) if len(gaps) else -1
    return best if best >= 0 and gaps[best] <= reach else -1
