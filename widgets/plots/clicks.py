"""What hovering and a click are: a click is the left button, pressed and released at one place; a drag is none."""

from __future__ import annotations

from typing import TypeGuard

from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QEnterEvent, QHelpEvent, QMouseEvent
from PySide6.QtWidgets import QApplication


def hovers(event: QEvent) -> TypeGuard[QMouseEvent | QEnterEvent]:
    """Whether the mouse is somewhere with no button down: it moved, or is back from a notification that lay above."""
    if isinstance(event, QMouseEvent):
        return event.type() == QEvent.Type.MouseMove and not event.buttons()
    return isinstance(event, QEnterEvent)


def pointed_at(event: QEvent) -> QPointF | None:
    """Where the mouse hovers, or rests when its tooltip is due; None for any other event."""
    if hovers(event):
        return event.position()
    if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:  # it shows what is said now
        return QPointF(event.pos())
    return None


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
