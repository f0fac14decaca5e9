"""What lies over the desk: the words of a drop, and the invitation when there is nothing to mix."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from widgets.common.text import PlainLabel
from widgets.desk.button import DeskButton
from widgets.desk.inks import inks
from widgets.desk.wording import plain

TITLE = "Drop models here"
DETAIL = "A base and its fine-tunes: .safetensors files or model folders.\nEach fine-tune becomes a row of faders."


class DropOverlay(QWidget):
    """Says what a drop will do, over the whole canvas or over one row."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.text = ""
        self._target = QRect()
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def show_for(self, text: str, target: QRect) -> None:
        """Show words over a part of the canvas."""
        parent = self.parentWidget()
        if parent is not None:
            self.setGeometry(parent.rect())
        self.text, self._target = plain(text), target
        self.setAccessibleName(self.text)
        self.show()
        self.raise_()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A veil, a dashed frame around the target, and the words in a box that fits them."""
        colours, painter = inks(), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        veil = QColor(colours.window)
        veil.setAlphaF(0.72)
        painter.fillRect(self.rect(), veil)
        frame = QRectF(self._target).adjusted(3, 3, -3, -3)
        tint = QColor(colours.accent)
        tint.setAlphaF(0.14)
        painter.setBrush(tint)
        painter.setPen(QPen(colours.accent, 2, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(frame, 6, 6)
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        room = QRectF(self.rect()).adjusted(24, 24, -24, -24)
        words = painter.boundingRect(room, flags, self.text)
        words.moveCenter(frame.center())
        line = self.fontMetrics().height()
        words.moveLeft(min(max(words.left(), room.left()), room.right() - words.width()))
        plate = words.adjusted(-line, -line * 0.6, line, line * 0.6)
        painter.setPen(QPen(colours.accent, 1))
        painter.setBrush(colours.raised)
        painter.drawRoundedRect(plate, 6, 6)
        painter.setPen(colours.text)
        painter.drawText(words, flags, self.text)


class EmptyState(QWidget):
    """A hint and two buttons.

    Signals:
        openWanted, demoWanted: A button was pressed.
    """

    openWanted = Signal()
    demoWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title, self.detail = PlainLabel(TITLE), PlainLabel(DETAIL, wrap=True)
        self.open = DeskButton("Open models…", "Open model files or folders")
        self.demo = DeskButton("Open demo", "Open the demo: a base and small experts with tasks")
        self.open.clicked.connect(lambda: self.openWanted.emit())
        self.demo.clicked.connect(lambda: self.demoWanted.emit())
        font = QFont(self.font())
        font.setBold(True)
        font.setPointSizeF(max(1.0, font.pointSizeF()) * 1.5)
        self.title.setFont(font)
        self.detail.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.detail.setMinimumWidth(self.fontMetrics().averageCharWidth() * 44)
        self._lay_out()
        self.setAccessibleName("Nothing to mix yet")

    def _lay_out(self) -> None:
        line = self.fontMetrics().height()
        buttons = QHBoxLayout()
        buttons.setSpacing(line)
        buttons.addStretch(1)
        buttons.addWidget(self.open)
        buttons.addWidget(self.demo)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(2 * line, 2 * line, 2 * line, 2 * line)
        column.setSpacing(line)
        column.addStretch(2)
        centre = Qt.AlignmentFlag.AlignHCenter
        for label in (self.title, self.detail):
            column.addWidget(label, 0, centre)
        column.addLayout(buttons)
        column.addStretch(3)

    def labels(self) -> tuple[QLabel, QLabel]:
        """Title and detail."""
        return self.title, self.detail

    def paintEvent(self, event: QPaintEvent) -> None:
        """Panel with a dashed frame: this is where things are dropped."""
        colours, painter = inks(), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.fillRect(self.rect(), colours.panel)
        painter.setPen(QPen(colours.line, 1.5, Qt.PenStyle.DashLine))
        side = self.fontMetrics().height()
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(side, side, -side, -side), 8, 8)
