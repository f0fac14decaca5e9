"""Choosing another place for the history: what the user types is checked and tried before anything depends on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from engine.errors import BadProject, MixdownError
from engine.files.text import printable
from engine.history.connect import file_of, shown, url_of
from engine.history.history import History
from engine.history.migrate import VERSION_TABLE
from engine.history.values import Query

HIDDEN = "***"
"""What stands for a password that is not shown."""
_EXAMPLE = "Write for example postgresql://ada:password@host/mixdown or the whole path of a file."
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Tried:
    """A place that works.

    Attributes:
        setting: What to keep, with its password.
        shown: The same for people, without it.
        runs: Number of runs that are there.
        reason: Why nothing can be added, "" if it can.
    """

    setting: str
    shown: str
    runs: int
    reason: str = ""


def without_password(setting: str) -> str:
    """A setting as it may be shown; something that cannot be read is not shown at all."""
    if "://" not in setting:
        return printable(setting, 400)
    try:
        return shown(url_of(setting)).replace("postgresql+psycopg://", "postgresql://")
    except MixdownError:
        return ""


def tried(text: str, current: str = "") -> Tried:
    """Open the history at a place and count its runs; its tables are made if there are none.

    Args:
        text: What the user typed: a database's URL or a file's path. A password of `***` stands for the present one.
        current: The present setting.

    Raises:
        BadProject: if it cannot be a history.
        MixdownError: if it cannot be opened, in plain words without the password.
    """
    setting = _completed(text.strip(), current)
    history = History(setting if "://" in setting else Path(setting))
    try:
        found = history.page(Query(limit=1))
        return Tried(setting, without_password(setting), found.total, history.status.reason)
    finally:
        history.close()


def _completed(text: str, current: str) -> str:
    """The text as a setting, with its password.

    Raises:
        BadProject: if it cannot be a history.
    """
    url = url_of(text)
    file = file_of(url)
    if file is not None:
        _check_file(Path(text).expanduser() if "://" not in text else file, is_path="://" not in text)
        return str(file) if "://" not in text else text
    if "password" in url.query:
        raise BadProject("The password stands where it would be shown.", where=_place(url), hint=_EXAMPLE)
    if not url.database or url.get_backend_name() == "sqlite":
        raise BadProject("The address does not name a database.", where=_place(url), hint=_EXAMPLE)
    if url.password != HIDDEN:
        return text
    known = url_of(current) if "://" in current else None
    if known is None or known.password is None or known.set(password=HIDDEN) != url:
        raise BadProject("The password is not known for this address.", where=_place(url),
                         hint=f"Write it instead of {HIDDEN}.")  # fmt: skip
    return current


def _place(url: URL) -> str:
    return shown(url.difference_update_query(["password"]))


def _check_file(file: Path, *, is_path: bool) -> None:
    """A file must be new, empty or a history: anything else is somebody's, and would be taken for a damaged one."""
    where = printable(file, 400)
    if is_path and not file.is_absolute():
        raise BadProject("It is neither an address nor a whole path.", where=where, hint=_EXAMPLE)
    if file.is_dir():
        raise BadProject("This is a folder.", where=where, hint="Add a file name, for example history.sqlite.")
    if not file.exists() or file.stat().st_size == 0:
        if not file.parent.is_dir():
            raise BadProject("The folder is not there.", where=where, hint="Make it first, or choose another one.")
        return
    with file.open("rb") as stream:
        is_database = stream.read(len(_SQLITE)) == _SQLITE
    if not is_database or not _is_history(file):
        raise BadProject("The file is there, but it is no history of Mixdown.", where=where, hint="Choose a new name.")


def _is_history(file: Path) -> bool:
    """Whether a database has our table; one that cannot be read may well be a damaged history."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            wanted = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            return connection.execute(wanted, (VERSION_TABLE,)).fetchone() is not None
    except sqlite3.Error:
        return True
