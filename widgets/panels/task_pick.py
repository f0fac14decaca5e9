"""A button that says which tasks are meant and opens a list to tick them."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from widgets.common.text import button_text, plain


class TaskPick(QToolButton):
    """Ticks tasks; new ones are ticked.

    Signals:
        changed: The user ticked or unticked one.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._actions: dict[str, QAction] = {}
        self._menu = _StayingMenu(self)
        self.setMenu(self._menu)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Tasks")
        self._say()

    def set_tasks(self, tasks: Sequence[tuple[str, str]]) -> None:
        """Offer (name, title) pairs; what was unticked stays so."""
        if [(name, action.text()) for name, action in self._actions.items()] == [
            (name, button_text(plain(title, 60))) for name, title in tasks
        ]:
            return
        off = {name for name, action in self._actions.items() if not action.isChecked()}
        self._menu.clear()
        self._actions = {}
        for name, title in tasks:
            action = self._menu.addAction(button_text(plain(title, 60)))
            action.setCheckable(True)
            action.setChecked(name not in off)
            action.toggled.connect(self._on_toggled)
            self._actions[name] = action
        self._say()

    def chosen(self) -> tuple[str, ...]:
        """Names of the ticked tasks."""
        return tuple(name for name, action in self._actions.items() if action.isChecked())

    def choose(self, names: Sequence[str]) -> None:
        """Tick exactly these."""
        for name, action in self._actions.items():
            action.setChecked(name in names)

    def _on_toggled(self) -> None:
        self._say()
        self.changed.emit()

    def _say(self) -> None:
        chosen, count = self.chosen(), len(self._actions)
        if not count:
            text = "No tasks yet"
        elif len(chosen) == count:
            text = f"All {count} tasks" if count > 1 else self._actions[chosen[0]].text()
        elif len(chosen) == 1:
            text = self._actions[chosen[0]].text()
        else:
            text = f"{len(chosen)} of {count} tasks"
        self.setText(text)
        self.setEnabled(bool(count))


class _StayingMenu(QMenu):
    """Stays open while boxes are ticked, so that several can be."""

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Tick and stay."""
        action = self.actionAt(event.position().toPoint())
        if action is not None and action.isCheckable():
            action.toggle()
        else:
            super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Space ticks and stays."""
        action = self.activeAction()
        if event.key() == Qt.Key.Key_Space and action is not None and action.isCheckable():
            action.toggle()
        else:
            super().keyPressEvent(event)
