"""Hold to compare: while a key or a button is held the desk shows the other recipe; nothing is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication

from widgets.common.pieces import push
from widgets.common.text import button_text, plain
from widgets.compare.veil import Veil

if TYPE_CHECKING:
    from app.desk import Desk
    from widgets.desk.state import DeskState

_K = Qt.Key
_NOT_THE_KEY = frozenset({_K.Key_Return, _K.Key_Enter, _K.Key_Space, _K.Key_Shift, _K.Key_Control, _K.Key_Alt,
                          _K.Key_AltGr, _K.Key_Meta})  # fmt: skip
"""Keys whose release does not end holding: they chose the command in a menu, or go with the held one."""


class Holding(QObject):
    """Starts and ends a look at the other recipe.

    Args:
        desk: The assembled desk.
        other: Gives the state to show and its name, or None and why there is none.
        page_held: Told when the compare layout shall show B in A's place; answers whether it is on show.
    """

    def __init__(
        self, desk: Desk, other: Callable[[], tuple[DeskState | None, str]], page_held: Callable[[bool], bool]
    ) -> None:
        super().__init__(desk)
        self._desk, self._other, self._page_held = desk, other, page_held
        self._veil = Veil(desk.window.canvas)
        self.is_on = False
        button = self.button = push("Hold for B", name="hold-b", icon_name="ab")
        button.setFlat(True)
        button.pressed.connect(self.begin)
        button.released.connect(self.end)
        button.hide()
        bar = desk.window.statusBar()
        bar.insertPermanentWidget(1, button)
        desk.workspace.store.recipeChanged.connect(lambda _: self.end())

    def show_name(self, name: str) -> None:
        """Offer the button for a recipe, or hide it for ""."""
        self.button.setText(button_text(f"Hold for {plain(name, 28)}" if name else ""))
        self.button.setToolTip(plain(f"While held, the desk shows {name}. The key is \\." if name else ""))
        self.button.setVisible(bool(name))

    def begin(self) -> None:
        """Show the other recipe until `end`: a key is let go, a key or a mouse button pressed, the window left."""
        if self.is_on:
            return
        if not self._page_held(True):
            state, name = self._other()
            if state is None:
                self._desk.tell(name, "info", "hold")
                return
            self._desk.desk.peek(state)
            self._veil.show_text(f"{name} · let go to return")
        self.is_on = True
        application = QApplication.instance()
        if application is not None:
            application.installEventFilter(self)

    def end(self) -> None:
        """Show the recipe on the desk again."""
        if not self.is_on:
            return
        self.is_on = False
        application = QApplication.instance()
        if application is not None:
            application.removeEventFilter(self)
        self._page_held(False)
        self._veil.hide()
        self._desk.desk.peek(None)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Only while something is held: find out when it ends, and keep keys from changing anything."""
        kind = event.type()
        if isinstance(event, QKeyEvent):
            if event.isAutoRepeat():
                return True
            if kind == QEvent.Type.KeyRelease and event.key() not in _NOT_THE_KEY:
                self.end()
                return True
            if kind == QEvent.Type.KeyPress and event.key() not in _NOT_THE_KEY:
                self.end()
                return True
            if kind == QEvent.Type.ShortcutOverride:
                event.accept()  # no shortcut of the window while the other recipe is shown
                return True
        elif kind in (QEvent.Type.MouseButtonPress, QEvent.Type.ApplicationDeactivate, QEvent.Type.WindowDeactivate):
            self.end()
            return kind == QEvent.Type.MouseButtonPress
        return False
