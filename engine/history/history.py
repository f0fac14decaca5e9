"""The history itself: open it, record runs, ask for them, mark them. Thread-safe; one transaction for each call."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, selectinload

from engine.errors import Missing, MixdownError, WriteProblem
from engine.evaluate.score import Score
from engine.history import keeping, migrate, rows
from engine.history.columns import all_columns, find_column
from engine.history.connect import DATABASE_ERRORS, WRITING, connect, explained, file_of, is_damage, shown, url_of
from engine.history.lock import ProcessLock
from engine.history.schema import HEAD, InputRow, ParamRow, RunRow, ScoreRow, TagRow
from engine.history.values import Called, Column, Facts, Kin, Page, Query, Run, Status
from engine.history.where import conditions, expression, ordered

MOST_TAG = 64
MOST_NOTE = 10_000
MOST_AT_ONCE = 900
"""Values in one statement; old SQLite takes 999."""
T = TypeVar("T")
Points = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
_CHILDREN = [selectinload(c) for c in (RunRow.inputs, RunRow.scores, RunRow.params, RunRow.tags)]


class History:
    """Runs in a database.

    Args:
        where: An SQLite file's path (made with its tables if it is not there), or any SQLAlchemy URL.

    Raises:
        MixdownError: if it cannot be opened.
    """

    def __init__(self, where: str | Path) -> None:
        self._url = url_of(where)
        self._file = file_of(self._url)
        self._engine = connect(self._url)
        self._lock = ProcessLock(self._file.with_name(f"{self._file.name}.lock")) if self._file else None
        self.status = self._opened()

    def _opened(self) -> Status:
        """Check, heal, back up and upgrade."""
        where, told = shown(self._url), ""
        try:
            if self._file is not None and self._lock is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._lock.held():
                    told = keeping.heal(self._file)
                    reason = self._upgraded()
                    told = " ".join(filter(None, (told, self._kept(self._file))))
            else:
                reason = self._upgraded()
        except WriteProblem as error:  # a folder that cannot be written: what is there can still be shown
            if self._file is None or not self._file.exists():
                raise
            return Status(where, str(error), told)
        except DATABASE_ERRORS as error:
            raise explained(error, self._url) from error
        return Status(where, reason, told)

    def _kept(self, file: Path) -> str:
        """Make a backup if it is time for one; a disk that refuses it must not close the history, so it is only told.

        Returns:
            Why there is none, "" when all is well.
        """
        try:
            keeping.back_up(file)
        except DATABASE_ERRORS as error:
            return f"No backup of the history could be made: {explained(error, self._url).message}"
        return ""

    def _upgraded(self) -> str:
        if self._file is not None and self._file.exists():
            with self._engine.connect() as connection:
                is_old = migrate.is_old(connection)
            if is_old:
                keeping.keep_before(self._file, HEAD)
        with self._engine.execution_options(**WRITING).begin() as connection:
            return migrate.upgrade(connection)

    @property
    def file(self) -> Path | None:
        """The SQLite file, None for another database."""
        return self._file

    def close(self) -> None:
        """Close what is open; the history may be used again afterwards."""
        self._engine.dispose()

    # Recording -----------------------------------------------------------------------------------------------

    def record(self, facts: Facts) -> int:
        """Write a run; when this returns it is on the disk.

        A run with the same `uid`, or a score that says what another run of the same recipe says already, is not
        written twice. Scores are also put on exports of the same recipe that have none.

        Returns:
            Its number.

        Raises:
            MixdownError: if it could not be written.
        """
        return self._write(lambda session: _recorded(session, facts))

    def set_output_hash(self, run: int, sha256: str) -> None:
        """Say what the content hash of a run's output is, once it is known."""
        self._write(lambda s: s.execute(update(RunRow).where(RunRow.id == run).values(output_sha256=sha256)))

    def set_star(self, runs: Iterable[int], star: bool) -> None:
        """Star runs, or not."""
        self._write(lambda s: s.execute(update(RunRow).where(RunRow.id.in_(tuple(runs))).values(star=star)))

    def set_note(self, run: int, note: str) -> None:
        """Say something about a run."""
        text = rows.clean(note, MOST_NOTE)
        self._write(lambda s: s.execute(update(RunRow).where(RunRow.id == run).values(note=text)))

    def set_tags(self, runs: Iterable[int], *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Put tags on runs and take others away."""
        fresh = {rows.clean(" ".join(tag.split()), MOST_TAG) for tag in add} - {""}
        gone = set(remove)

        def work(session: Session) -> None:
            for row in session.scalars(select(RunRow).where(RunRow.id.in_(tuple(runs))).options(*_CHILDREN)):
                kept = [t for t in row.tags if t.tag not in gone]
                row.tags = [*kept, *(TagRow(tag=t) for t in sorted(fresh - {t.tag for t in kept}))]

        self._write(work)

    def delete(self, runs: Iterable[int], deleted: bool = True) -> None:
        """Mark runs as deleted, or not any more; nothing is lost."""
        when = time.time() if deleted else None
        self._write(lambda s: s.execute(update(RunRow).where(RunRow.id.in_(tuple(runs))).values(deleted=when)))

    # Asking --------------------------------------------------------------------------------------------------

    def page(self, query: Query) -> Page:
        """Some rows of a query.

        Raises:
            OutOfRange: if its filter or column cannot be read.
        """
        wanted = conditions(query)

        def work(session: Session) -> Page:
            total = session.scalar(select(func.count()).select_from(RunRow).where(*wanted)) or 0
            statement = ordered(select(RunRow).where(*wanted), query).offset(query.offset).limit(query.limit)
            found = session.scalars(statement.options(*_CHILDREN)).all()
            return Page(tuple(map(rows.run_of, found)), total)

        return self._read(work)

    def run(self, number: int) -> Run:
        """One run with its parents.

        Raises:
            Missing: if there is none.
        """
        found = self.runs((number,))
        if not found:
            raise Missing(f"There is no run {number} in this history.", where=self.status.where,
                          hint="List the runs with: main.py history")  # fmt: skip
        return found[0]

    def runs(self, numbers: Sequence[int]) -> tuple[Run, ...]:
        """Runs by number, in the order given, with their parents; those that do not exist are left out."""

        def work(session: Session) -> tuple[Run, ...]:
            statement = select(RunRow).options(*_CHILDREN)
            known = {row.id: row for part in _parts(numbers)
                     for row in session.scalars(statement.where(RunRow.id.in_(part)))}  # fmt: skip
            parents = _parents(session, known.values())
            return tuple(rows.run_of(known[n], parents[n]) for n in numbers if n in known)

        return self._read(work)

    def kin(self, numbers: Sequence[int]) -> tuple[Kin, ...]:
        """What the map of merges of merges needs of some runs, in the order given; missing ones are left out."""

        def work(session: Session) -> tuple[Kin, ...]:
            statement = select(RunRow).options(selectinload(RunRow.inputs))
            known = {row.id: row for part in _parts(numbers)
                     for row in session.scalars(statement.where(RunRow.id.in_(part)))}  # fmt: skip
            return tuple(rows.kin_of(known[n]) for n in numbers if n in known)

        return self._read(work)

    def numbers(self, query: Query) -> tuple[int, ...]:
        """Numbers of all runs of a query, whatever its limit.

        Raises:
            OutOfRange: if its filter or column cannot be read.
        """
        statement = ordered(select(RunRow.id).where(*conditions(query)), query)
        return self._read(lambda session: tuple(session.scalars(statement)))

    def columns(self) -> tuple[Column, ...]:
        """All columns: the fixed ones, then those of the tasks and numeric parameters that occur."""

        def work(session: Session) -> tuple[Column, ...]:
            tasks = session.scalars(select(ScoreRow.task).distinct().order_by(ScoreRow.task)).all()
            params = session.scalars(select(ParamRow.name).where(ParamRow.number.is_not(None)).distinct()
                                     .order_by(ParamRow.name)).all()  # fmt: skip
            return all_columns(tasks, params)

        return self._read(work)

    def points(self, x: str, y: str, query: Query) -> Points:
        """Two numeric columns of all runs of a query that have both: (N,) numbers of the runs, x and y.

        Raises:
            OutOfRange: if a column or the filter cannot be read.
        """
        across, up, wanted = expression(find_column(x)), expression(find_column(y)), conditions(query)

        def work(session: Session) -> Points:
            statement = select(RunRow.id, across, up).where(*wanted, across.is_not(None), up.is_not(None))
            found = session.execute(statement).all()
            return (np.array([r[0] for r in found], np.int64), np.array([float(r[1]) for r in found]),
                    np.array([float(r[2]) for r in found]))  # fmt: skip

        return self._read(work)

    def called(self, query: Query) -> dict[int, Called]:
        """What people call the runs of a query, whatever its limit, by number.

        Raises:
            OutOfRange: if its filter cannot be read.
        """
        wanted = conditions(query)

        def work(session: Session) -> dict[int, Called]:
            tags: defaultdict[int, list[str]] = defaultdict(list)
            for run, tag in session.execute(select(TagRow.run_id, TagRow.tag).order_by(TagRow.tag)):
                tags[run].append(tag)
            found = session.execute(select(RunRow.id, RunRow.title, RunRow.star).where(*wanted))
            return {run: Called(title, star, tuple(tags.get(run, ()))) for run, title, star in found}

        return self._read(work)

    def same(self, key: str) -> tuple[Score, ...]:
        """The newest scores of a recipe by its key, possibly none."""
        return self._read(lambda s: _known_scores(s, key))

    def links(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) of runs that are not deleted, where the parent's output is an input of the child."""

        def work(session: Session) -> tuple[tuple[int, int], ...]:
            child, parent = InputRow, RunRow
            statement = (
                select(parent.id, child.run_id)
                .join(child, child.sha256 == parent.output_sha256)
                .where(parent.output_sha256 != "", parent.deleted.is_(None), parent.id != child.run_id)
            )
            gone = set(session.scalars(select(RunRow.id).where(RunRow.deleted.is_not(None))))
            found = {(a, b) for a, b in session.execute(statement) if b not in gone}
            return tuple(sorted(found))

        return self._read(work)

    def unhashed(self) -> tuple[tuple[int, str, float], ...]:
        """(number, output path, time) of exports whose content hash is not known yet, newest first."""
        statement = (select(RunRow.id, RunRow.output_path, RunRow.created)
                     .where(RunRow.output_sha256 == "", RunRow.output_path != "", RunRow.deleted.is_(None))
                     .order_by(RunRow.id.desc()).limit(200))  # fmt: skip
        return self._read(lambda s: tuple((a, b, c) for a, b, c in s.execute(statement)))

    def back_up(self) -> Path | None:
        """Make a backup of an SQLite history if it is time for one.

        Raises:
            MixdownError: if it cannot be made; the history and its older backups are as they were.
        """
        if self._file is None or self._lock is None or self.status.is_read_only:
            return None
        with self._told(), self._lock.held():
            return keeping.back_up(self._file)

    # Transactions --------------------------------------------------------------------------------------------

    def _write(self, work: Callable[[Session], T]) -> T:
        if self.status.is_read_only:
            raise WriteProblem(self.status.reason, where=self.status.where)
        lock = self._lock.held() if self._lock else nullcontext()
        with self._told(), lock, Session(self._engine.execution_options(**WRITING)) as session, session.begin():
            if not migrate.is_current(session.connection()):  # another version upgraded it while it was open here
                self.status = replace(self.status, reason=migrate.NEWER)
                raise WriteProblem(migrate.NEWER, where=self.status.where)
            return work(session)

    def _read(self, work: Callable[[Session], T]) -> T:
        with self._told(), Session(self._engine) as session, session.begin():
            return work(session)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A database's errors in plain words; a file that turns out to be damaged is healed for the next call."""
        try:
            yield
        except MixdownError:
            raise
        except DATABASE_ERRORS as error:
            if is_damage(error):
                self._engine.dispose()
                self.status = self._opened()
            raise explained(error, self._url) from error


def _recorded(session: Session, facts: Facts) -> int:
    known = session.scalar(select(RunRow.id).where(RunRow.uid == facts.uid))
    if known is None and facts.kind == "score":
        known = _said_before(session, facts)
    if known is not None:
        return known
    row = rows.row_of(facts)
    if facts.kind == "export" and not facts.scores:
        rows.set_scores(row, _known_scores(session, facts.key))
    elif facts.scores:
        bare = select(RunRow).where(RunRow.key == facts.key, RunRow.kind == "export", RunRow.score.is_(None))
        for other in session.scalars(bare.options(*_CHILDREN)):
            rows.set_scores(other, facts.scores)
    session.add(row)
    session.flush()
    return row.id


def _said_before(session: Session, facts: Facts) -> int | None:
    """The run with the same recipe, scored on the same rows with the same result."""
    same = select(RunRow).where(RunRow.key == facts.key, RunRow.kind == "score", RunRow.deleted.is_(None))
    wanted = set(facts.scores)
    for row in session.scalars(same.options(*_CHILDREN)):
        if set(rows.scores_of(row)) == wanted:
            return row.id
    return None


def _known_scores(session: Session, key: str) -> tuple[Score, ...]:
    newest = (select(RunRow).where(RunRow.key == key, RunRow.score.is_not(None)).order_by(RunRow.id.desc()).limit(1)
              .options(*_CHILDREN))  # fmt: skip
    row = session.scalar(newest)
    return rows.scores_of(row) if row is not None else ()


def _parents(session: Session, found: Collection[RunRow]) -> dict[int, list[int]]:
    """For every row the runs whose outputs went into it."""
    hashes = sorted({i.sha256 for row in found for i in row.inputs if i.sha256})
    made = defaultdict[str, list[int]](list)
    for part in _parts(hashes):
        statement = select(RunRow.output_sha256, RunRow.id).where(RunRow.output_sha256.in_(part))
        for sha256, number in session.execute(statement):
            made[sha256].append(number)
    return {row.id: sorted({n for i in row.inputs for n in made.get(i.sha256, ()) if n != row.id}) for row in found}


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Values in parts that one statement of any database takes."""
    return (values[at : at + MOST_AT_ONCE] for at in range(0, len(values), MOST_AT_ONCE))
