"""A plot on which the pointer and the keyboard walk over things that can be chosen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.common.text import tip
from widgets.plots.clicks import Clicks, pointed_at
from widgets.plots.keys import moved_view


class PointedView(QWidget):
    """A plot with a cursor.

    Signals:
        chosen: Index of what was chosen, by click or Enter.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._at, self._clicks = -1, Clicks()
        self._pointer: QPointF | None = None  # where the mouse rests, unless the keyboard had the last word
        self._said = ""
        self.plot = pg.PlotWidget(self, enableMenu=False)
        item = self.plot.getPlotItem()
        item.hideButtons()
        for side in ("left", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)
        for signal in (item.getViewBox().sigRangeChanged, item.getViewBox().sigResized):
            signal.connect(lambda *_: self._look())  # the plot moves under the mouse: zoom, or its first layout
        self.plot.viewport().installEventFilter(self)
        self.plot.viewport().setMouseTracking(True)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)

    @abstractmethod
    def point_at(self, place: QPointF) -> int:
        """What lies at a place in the viewport, -1 for nothing."""

    @abstractmethod
    def move_to(self, index: int) -> None:
        """Put the cursor on something; -1 for nothing."""

    @abstractmethod
    def fit(self) -> None:
        """Show all of it."""

    @abstractmethod
    def step(self, key: int) -> bool:
        """Move the cursor by an arrow key; whether it was one."""

    @abstractmethod
    def follow_theme(self) -> None:
        """Paint in the present colours."""

    def say(self, words: Sequence[str]) -> None:
        """Tell what the cursor is on, as a tool tip and to a screen reader."""
        text = words[self._at] if 0 <= self._at < len(words) else ""
        is_news, self._said = text != self._said, text
        self.plot.setToolTip(tip(text))
        if self.hasFocus() and text and is_news:
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, text))

    def say_again(self, words: Sequence[str]) -> None:
        """After a change of what is shown: the mouse, which need not have moved, may be on something else now."""
        self._look()
        self.say(words)

    def _look(self) -> None:
        """Put the cursor on what is under the mouse."""
        if self._pointer is not None:
            self.move_to(self.point_at(self._pointer))

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        """Hover and clicks on the plot."""
        if (place := pointed_at(event)) is not None:
            self._pointer = place
            self._look()
        elif isinstance(event, QMouseEvent) and self._clicks.ends_with(event):
            self.setFocus()
            at = self.point_at(event.position())
            if at >= 0:
                self.move_to(at)
                self.chosen.emit(at)
        elif event.type() == QEvent.Type.MouseButtonDblClick:
            self.fit()
        elif event.type() == QEvent.Type.Leave:
            self._pointer = None
            if not self.hasFocus():
                self.move_to(-1)  # the mouse's cursor goes, the keyboard's stays
        return False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move the cursor, Enter chooses, + and − zoom, Shift moves, 0 shows all."""
        key = event.key()
        self._pointer = None
        if moved_view(event, self.plot.getPlotItem().getViewBox()) or self.step(key):
            return
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._at >= 0:
            self.chosen.emit(self._at)
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.follow_theme()
