"""What lies over the desk while the other recipe is shown: a frame, a badge, and nothing can be clicked."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QRect, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from widgets.common.text import plain
from widgets.common.theme import theme


class Veil(QWidget):
    """Covers its parent while it is shown.

    Args:
        parent: What is covered; the veil follows its size.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.text = ""
        self.hide()
        parent.installEventFilter(self)

    def show_text(self, text: str) -> None:
        """Cover the parent and say what is seen."""
        self.text = plain(text, 120)
        self.setAccessibleName(self.text)
        self.setGeometry(self._parent_rect())
        self.show()
        self.raise_()
        self.update()

    def _parent_rect(self) -> QRect:
        parent = self.parentWidget()
        return parent.rect() if parent is not None else QRect()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the parent's size."""
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self.setGeometry(self._parent_rect())
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        """The frame, and the badge in the middle of its upper edge."""
        painter, colours = QPainter(self), theme()
        painter.setPen(QPen(QColor(colours.accent), 6))
        painter.drawRect(self.rect())
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        metrics = painter.fontMetrics()
        shown = metrics.elidedText(self.text, Qt.TextElideMode.ElideMiddle, self.width() - 80)
        wide, tall = metrics.horizontalAdvance(shown) + 28, metrics.height() + 10
        badge = QRect((self.width() - wide) // 2, 0, wide, tall)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.accent))
        painter.drawRoundedRect(badge.adjusted(0, -6, 0, 0), 6, 6)
        painter.setPen(QColor(colours.on_accent))
        painter.drawText(badge, Qt.AlignmentFlag.AlignCenter, shown)
