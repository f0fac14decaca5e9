"""What the panel of runs shows: plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STAR = "star"
HINT = "ties score>80 seconds<10 tag=good param.density<0.3"


@dataclass(frozen=True, slots=True)
class RunColumn:
    """A column: its name in filters, header, unit ("" for none), whether it is right-aligned, width in letters."""

    name: str
    title: str
    unit: str = ""
    is_number: bool = False
    letters: int = 12


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run.

    Attributes:
        id: Its number.
        cells: Text by column name.
        star: Whether it is starred.
        hint: What the tooltip and screen readers say.
        has_output: Whether there is a folder to open.
    """

    id: int
    cells: Mapping[str, str]
    star: bool = False
    hint: str = ""
    has_output: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsState:
    """The table as a whole; rows come in pages beside it.

    Attributes:
        columns: All columns, in table order.
        shown: Names of those that are shown.
        total: How many runs fit the filter.
        is_filtered: Whether the filter hides any.
        sort: Column sorted by.
        descending: Largest first.
        problem: What is wrong with the filter, "" for nothing.
        note: What the user should know about the history, "" for nothing.
        is_read_only: Whether runs cannot be marked or deleted.
        is_off: Whether nothing is recorded.
    """

    columns: tuple[RunColumn, ...] = ()
    shown: tuple[str, ...] = ()
    total: int = 0
    is_filtered: bool = False
    sort: str = "created"
    descending: bool = True
    problem: str = ""
    note: str = ""
    is_read_only: bool = False
    is_off: bool = False


@dataclass(frozen=True, slots=True)
class FamilyNode:
    """A model in the map: a run's output, or a model from elsewhere.

    Attributes:
        id: Number of the run, 0 for a model from elsewhere.
        title: First line.
        detail: Second line.
        layer: Column of the map, 0 for models that nothing led to.
        place: Row in its column.
        is_focus: Whether the map is about it.
        score: Mean score as text with its unit, "" for none.
        star: Whether the run is starred.
        is_hit: Whether it fits the filter.
    """

    id: int
    title: str
    detail: str = ""
    layer: int = 0
    place: float = 0.0
    is_focus: bool = False
    score: str = ""
    star: bool = False
    is_hit: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Merges of merges.

    Attributes:
        nodes: Models.
        edges: (from, to) by index.
        bends: For each edge the (layer, place) that it passes between its ends; empty for straight ones.
        empty: What to do when there are none.
        more: How many models are not drawn.
        scope: "kin" for a run's relatives, "all" for all merges of merges.
        focus: Number of the run that the map is about, 0 for none.
    """

    nodes: tuple[FamilyNode, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    bends: tuple[tuple[tuple[int, float], ...], ...] = ()
    empty: str = "Choose a run in the table to see what it was made from."
    more: int = 0
    scope: str = "kin"
    focus: int = 0
