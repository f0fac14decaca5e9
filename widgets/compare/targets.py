"""Two halves over the middle of the window while a recipe is dragged: drop it as A or as B."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QFont, QPainter, QPen
from PySide6.QtWidgets import QWidget

from widgets.common.recipe_drag import recipe_name
from widgets.common.text import plain
from widgets.common.theme import theme

if TYPE_CHECKING:
    from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDragMoveEvent, QDropEvent, QPaintEvent

_GAP = 10.0


class DropTargets(QWidget):
    """Covers its parent while a recipe is dragged.

    Args:
        parent: What is covered.

    Signals:
        dropped: (0 for A or 1 for B, name of the recipe), when the drag is over.
    """

    dropped = Signal(int, str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("compare-targets")
        self.setAccessibleName("Drop the recipe as A or as B")
        self.setAcceptDrops(True)
        self.names, self.hot = ("", ""), -1
        self.hide()
        parent.installEventFilter(self)

    def show_names(self, first: str, second: str) -> None:
        """Show the targets, and what is A and B now."""
        self.names = plain(first, 60), plain(second, 60)
        parent = self.parentWidget()
        if parent is not None:
            self.setGeometry(parent.rect())
        self.show()
        self.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the parent's size."""
        parent = self.parentWidget()
        if event.type() == QEvent.Type.Resize and self.isVisible() and parent is not None:
            self.setGeometry(parent.rect())
        return False

    def box(self, side: int) -> QRectF:
        """The half of a side."""
        wide = (self.width() - 3 * _GAP) / 2
        return QRectF(_GAP + side * (wide + _GAP), _GAP, wide, self.height() - 2 * _GAP)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take recipes, nothing else."""
        self._take(event)

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        """The half under the pointer lights up."""
        self._take(event)

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """It went on."""
        self._set_hot(-1)

    def dropEvent(self, event: QDropEvent) -> None:
        """Say which side it is, once the drag is over."""
        name, side = recipe_name(event.mimeData()), self._side(event)
        self._take(event)
        self._set_hot(-1)
        if name:
            QTimer.singleShot(0, self, lambda: self.dropped.emit(side, name))

    def _side(self, event: QDropEvent) -> int:
        return int(event.position().x() >= self.width() / 2)

    def _take(self, event: QDropEvent) -> None:
        if recipe_name(event.mimeData()):
            event.setDropAction(Qt.DropAction.CopyAction)
            event.accept()
            self._set_hot(self._side(event))
        else:
            event.ignore()

    def _set_hot(self, side: int) -> None:
        if side != self.hot:
            self.hot = side
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Two framed halves with their letters and what is there now."""
        painter, colours = QPainter(self), theme()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        back = QColor(colours.window)
        back.setAlpha(225)
        painter.fillRect(self.rect(), back)
        for side, letter in enumerate("AB"):
            hot, box = side == self.hot, self.box(side)
            painter.setPen(QPen(QColor(colours.accent), 3.0 if hot else 1.5,
                                Qt.PenStyle.SolidLine if hot else Qt.PenStyle.DashLine))  # fmt: skip
            painter.setBrush(QColor(colours.hover if hot else colours.panel))
            painter.drawRoundedRect(box, 8, 8)
            self._write(painter, box, letter, self.names[side])

    def _write(self, painter: QPainter, box: QRectF, letter: str, name: str) -> None:
        font = QFont(self.font())
        font.setBold(True)
        font.setPointSizeF(max(font.pointSizeF(), 9.0) * 2.5)
        painter.setFont(font)
        painter.setPen(QColor(theme().text))
        middle, line = box.center().y(), painter.fontMetrics().height()
        painter.drawText(QRectF(box.x(), middle - line, box.width(), line), Qt.AlignmentFlag.AlignCenter, letter)
        painter.setFont(self.font())
        painter.setPen(QColor(theme().dim))
        text = f"in place of {name}" if name else "drop here"
        shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, round(box.width()) - 24)
        painter.drawText(QRectF(box.x(), middle + 4, box.width(), painter.fontMetrics().height() + 4),
                         Qt.AlignmentFlag.AlignCenter, shown)  # fmt: skip
