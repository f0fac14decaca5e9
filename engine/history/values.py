"""What the history holds and what may be asked of it: plain frozen values."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Literal

from engine.evaluate.score import Score
from engine.recipe.recipe import Value

Kind = Literal["export", "score"]
Role = Literal["base", "expert"]
ColumnKind = Literal["number", "text", "date", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A model that went into a run: its role, its name in the recipe, where it was, its content hash ("" unknown)."""

    role: Role
    name: str
    path: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What happened in a run; never changed afterwards, but for the output's hash.

    Attributes:
        kind: "export" for a written model, "score" for a quick eval of a recipe.
        recipe: Canonical JSON of the recipe (`engine.history.recipes`).
        key: Content key of what is merged; equal for equal merges.
        method: Id of the merge method.
        title: The recipe in a few words.
        params: The method's parameters, defaults included.
        inputs: Base first, then experts in row order.
        scores: Scores of the merged model, possibly none.
        seconds: Wall time, None where it was not measured.
        device: Where it was computed.
        versions: (name, version) of Mixdown and the libraries that matter.
        output_path: The written file or folder, "" for none.
        output_sha256: Its content hash, "" while it is unknown.
        output_bytes: Its size.
        created: Seconds since 1970, UTC.
        uid: Made by whoever records it, so that recording twice is recording once.
    """

    kind: Kind
    recipe: str
    key: str
    method: str
    title: str
    params: tuple[tuple[str, Value], ...] = ()
    inputs: tuple[Input, ...] = ()
    scores: tuple[Score, ...] = ()
    seconds: float | None = None
    device: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    output_path: str = ""
    output_sha256: str = ""
    output_bytes: int = 0
    created: float = field(default_factory=time.time)
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Mean score of a run as it is shown (84.2 for 84.2 %), its 95 % interval and how many rows it rests on."""

    value: float
    low: float
    high: float
    count: int
    unit: str = "%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row: the facts, and what the user says about them.

    Attributes:
        id: Number in this history.
        facts: What happened.
        mean: Mean over the tasks of one unit, None without scores.
        tags: Sorted.
        note: Free text.
        star: Whether it is starred.
        deleted: When it was deleted, None while it is not.
        parents: Ids of the runs whose outputs went into this one, by content hash.
        is_intact: Whether the row says what was recorded; False after it was changed behind our back.
    """

    id: int
    facts: Facts
    mean: Mean | None = None
    tags: tuple[str, ...] = ()
    note: str = ""
    star: bool = False
    deleted: float | None = None
    parents: tuple[int, ...] = ()
    is_intact: bool = True


@dataclass(frozen=True, slots=True)
class Kin:
    """What the map of merges of merges needs of a run.

    Attributes:
        id: Number in this history.
        title: The recipe in a few words.
        output_path: The written file or folder, "" for none.
        output_sha256: Its content hash, "" while it is unknown.
        inputs: Base first, then experts in row order.
        mean: Mean score, None without scores.
        star: Whether it is starred.
    """

    id: int
    title: str
    output_path: str
    output_sha256: str
    inputs: tuple[Input, ...]
    mean: Mean | None = None
    star: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """How people call a run.

    Attributes:
        title: The recipe in a few words.
        star: Whether it is starred.
        tags: Sorted.
    """

    title: str
    star: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of runs.

    Attributes:
        name: What filters call it ("score", "score.digits", "param.density").
        title: What the header says.
        kind: How it is compared.
        unit: Unit of numbers, "" for none.
    """

    name: str
    title: str
    kind: ColumnKind
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What to list.

    Attributes:
        filter: See `engine.history.terms`.
        sort: Name of a column.
        descending: Largest first.
        offset: Rows to leave out at the start.
        limit: Most rows.
        deleted: Whether deleted runs are listed, instead of the others.
    """

    filter: str = ""
    sort: str = "created"
    descending: bool = True
    offset: int = 0
    limit: int = 500
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a query and how many there are in all."""

    runs: tuple[Run, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Status:
    """How the history was opened.

    Attributes:
        where: The file, or the URL without its password.
        reason: Why nothing can be written, "" when everything can.
        told: What the user should know (damage found, restored from a backup), "" for nothing.
    """

    where: str
    reason: str = ""
    told: str = ""

    @property
    def is_read_only(self) -> bool:
        """Whether nothing is recorded."""
        return bool(self.reason)
