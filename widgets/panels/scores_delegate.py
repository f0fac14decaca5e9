"""Paints the cells of the quick-eval table: numbers over bars with interval ticks."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from PySide6.QtCore import QLineF, QModelIndex, QObject, QPersistentModelIndex, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetrics, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from widgets.common.colours import expert_letter
from widgets.common.format import percent_text
from widgets.common.icons import paint_icon
from widgets.common.theme import theme
from widgets.desk.inks import expert_line, inks, paint_chip, small
from widgets.panels.score_words import place, reach, state_words
from widgets.panels.scores_model import (
    BASE,
    DELTA,
    EXPERT,
    MIX,
    ROW_ROLE,
    TASK,
    VERDICT,
    Average,
    about_words,
    look,
)
from widgets.panels.state import Reading, TaskScore, verdict

_PAD = 6
_BAR = 8
_NARROW = 17
_SELECTED, _FOCUSED = QStyle.StateFlag.State_Selected.value, QStyle.StateFlag.State_HasFocus.value
_LOOKS = _SELECTED | _FOCUSED
_MOST_PICTURES = 256
"""Cells whose picture is kept: some 20 KB each, four times that on a fine screen."""
_MOST_KNOWN = 4096
"""Texts whose width is remembered."""


class ScoreDelegate(QStyledItemDelegate):
    """One cell: a number, below it a bar from 0 to 100 with the 95 % interval."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pictures: dict[Hashable, QPixmap] = {}

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """Two lines."""
        return QSize(40, option.fontMetrics.height() * 2 + 14)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """The cell, as a picture of it that is kept: while a fader moves the same few scores come again and again."""
        ratio = painter.device().devicePixelRatio()
        if ratio != int(ratio):  # a picture would lie between the screen's pixels
            self._draw(painter, option, index.data(ROW_ROLE), index.column(), _text_of(index))
            return
        column, rect, row, text = index.column(), option.rect, index.data(ROW_ROLE), _text_of(index)
        ground = option.state.value & _LOOKS, option.font.key(), theme().name, ratio, rect.width(), rect.height()
        key = look(row, column, text), column, ground
        picture = self._pictures.get(key)
        if picture is None:
            if len(self._pictures) >= _MOST_PICTURES:
                self._pictures.clear()
            picture = self._pictures[key] = QPixmap(rect.size() * ratio)
            picture.setDevicePixelRatio(ratio)
            picture.fill(Qt.GlobalColor.transparent)
            inside = QPainter(picture)
            inside.translate(-rect.topLeft())
            self._draw(inside, option, row, column, text)
            inside.end()
        painter.drawPixmap(rect.topLeft(), picture)

    def _draw(self, painter: QPainter, option: QStyleOptionViewItem, row: object, column: int, text: str) -> None:
        """Background, texts, bars."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_ground(painter, option, isinstance(row, Average))
        box = option.rect.adjusted(_PAD, 4, -_PAD, -4)
        font = QFont(option.font)
        font.setBold(isinstance(row, Average) or column == MIX)
        painter.setFont(font)
        if isinstance(row, TaskScore):
            self._paint_task(painter, box, row, column, text)
        elif isinstance(row, Average):
            self._paint_average(painter, box, row, column, text)
        painter.restore()

    def _paint_ground(self, painter: QPainter, option: QStyleOptionViewItem, is_average: bool) -> None:
        colours, state = theme(), option.state.value
        if state & _SELECTED:
            painter.fillRect(option.rect, QColor(colours.hover))
        elif is_average:
            painter.fillRect(option.rect, QColor(colours.raised))
        painter.setPen(QColor(colours.line))
        edge = option.rect.top() if is_average else option.rect.bottom()
        painter.drawLine(option.rect.left() - 1, edge, option.rect.right() + 1, edge)
        if state & _FOCUSED:
            painter.setPen(QPen(QColor(colours.accent), 1.5))
            painter.drawRect(QRectF(option.rect).adjusted(1, 1, -1, -1))

    def _paint_task(self, painter: QPainter, box: QRect, row: TaskScore, column: int, text: str) -> None:
        colours = theme()
        if column == TASK:
            self._paint_name(painter, box, row, text)
        elif row.problem:
            if column == MIX:
                painter.setFont(_unbold(painter))
                _line(painter, box, 0, "no score", colours.dim)
        elif column in (DELTA, VERDICT):
            way = verdict(row.mix, row.base)
            tone = {1: colours.ok, -1: colours.error}.get(way, colours.dim)
            _line(painter, box, 0, text, colours.dim if row.is_old else tone)
        else:
            dimmed = column == MIX and row.is_old
            _line(painter, box, 0, text, colours.dim if dimmed or column == BASE else colours.text)
            if column == MIX and row.mix is not None:
                self._paint_state(painter, box, text, state_words(row))
            reading = {BASE: row.base, EXPERT: row.expert, MIX: row.mix}[column]
            self._paint_bar(painter, _bar_box(box), reading, row, column)

    def _paint_state(self, painter: QPainter, box: QRect, number: str, words: tuple[str, ...]) -> None:
        painter.save()
        left = painter.fontMetrics().horizontalAdvance(number) + 8
        painter.setFont(small(_unbold(painter)))
        place = box.adjusted(left, 1, 0, 1)
        _line(painter, place, 0, _fitting(painter, place, words), theme().dim)
        painter.restore()

    def _paint_name(self, painter: QPainter, box: QRect, row: TaskScore, text: str) -> None:
        """Chip, name, and rows with margin below; in a narrow column the chip goes below, the name needs the room."""
        metrics = QFontMetrics(painter.font())
        side = metrics.height()
        narrow = box.width() < metrics.averageCharWidth() * _NARROW
        mark = QRectF(box.left(), box.bottom() - side + 1 if narrow else box.top(), side, side)
        if row.problem:
            paint_icon(painter, "warning", mark.adjusted(0, 1, 0, 1), theme().warning)
        elif row.expert_index >= 0:
            painter.save()
            painter.setFont(small(painter.font(), 0.85 if narrow else 1.0))
            paint_chip(painter, mark, row.expert_index, expert_letter(row.expert_index))
            painter.restore()
        inner = box.adjusted(side + 6, 0, 0, 0)
        _line(painter, box if narrow else inner, 0, text, theme().text)
        painter.setFont(small(painter.font()))
        _line(painter, inner, 1, _fitting(painter, inner, about_words(row)), theme().dim)

    def _paint_bar(self, painter: QPainter, box: QRectF, reading: Reading | None, row: TaskScore, column: int) -> None:
        """Track, bar (hatched when stale), interval ticks; in the mix also marks of base and own expert."""
        colours, ends = theme(), reach((row.base, row.expert, row.mix))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.track))
        painter.drawRect(box)
        if reading is not None:
            painter.setBrush(_fill(row, column))
            start, end = sorted((place(0, ends), place(reading.value, ends)))
            width = box.width()
            painter.drawRect(QRectF(box.left() + width * start, box.top(), width * (end - start), box.height()))
            _interval(painter, box, reading, ends)
        if column == MIX:
            if row.base is not None:
                _tick(painter, box, place(row.base.value, ends), QColor(colours.dim))
            if row.expert is not None and row.expert_index >= 0:
                _tick(painter, box, place(row.expert.value, ends), expert_line(row.expert_index))

    def _paint_average(self, painter: QPainter, box: QRect, mean: Average, column: int, text: str) -> None:
        colours = theme()
        _line(painter, box, 0, text, colours.dim if mean.is_stale and column in (MIX, DELTA) else colours.text)
        painter.setFont(small(_unbold(painter)))
        if column == TASK:
            share = percent_text(mean.normalised)
            _line(
                painter, box, 1, _fitting(painter, box, (f"{share} of experts", f"{share} norm.", share)), colours.dim
            )
        elif column == VERDICT:
            _line(painter, box, 1, "normalised", colours.dim)
        elif column == MIX:
            _line(painter, box, 1, f"base {mean.text(mean.base)}", colours.dim)


def _text_of(index: QModelIndex | QPersistentModelIndex) -> str:
    return str(index.data(Qt.ItemDataRole.DisplayRole) or "")


def _fitting(painter: QPainter, box: QRect, texts: tuple[str, ...]) -> str:
    """The first text that fits, else the last one; eliding counts parts of pixels, so one is kept free."""
    measure = painter.fontMetrics().horizontalAdvance
    return _known(painter, texts, box, lambda: next((t for t in texts if measure(t) < box.width() - 1), texts[-1]))


_KNOWN: dict[tuple[str, tuple[str, ...], int], str] = {}


def _known(painter: QPainter, texts: tuple[str, ...], box: QRect, find: Callable[[], str]) -> str:
    """What was found before for these texts, font and width: measuring text takes longer than all else of a cell."""
    key = painter.font().key(), texts, box.width()
    found = _KNOWN.get(key)
    if found is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        found = _KNOWN[key] = find()
    return found


def _unbold(painter: QPainter) -> QFont:
    font = QFont(painter.font())
    font.setBold(False)
    return font


def _fill(row: TaskScore, column: int) -> QBrush:
    colours = theme()
    if column == EXPERT:
        return QBrush(expert_line(max(0, row.expert_index)))
    if column == BASE:
        return QBrush(QColor(colours.dim))
    style = Qt.BrushStyle.SolidPattern
    if row.quality == "waiting":
        style = Qt.BrushStyle.Dense6Pattern
    elif row.is_old:
        style = Qt.BrushStyle.BDiagPattern
    elif row.quality == "estimate":
        style = Qt.BrushStyle.Dense4Pattern
    return QBrush(QColor(colours.accent), style)


def _bar_box(box: QRect) -> QRectF:
    return QRectF(box.left(), box.bottom() - _BAR - 3, box.width(), _BAR)


def _interval(painter: QPainter, box: QRectF, reading: Reading, ends: tuple[float, float]) -> None:
    """A whisker from low to high through the middle of the bar, outlined so that it shows on any fill."""
    low, high = (box.left() + box.width() * place(v, ends) for v in (reading.low, reading.high))
    middle = box.center().y()
    lines = [QLineF(low, middle, high, middle)] + [QLineF(x, middle - 3, x, middle + 3) for x in (low, high)]
    for colour, width in ((inks().panel, 3.0), (inks().text, 1.2)):
        painter.setPen(QPen(colour, width))
        painter.drawLines(lines)


def _tick(painter: QPainter, box: QRectF, value: float, colour: QColor) -> None:
    at = box.left() + box.width() * value
    painter.setPen(QPen(colour, 2.0))
    painter.drawLine(QLineF(at, box.top() - 3, at, box.bottom() + 3))


def _line(painter: QPainter, box: QRect, line: int, text: str, colour: str) -> None:
    """One line of text, elided; line 0 is at the top of the box, line 1 at its bottom."""
    metrics = painter.fontMetrics()
    top = box.top() if line == 0 else box.bottom() - metrics.height() + 1
    painter.setPen(QColor(colour))
    shown = text if 2 * len(text) * metrics.averageCharWidth() < box.width() else _known(
        painter, (text,), box, lambda: metrics.elidedText(text, Qt.TextElideMode.ElideRight, box.width()))  # fmt: skip
    painter.drawText(QRect(box.left(), top, box.width(), metrics.height()), int(Qt.AlignmentFlag.AlignLeft), shown)
