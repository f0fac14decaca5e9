"""Where the history is, as the preferences choose it, and its backups while a window is open."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from app import places, recording
from app.handlers import notice
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.files.text import counted, printable
from engine.progress import Token

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.history.choice import Tried
    from widgets.dialogs.preferences import PreferencesDialog

BACK_UP_MS = 3_600_000
"""How often a window sees to the backups; opening the history makes one, too."""


def shown_setting(setting: str) -> str:
    """The setting for the dialog, without a password."""
    if not setting or setting.lower() == "off" or "://" not in setting:
        return setting.lower() if setting.lower() == "off" else setting
    from engine.history.choice import without_password

    return without_password(setting)


def connect_preferences(workspace: Workspace, dialog: PreferencesDialog) -> None:
    """Let the dialog choose the place; it lives as long as the dialog."""
    _Chooser(workspace, dialog)


class _Chooser(QObject):
    """Tries what is typed in a thread and keeps it when it works."""

    def __init__(self, workspace: Workspace, dialog: PreferencesDialog) -> None:
        super().__init__(dialog)
        self._workspace, self._field = workspace, dialog.history
        dialog.history.set_value(shown_setting(workspace.settings.history), _override())
        dialog.history.wanted.connect(self.use)

    def use(self, text: str) -> None:
        """Use a place: this computer and nowhere at once, others when they have been tried."""
        if text in ("", "off"):
            self._workspace.change_settings(history=text)
            said = "New runs are not recorded." if text else "Runs are recorded on this computer."
            self._field.set_value(text, _override() or said)
            return
        current = self._workspace.settings.history
        self._field.set_note("Connecting…", busy=True)

        def work(_: Token) -> Tried:
            from engine.history.choice import tried

            return tried(text, current)

        self._workspace.runner.submit("Testing the history", work, lane="files", key="history place", shown=False,
                                      done=self._done, failed=self._failed)  # fmt: skip

    def _done(self, found: Tried) -> None:
        self._workspace.change_settings(history=found.setting)
        said = found.reason or f"It works: {counted(found.runs, 'run')} there. New runs are recorded in it."
        with suppress(RuntimeError):  # the dialog is closed
            self._field.set_value(found.shown, " ".join(filter(None, (said, _override()))))

    def _failed(self, error: MixdownError) -> None:
        with suppress(RuntimeError):
            self._field.set_note(" ".join(filter(None, (error.message, error.hint))))


def _override() -> str:
    """A sentence if the environment decides instead of the preferences."""
    wanted = os.environ.get(recording.VARIABLE, "")
    shown = printable(shown_setting(wanted), 100)
    return f"The variable {recording.VARIABLE} of this session comes first: {shown}" if wanted else ""


class Backups(QObject):
    """Sees to the backups of the history while the window is open.

    Args:
        desk: The assembled desk.
    """

    _failed = Signal(str)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk, self._told = desk, ""
        self._failed.connect(self._tell)
        self._timer = QTimer(self, interval=BACK_UP_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def _look(self) -> None:
        """A history that nobody has used yet is not made for the sake of a backup."""
        if places.history_file().exists() or recording.where() != str(places.history_file()):
            self.back_up()

    def back_up(self) -> Future[object]:
        """Make a backup in the history's thread if it is time for one; a problem is said once."""
        future: Future[object] = recording.recorder().submit(lambda history: history.back_up())
        here = weakref.ref(self)  # the history's thread keeps what it was given for a while

        def done(future: Future[object]) -> None:
            error = future.exception()
            if isinstance(error, MixdownError):
                with suppress(RuntimeError):  # the window is gone
                    if (there := here()) is not None:
                        there._failed.emit(f"No backup of the history could be made: {error.message}")

        future.add_done_callback(done)
        return future

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._desk.window.toasts.show_notice(notice(text, "warning", (), "history"))


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire it to the assembled desk."""
    Backups(desk)
    return {}
