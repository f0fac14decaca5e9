"""Garbage is collected in the thread that owns the window, between two events."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication

from app import quiet

EVERY_MS = 300
"""How often is looked whether a collection is due."""


class Collector(QObject):
    """Collects while the event loop turns; never in a worker, and nothing long while a mouse button is held."""

    def __init__(self, app: QApplication) -> None:
        super().__init__(app)
        quiet.take_over()
        timer = QTimer(self, interval=EVERY_MS, timerType=Qt.TimerType.CoarseTimer)
        timer.timeout.connect(self.collect)
        timer.start()

    def collect(self) -> None:
        """Collect what is due."""
        quiet.collect(calm=QApplication.mouseButtons() == Qt.MouseButton.NoButton)


def install(app: QApplication) -> None:
    """Let the application collect in its own thread; a second time changes nothing."""
    if app.findChild(Collector) is None:
        Collector(app)
