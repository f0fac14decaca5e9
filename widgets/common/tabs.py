"""Tabs of docks that move closer together before Qt would cut the first one in half."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QTabBar

_ROOM = 14
"""Pixels beside the words of a tab, as the style sheet has them where there is room."""
_SIZED = frozenset({QEvent.Type.Resize, QEvent.Type.LayoutRequest, QEvent.Type.Show})


class CloseTabs(QObject):
    """Watches bars of tabs and sets their property `tight`, which the style sheet follows, while the words need it.

    It keeps no reference to a bar: Qt makes and ends those of docks as it likes.
    """

    def watch(self, bar: QTabBar) -> None:
        """Look after a bar for as long as both live."""
        bar.setElideMode(Qt.TextElideMode.ElideNone)
        bar.setUsesScrollButtons(True)  # where even tight tabs do not fit
        bar.installEventFilter(self)
        _fit(bar)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look again when the bar or what is in it has another size."""
        if event.type() in _SIZED and isinstance(watched, QTabBar):
            _fit(watched)
        return False


def _fit(bar: QTabBar) -> None:
    """What is needed does not depend on how the tabs stand now, so this never swings to and fro."""
    metrics = bar.fontMetrics()
    words = sum(metrics.horizontalAdvance(bar.tabText(i)) + _ROOM for i in range(bar.count()))
    is_tight = words > bar.width()
    if is_tight != bool(bar.property("tight")):
        bar.setProperty("tight", is_tight)
        bar.style().unpolish(bar)
        bar.style().polish(bar)
        bar.updateGeometry()
