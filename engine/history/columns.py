"""The columns that runs can be listed, filtered and plotted by."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import OutOfRange
from engine.files.text import printable
from engine.history.values import Column

COLUMNS = (
    Column("id", "Run", "number"),
    Column("created", "When", "date"),
    Column("kind", "Kind", "text"),
    Column("title", "Recipe", "text"),
    Column("method", "Method", "text"),
    Column("base", "Base", "text"),
    Column("experts", "Experts", "number"),
    Column("input", "Inputs", "text"),
    Column("score", "Score", "number", "%"),
    Column("rows", "Rows", "number"),
    Column("seconds", "Time", "number", "s"),
    Column("bytes", "Size", "number", "bytes"),
    Column("device", "Device", "text"),
    Column("output", "Output", "text"),
    Column("tag", "Tags", "text"),
    Column("note", "Note", "text"),
    Column("star", "Star", "flag"),
)
"""Columns that every run has; scores of tasks and parameters of methods come on top."""

SCORE, PARAM = "score.", "param."


def find_column(name: str) -> Column:
    """The column of this name, "score.TASK" and "param.NAME" among them.

    Raises:
        OutOfRange: if there is none.
    """
    for column in COLUMNS:
        if column.name == name:
            return column
    for prefix, unit in ((SCORE, "%"), (PARAM, "")):
        if name.startswith(prefix) and len(name) > len(prefix):
            return Column(name, name.removeprefix(prefix), "number", unit)
    known = ", ".join(c.name for c in COLUMNS)
    raise OutOfRange(f"There is no column {printable(name, 60)!r}.",
                     hint=f"There are: {known}, score.TASK and param.NAME.")  # fmt: skip


def all_columns(tasks: Iterable[str], params: Iterable[str]) -> tuple[Column, ...]:
    """The fixed columns, then one for each task and parameter that occurs."""
    extra = (*(SCORE + t for t in tasks), *(PARAM + p for p in params))
    return (*COLUMNS, *map(find_column, extra))
