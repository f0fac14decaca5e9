"""The session: every change is on the disk a moment later, so that the next start goes on where this one ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject

from app import places
from app.demo import demo_recipe
from app.journal import Journal, State, View, digest, replay
from app.project import ProjectStore, without_hashes
from engine.errors import MixdownError
from engine.files.durable import write_durably
from engine.recipe.project import load_with_pins, save_project
from engine.recipe.recipe import Recipe

MOST_WINDOWS = 16
MOST_KEPT = 20
"""Sessions that were set aside; older ones are deleted."""


@dataclass(frozen=True, slots=True)
class Last:
    """What was on the desk when Mixdown ended.

    Attributes:
        recipe: The recipe.
        pins: Its pins.
        project: The project file that was open, None for none.
        view: What was selected.
        written: When it was written, seconds since 1970.
    """

    recipe: Recipe
    pins: dict[str, Recipe] = field(default_factory=dict)
    project: Path | None = None
    view: View = field(default_factory=View)
    written: float = 0.0

    @property
    def is_saved(self) -> bool:
        """Whether nothing would be lost without it: it is empty, the demo, or the same as its project file."""
        known: list[tuple[Recipe, dict[str, Recipe]]] = [(Recipe(), {})]
        with suppress(MixdownError):
            known.append((demo_recipe(), {}))
        with suppress(MixdownError):
            if self.project is not None:
                known.append(load_with_pins(self.project))
        return any(without_hashes(self.recipe) == without_hashes(r) and self.pins == pins for r, pins in known)


class Session(QObject):
    """Hands every change to the journal's thread; nothing here waits for a disk, except `write`.

    Each window open at the same time has a file of its own, so that none writes over another's work.

    Args:
        store: The project.

    Attributes:
        file: The base file of this session.
        marker: Exists while a window uses the session; a crash is written into it.
        ended_badly: What the marker of the window before said, if that did not close it; else None.
        restored: Told what is put on the desk.
        left: What could not be read of the last session and where it is now, in a sentence; "" for nothing.
    """

    def __init__(self, store: ProjectStore, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self._project: Path | None = None
        self._view = View()
        self._lock, self.file = _free_slot()
        self.marker = self.file.with_suffix(".running")
        self.ended_badly = self._mark() if self._lock is not None else None
        self.journal = Journal(self.file, self._save)
        self.restored: Callable[[Last], object] | None = None
        self.left = ""
        for signal in (store.recipeChanged, store.pinsChanged, store.titleChanged):
            signal.connect(self._on_change)

    def _on_change(self, *_: object) -> None:
        store = self._store
        self.journal.put(State(store.recipe, store.pins, store.path, self._view))

    def see(self, view: View) -> None:
        """Remember what is selected."""
        if view != self._view:
            self._view = view
            self._on_change()

    def write(self) -> None:
        """Write everything now and wait for it; a full disk must not disturb the work, so problems are dropped here."""
        self._on_change()
        self.journal.flush()

    def _save(self, state: State) -> None:
        """Write the base file; on the journal's thread."""
        beside = self._beside
        if state.project != self._project:
            beside.unlink(missing_ok=True)  # a crash from here on leaves work without a project, never of another
        save_project(state.recipe, self.file, pins=state.pins)
        if state.project is not None and state.project != self._project:
            write_durably(beside, str(state.project).encode("utf-8", "surrogateescape"))
        self._project = state.project

    def restore(self) -> Last | None:
        """The last session, or None if there is none that can be read."""
        journal = self.journal.path
        written = max((_changed(p) for p in (self.file, journal)), default=0.0)
        base = State()
        if self.file.exists():
            try:
                recipe, pins = load_with_pins(self.file)
            except MixdownError as error:
                self._leave(error)
                return None
            project = None
            with suppress(OSError):
                project = Path(self._beside.read_bytes().decode("utf-8", "surrogateescape"))
            base = State(recipe, pins, project)
        last, damaged = replay(base, digest(self.file), journal)
        if damaged:
            kept = journal.with_suffix(".journal-damaged")
            with suppress(OSError):
                write_durably(kept, journal.read_bytes())
                self.left = f"The last changes of the session could not be read; they are kept in {kept.name}."
        if not last.recipe.experts and last.recipe.base is None:
            return None
        return Last(last.recipe, dict(last.pins), last.project, last.view, written)

    def _leave(self, error: MixdownError) -> None:
        """Keep a session that cannot be read here, for the version of Mixdown that wrote it."""
        stamp = time.strftime("%Y-%m-%d %H.%M.%S")
        kept = self.file.with_name(f"unread {stamp}{self.file.suffix}")
        with suppress(OSError):
            self.file.replace(kept)
            self.left = f"The last session could not be read: {error.message} It is kept in {kept.name}."
            self.journal.path.replace(kept.with_suffix(self.journal.path.suffix))

    def set_aside(self) -> Path | None:
        """Keep the last session under a name of its own if it lies in no project file; returns where."""
        last = self.restore()
        if last is None or last.is_saved:
            return None
        kept = keep_aside(last.recipe, last.pins)
        if kept is not None:
            for file in (self.journal.path, self.file):
                with suppress(OSError):
                    file.unlink()
        return kept

    def release(self) -> None:
        """Let another window use this one's session file."""
        self.journal.stop()
        if self._lock is not None:
            with suppress(OSError):
                self.marker.unlink()
            self._lock.unlock()

    def _mark(self) -> str | None:
        """Leave a mark that this window runs; returns the mark that a window before left behind."""
        left: str | None = None
        with suppress(OSError):
            left = self.marker.read_bytes()[:200_000].decode("utf-8", "replace")
        with suppress(OSError):
            handle = os.open(self.marker, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.close(handle)
        return left

    @property
    def _beside(self) -> Path:
        """The file that names the project of the session."""
        return self.file.with_suffix(".project")


def keep_aside(recipe: Recipe, pins: dict[str, Recipe]) -> Path | None:
    """Write work that lies in no project file under a name of its own; returns where, None if that is impossible."""
    name = f"unsaved {time.strftime('%Y-%m-%d %H.%M.%S')}"
    kept, number = places.home() / f"{name}.mixdown", 1
    while kept.exists():
        number += 1
        kept = places.home() / f"{name} {number}.mixdown"
    try:
        save_project(recipe, kept, pins=pins)
    except MixdownError:
        return None
    with suppress(OSError):
        for old in sorted(places.home().glob("unsaved *.mixdown"))[:-MOST_KEPT]:
            old.unlink()
    return kept


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _free_slot() -> tuple[QLockFile | None, Path]:
    """The first session file that no other running window uses."""
    for slot in range(1, MOST_WINDOWS):
        file = places.session_file(slot)
        lock = QLockFile(str(file.with_suffix(".lock")))
        lock.setStaleLockTime(0)  # only a process that has ended gives its file up
        if lock.tryLock(0):
            return lock, file
        if lock.error() != QLockFile.LockError.LockFailedError:
            break  # no locks here, for instance in a folder that cannot be written
    return None, places.session_file()


def reopen(store: ProjectStore, last: Last) -> None:
    """Put the last session on the desk; what was not yet in its project file is one undoable step."""
    if last.project is not None:
        with suppress(MixdownError):
            store.open(last.project)
            store.apply(last.recipe, "Restore the last session")
            for name in set(store.pins) - set(last.pins):
                store.unpin(name)
            for name, pinned in last.pins.items():
                store.keep_pin(name, pinned)
            return
    store.reset(last.recipe, None, last.pins, is_saved=last.is_saved)
