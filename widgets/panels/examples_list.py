"""Examples of a task side by side: picture or text, right answer, the mix's answer, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPointF,
    QRect,
    QRectF,
    QSize,
    Qt,
)
from PySide6.QtGui import QColor, QFont, QImage, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import inks, mix, small

Change = Literal["right", "wrong", "changed"]
Index = QModelIndex | QPersistentModelIndex
ROW_ROLE = int(Qt.ItemDataRole.UserRole) + 1
WORDS: dict[Change, str] = {"right": "right", "wrong": "wrong", "changed": "wrong, changed"}
_PAD = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Card:
    """One example.

    Attributes:
        text: Its text; "" for a picture.
        pixels: (H, W, 3) uint8, or None for a text.
        label: The right answer.
        answer: What the mix answers.
        before: What it answered where the preview was prepared.
        chance: Probability that it gives its answer.
        change: Right, wrong, or wrong in another way than before.
        flipped: Whether the answer is another one than before.
    """

    text: str = ""
    pixels: np.ndarray | None = None
    label: str
    answer: str
    before: str
    chance: float
    change: Change
    flipped: bool

    @property
    def state(self) -> tuple[str, str, str, int, bool]:
        """What can change while faders move."""
        return self.answer, self.before, self.change, round(100 * self.chance), self.flipped

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        if self.flipped and self.change == "right":
            return "now right"
        return "now wrong" if self.flipped and self.change == "wrong" else WORDS[self.change]

    @property
    def sentence(self) -> str:
        """All of it, for tooltip and screen reader."""
        flip = f", before {plain(self.before, 60)}" if self.flipped else ""
        what = f"{plain(self.text, 400)}\n" if self.text else ""
        return (f"{what}Label {plain(self.label, 60)}; the mix says {plain(self.answer, 60)} "
                f"({100 * self.chance:.0f} %{flip}): {self.word}")  # fmt: skip


class ExamplesModel(QAbstractListModel):
    """The cards as a Qt model."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.cards: tuple[Card, ...] = ()

    def set_cards(self, cards: tuple[Card, ...]) -> None:
        """Show other cards; the same examples are updated in place."""
        old = self.cards
        same = len(old) == len(cards) and all(
            a.pixels is b.pixels and a.text == b.text and a.label == b.label for a, b in zip(old, cards, strict=True)
        )
        if not same:
            self.beginResetModel()
            self.cards = cards
            self.endResetModel()
            return
        self.cards = cards
        for at, (before, after) in enumerate(zip(old, cards, strict=True)):
            if before.state != after.state:
                self.dataChanged.emit(self.index(at), self.index(at))

    def rowCount(self, parent: Index | None = None) -> int:
        """Number of examples."""
        return 0 if parent is not None and parent.isValid() else len(self.cards)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """The card for the painter, words for all others."""
        if not index.isValid() or index.row() >= len(self.cards):
            return None
        card = self.cards[index.row()]
        if role == ROW_ROLE:
            return card
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{plain(card.answer, 60)}: {card.word}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(card.sentence)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return plain(card.sentence.replace("\n", ". "), 600)
        return None


class ExampleDelegate(QStyledItemDelegate):
    """Paints a card: what it is above, two lines of answers below, and the verdict as a shape with a word."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        """An eighth of the view, at least wide enough for short answers, and no taller than its contents need."""
        view = self.parent()
        room = view.viewport().size() if isinstance(view, QListView) else QSize(960, 160)
        count = max(1, index.model().rowCount())
        line, card = option.fontMetrics.height(), index.data(ROW_ROLE)
        width = max(option.fontMetrics.averageCharWidth() * 15, room.width() // count - 1)
        content = 12 * line
        if isinstance(card, Card) and card.pixels is not None:
            content = (width - 2 * (_PAD + 3)) * card.pixels.shape[0] // card.pixels.shape[1]
        tall = content + 3 * line + 8 + 2 * (_PAD + 3)
        return QSize(width, max(9 * line, min(tall, room.height() - 2)))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """From top to bottom."""
        card = index.data(ROW_ROLE)
        if not isinstance(card, Card):
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = option.rect.adjusted(3, 3, -3, -3)
        tone = tone_of(card)
        self._paint_ground(painter, option, box, card, tone)
        inner = box.adjusted(_PAD, _PAD, -_PAD, -_PAD)
        line = option.fontMetrics.height()
        words = QRect(inner.left(), inner.bottom() - 3 * line - 1, inner.width(), 3 * line + 2)
        above = QRect(inner.left(), inner.top(), inner.width(), words.top() - inner.top() - 5)
        self._paint_content(painter, above, card)
        self._paint_words(painter, words, line, card, tone)
        painter.restore()

    def _paint_ground(
        self, painter: QPainter, option: QStyleOptionViewItem, box: QRect, card: Card, tone: QColor
    ) -> None:
        colours = inks()
        painter.setBrush(mix(tone, colours.panel, 0.14) if card.flipped else colours.raised)
        painter.setPen(QPen(tone if card.flipped else colours.line, 2.0 if card.flipped else 1.0))
        painter.drawRoundedRect(QRectF(box).adjusted(1, 1, -1, -1), 5, 5)
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(theme().accent), 1.5, Qt.PenStyle.DotLine))
            painter.drawRoundedRect(QRectF(option.rect).adjusted(1, 1, -1, -1), 6, 6)

    def _paint_content(self, painter: QPainter, box: QRect, card: Card) -> None:
        if card.pixels is not None:
            height, width = card.pixels.shape[:2]
            image = QImage(card.pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888)
            side = min(box.width() / width, box.height() / height)
            made = QRectF(0, 0, width * side, height * side)
            made.moveCenter(QRectF(box).center())
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, side < 1)
            painter.drawImage(made, image)
            return
        painter.setFont(small(painter.font(), 0.94))
        painter.setPen(QColor(theme().text))
        flags = int(Qt.AlignmentFlag.AlignLeft) | int(Qt.TextFlag.TextWordWrap)
        painter.setClipRect(box)
        painter.drawText(box, flags, fitted(painter, box, plain(card.text, 400)))
        painter.setClipping(False)

    def _paint_words(self, painter: QPainter, box: QRect, line: int, card: Card, tone: QColor) -> None:
        colours = theme()
        font = QFont(painter.font())
        painter.setFont(small(font))
        _line(painter, QRect(box.left(), box.top(), box.width(), line), f"is {plain(card.label, 60)}", colours.dim)
        bold = QFont(font)
        bold.setBold(True)
        painter.setFont(bold)
        share = f" {100 * card.chance:.0f} %"
        room = box.width() - painter.fontMetrics().horizontalAdvance(share)
        answer = painter.fontMetrics().elidedText(f"says {plain(card.answer, 60)}", Qt.TextElideMode.ElideRight, room)
        _line(painter, QRect(box.left(), box.top() + line, box.width(), line), answer + share, colours.text)
        painter.setFont(font)
        last = QRect(box.left(), box.top() + 2 * line + 1, box.width(), line)
        paint_verdict(painter, QRectF(last.left(), last.top() + line * 0.16, line * 0.72, line * 0.72), card, tone)
        _line(painter, last.adjusted(line, 0, 0, 0), card.word, tone.name())


def tone_of(card: Card) -> QColor:
    """Blue for right, orange for wrong, as on the faders; readable as text in every theme."""
    hue = QColor("#3a8fd9") if card.change == "right" else QColor("#e07b1a")
    return mix(hue, inks().text, 0.72)


def paint_verdict(painter: QPainter, box: QRectF, card: Card, tone: QColor) -> None:
    """A filled circle for right, a cross for wrong, a diamond for wrong in another way."""
    painter.setPen(QPen(tone, 2.2))
    painter.setBrush(tone if card.change != "wrong" else Qt.BrushStyle.NoBrush)
    if card.change == "right":
        painter.drawEllipse(box.adjusted(1, 1, -1, -1))
    elif card.change == "wrong":
        inner = box.adjusted(1.5, 1.5, -1.5, -1.5)
        painter.drawLine(inner.topLeft(), inner.bottomRight())
        painter.drawLine(inner.bottomLeft(), inner.topRight())
    else:
        c = box.center()
        painter.drawPolygon(QPolygonF([QPointF(c.x(), box.top()), QPointF(box.right(), c.y()),
                                       QPointF(c.x(), box.bottom()), QPointF(box.left(), c.y())]))  # fmt: skip


def fitted(painter: QPainter, box: QRect, text: str) -> str:
    """As much of a text as fits a box, with an ellipsis where it was cut."""
    flags, metrics = int(Qt.TextFlag.TextWordWrap), painter.fontMetrics()
    if metrics.boundingRect(box, flags, text).height() <= box.height():
        return text
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        tall = metrics.boundingRect(box, flags, text[:middle] + "…").height() > box.height()
        low, high = (low, middle) if tall else (middle, high)
    return text[:low].rstrip() + "…"


def _line(painter: QPainter, box: QRect, text: str, colour: str) -> None:
    painter.setPen(QColor(colour))
    shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, box.width())
    painter.drawText(box, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), shown)


class ExamplesList(QListView):
    """The cards in one row; arrows go from one to the next."""

    def __init__(self, model: ExamplesModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("examples-list")
        self.setAccessibleName("Examples near to flipping")
        self.setModel(model)
        self.setItemDelegate(ExampleDelegate(self))
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(False)
        self.setUniformItemSizes(True)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setSelectionMode(QListView.SelectionMode.NoSelection)
