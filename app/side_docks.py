"""Docks that features bring: made hidden, beside the ones that are there, filled when they are first shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDockWidget, QTabWidget, QWidget

if TYPE_CHECKING:
    from app.desk import Desk
    from widgets.plots.overlap_panel import OverlapPanel


def add_dock(desk: Desk, name: str, title: str, beside: str) -> QDockWidget:
    """A hidden dock in the area of the one called `beside`; it is in `window.docks` from now on.

    Args:
        desk: The assembled desk.
        name: Stable name.
        title: Text of its tab.
        beside: Name of a dock.
    """
    window = desk.window
    dock = QDockWidget(title, window)
    dock.setObjectName(f"dock-{name}")
    dock.setFeatures(QDockWidget.DockWidgetFeature.DockWidgetMovable)
    dock.setTitleBarWidget(QWidget(dock))
    area = window.dockWidgetArea(window.docks[beside])
    window.addDockWidget(area or Qt.DockWidgetArea.RightDockWidgetArea, dock)
    dock.hide()
    window.docks[name] = dock
    return dock


def with_overlap(desk: Desk, add: Callable[[OverlapPanel], object]) -> None:
    """Give the overlap views to somebody once they are made, at once if they are there."""
    desk.overlap.made.connect(add)
    if desk.window.docks["overlap"].widget() is not None:
        add(desk.overlap.panel())


def show_dock(desk: Desk, dock: QDockWidget, *beside: str) -> None:
    """Bring a dock to the front, in tabs with those of its neighbours that are on show.

    Docks that are all hidden are not put in tabs: Qt would draw their tab bar over the desk.
    """
    window = desk.window
    for area in (Qt.DockWidgetArea.BottomDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea):
        window.setTabPosition(area, QTabWidget.TabPosition.North)
    for name in beside:
        other = window.docks.get(name)
        if other is not None and not other.isHidden() and other not in window.tabifiedDockWidgets(dock):
            window.tabifyDockWidget(other, dock)
            break
    dock.show()
    dock.raise_()
