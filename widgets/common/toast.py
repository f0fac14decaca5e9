"""Notifications: small cards at the bottom right of a window, never modal, never in the way of the keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from PySide6.QtCore import QEvent, QObject, QPoint, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent
from PySide6.QtWidgets import QStatusBar, QWidget
from shiboken6 import isValid

from widgets.common.toast_card import ToastCard

SHOWN = 3
KEPT = 100
_MARGIN = 16
_WIDTH = 400
_GAP = 8
_LEAST = 280
_MOVES = {QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.Show, QEvent.Type.Hide, QEvent.Type.LayoutRequest}
KEEP_CLEAR = "clearOfToasts"
"""Property of panels at the right that notices do not cover, because of the buttons at their bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notification.

    Attributes:
        text: One or two sentences, plain.
        severity: Icon, word and colour.
        actions: (id, label) buttons.
        key: Notices with the same key replace each other; "" uses the text.
        sticky: Whether it stays until dismissed (errors should).
    """

    text: str
    severity: Literal["ok", "info", "warning", "error"] = "info"
    actions: tuple[tuple[str, str], ...] = ()
    key: str = ""
    sticky: bool = False

    @property
    def handle(self) -> str:
        """What identifies it in signals."""
        return self.key or self.text

    @property
    def seconds(self) -> float:
        """How long it stays; 0 for until it is dismissed. Errors stay, and buttons need time to be reached."""
        if self.sticky or self.severity == "error":
            return 0.0
        shortest = {"ok": 5.0, "info": 6.0, "warning": 10.0}[self.severity]
        reading = 2.0 + len(self.text) / 18
        return max(shortest, reading, 12.0 if self.actions else 0.0)


class Toasts(QObject):
    """Shows notices at the bottom right of a window and keeps them.

    Signals:
        actionTriggered: The notice's key and the action's id.
        noticesChanged: The list of kept notices changed.
    """

    actionTriggered = Signal(str, str)
    noticesChanged = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._kept: list[Notice] = []
        self._cards: dict[str, ToastCard] = {}
        self._is_arranging = False
        self._panels: list[QWidget] = []
        window.installEventFilter(self)

    def show_notice(self, notice: Notice) -> None:
        """Show a notice; one with the same key is replaced where it is."""
        handle = notice.handle
        self._kept = [*[n for n in self._kept if n.handle != handle][1 - KEPT :], notice]
        card = self._cards.pop(handle, None)
        if card is None:
            card = ToastCard(self._window)
            card.closed.connect(partial(self._take_down, handle))
            card.actionTriggered.connect(partial(self._act, handle))
            card.resized.connect(self._arrange)
        card.show_text(notice.text, notice.severity, notice.actions, notice.seconds)
        self._cards[handle] = card
        self._find_panels()
        self._arrange()
        if QAccessible.isActive():
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(card, f"{card.word()}: {notice.text}"))
        self.noticesChanged.emit()

    def notices(self) -> tuple[Notice, ...]:
        """Everything kept, oldest first; those that have gone from the screen included."""
        return tuple(self._kept)

    def shown(self) -> tuple[str, ...]:
        """Keys of the notices on the screen, from top to bottom."""
        return tuple(handle for handle, _ in self._visible())

    def dismiss(self, key: str) -> None:
        """Take a notice off the screen; it stays in the list."""
        self._take_down(key)

    def forget(self, key: str = "") -> None:
        """Remove a notice from the screen and the list; all of them without a key."""
        for handle in [key] if key else list(self._cards):
            self._take_down(handle)
        self._kept = [n for n in self._kept if key and n.handle != key]
        self.noticesChanged.emit()

    def focus_newest(self) -> bool:
        """Give the keyboard to the newest notice on the screen; False when there is none. Esc goes back."""
        cards = self._visible()
        if cards:
            cards[-1][1].take_keyboard()
        return bool(cards)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the corner when the window changes."""
        if event.type() in _MOVES and self._cards and not self._is_arranging:
            self._is_arranging = True
            self._arrange()
            self._is_arranging = False
        return False

    def _act(self, handle: str, action: str) -> None:
        self._take_down(handle)
        self.actionTriggered.emit(handle, action)

    def _take_down(self, handle: str) -> None:
        card = self._cards.pop(handle, None)
        if card is not None:
            card.leave()
            self._arrange()

    def _visible(self) -> list[tuple[str, ToastCard]]:
        """The newest ones; those that stay until dismissed keep their place before those that go by themselves."""
        newest = list(self._cards.items())[::-1]
        staying = [pair for pair in newest if pair[1].seconds == 0]
        room = SHOWN - min(len(staying), SHOWN - 1)
        chosen = [pair for pair in newest if pair[1].seconds > 0][:room]
        chosen += staying[: SHOWN - len(chosen)]
        return [pair for pair in self._cards.items() if pair in chosen]

    def _arrange(self) -> None:
        """Stack the visible cards upwards from the corner, above the status bar."""
        visible = self._visible()
        names = {handle for handle, _ in visible}
        for handle in [h for h, card in self._cards.items() if h not in names and card.seconds > 0]:
            self._cards.pop(handle).leave()
        edge = self._right_edge() if visible else 0
        width = min(_WIDTH, edge - 2 * _MARGIN)
        bottom = self._floor() - _MARGIN
        for _, card in reversed(visible):
            height = card.height_for(width)
            bottom -= height
            card.setGeometry(edge - _MARGIN - width, bottom, width, height)
            bottom -= _GAP
            card.appear()
        for handle, card in self._cards.items():
            if handle not in names:
                card.wait()

    def _right_edge(self) -> int:
        """The window's right edge, or the left one of a panel at the right that must not be covered."""
        edge = self._window.width()
        for panel in self._panels:
            if isValid(panel) and panel.isVisible() and panel.window() is self._window.window():
                left = panel.mapTo(self._window, QPoint(0, 0)).x()
                if left + panel.width() > edge - _MARGIN - _WIDTH and left >= _LEAST:
                    edge = min(edge, left)
        return edge

    def _find_panels(self) -> None:
        """Look for panels to keep clear; only now and then, a window has many widgets."""
        self._panels = [w for w in self._window.findChildren(QWidget) if w.property(KEEP_CLEAR)]
        for panel in self._panels:
            panel.installEventFilter(self)

    def _floor(self) -> int:
        """Where the status bar begins, or the window ends."""
        for bar in self._window.findChildren(QStatusBar):
            if bar.isVisible() and bar.window() is self._window.window():
                return bar.mapTo(self._window, QPoint(0, 0)).y()
        return self._window.height()
