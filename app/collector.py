"""Garbage is collected in the thread that owns the window, between two events."""

from __future__ import annotations

import time

from PySide6.QtCore import QAbstractEventDispatcher, QObject, QPoint, Qt, QTimer
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QApplication

from app import quiet

EVERY_MS = 300
"""How often is looked whether a collection is due while no event comes."""
CALM_S = 1.5
"""How long the pointer must have rested before all objects are looked through, which takes a tenth of a second."""


class Collector(QObject):
    """Collects before the event loop waits; never in a worker, and nothing long while the mouse is used.

    Often and little at a time: the young objects of a third of a second are enough to be felt in a drag.
    """

    def __init__(self, app: QApplication) -> None:
        super().__init__(app)
        self._pointer, self._since = QPoint(), 0.0
        quiet.take_over()
        dispatcher = QAbstractEventDispatcher.instance()
        if dispatcher is not None:
            dispatcher.aboutToBlock.connect(self.collect)
        timer = QTimer(self, interval=EVERY_MS, timerType=Qt.TimerType.CoarseTimer)
        timer.timeout.connect(self.collect)
        timer.start()

    def collect(self) -> None:
        """Collect what is due."""
        quiet.collect(self._is_calm)

    def _is_calm(self) -> bool:
        """Whether no mouse button is held, and the pointer rests since a while."""
        if QApplication.mouseButtons() != Qt.MouseButton.NoButton or QCursor.pos() != self._pointer:
            self._pointer, self._since = QCursor.pos(), time.monotonic()
        return time.monotonic() - self._since >= CALM_S


def install(app: QApplication) -> None:
    """Let the application collect in its own thread; a second time changes nothing."""
    if app.findChild(Collector) is None:
        Collector(app)
