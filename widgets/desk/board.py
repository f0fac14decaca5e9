"""The desk's table with everything that is frozen around it, laid out by hand so that all columns align."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QScrollBar, QWidget

from widgets.desk.coefficient_model import CoefficientModel
from widgets.desk.commands import DeskCommands
from widgets.desk.curve_view import CurveView
from widgets.desk.heads import HeadColumn, MetricHeads
from widgets.desk.inks import inks, small
from widgets.desk.keys import DeskKeys
from widgets.desk.sizes import row_height, spread
from widgets.desk.state import Column, DeskState, Face, same_shape
from widgets.desk.strip import PinnedStrip
from widgets.desk.table import DeskTable
from widgets.desk.wishes import Wishes

if TYPE_CHECKING:
    from widgets.desk.edits import Spot

_HINT = "Drop another model here to add a row."


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What `DeskBoard.arrange` decides: pixels."""

    head: int
    widths: tuple[int, ...]
    row: int
    metric: int
    rows_room: int
    bar_right: int
    bar_below: int
    indent: int
    margin: int


def _mirror(bar: QScrollBar, inner: QScrollBar) -> None:
    """Let a visible scroll bar stand for a view's hidden one."""
    inner.rangeChanged.connect(bar.setRange)
    inner.rangeChanged.connect(lambda *_: bar.setPageStep(inner.pageStep()))
    inner.valueChanged.connect(bar.setValue)
    bar.valueChanged.connect(inner.setValue)
    bar.setSingleStep(20)


class DeskBoard(QWidget):
    """Row headers, faders with column headers, pinned rows below them, scroll bars.

    Attributes:
        model: The state as a table.
        wishes: Where edits leave.
        table: The faders.
        curve: The curve face over them.
        heads: Row headers of the experts.
        commands: What keys and menus do to the selection.
        keys: The keyboard.
        hint: What is said below the rows where there is room.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = CoefficientModel(self)
        self.wishes = Wishes(self.model, self)
        self.table = DeskTable(self.model, self.wishes, self)
        self.curve = CurveView(self.table, self.wishes, self)
        self.heads = HeadColumn(self.table, self)
        self.strip = PinnedStrip(self.model, self.table, self)
        self.metric_heads = MetricHeads(self)
        self.commands = DeskCommands(self.table, self.wishes, self)
        self.keys = DeskKeys(self.table, self.commands, self)
        self.table.keys = self.keys
        self.right, self.below = QScrollBar(Qt.Orientation.Vertical, self), QScrollBar(Qt.Orientation.Horizontal, self)
        self._bottom = 0
        self.hint = _HINT
        for view in (self.table, self.strip):
            view.viewport().setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._connect()

    def _connect(self) -> None:
        _mirror(self.right, self.table.verticalScrollBar())
        _mirror(self.below, self.table.horizontalScrollBar())
        self.table.verticalScrollBar().valueChanged.connect(lambda _: self.heads.arrange())
        self.table.currentMoved.connect(self._on_current)
        self.model.edited.connect(self.commands.set_typed)
        self.curve.typed.connect(self.commands.set_typed)
        self.heads.rowChosen.connect(self._on_row)
        self.heads.tableWanted.connect(self.focus_cells)
        self.keys.rowMoved.connect(self.heads.move_row)

    @property
    def face(self) -> Face:
        """How coefficients are drawn."""
        return self.table.painter.face

    def setFace(self, face: Face) -> None:
        """Draw coefficients in another way."""
        had_focus = self.table.hasFocus() or self.curve.hasFocus()
        self.table.painter.face = face
        curved = face == "curve"
        self.curve.setVisible(curved)
        self.keys.type_value = self.curve.type_value if curved else self.keys.type_in_table
        self.arrange()
        self.table.viewport().update()
        if had_focus:
            self.focus_cells()

    def focus_cells(self) -> None:
        """Give the keyboard to the cells."""
        target: QWidget = self.curve if self.face == "curve" else self.table
        target.setFocus(Qt.FocusReason.OtherFocusReason)

    def setState(self, state: DeskState) -> None:
        """Show a state; the selection stays on the same experts and layers."""
        old = self.model.state
        if same_shape(old, state):
            self.model.setState(state)
        else:
            chosen, current = self.table.chosen, self.table.current
            self.table.mouse.mode = "idle"
            self.wishes.finish()
            self.model.setState(state)
            self.table.forget()
            self.arrange(state)
            if old.experts and old.columns and not state.is_empty:
                spots = [_matches(old, spot, state) for spot in ([current] if current else [])]
                first = next((m[0] for m in spots if m), None)
                self.table.choose(_carried(old, chosen, state), first, quiet=True)
        if state.experts is not old.experts or len(state.pinned) != len(old.pinned):
            self.heads.setState(state)
        self.metric_heads.setState(state, [self.strip.rowHeight(i) for i in range(len(state.pinned))])
        self._on_current()

    def _on_current(self) -> None:
        here = self.table.current
        self.heads.setCurrent(here[0] if here else -1)

    def _on_row(self, row: int, extend: bool) -> None:
        self.table.choose_row(row, extend=extend)
        self.focus_cells()

    # Layout --------------------------------------------------------------------------------------------------

    def least_widths(self) -> list[int]:
        """Room that each column needs for its heading and its number."""
        heading, columns = self.table.heading, self.model.state.columns
        if self.face == "heat":
            return [6 if c.kind is None else heading.least_width(i) for i, c in enumerate(columns)]
        digits = QFontMetrics(small(self.font()) if self.face != "numbers" else self.font())
        number = digits.horizontalAdvance("0.00" if self.face != "numbers" else "−0.00") + 3
        if self.face == "numbers":
            number += 8
        return [max(number, heading.least_width(i)) for i in range(len(columns))]

    def _measure(self, state: DeskState) -> _Sizes:
        line, count = self.fontMetrics().height(), len(state.experts)
        width, height = self.width(), self.height()
        head = min(max(13 * line, width // 7), 19 * line)
        metric = 2 * line + 2
        indent, margin = (int(2.4 * line), int(1.6 * line)) if self.face == "curve" else (0, 0)
        header = self.table.heading.sizeHint().height()
        room = height - header - metric * len(state.pinned) - 1
        bar = self.right.sizeHint().width()
        for _ in range(2):
            row = row_height(self.face, count, room, line)
            bar_right = bar if row * count > room else 0
            across = width - head - bar_right - indent - margin
            widths = spread(self.least_widths(), across, 12 * line)
            bar_below = self.below.sizeHint().height() if sum(widths) > across else 0
            room = height - header - metric * len(state.pinned) - 1 - bar_below
        return _Sizes(head, tuple(widths), row, metric, max(0, room), bar_right, bar_below, indent, margin)

    def arrange(self, state: DeskState | None = None) -> None:
        """Decide all sizes again."""
        state = state or self.model.state
        self.table.heading.prepare()
        if state.is_empty:
            return
        sizes = self._measure(state)
        self._size_sections(sizes, len(state.pinned))
        header = self.table.heading.sizeHint().height()
        rows = min(sizes.row * len(state.experts), sizes.rows_room)
        width = self.width() - sizes.head - sizes.bar_right
        strip = sizes.metric * len(state.pinned)
        left = sizes.head + sizes.indent
        width -= sizes.indent + sizes.margin
        self.table.setGeometry(left, 0, width, header + rows)
        self.curve.indent = sizes.indent
        self.curve.setGeometry(sizes.head, header, width + sizes.indent + sizes.margin, rows)
        self.curve.raise_()
        self.heads.setGeometry(0, 0, sizes.head, header + rows)
        self.strip.setGeometry(left, header + rows + 1, width, strip)
        self.metric_heads.setGeometry(0, header + rows + 1, left, strip)
        self.right.setGeometry(self.width() - sizes.bar_right, header, sizes.bar_right, rows)
        self._bottom = header + rows + 1 + strip
        self.below.setGeometry(left, self._bottom, width, sizes.bar_below)
        self._bottom += sizes.bar_below
        self.right.setVisible(sizes.bar_right > 0)
        self.below.setVisible(sizes.bar_below > 0)
        self.heads.arrange()
        self.metric_heads.setState(state, [sizes.metric] * len(state.pinned))
        self.update()

    def _size_sections(self, sizes: _Sizes, pinned: int) -> None:
        for view in (self.table, self.strip):
            header = view.horizontalHeader()
            for column, width in enumerate(sizes.widths):
                header.resizeSection(column, width)
        for row in range(self.model.rowCount()):
            self.table.setRowHidden(row, row < pinned)
            self.strip.setRowHidden(row, row >= pinned)
            (self.strip if row < pinned else self.table).setRowHeight(row, sizes.metric if row < pinned else sizes.row)
        for view in (self.table, self.strip):
            view.painter.prepare(self.font(), min(sizes.widths))
        self.table.heading.settle()
        self.table.heading.setFixedHeight(self.table.heading.sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Headers, one row and the pinned rows."""
        line = self.fontMetrics().height()
        return QSize(20 * line, line * 7 + (2 * line + 2) * len(self.model.pinned))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Share out the room."""
        self.arrange()

    def changeEvent(self, event: QEvent) -> None:
        """Share out the room for another font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.arrange()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The floor, the line above the pinned rows, and a hint where there is room."""
        painter, colours = QPainter(self), inks()
        painter.fillRect(self.rect(), colours.window)
        state, y = self.model.state, self.strip.y() - 1
        if state.is_empty:
            return
        painter.fillRect(QRect(0, y, self.width(), 1), colours.line)
        painter.fillRect(QRect(0, self.table.heading.height() - 1, self.width(), 1), colours.line)
        painter.fillRect(QRect(0, y + 1, self.width(), self.strip.height()), colours.band)
        painter.fillRect(QRect(0, self._bottom, self.width(), 1), colours.hair)
        below = QRect(0, self._bottom, self.width(), self.height() - self._bottom)
        if below.height() > 4 * self.fontMetrics().height():
            painter.setPen(colours.dim)
            painter.drawText(below, Qt.AlignmentFlag.AlignCenter, self.hint)

    # For tests and for other views ---------------------------------------------------------------------------

    def cell_rect(self, spot: Spot) -> QRect:
        """A cell in global coordinates; in the curve face the column's band."""
        box = self.table.box(spot)
        if self.face == "curve":
            box = QRect(box.left(), 0, box.width(), self.curve.height())
            return QRect(self.curve.mapToGlobal(QPoint(self.curve.left_of(spot[1]), 0)), box.size())
        return QRect(self.table.viewport().mapToGlobal(box.topLeft()), box.size())

    def fader_point(self, spot: Spot, value: float) -> QPoint:
        """Where a fader's cap or a curve's point is at a value, in global coordinates."""
        box = self.table.box(spot)
        x, y = box.center().x(), box.center().y()
        if self.face == "curve":
            return self.curve.mapToGlobal(QPoint(x + self.curve.indent, round(self.curve.y_of(value))))
        if self.face == "faders":
            y = round(self.table.fader(spot).y_of(value))
        return self.table.viewport().mapToGlobal(QPoint(x, y))


def _same_place(old: Column, new: Column) -> bool:
    """Whether a column shows what another one showed, or a part or the whole of it."""
    if old.key == new.key:
        return True
    return old.layer == new.layer and None in (old.kind, new.kind) and old.tensor is None and new.tensor is None


def _matches(old: DeskState, spot: Spot, new: DeskState) -> list[Spot]:
    """Cells of a new state that show what a cell of the old one showed."""
    row = new.row_of(old.experts[spot[0]].id)
    columns = [i for i, c in enumerate(new.columns) if _same_place(old.columns[spot[1]], c)]
    return [(row, c) for c in columns] if row >= 0 else []


def _carried(old: DeskState, chosen: np.ndarray, new: DeskState) -> np.ndarray:
    """The selection of an old state in a new one, (T, C) bool."""
    flags = np.zeros((len(new.experts), len(new.columns)), dtype=bool)
    if not chosen.any():
        return flags
    wanted = np.flatnonzero(chosen.any(axis=0)).tolist()
    place = np.zeros((len(old.columns), len(new.columns)), dtype=bool)
    by_layer: dict[str, list[int]] = {}
    for i, column in enumerate(new.columns):
        by_layer.setdefault(column.layer, []).append(i)
    for c in wanted:
        for i in by_layer.get(old.columns[c].layer, ()):
            place[c, i] = _same_place(old.columns[c], new.columns[i])
    for i, expert in enumerate(old.experts):
        row = new.row_of(expert.id)
        if row >= 0:
            flags[row] = (chosen[i][:, None] & place).any(axis=0)
    return flags
