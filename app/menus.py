"""The action table as QActions: menus, shortcuts and palette entries come from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow
from shiboken6 import isValid

from app.actions import ACTIONS, MENUS, WHEN, Action
from widgets.dialogs.state import PaletteEntry

GROUPS = frozenset({
    "file.save", "file.convert_pickle", "file.export", "file.quit", "edit.preferences", "mix.soup", "mix.add_task",
    "mix.pin", "mix.hold_b", "mix.copy_command", "mix.clear_overrides", "mix.reset", "desk.finer", "desk.mute",
    "view.models", "view.overlap", "view.layout", "view.next_pane", "help.about",
})  # fmt: skip
"""Actions with a line above them in their menu."""


class Commands(QObject):
    """One QAction for each entry of the table.

    Args:
        window: Gets the menus and the shortcuts.
        handler: Finds the function of an action id; called with the checked state for switches.
    """

    def __init__(self, window: QMainWindow, handler: Callable[[Action], Callable[..., None]]) -> None:
        super().__init__(window)
        self._window = window
        self._actions = {action.id: self._make(action, handler(action)) for action in ACTIONS}
        self._holds: dict[str, bool] = {}
        for name in MENUS:
            menu = window.menuBar().addMenu(f"&{name}")
            menu.setToolTipsVisible(True)
            for action in ACTIONS:
                if action.menu == name:
                    if action.id in GROUPS:
                        menu.addSeparator()
                    menu.addAction(self._actions[action.id])

    def __getitem__(self, action_id: str) -> QAction:
        """The QAction of an id."""
        return self._actions[action_id]

    def refresh(self, holds: Mapping[str, bool]) -> None:
        """Enable what can be done now; what cannot says why in its tooltip."""
        if not isValid(self):  # the undo stack says its last word after the window has gone
            return
        if all(self._holds.get(name) == can for name, can in holds.items()):
            return
        self._holds.update(holds)
        for action in ACTIONS:
            made = self._actions[action.id]
            can = not action.when or self._holds.get(action.when, True)
            if made.isEnabled() != can:
                made.setEnabled(can)
                made.setToolTip(action.help if can else WHEN[action.when])

    def check(self, action_id: str, checked: bool) -> None:
        """Show the state of a switch without triggering it."""
        made = self._actions[action_id]
        made.blockSignals(True)
        made.setChecked(checked)
        made.blockSignals(False)

    def entries(self) -> list[PaletteEntry]:
        """All commands for the palette, in menu order."""
        return [
            PaletteEntry(
                id=action.id,
                title=plain_title(action),
                menu=action.menu,
                keys=shortcut_text(action),
                help=action.help,
                reason="" if self._actions[action.id].isEnabled() else WHEN.get(action.when, ""),
            )
            for action in ACTIONS
            if action.id != "view.palette"
        ]

    def trigger(self, action_id: str) -> None:
        """Run a command by its id."""
        self._actions[action_id].trigger()

    def _make(self, action: Action, run: Callable[..., None]) -> QAction:
        made = QAction(action.title, self._window)
        made.setToolTip(action.help)
        made.setStatusTip(action.help)
        made.setCheckable(action.checkable)
        made.setMenuRole(QAction.MenuRole.NoRole)
        keys = [QKeySequence(key) for key in action.keys]
        if action.local:
            made.setText(f"{action.title}\t{action.keys[0]}")  # shown, but handled by the desk alone
        else:
            made.setShortcuts(keys)
            made.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
            self._window.addAction(made)
        if action.checkable:
            made.triggered.connect(lambda checked: run(checked))  # "*args" would be given nothing
        else:
            made.triggered.connect(lambda _checked=False: run())
        return made


def plain_title(action: Action) -> str:
    """The title without the mnemonic mark."""
    return action.title.replace("&", "")


def shortcut_text(action: Action) -> str:
    """The first shortcut as this platform writes it."""
    if not action.keys:
        return ""
    return QKeySequence(action.keys[0]).toString(QKeySequence.SequenceFormat.NativeText)
