"""An UpSet plot: how many weights lie in exactly which combination of masks."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QColor, QFocusEvent, QKeyEvent, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.colours import expert_letter
from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import expert_line, small
from widgets.plots.clicks import Clicks
from widgets.plots.keys import moved_view
from widgets.plots.marks import Outline
from widgets.plots.selected import Marks, runs
from widgets.plots.state import UpSet, shown

_HEAD = 1.3
"""Room above the bars for their numbers."""
_NAMES, _SMALL = 132, 0.78
"""Pixels for names; size of the letters where rows are low."""


class UpSetView(QWidget):
    """Shows an `UpSet`: bars above, one column of dots a combination below.

    Signals:
        combinationChosen: The combination's bits, by click or Enter.
    """

    combinationChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = UpSet(title="")
        self._shown: tuple[int, ...] = ()
        self._at = 0
        self._marks, self._clicks = Marks(), Clicks()
        self._cursor, self._rows, self._outline = Outline(), Outline(), Outline()
        self.canvas = pg.GraphicsLayoutWidget()
        self.bars = self.canvas.addPlot(row=0, col=0, enableMenu=False)
        self.dots = self.canvas.addPlot(row=1, col=0, enableMenu=False)
        self.dots.setXLink(self.bars)
        for plot in (self.bars, self.dots):
            plot.hideButtons()
            plot.setMouseEnabled(x=True, y=False)
            plot.getAxis("left").enableAutoSIPrefix(False)
            plot.hideAxis("bottom")
            plot.getAxis("left").setWidth(_NAMES)
        self.dots.invertY(True)
        self.canvas.ci.layout.setSpacing(2)
        self.canvas.ci.layout.setContentsMargins(0, 4, 4, 0)
        self.canvas.viewport().installEventFilter(self)
        self.canvas.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.canvas)

    def set_state(self, state: UpSet) -> None:
        """Show other sets; the zoom stays while as many combinations of the same sets are shown."""
        before = self.state.sets, len(self._shown)
        self.state, self._shown = state, state.top()
        self._at = min(self._at, max(len(self._shown) - 1, 0))
        self.setAccessibleName(state.title)
        self._share_room()
        self._paint()
        if before != (state.sets, len(self._shown)):
            self.fit()
        else:
            self.bars.setRange(yRange=self._heights(), padding=0)

    def _heights(self) -> tuple[float, float]:
        """What the bars need."""
        return 0.0, max([*self._shares(), 1e-6]) * _HEAD

    def _share_room(self) -> None:
        """Rows of dots as high as their names, but the bars keep two fifths; names that do not fit are left out."""
        roomy, sets = self.fontMetrics().height() + 2, self.state.sets
        is_tight = len(sets) * roomy + 8 > 0.6 * self.height()
        line = round(_SMALL * roomy) if is_tight else roomy
        rows = max(min(len(sets) * line + 8, round((0.66 if is_tight else 0.6) * self.height())), 40)
        self.dots.setMinimumHeight(rows)
        self.dots.setMaximumHeight(rows)
        every = max(1, -int(-len(sets) * line * 0.8 // rows))
        names = [(t, f"{expert_letter(t)} {plain(name, 16)}") for t, name in enumerate(sets) if t % every == 0]
        axis = self.dots.getAxis("left")
        axis.setStyle(tickFont=small(self.font(), _SMALL) if is_tight else self.font())
        axis.setTicks([names])

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Share the room anew."""
        super().resizeEvent(event)
        self._share_room()

    def set_marks(self, marks: Marks) -> None:
        """Outline the selected experts and combination."""
        self._marks = marks
        self._mark()

    def _mark(self) -> None:
        """Frames: the selected combination and experts, and dots under the cursor of the keyboard."""
        marks, wanted = self._marks, self._marks.combination
        if wanted is None and marks.experts and not marks.every_expert:
            wanted = marks.experts
        bits = sum(1 << t for t in wanted) if wanted else -1
        columns = [i for i, shown_bits in enumerate(self._shown) if shown_bits == bits]
        shares = self._shares()
        self._outline.show_boxes([(i - 0.4, i + 0.4, 0.0, max(shares[i], 1e-6)) for i in columns])
        last, known = len(self._shown) - 0.5, [t for t in marks.experts if t < len(self.state.sets)]
        self._rows.show_boxes([(-0.5, last, a - 0.45, b + 0.45) for a, b in runs(known)] if self._shown else [])
        here = [(self._at - 0.4, self._at + 0.4, -0.48, len(self.state.sets) - 0.52)] if self._shown else []
        self._cursor.show_boxes(here if self.hasFocus() else [])

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show where the keyboard is."""
        super().focusInEvent(event)
        self._mark()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide it again."""
        super().focusOutEvent(event)
        self._mark()

    def fit(self) -> None:
        """Show all combinations."""
        self.bars.setRange(xRange=(-0.6, max(len(self._shown), 1) - 0.4), yRange=self._heights(), padding=0)
        self.dots.setRange(yRange=(-0.5, max(len(self.state.sets), 1) - 0.5), padding=0.02)

    def _shares(self) -> list[float]:
        total = max(int(self.state.counts.sum()), 1)
        return [100 * int(self.state.counts[i]) / total for i in self._shown]

    def _paint(self) -> None:
        colours, sets = theme(), self.state.sets
        self.canvas.setBackground(QColor(colours.panel))
        for plot in (self.bars, self.dots):
            plot.clear()
            plot.getAxis("left").setTextPen(QColor(colours.text))
            plot.getAxis("left").setPen(QColor(colours.line))
        self.bars.getAxis("left").setLabel("weights, %", color=colours.text)  # after the pen
        if not self._shown:
            return
        x = np.arange(len(self._shown))
        self.bars.addItem(pg.BarGraphItem(x=x, height=self._shares(), width=0.7, brush=QColor(colours.dim)))
        for at, share in enumerate(self._shares()):
            word = pg.TextItem(f"{share:.1f}", color=colours.text, anchor=(0.5, 0.85))
            word.setFont(small(self.font(), _SMALL))
            word.setPos(at, share)
            self.bars.addItem(word, ignoreBounds=True)
        member = np.array([[i >> t & 1 for i in self._shown] for t in range(len(sets))], dtype=bool)
        for t in range(len(sets)):
            line = expert_line(t)
            self.dots.addItem(pg.ScatterPlotItem(x=x[~member[t]], y=np.full((~member[t]).sum(), t), size=9, pen=None,
                                                 brush=QColor(colours.track)))  # fmt: skip
            self.dots.addItem(pg.ScatterPlotItem(x=x[member[t]], y=np.full(member[t].sum(), t), size=11, pen=None,
                                                 brush=line))  # fmt: skip
        for column in x:
            rows = np.flatnonzero(member[:, column])
            if len(rows) > 1:
                ends = [rows[0], rows[-1]]
                self.dots.addItem(pg.PlotCurveItem([column, column], ends, pen=pg.mkPen(QColor(colours.dim), width=2)))
        self.bars.addItem(self._outline)
        self.dots.addItem(self._rows)
        self.dots.addItem(self._cursor)
        self._mark()

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Hover and clicks."""
        if isinstance(event, QMouseEvent):
            at = self.bars.getViewBox().mapSceneToView(self.canvas.mapToScene(event.position().toPoint()))
            column = round(at.x())
            inside = 0 <= column < len(self._shown)
            if event.type() == QEvent.Type.MouseMove:
                self.canvas.setToolTip(tip(self.sentence(column)) if inside else "")
            elif self._clicks.ends_with(event) and inside:
                self.setFocus()
                self._at = column
                self.combinationChosen.emit(self._shown[column])
        return False

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken."""
        self._cursor.setVisible(not is_posing)

    def sentence(self, column: int) -> str:
        """A combination in words."""
        bits = self._shown[column]
        count = int(self.state.counts[bits])
        share = shown(count / max(int(self.state.counts.sum()), 1), "%")
        return f"only {self.state.name(bits)}: {count:,} weights, {share}"

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right walk the combinations, Enter chooses, + and − zoom, Shift moves, 0 shows all."""
        if moved_view(event, self.bars.getViewBox(), tall=False):
            return
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if event.key() in steps and self._shown:
            self._at = min(max(self._at + steps[Qt.Key(event.key())], 0), len(self._shown) - 1)
            self.setAccessibleDescription(self.sentence(self._at))
            self.canvas.setToolTip(tip(self.sentence(self._at)))
            self._mark()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._shown:
            self.combinationChosen.emit(self._shown[self._at])
        elif event.key() == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()
