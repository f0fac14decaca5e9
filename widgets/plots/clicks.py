"""What a click is: the left button, pressed and released at one place. A drag chooses nothing."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication


class Clicks:
    """Follows the mouse events of one widget."""

    def __init__(self) -> None:
        self._pressed: QPointF | None = None

    def ends_with(self, event: QMouseEvent) -> bool:
        """Whether this event completes a click; is to be asked about every event of the mouse."""
        if event.button() != Qt.MouseButton.LeftButton:
            return False
        if event.type() in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonDblClick):
            self._pressed = event.position()
        if event.type() != QEvent.Type.MouseButtonRelease or self._pressed is None:
            return False
        way, self._pressed = (event.position() - self._pressed).manhattanLength(), None
        return way < QApplication.startDragDistance()
