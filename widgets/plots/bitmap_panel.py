"""The tensor view as a whole: pixels, their legend, and everything about the weight under the cursor."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QColor, QIcon, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import QHeaderView, QSizePolicy, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from engine.analyse.bitmap import Reading
from widgets.common.colours import expert_letter
from widgets.common.pieces import row
from widgets.common.text import PlainLabel, plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import paint_chip, small
from widgets.plots.bitmap_state import Bitmap, colour_table, legend, lettered, number
from widgets.plots.bitmap_view import BitmapView
from widgets.plots.selected import Marks
from widgets.plots.state import shown

_SIDE = 480
_HEADS = ("Expert", "", "Value", "τ", "Mask")


class Ramp(QWidget):
    """The colours of a mode with what they mean, lowest left."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_state(Bitmap())

    def sizeHint(self) -> QSize:
        """A bar with a line of text below it."""
        return QSize(200, 14 + self.fontMetrics().height())

    def set_state(self, state: Bitmap) -> None:
        """Explain another mode."""
        self._state = state
        self.setVisible(state.mode != "owner")
        self.setAccessibleName("Colours: " + ", ".join(text for text, _, _ in legend(state)))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The bar, its ends and its middle."""
        painter, table = QPainter(self), colour_table(self._state)
        low, high = max(self._state.low, 1), max(self._state.high, 2)
        for x in range(self.width()):
            painter.setPen(QColor(int(table[low + round((high - low) * x / max(self.width() - 1, 1))]) & 0xFFFFFF))
            painter.drawLine(x, 0, x, 9)
        painter.setPen(QColor(theme().dim))
        painter.setFont(small(self.font()))
        texts = [text for text, code, _ in legend(self._state) if code]
        place = QRectF(0, 11, self.width(), self.height() - 11)
        flags = [Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignHCenter, Qt.AlignmentFlag.AlignLeft]
        for text, flag in zip(texts, flags if len(texts) == 3 else flags[::2], strict=True):
            painter.drawText(place, flag | Qt.AlignmentFlag.AlignTop, text)


class BitmapPanel(QWidget):
    """Shows a `Bitmap` with its legend and a read-out; a view for `PlotFrame`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Bitmap()
        self.canvas = BitmapView()
        self.canvas.setAccessibleName("Weights of the tensor")
        self._reading: Reading | None = None
        self._marks = Marks()
        self._where, self._what, self._block = PlainLabel("", ""), PlainLabel("", "", wrap=True), PlainLabel("", "dim")
        self._ramp = Ramp()
        self.readout = QTableWidget(0, len(_HEADS))
        self._prepare()
        side = QWidget()
        side.setFixedWidth(_SIDE)
        column = QVBoxLayout(side)
        column.setContentsMargins(8, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(self._where, self._block, None, spacing=10))
        for widget in (self._what, self._ramp):
            column.addWidget(widget)
        column.addWidget(self.readout, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        line = row(self.canvas, side, spacing=0)
        line.setStretch(0, 1)
        layout.addLayout(line)
        self.setFocusProxy(self.canvas)
        self.canvas.cursorMoved.connect(self._on_cursor)

    def _prepare(self) -> None:
        table = self.readout
        table.setAccessibleName("Experts at the cursor")
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)
        table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(20)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, wide in ((1, 78), (2, 80), (3, 80), (4, 72)):
            table.setColumnWidth(column, wide)

    def set_state(self, state: Bitmap) -> None:
        """Show another matrix, mode or expert."""
        if state.key.rpartition("|")[0] != self.state.key.rpartition("|")[0]:
            self._reading = None
        self.state = state
        self.canvas.set_state(state)
        self.canvas.setAccessibleDescription(f"{state.title}. {state.meaning}")
        self._ramp.set_state(state)
        self._fill()

    def set_marks(self, marks: Marks) -> None:
        """Tint the rows of the selected experts."""
        if marks != self._marks:
            self._marks = marks
            self._fill()

    def fit(self) -> None:
        """Show all of it."""
        self.canvas.fit()

    def put(self, place: tuple[int, int, int], codes: np.ndarray, *, is_sample: bool = False) -> None:
        """Take a tile."""
        self.canvas.put(place, codes, is_sample=is_sample)
        self._on_cursor(*self.canvas.cursor_weight)

    def set_reading(self, reading: Reading | None) -> None:
        """Show everything about one weight."""
        self._reading = reading
        self._fill()
        if reading is not None and self.canvas.hasFocus():
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self.canvas, self.sentence()))

    def pose(self, is_posing: bool) -> None:
        """Hide the cursor while a picture is taken; the read-out still says where it is."""
        self.canvas.is_posing = is_posing

    def sentence(self) -> str:
        """The read-out in words."""
        lines = [self._where.text(), self._block.text(), self._what.text()]
        for r in range(self.readout.rowCount()):
            cells = [self.readout.item(r, c) for c in range(len(_HEADS))]
            lines.append(" ".join(cell.text() for cell in cells if cell is not None and cell.text()))
        return ". ".join(line for line in lines if line)

    def _on_cursor(self, row: int, column: int) -> None:
        """What is known at once: where, and what the pixel says."""
        if row < 0:
            self._where.setText("Point at a weight, or press an arrow key")
            self._block.setText("")
            return
        self._where.setText(f"row {row:,}  column {column:,}".replace(",", "\u202f"))
        size, code = 1 << self.canvas.level, self.canvas.code_at(row, column)
        known = "" if code is None else self.state.words(code)
        self._block.setText(known if size == 1 else f"1:{size}, block of {size} × {size}: {known or 'not read yet'}")
        self.canvas.setToolTip(tip(known))

    def _fill(self) -> None:
        """Legend and read-out in one table: a row for each expert."""
        state, reading, table = self.state, self._reading, self.readout
        count = len(state.names)
        table.setRowCount(count)
        head = {"kept": "Kept", "magnitude": "Mean |τ|"}.get(state.mode, "Owned")
        table.setHorizontalHeaderLabels([_HEADS[0], head, *_HEADS[2:]])
        for c in range(len(_HEADS)):
            title, side = (
                table.horizontalHeaderItem(c),
                Qt.AlignmentFlag.AlignRight if c else Qt.AlignmentFlag.AlignLeft,
            )
            if title is not None:
                title.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
        at_cursor = reading is not None and len(reading.deltas) == count
        for t in range(count):
            cells = [lettered(t, state.names)[len(expert_letter(t)) + 1 :], self._summary(t), "", "", ""]
            if at_cursor and reading is not None:
                kept = self._verb(reading.kept[t]) if reading.kept else "–"
                cells[2:] = [number(reading.experts[t]), number(reading.deltas[t]), kept]
            for c, text in enumerate(cells):
                self._cell(t, c, text, owns=at_cursor and reading is not None and reading.owner == t)
        self._what.setText(self._verdict() if at_cursor else "")

    def _verb(self, kept: bool) -> str:
        """What the mask does with a weight."""
        if self.state.mask.startswith("TALL"):
            return "in mask" if kept else "outside"
        return "kept" if kept else "trimmed"

    def _summary(self, expert: int) -> str:
        """An expert's number for the whole tensor in the present mode."""
        known, mode = self.state.summary, self.state.mode
        if known is None:
            return ""
        values = known.kept if mode == "kept" else known.mean if mode == "magnitude" else known.owned
        if expert >= len(values):
            return ""
        return f"{values[expert]:.2g}" if mode == "magnitude" else shown(values[expert], "%")

    def _cell(self, r: int, c: int, text: str, *, owns: bool) -> None:
        item = self.readout.item(r, c)
        if item is None:
            item = QTableWidgetItem()
            self.readout.setItem(r, c, item)
        item.setText(plain(text))
        if c == 0:
            item.setIcon(chip(r))
            item.setToolTip(tip(text))
        else:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        font = item.font()
        font.setBold(owns)
        item.setFont(font)
        is_marked = r in self._marks.experts and not self._marks.every_expert
        back = QColor(theme().selection)
        back.setAlpha(60)
        item.setBackground(back if is_marked else QColor(Qt.GlobalColor.transparent))

    def _verdict(self) -> str:
        """Base, merged value, sign and owner."""
        reading, names = self._reading, self.state.names
        if reading is None:
            return ""
        sign = {1: "+", -1: "−", 0: "none"}[reading.sign]
        merged = number(reading.merged) if reading.merged is not None else reading.note or "–"
        owner = expert_letter(reading.owner) if reading.owner < len(names) else "nobody"
        return f"base {number(reading.base)}   merged {merged}   elected sign {sign}   owner {owner}"


def chip(expert: int) -> QIcon:
    """The expert's colour with its letter."""
    pixmap = QPixmap(32, 32)
    pixmap.setDevicePixelRatio(2.0)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    font = painter.font()
    font.setPixelSize(10)
    painter.setFont(font)
    paint_chip(painter, QRectF(QPointF(0, 0), QPointF(16, 16)), expert, expert_letter(expert))
    painter.end()
    return QIcon(pixmap)
