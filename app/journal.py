"""The gesture journal: every change of the session is appended to a file and synced, on a thread of its own.

A session is a base file (a whole project, written durably) and beside it a journal of what changed since. A line of the
journal is a checksum and one JSON record; the first line names the base file by its SHA-256, so that a journal is never
replayed on another base. Whatever follows a damaged line is not believed. Nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import BadProject, MixdownError
from engine.files.strict_json import BadJson, parse
from engine.recipe.project import from_json, to_json
from engine.recipe.recipe import Recipe, Rule

GAP_S = 0.2
"""Shortest time between two syncs: what a kill can cost is this and the time of one sync."""
RETRY_S = 2.0
"""After a failed write (a full disk); the changes wait in memory."""
COMPACT_BYTES = 512 << 10
"""A longer journal becomes a new base file."""
_STUCK: list[Journal] = []
"""Whose threads did not end in time: these must not be the last to hold a journal, and with it the session."""

FORMAT = 1
"""Of the records; said in the first line of a journal, as it may be read by another version of Mixdown."""
MOST_BYTES = 16 << 20
"""More than that is not read back."""


@dataclass(frozen=True, slots=True)
class View:
    """What was shown and chosen.

    Attributes:
        grouping: Of the desk's columns.
        expanded: Layers whose column is opened.
        cells: Selected column numbers, by expert id.
    """

    grouping: str = ""
    expanded: tuple[str, ...] = ()
    cells: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What a session holds at one moment.

    Attributes:
        recipe: The recipe.
        pins: Its pins.
        project: The project file that is open, None for none.
        view: What is selected.
    """

    recipe: Recipe = field(default_factory=Recipe)
    pins: Mapping[str, Recipe] = field(default_factory=dict)
    project: Path | None = None
    view: View = field(default_factory=View)


def plain(state: State) -> dict[str, Any]:
    """A state as plain data."""
    recipe = to_json(state.recipe)
    return {
        "recipe": {"extras": {}, "stack": [], **recipe},
        "pins": {name: to_json(pin) for name, pin in state.pins.items()},
        "project": str(state.project) if state.project is not None else "",
        "view": _view(state.view),
    }


def _view(view: View) -> dict[str, Any]:
    return {"grouping": view.grouping, "expanded": list(view.expanded), "cells": {e: list(c) for e, c in view.cells}}


def changes(before: State, after: State) -> dict[str, Any]:
    """The record that leads from one state to the next; empty when nothing changed."""
    record: dict[str, Any] = {}
    if after.recipe is not before.recipe:
        old, new = (plain(State(replace(s.recipe, rules=())))["recipe"] for s in (before, after))
        fields = {key: value for key, value in new.items() if value != old[key]}
        if fields:
            record["recipe"] = fields
        if after.recipe.rules != before.recipe.rules:
            record["rules"] = _splice(before.recipe.rules, after.recipe.rules)
    if after.pins is not before.pins and after.pins != before.pins:
        record["pins"] = {name: to_json(pin) for name, pin in after.pins.items()}
    if after.project != before.project:
        record["project"] = str(after.project) if after.project is not None else ""
    if after.view != before.view:
        record["view"] = _view(after.view)
    return record


def _splice(old: tuple[Rule, ...], new: tuple[Rule, ...]) -> list[Any]:
    """Where the rules differ: [start, how many of the old ones go, the new ones]."""
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    tail = next((i for i in range(shorter - head) if old[-1 - i] != new[-1 - i]), shorter - head)
    put = to_json(Recipe(rules=new[head : len(new) - tail]))["rules"]
    return [head, len(old) - head - tail, put]


def applied(data: dict[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The plain state after one record.

    Raises:
        BadProject: if the record is none of ours.
    """
    made = dict(data)
    try:
        if "recipe" in record or "rules" in record:
            rules = list(data["recipe"]["rules"])
            if "rules" in record:
                start, gone, put = record["rules"]
                rules[start : start + gone] = put
            made["recipe"] = {**data["recipe"], **record.get("recipe", {}), "rules": rules}
        made |= {key: record[key] for key in ("pins", "project", "view") if key in record}
    except (TypeError, ValueError, KeyError) as error:
        raise BadProject("A record of the journal cannot be read.") from error
    return made


def state_of(data: Mapping[str, Any]) -> State:
    """The state that plain data means.

    Raises:
        BadProject: if a field is wrong.
    """
    try:
        view, project = data["view"], data["project"]
        cells = tuple((str(e), tuple(int(c) for c in columns)) for e, columns in view["cells"].items())
        return State(
            recipe=from_json(data["recipe"]),
            pins={str(name): from_json(pin) for name, pin in data["pins"].items()},
            project=Path(project) if project else None,
            view=View(str(view["grouping"]), tuple(map(str, view["expanded"])), cells),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadProject("A record of the journal cannot be read.") from error


def line_of(record: Mapping[str, Any]) -> bytes:
    """A record as a line."""
    payload = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def read_records(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """All whole records of a journal, and whether bytes in front of its last line are damaged.

    A torn last line is what a kill leaves and counts as no damage.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(MOST_BYTES).split(b"\n")
    except OSError:
        return [], False
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        record = _record(line)
        if record is None:
            return found, number < len(lines) - 2
        found.append(record)
    return found, False


def _record(line: bytes) -> dict[str, Any] | None:
    mark, _, payload = line.partition(b" ")
    try:
        if int(mark, 16) != zlib.crc32(payload):
            return None
        value = parse(payload, depth=12)
    except (ValueError, BadJson):
        return None
    return value if isinstance(value, dict) else None


def digest(file: Path) -> str:
    """SHA-256 of a base file; "" when there is none."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def replay(base: State, base_digest: str, journal: Path) -> tuple[State, bool]:
    """The state at the end of a journal, and whether the journal is damaged in its middle or of another version."""
    records, damaged = read_records(journal)
    if not records or records[0].get("base") != base_digest:
        return base, damaged
    if records[0].get("format", FORMAT) != FORMAT:
        return base, True
    data = plain(base)
    try:
        for record in records[1:]:
            data = applied(data, record)
        return (state_of(data) if len(records) > 1 else base), damaged
    except BadProject:
        return base, True


class Journal:
    """Writes states to the disk, newest first of all; `put` only hands over and never waits for a disk.

    Args:
        file: The base file; the journal lies beside it.
        save: Writes the base file for a state, durably; may raise MixdownError or OSError.
    """

    def __init__(self, file: Path, save: Callable[[State], None]) -> None:
        self.path = file.with_suffix(".journal")
        self._file, self._save = file, save
        self._changed = threading.Condition()
        self._wanted: State | None = None
        self._asked = self._granted = 0  # flushes
        self._stopped = False
        self._written: State | None = None
        self._handle, self._size = -1, 0
        self._thread: threading.Thread | None = None
        self.synced = 0.0

    def put(self, state: State) -> None:
        """Take the newest state; it is on the disk `GAP_S` later at most."""
        with self._changed:
            idle, self._wanted = self._wanted is None, state
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="mixdown-journal", daemon=True)
                self._thread.start()
            if idle:  # else it knows already; waking it at every fader event would only take time from the window
                self._changed.notify_all()

    def flush(self, timeout_s: float = 3.0) -> bool:
        """Make a new base file of the newest state; returns whether that was done in time."""
        with self._changed:
            if self._thread is None or self._stopped:
                return False
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._granted >= mine, timeout_s)

    def stop(self) -> None:
        """End the thread; what it has not written is dropped (`flush` comes first)."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(1.0)
            if self._thread.is_alive():  # on a disk that hangs
                _STUCK.append(self)
            self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_urgent or self._wanted is not None)
                pause = self.synced + GAP_S - time.monotonic()
                if pause > 0:
                    self._changed.wait_for(lambda: self._is_urgent, pause)
                if self._stopped:
                    break
                state, asked, compact = self._wanted, self._asked, self._asked > self._granted
                self._wanted = None
            done = self._write(state, compact=compact)
            with self._changed:
                if not done and self._wanted is None:
                    self._wanted = state
                self._granted = asked
                self._changed.notify_all()
                if not done:
                    self._changed.wait_for(lambda: self._is_urgent, RETRY_S)
        self._close()

    @property
    def _is_urgent(self) -> bool:
        """Whether there is something that no pause should hold up."""
        return self._stopped or self._asked > self._granted

    def _write(self, state: State | None, *, compact: bool) -> bool:
        """Bring the disk to a state; False if it could not be (the next attempt starts with a new base)."""
        newest = state if state is not None else self._written
        if newest is None:
            return True
        try:
            if compact or self._handle < 0 or self._size > COMPACT_BYTES:
                self._begin(newest)
            elif self._written is not None and (record := changes(self._written, newest)):
                self._append(line_of(record))
            self._written = newest
        except (MixdownError, OSError, ValueError):
            self._close()
            return False
        self.synced = time.monotonic()
        return True

    def _begin(self, state: State) -> None:
        """A new base file, then an empty journal for it."""
        self._close()
        self._save(state)
        self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        self._append(line_of({"base": digest(self._file), "format": FORMAT}))
        if state.view != View():
            self._append(line_of({"view": _view(state.view)}))

    def _append(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._handle, view) :]
        getattr(os, "fdatasync", os.fsync)(self._handle)
        self._size += len(line)

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._size = -1, 0
