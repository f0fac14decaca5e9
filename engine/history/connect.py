"""Where a history is, and connections to it: SQLite with full syncing, or any database that SQLAlchemy knows.

SQLite stays in the rollback-journal mode, never WAL: the SQLite that Python brings (before 3.51.3) can damage a WAL
database when two connections write and checkpoint at once, and a window and a command may well write at once.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from engine.errors import BadProject, FileProblem, MixdownError, WriteProblem
from engine.files.text import printable

_WAIT_S = 10.0
WRITING = {"mixdown_writing": True}
"""Execution options of a connection that will write: SQLite then takes its lock at the start."""


def url_of(where: str | Path) -> URL:
    """The URL of a file's path or of a URL as text.

    Raises:
        BadProject: if it is neither.
    """
    text = str(where)
    if isinstance(where, Path) or "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        hint = "Write for example postgresql://user@host/mixdown or a file's path."
        raise BadProject("The address of the history cannot be read.", hint=hint) from error
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def file_of(url: URL) -> Path | None:
    """The SQLite file of a URL, None for a server."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def shown(url: URL) -> str:
    """The place for people: the file, or the URL without its password."""
    file = file_of(url)
    return printable(file, 400) if file is not None else printable(url.render_as_string(hide_password=True), 400)


def connect(url: URL) -> Engine:
    """An engine for the URL; nothing is opened yet.

    Raises:
        BadProject: if the driver is missing or the URL makes no sense.
    """
    try:
        if url.get_backend_name() != "sqlite":
            wait = {"connect_timeout": int(_WAIT_S)} if url.get_backend_name() == "postgresql" else {}
            return create_engine(url, pool_size=2, max_overflow=2, pool_pre_ping=True, pool_timeout=_WAIT_S,
                                 connect_args={k: v for k, v in wait.items() if k not in url.query})  # fmt: skip
        made = create_engine(url, poolclass=NullPool, connect_args={"timeout": _WAIT_S})
    except (ImportError, InvalidRequestError, ArgumentError) as error:
        is_postgres = url.drivername.startswith("postgres")
        hint = "Install psycopg: pip install 'psycopg[binary]'" if is_postgres else (
            "Install the Python driver of this database, or use postgresql:// or a file.")  # fmt: skip
        raise BadProject(f"The history's database cannot be used: {printable(error, 200)}.", where=shown(url),
                         hint=hint) from error  # fmt: skip
    event.listen(made, "connect", _configure)
    event.listen(made, "begin", _begin)
    return made


def _configure(connection: Any, record: Any) -> None:
    """A transaction that has returned is on the disk; DDL belongs to transactions; SQL in the schema may do nothing."""
    connection.isolation_level = None  # we begin and commit ourselves
    for pragma in ("trusted_schema=OFF", "foreign_keys=ON", "journal_mode=TRUNCATE", "synchronous=FULL"):
        try:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.OperationalError:
            if not pragma.startswith("journal"):  # that one writes to a file that was in WAL mode
                raise


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("mixdown_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def explained(error: Exception, url: URL) -> MixdownError:
    """A database's error in plain words; passwords never appear."""
    where, cause = shown(url), error.orig if isinstance(error, DBAPIError) else error
    text = printable(str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__, 200)
    if url.password:
        text = text.replace(str(url.password), "***")
    if is_damage(error):
        return FileProblem(f"The history file is damaged ({text}).", where=where,
                           hint="It is repaired from a backup when Mixdown starts the next time.")  # fmt: skip
    if file_of(url) is None:
        return WriteProblem(f"The history's database does not answer as it should: {text}.", where=where,
                            hint="Check that it runs and that you may use it.")  # fmt: skip
    return WriteProblem(f"The history cannot be used: {text}.", where=where,
                        hint="Check free space and permissions.")  # fmt: skip


def is_damage(error: BaseException) -> bool:
    """Whether an SQLite file itself is bad, rather than locked, read-only or on a full disk."""
    cause = getattr(error, "orig", None) or error
    if not isinstance(cause, sqlite3.DatabaseError):
        return False
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)
"""What using a database may raise."""
