"""Filters as people type them, read into typed terms: "ties score>80 tag=good param.density<0.3".

Words without an operator must occur somewhere in the run. Everything else is COLUMN OPERATOR VALUE; nothing of it
ever becomes SQL text.
"""

from __future__ import annotations

import math
import re
import time
from calendar import timegm
from dataclasses import dataclass
from typing import Literal, cast

from engine.errors import OutOfRange
from engine.files.text import printable
from engine.history.columns import find_column
from engine.history.values import Column

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
MOST_TERMS = 40
_HINT = 'Write for example: ties score>80 tag=good created>=2026-01-31 param.density<0.3 note~"try again"'
_TERM = re.compile(r'([A-Za-z][\w.\-@]*)\s*(>=|<=|!=|=|<|>|~)\s*("[^"]*"|\S+)|"([^"]*)"|(\S+)')
_DATES = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y-%m", "%Y")
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Term:
    """One condition; `column` None means the text occurs anywhere.

    Attributes:
        column: What is compared.
        operator: How; "~" is "contains".
        value: A number for numbers and dates (seconds since 1970, UTC), a bool for flags, else text.
    """

    column: Column | None
    operator: Operator
    value: float | bool | str


def parse_filter(text: str) -> tuple[Term, ...]:
    """The terms of a filter; all of them must hold.

    Raises:
        OutOfRange: naming the part that cannot be read.
    """
    found = [_term(match) for match in _TERM.finditer(text)]
    if len(found) > MOST_TERMS:
        raise OutOfRange(f"A filter has at most {MOST_TERMS} conditions.", hint=_HINT)
    return tuple(found)


def _term(match: re.Match[str]) -> Term:
    name, sign, raw, quoted, word = match.groups()
    operator = cast("Operator", sign)
    if name is None:
        return Term(None, "~", quoted if quoted is not None else word)
    column, text = find_column(name), raw[1:-1] if raw.startswith('"') else raw
    if column.kind == "text":
        return Term(column, operator, text)
    if operator == "~" and column.kind != "date":
        raise OutOfRange(f"{name} cannot be searched for text.", hint=_HINT)
    if column.kind == "flag":
        if text.lower() not in _YES or operator not in ("=", "!="):
            raise OutOfRange(f"{printable(name + operator + text, 60)} cannot be read.", hint=f"Write {name}=yes")
        return Term(column, operator, _YES[text.lower()])
    return Term(column, operator, _date(text) if column.kind == "date" else _number(text))


def _number(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise OutOfRange(f"{printable(text, 60)!r} is not a number.", hint=_HINT)
    return value


def _date(text: str) -> float:
    for form in _DATES:
        try:
            return float(timegm(time.strptime(text, form)))
        except ValueError:
            continue
    raise OutOfRange(f"{printable(text, 60)!r} is not a date.", hint="Write for example created>=2026-01-31 (UTC).")
