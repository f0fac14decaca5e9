"""The end of a desk in a test."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from app.desk import Desk


def closed(*desks: Desk) -> None:
    """Close desks without questions and give back all that they hold."""
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    app.setProperty("forced", True)
    for desk in desks:
        desk.window.close()
        desk.window.deleteLater()
        desk.deleteLater()
    app.sendPostedEvents(None, int(QEvent.Type.DeferredDelete))
    app.setProperty("forced", False)
