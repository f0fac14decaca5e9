"""Names beside their colours: in full where one line holds them, short where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QRect, Qt
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QToolTip, QWidget

from widgets.common.text import plain, tip
from widgets.common.theme import theme

_BOX, _DASH, _GAP = 12, 26, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend.

    Attributes:
        name: In full, for the tooltip.
        label: The name as it is written where there is room.
        short: As it is written where there is not.
        brush: Fills a box; None for a line.
        pen: Draws a line; None for a box.
    """

    name: str
    label: str
    short: str
    brush: QBrush | None = None
    pen: QPen | None = None


class Legend(QWidget):
    """Entries in one line; short ones wrap where even they do not fit."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._keys: tuple[Key, ...] = ()
        self.is_short = False
        self._places: list[QRect] = []

    def show_keys(self, keys: Sequence[Key]) -> None:
        """Show other entries."""
        self._keys = tuple(keys)
        self.setAccessibleName("Colours: " + ", ".join(plain(k.name) for k in keys))
        self.setVisible(bool(keys))
        self._arrange()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Choose and wrap anew."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        self.is_short = False
        self._places = self._lines([k.label for k in self._keys])
        if self._places and self._places[-1].top() > 0:
            self.is_short = True
            self._places = self._lines([k.short for k in self._keys])
        self.setFixedHeight(self._places[-1].bottom() + 1 if self._places else 0)
        self.update()

    def _lines(self, texts: Sequence[str]) -> list[QRect]:
        """Where every entry is."""
        x, y, tall, made = 0, 0, self.fontMetrics().height() + 4, []
        gap = 10 if self.is_short else 16
        for key, text in zip(self._keys, texts, strict=True):
            wide = (_BOX if key.pen is None else _DASH) + _GAP + self.fontMetrics().horizontalAdvance(text)
            if x and x + wide > self.width():
                x, y = 0, y + tall
            made.append(QRect(x, y, wide, tall))
            x += wide + gap
        return made

    def event(self, event: QEvent) -> bool:
        """The full name under the mouse."""
        if isinstance(event, QHelpEvent):
            names = (k.name for k, place in zip(self._keys, self._places, strict=True) if place.contains(event.pos()))
            QToolTip.showText(event.globalPos(), tip(next(names, "")), self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw swatches and names."""
        painter = QPainter(self)
        for key, place in zip(self._keys, self._places, strict=True):
            middle, left = place.center().y(), _BOX
            if key.brush is not None:
                box = QRect(place.left(), middle - _BOX // 2, _BOX, _BOX)
                painter.fillRect(box, key.brush)
                painter.setPen(QColor(theme().line))
                painter.drawRect(box)
            if key.pen is not None:
                left = _DASH
                painter.setPen(key.pen)
                painter.drawLine(place.left(), middle, place.left() + _DASH, middle)
            painter.setPen(QColor(theme().text))
            words = key.short if self.is_short else key.label
            painter.drawText(place.adjusted(left + _GAP, 0, 4, 0), Qt.AlignmentFlag.AlignVCenter, words)
        painter.end()
