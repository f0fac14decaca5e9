"""From a query's typed terms to SQLAlchemy expressions; texts only ever travel as bound parameters."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, or_, select

from engine.history.columns import PARAM, SCORE, find_column
from engine.history.schema import InputRow, ParamRow, RunRow, ScoreRow, TagRow
from engine.history.terms import Term, parse_filter
from engine.history.values import Column, Query

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_DAY_S = 86400.0


def expression(column: Column) -> ColumnElement[Any]:
    """What a column's values are; those of other tables as a subquery."""
    simple: dict[str, Any] = {
        "id": RunRow.id, "created": RunRow.created, "kind": RunRow.kind, "title": RunRow.title,
        "method": RunRow.method, "base": RunRow.base, "experts": RunRow.experts, "score": RunRow.score,
        "rows": RunRow.score_rows, "seconds": RunRow.seconds, "device": RunRow.device, "output": RunRow.output_path,
        "note": RunRow.note, "star": RunRow.star, "bytes": func.nullif(RunRow.output_bytes, 0),
    }  # fmt: skip
    if column.name in simple:
        made: ColumnElement[Any] = simple[column.name]
        return made
    if column.name == "input":
        return _first(InputRow.name, InputRow.run_id, InputRow.role == "expert", InputRow.id)
    if column.name == "tag":
        return _first(TagRow.tag, TagRow.run_id, TagRow.tag != "", TagRow.tag)
    if column.name.startswith(SCORE):
        return _first(ScoreRow.shown, ScoreRow.run_id, ScoreRow.task == column.name.removeprefix(SCORE), ScoreRow.id)
    return _first(ParamRow.number, ParamRow.run_id, ParamRow.name == column.name.removeprefix(PARAM), ParamRow.id)


def _first(value: Any, run: Any, which: Any, order: Any) -> ColumnElement[Any]:
    found: ColumnElement[Any] = (
        select(value).where(run == RunRow.id, which).order_by(order).limit(1).correlate(RunRow).scalar_subquery()
    )
    return found


def condition(term: Term) -> ColumnElement[bool]:
    """One term."""
    column, value = term.column, term.value
    if column is None:
        return _anywhere(str(value))
    if column.name in ("input", "tag"):
        return _in_list(column.name, term)
    what = expression(column)
    if column.kind == "text":
        lower = func.lower(what)
        if term.operator == "~":
            return what.icontains(str(value), autoescape=True)
        compared: ColumnElement[bool] = _COMPARE[term.operator](lower, str(value).lower())
        return compared
    if column.kind == "date" and term.operator in ("=", "~"):
        return and_(what >= value, what < float(value) + _DAY_S)
    found: ColumnElement[bool] = _COMPARE[term.operator](what, value)
    return found


def _anywhere(text: str) -> ColumnElement[bool]:
    tagged = exists().where(TagRow.run_id == RunRow.id, TagRow.tag.icontains(text, autoescape=True))
    found = [c.icontains(text, autoescape=True) for c in (RunRow.search, RunRow.note)]
    return or_(*found, tagged)


def _in_list(name: str, term: Term) -> ColumnElement[bool]:
    """Inputs and tags: any of them; with "!=" none of them."""
    table, column = (InputRow, InputRow.name) if name == "input" else (TagRow, TagRow.tag)
    text = str(term.value)
    if term.operator == "~":
        return exists().where(table.run_id == RunRow.id, column.icontains(text, autoescape=True))
    is_not = term.operator == "!="
    test = _COMPARE["=" if is_not else term.operator](func.lower(column), text.lower())
    found = exists().where(table.run_id == RunRow.id, test)
    return not_(found) if is_not else found


def conditions(query: Query) -> list[ColumnElement[bool]]:
    """All conditions of a query.

    Raises:
        OutOfRange: if its filter cannot be read.
    """
    gone = RunRow.deleted.is_not(None) if query.deleted else RunRow.deleted.is_(None)
    return [gone, *map(condition, parse_filter(query.filter))]


def ordered(statement: Select[Any], query: Query) -> Select[Any]:
    """The statement in the query's order; runs without a value come last, newer runs first among equals.

    Raises:
        OutOfRange: if there is no such column.
    """
    column = find_column(query.sort)
    what = expression(column)
    if column.kind == "text":
        what = func.lower(what)
    return statement.order_by((what.desc() if query.descending else what.asc()).nulls_last(), RunRow.id.desc())
