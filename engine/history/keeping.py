"""Keeping an SQLite history alive: checked when it is opened, backed up, moved aside when it is damaged."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from engine.files.durable import fsync_folder
from engine.files.text import printable

KEEP = 7
"""Backups that are kept: the newest, and older ones at least a day apart."""
EVERY_S = 3600.0
"""The newest backup is made anew when it is older than this."""
APART_S = 86_400.0
"""How much newer than the one before a backup must be to be kept beside it; else it is replaced."""
_JOURNALS = ("-journal", "-wal", "-shm")


def backups(file: Path) -> list[Path]:
    """The backups of a history, newest first."""
    found = [file.with_name(f"{file.name}.backup-{number}") for number in range(1, KEEP + 1)]
    return [path for path in found if path.is_file()]


def problem_of(file: Path) -> str:
    """What SQLite finds wrong with a file, "" when it is sound."""
    if not file.exists():
        return "the file is gone"
    if file.stat().st_size == 0:
        return "the file is empty"
    try:
        with closing(sqlite3.connect(file, timeout=10)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return str(error)
        return ""  # locked or unreadable is not damaged
    return "" if found and found[0] == "ok" else printable(found[0] if found else "no answer", 100).splitlines()[0]


def heal(file: Path) -> str:
    """Check a history before it is opened; a damaged one is moved aside and made anew from the newest good backup.

    Call with the lock held.

    Returns:
        What happened, in a sentence or two, "" when the file is sound or new.
    """
    saved = backups(file)
    if not file.exists() and not saved:
        return ""
    problem = problem_of(file)
    if not problem or (problem == "the file is empty" and not saved):
        return ""
    aside = _move_aside(file)
    good = next((path for path in saved if not problem_of(path)), None)
    if good is not None:
        _copy(good, file)
    fsync_folder(file.parent)
    where = f" The damaged file is kept as {printable(aside.name)}." if aside is not None else ""
    if good is None:
        return f"The history could not be read ({problem}), and there is no backup; it starts anew.{where}"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(good.stat().st_mtime))
    return f"The history could not be read ({problem}); it was restored from the backup of {when}.{where}"


def back_up(file: Path, *, every_s: float = EVERY_S, apart_s: float = APART_S) -> Path | None:
    """Copy a sound history beside itself, if it has changed and the newest copy is old enough.

    Call with the lock held. The newest copy is `NAME.backup-1`; older ones move up once a day, so that a mistake that
    is noticed late does not find only copies of itself.

    Returns:
        The new backup, None if none was made.

    Raises:
        OSError: if a step fails (or sqlite3.Error); history and older backups are there, nothing else is left.
    """
    newest = next(iter(backups(file)), None)
    if newest is not None:
        now, then = time.time(), newest.stat().st_mtime
        if abs(now - then) < every_s or file.stat().st_mtime <= then <= now:
            return None  # a copy from far in the future says only that the clock was wrong then
    if problem_of(file):
        return None
    temp = file.with_name(f".{file.name}.backup.partial")
    made = file.with_name(f"{file.name}.backup-1")
    temp.unlink(missing_ok=True)
    try:
        _copy(file, temp)
        for number in range(KEEP - 1, 0, -1) if _is_kept(file, apart_s) else ():
            older = file.with_name(f"{file.name}.backup-{number}")
            if older.exists():
                older.replace(file.with_name(f"{file.name}.backup-{number + 1}"))
        temp.replace(made)
    except BaseException:
        for litter in (temp, temp.with_name(f"{temp.name}-journal")):
            with suppress(OSError):
                litter.unlink()
        raise
    fsync_folder(file.parent)
    return made


def keep_before(file: Path, revision: str) -> Path:
    """Copy a history as it is before its tables are changed; a copy that is there already stays.

    Call with the lock held. The copy is `NAME.before-REVISION`; it is none of the backups and never deleted.

    Raises:
        OSError: if it cannot be made (or sqlite3.Error); nothing is left behind.
    """
    made = file.with_name(f"{file.name}.before-{revision}")
    if made.exists():
        return made
    temp = file.with_name(f".{made.name}.partial")
    temp.unlink(missing_ok=True)
    try:
        _copy(file, temp)
        temp.replace(made)
    finally:
        for litter in (temp, temp.with_name(f"{temp.name}-journal")):
            litter.unlink(missing_ok=True)
    fsync_folder(file.parent)
    return made


def _is_kept(file: Path, apart_s: float) -> bool:
    """Whether the newest backup stays beside the one that is made now; clocks that jump keep too many, not too few."""
    found = backups(file)
    return len(found) < 2 or abs(found[0].stat().st_mtime - found[1].stat().st_mtime) >= apart_s


def _copy(source: Path, target: Path) -> None:
    """A consistent copy of a database, on the disk when this returns."""
    with closing(sqlite3.connect(source, timeout=10)) as read, closing(sqlite3.connect(target)) as write:
        read.backup(write)
    descriptor = os.open(target, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_aside(file: Path) -> Path | None:
    """Rename a damaged file with its journals; None if there was nothing to keep."""
    stamp = time.strftime("%Y-%m-%d %H.%M.%S")
    aside = file.with_name(f"{file.name}.damaged {stamp}")
    for suffix in _JOURNALS:
        journal = file.with_name(file.name + suffix)
        with suppress(OSError):
            if journal.stat().st_size:
                journal.replace(aside.with_name(aside.name + suffix))
            else:
                journal.unlink()
    if not file.exists():
        return None
    if file.stat().st_size == 0:
        file.unlink()
        return None
    file.replace(aside)
    return aside
