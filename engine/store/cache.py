"""Scores that were measured before, by content: an SQLite file that may be lost, damaged or locked without harm.

Nothing here ever raises into scoring: a score that cannot be read is measured again, one that cannot be
written is kept in memory for the session.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from engine.evaluate.measures import UNBOUNDED
from engine.evaluate.score import Score
from engine.evaluate.task import Split

MAX_SCORES = 100_000
"""Oldest scores beyond this are forgotten when the cache is opened."""

_WAIT_S = 1.0
_ALL = -1
_HARMLESS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY,
                       sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR})  # fmt: skip
"""SQLite's primary result codes that do not mean that the file itself is bad."""

_tables = MetaData()
_scores = Table(
    "scores_1",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("model", String, nullable=False),
    Column("task", String, nullable=False),
    Column("split", String, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("value", Float, nullable=False),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    Column("correct", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Index("scores_1_key", "model", "task", "split", "rows"),
    sqlite_autoincrement=True,
)
T = TypeVar("T")
_Key = tuple[str, str, Split, int]


class ScoreCache:
    """Scores by (model key, task key, split, limit); may be used from several threads and processes.

    Args:
        path: The SQLite file; made, with its folder, if it is not there. A damaged one is moved aside to
            `NAME.damaged`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._memory: dict[_Key, Score] = {}
        self._engine = _connect(path)
        self._is_ready = False
        self._moved = 0

    def get(self, model: str, task: str, split: Split, limit: int | None) -> Score | None:
        """The score that was remembered, or None."""
        key = _key(model, task, split, limit)
        with self._lock:
            if key not in self._memory:
                score = self._try(lambda connection: _find(connection, key))
                if score is None:
                    return None
                self._memory[key] = score
            return self._memory[key]

    def put(self, model: str, task: str, split: Split, limit: int | None, score: Score) -> None:
        """Remember a score; one that is there under the same key is replaced."""
        key = _key(model, task, split, limit)
        with self._lock:
            self._memory[key] = score
            self._try(lambda connection: _store(connection, key, score))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._memory.clear()
            self._try(lambda connection: connection.execute(delete(_scores)))

    def _try(self, work: Callable[[Connection], T]) -> T | None:
        """Do something with the file; on damage move it aside and start again once."""
        for _ in range(2):
            try:
                if not self._is_ready:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                with self._engine.begin() as connection:
                    if not self._is_ready:
                        _prepare(connection)
                    result = work(connection)
            except (SQLAlchemyError, sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
                self._is_ready = False
                if not _is_damage(error) or not self._move_aside():
                    return None
            else:
                self._is_ready = True
                return result
        return None

    def _move_aside(self) -> bool:
        """Whether there is now room for a new file; at most twice, so that nothing goes in circles."""
        self._moved += 1
        if self._moved > 2:
            return False
        try:
            for suffix in ("-journal", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.path.replace(self.path.with_name(self.path.name + ".damaged"))
        except OSError:
            return False
        return True


def _connect(path: Path) -> Engine:
    """An engine that opens the file anew for each use, so that no handle keeps it from being moved."""
    url = URL.create("sqlite", database=os.fspath(path))
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _WAIT_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA trusted_schema=OFF")

    return engine


def _key(model: str, task: str, split: Split, limit: int | None) -> _Key:
    return model, task, split, _ALL if limit is None else limit


def _matches(key: _Key) -> tuple[Any, ...]:
    model, task, split, rows = key
    return _scores.c.model == model, _scores.c.task == task, _scores.c.split == split, _scores.c.rows == rows


def _find(connection: Connection, key: _Key) -> Score | None:
    row = connection.execute(select(_scores).where(*_matches(key)).order_by(_scores.c.id.desc())).first()
    if row is None:
        return None
    score = Score(
        task=row.name, split=key[2], metric=row.metric, value=row.value, low=row.low, high=row.high,
        correct=row.correct, count=row._mapping["count"],
    )  # fmt: skip
    return score if _is_sane(score) else None


def _store(connection: Connection, key: _Key, score: Score) -> None:
    model, task, split, rows = key
    connection.execute(delete(_scores).where(*_matches(key)))
    connection.execute(
        insert(_scores).values(
            model=model, task=task, split=split, rows=rows, name=score.task, metric=score.metric, value=score.value,
            low=score.low, high=score.high, correct=score.correct, count=score.count,
        )
    )  # fmt: skip


def _prepare(connection: Connection) -> None:
    """Make the table, which another process may be doing at the same time, and forget the oldest scores."""
    connection.execute(CreateTable(_scores, if_not_exists=True))
    for index in _scores.indexes:
        connection.execute(CreateIndex(index, if_not_exists=True))
    newest = connection.execute(select(func.max(_scores.c.id))).scalar()
    if newest:
        connection.execute(delete(_scores).where(_scores.c.id <= newest - MAX_SCORES))


def _is_sane(score: Score) -> bool:
    """Whether a score from the file can be one: SQLite keeps whatever it was given, of any type."""
    numbers = (score.low, score.value, score.high)
    counts = (score.correct, score.count)
    return (
        all(isinstance(n, float) and math.isfinite(n) for n in numbers)
        and all(isinstance(n, int) for n in counts)
        and score.low <= score.value <= score.high
        and (score.metric in UNBOUNDED or 0 <= score.low <= score.high <= 1)
        and 0 <= score.correct <= score.count >= 1
        and isinstance(score.metric, str)
        and isinstance(score.task, str)
    )


def _is_damage(error: BaseException) -> bool:
    """Whether the file itself is bad, rather than locked, read-only or on a full disk."""
    cause = getattr(error, "orig", None) or error
    if not isinstance(cause, sqlite3.Error):
        return False
    code = getattr(cause, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _HARMLESS
