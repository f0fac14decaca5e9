"""After a start that follows no proper end: what is told, what is compared, and the selection that comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from app import crash, places
from app.handlers import notice
from app.journal import View
from app.recovery_words import Row, differences, moment
from app.session import Last, keep_aside
from engine.errors import MixdownError
from engine.recipe.project import load_with_pins
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from app.desk import Desk
    from widgets.dialogs.recover import RecoverDialog

_KEY, _COMPARE = "recovered", "compare"
_VIEW_MS = 120


class Recovery(QObject):
    """Remembers what is selected, brings it back, and tells of a bad end.

    Args:
        desk: The assembled desk.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk = desk
        self.report: crash.Report | None = None
        self.dialog: RecoverDialog | None = None
        self._last: Last | None = None
        self._wanted: View | None = None
        self._timer = QTimer(self, interval=_VIEW_MS, singleShot=True)
        self._timer.timeout.connect(self._look)
        desk.desk.selectionChanged.connect(self._timer.start)
        desk.window.canvas.columnExpandToggled.connect(self._timer.start)
        desk.workspace.settingsChanged.connect(self._timer.start)
        desk.workspace.modelsChanged.connect(self._timer.start)
        desk.window.toasts.actionTriggered.connect(self._on_notice)
        desk.window.firstPaint.connect(lambda: QTimer.singleShot(0, self, self._tell))
        desk.session.restored = self._on_restored

    def _on_restored(self, last: Last) -> None:
        """The session was read; it is on the desk in a moment."""
        self._last, self._wanted = last, last.view

    def _look(self) -> None:
        """Bring the selection back once the rows are there; from then on remember what is selected."""
        desk = self._desk.desk
        if desk.board is None:
            return
        wanted, self._wanted = self._wanted, None
        if wanted is not None and (wanted.cells or wanted.expanded):
            if wanted.grouping == desk.grouping:
                desk.bring_back(wanted.expanded, [(e, c) for e, columns in wanted.cells for c in columns])
            return
        rows: dict[str, list[int]] = {}
        for expert, column in self._desk.window.canvas.selectedCells():
            rows.setdefault(expert, []).append(column)
        cells = tuple((expert, tuple(columns)) for expert, columns in rows.items())
        self._desk.session.see(View(desk.grouping, desk.expanded, cells))

    # Telling -------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """A notice, a card and perhaps the comparison, once after the start."""
        last, session = self._last, self._desk.session
        if session.left:
            self._desk.tell(session.left, "warning", "session-left")
        if session.ended_badly is not None:
            since = last.written - 86_400 if last else 0.0
            self.report = crash.report_of(session.ended_badly, places.log_file(), since)
            if self.report.reason:
                self._desk.show_problem(crash.as_card(self.report))
        if last is None:
            return
        rows = self.rows()
        if rows and self._is_newer():
            self.compare()
        elif session.ended_badly is not None and not self.report_shown:
            self._notice(last, bool(rows))

    @property
    def report_shown(self) -> bool:
        """Whether a card tells of the end already and there is nothing to compare."""
        return self.report is not None and bool(self.report.reason) and not self.rows()

    def _notice(self, last: Last, differs: bool) -> None:
        path = self._desk.workspace.store.path
        text = f"Mixdown did not end properly. Your desk is back as it was {moment(last.written, time.time())}"
        text += f", later than {path.name}." if differs and path is not None else "."
        actions = ((_COMPARE, "Compare…"),) if differs else ()
        self._desk.window.toasts.show_notice(notice(text, "info", actions, _KEY))

    def _saved(self) -> tuple[Recipe, dict[str, Recipe]] | None:
        path = self._last.project if self._last is not None else None
        if path is None:
            return None
        with suppress(MixdownError):
            return load_with_pins(path)
        return None

    def rows(self) -> tuple[Row, ...]:
        """What the project file and the recovered state say differently; empty without a project file."""
        saved = self._saved()
        if saved is None or self._last is None:
            return ()
        return differences(*saved, self._last.recipe, self._last.pins)

    def _is_newer(self) -> bool:
        """Whether the project file was saved after the session was written."""
        last = self._last
        if last is None or last.project is None:
            return False
        return _saved_at(last.project) > last.written + 1.0

    # Comparing -----------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Show both states and ask which goes on."""
        from widgets.dialogs.recover import RecoverDialog, RecoverState

        last, rows = self._last, self.rows()
        if last is None or last.project is None or not rows:
            return
        now = time.time()
        state = RecoverState(
            project=last.project.name,
            saved=moment(_saved_at(last.project), now),
            recovered=moment(last.written, now),
            newer=self._is_newer(),
            rows=rows,
        )
        self.dialog = RecoverDialog(state, self._desk.window)
        self.dialog.finished.connect(self._answered)
        self.dialog.open()

    def _answered(self, *_: object) -> None:
        dialog, last, saved = self.dialog, self._last, self._saved()
        self.dialog = None
        if dialog is None or last is None or saved is None or dialog.answer == "recovered":
            return
        if dialog.answer == "both":
            kept = keep_aside(last.recipe, last.pins)
            if kept is None:
                self._desk.tell("The recovered state could not be kept; nothing was changed.", "error")
                return
            self._desk.workspace.remember(kept)
            self._desk.tell(f"The recovered state is kept in {kept.name!r}, under Open recent.", "ok")
        store = self._desk.workspace.store
        store.apply(saved[0], "Use the saved file")
        for name in set(store.pins) - set(saved[1]):
            store.unpin(name)
        for name, pinned in saved[1].items():
            store.keep_pin(name, pinned)

    def _on_notice(self, key: str, action: str) -> None:
        if key == _KEY and action == _COMPARE:
            self.compare()


def _saved_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire it to the assembled desk."""
    Recovery(desk)
    return {}
