"""Tables of the compare layout: scores with their intervals drawn, and differences in words."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.compare.state import Listing, ScoreLine, ScoreList

_FOREST, _VERDICT = 5, 6
_NUMBERS = (1, 2, 3, 4)
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class TextTable(QWidget):
    """Shows a `Listing`.

    Attributes:
        table: The table itself.
        state: What is shown.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.state = Listing(title=name)
        self.table = _calm(QTableWidget(), name)
        _hold(self, self.table)

    def set_state(self, state: Listing) -> None:
        """Show other rows."""
        if state == self.state:
            return
        self.state = state
        self.table.setColumnCount(len(state.head))
        self.table.setHorizontalHeaderLabels(list(state.head))
        self.table.setRowCount(len(state.body))
        for r, cells in enumerate(state.body):
            for c, text in enumerate(cells):
                self.table.setItem(r, c, _item(text))
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)

    def fit(self) -> None:
        """Back to the first row."""
        self.table.scrollToTop()


class ScoreTable(QWidget):
    """Shows a `ScoreList`; the difference is also drawn as a point with its interval around 0.

    Attributes:
        table: The table itself.
        state: What is shown.
    """

    def __init__(self, name: str = "Scores of A and B") -> None:
        super().__init__()
        self.state = ScoreList()
        self.table = _calm(QTableWidget(0, len(ScoreList.HEAD)), name)
        self.table.setHorizontalHeaderLabels(list(ScoreList.HEAD))
        for column in (*_NUMBERS, _FOREST):
            title = self.table.horizontalHeaderItem(column)
            if title is not None:
                title.setTextAlignment(Qt.AlignmentFlag.AlignCenter if column == _FOREST else _RIGHT)
        self.table.setItemDelegateForColumn(_FOREST, Forest(self))
        _hold(self, self.table)

    def set_state(self, state: ScoreList) -> None:
        """Show other scores."""
        if state == self.state:
            return
        self.state = state
        self.table.setRowCount(len(state.lines))
        for r, line in enumerate(state.lines):
            texts = (line.task, line.first, line.second, line.difference, line.interval, "", line.verdict)
            for c, text in enumerate(texts):
                self.table.setItem(r, c, _score_item(line, c, text))
        self.fit()

    def fit(self) -> None:
        """Columns as wide as their texts; the drawing takes the rest."""
        self.table.resizeColumnsToContents()
        header, modes = self.table.horizontalHeader(), QHeaderView.ResizeMode
        for c in range(self.table.columnCount()):
            header.setSectionResizeMode(c, modes.Stretch if c == _FOREST else modes.Interactive)
        self.table.scrollToTop()


def _score_item(line: ScoreLine, column: int, text: str) -> QTableWidgetItem:
    item = _item(text, line.how if column >= _NUMBERS[2] else text)
    if column in _NUMBERS:
        item.setTextAlignment(_RIGHT)
    if column == _FOREST:
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{line.difference}, {line.interval}")
    font = item.font()
    if line.is_mean or (column == _VERDICT and line.better):
        font.setWeight(QFont.Weight.DemiBold)
    item.setFont(font)
    return item


def _hold(outer: QWidget, table: QTableWidget) -> None:
    """The table fills the widget and takes its keyboard."""
    layout = QVBoxLayout(outer)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(table)
    outer.setFocusProxy(table)


class Forest(QStyledItemDelegate):
    """Draws a difference: a line at 0, the interval as a bar, the value as a mark.

    A clear difference has a filled mark, another an open one: colour is never alone.
    """

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Paint one line."""
        super().paint(painter, option, index)
        table = self.parent()
        if not isinstance(table, ScoreTable) or index.row() >= len(table.state.lines):
            return
        line = table.state.lines[index.row()]
        if line.ends is None:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        paint_interval(painter, QRectF(option.rect), line, table.state.reach(line.unit))
        painter.restore()


def paint_interval(painter: QPainter, box: QRectF, line: ScoreLine, reach: float) -> None:
    """One interval; to the right A is better.

    Args:
        painter: On it.
        box: In here.
        line: Whose `ends` are drawn.
        reach: Value at the ends of the box.
    """
    if line.ends is None:
        return
    colours, middle, half = theme(), box.center(), box.width() / 2 - 10
    low, value, high = (middle.x() + half * max(-1.0, min(1.0, x / reach)) for x in line.ends)
    painter.setPen(QPen(QColor(colours.line), 1))
    painter.drawLine(QPointF(middle.x(), box.top()), QPointF(middle.x(), box.bottom()))
    ink = QColor(colours.accent if line.better else colours.dim)
    painter.setPen(QPen(ink, 2))
    painter.drawLine(QPointF(low, middle.y()), QPointF(high, middle.y()))
    for x in (low, high):
        painter.drawLine(QPointF(x, middle.y() - 4), QPointF(x, middle.y() + 4))
    painter.setBrush(ink if line.better else QColor(colours.panel))
    painter.drawEllipse(QPointF(value, middle.y()), 4.5, 4.5)


def _calm(table: QTableWidget, name: str) -> QTableWidget:
    table.setAccessibleName(name)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setTabKeyNavigation(False)
    table.setFrameShape(QFrame.Shape.NoFrame)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
    table.horizontalHeader().setHighlightSections(False)
    table.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return table


def _item(text: str, more: str = "") -> QTableWidgetItem:
    clean = plain(text, 300)
    item = QTableWidgetItem(clean)
    item.setToolTip(tip(more or text))
    return item
