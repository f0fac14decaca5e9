"""Between rows of the tables and the history's values, and the hash that tells whether a row was altered."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import cast

from engine.evaluate.score import Score
from engine.evaluate.task import Split
from engine.history.recipes import mean_of, shown
from engine.history.schema import InputRow, ParamRow, RunRow, ScoreRow
from engine.history.values import Facts, Input, Kin, Kind, Mean, Role, Run
from engine.recipe.recipe import Value


def row_of(facts: Facts) -> RunRow:
    """A new row."""
    made = RunRow(
        uid=facts.uid, kind=facts.kind, created=facts.created, key=facts.key, method=clean(facts.method, 128),
        title=clean(facts.title), recipe=facts.recipe, search=_search(facts),
        base=clean(next((i.name for i in facts.inputs if i.role == "base"), "")),
        experts=sum(i.role == "expert" for i in facts.inputs), seconds=facts.seconds, device=clean(facts.device),
        versions=_dumped(dict(facts.versions)), output_path=clean(facts.output_path),
        output_sha256=facts.output_sha256, output_bytes=facts.output_bytes, note="", star=False, deleted=None,
        inputs=[InputRow(role=i.role, name=clean(i.name), path=clean(i.path), sha256=i.sha256) for i in facts.inputs],
        params=[_param(name, value) for name, value in facts.params],
    )  # fmt: skip
    set_scores(made, facts.scores)
    made.digest = digest_of(made)
    return made


def set_scores(row: RunRow, scores: Sequence[Score]) -> None:
    """Put scores into a row, with their mean."""
    finite = [s for s in scores if all(map(math.isfinite, (s.value, s.low, s.high)))]
    row.scores = [
        ScoreRow(task=clean(s.task), split=s.split, metric=s.metric, value=s.value, low=s.low, high=s.high,
                 correct=s.correct, count=s.count, shown=shown(s)[0])
        for s in finite
    ]  # fmt: skip
    mean = mean_of(tuple(finite))
    row.score, row.score_low, row.score_high = (mean.value, mean.low, mean.high) if mean else (None, None, None)
    row.score_rows, row.score_unit = (mean.count, mean.unit) if mean else (None, "")


def run_of(row: RunRow, parents: Sequence[int] = ()) -> Run:
    """The value of a row."""
    facts = Facts(
        kind=cast("Kind", row.kind), recipe=row.recipe, key=row.key, method=row.method, title=row.title,
        params=tuple((p.name, _value(p.value)) for p in row.params),
        inputs=_inputs(row),
        scores=scores_of(row),
        seconds=row.seconds, device=row.device, versions=_pairs(row.versions), output_path=row.output_path,
        output_sha256=row.output_sha256, output_bytes=row.output_bytes, created=row.created, uid=row.uid,
    )  # fmt: skip
    return Run(id=row.id, facts=facts, mean=mean_of_row(row), tags=tuple(t.tag for t in row.tags), note=row.note,
               star=row.star, deleted=row.deleted, parents=tuple(parents),
               is_intact=digest_of(row) == row.digest)  # fmt: skip


def mean_of_row(row: RunRow) -> Mean | None:
    """A row's mean score, None without scores."""
    if row.score is None or row.score_low is None or row.score_high is None:
        return None
    return Mean(value=row.score, low=row.score_low, high=row.score_high, count=row.score_rows or 0,
                unit=row.score_unit)  # fmt: skip


def kin_of(row: RunRow) -> Kin:
    """What the map needs of a row."""
    return Kin(row.id, row.title, row.output_path, row.output_sha256, _inputs(row), mean_of_row(row), row.star)


def _inputs(row: RunRow) -> tuple[Input, ...]:
    return tuple(Input(role=cast("Role", i.role), name=i.name, path=i.path, sha256=i.sha256) for i in row.inputs)


def scores_of(row: RunRow) -> tuple[Score, ...]:
    """A row's scores."""
    return tuple(
        Score(task=s.task, split=cast("Split", s.split), metric=s.metric, value=s.value, low=s.low, high=s.high,
              correct=s.correct, count=s.count)
        for s in row.scores
    )  # fmt: skip


def digest_of(row: RunRow) -> str:
    """SHA-256 of what never changes in a row: everything but scores, the output's hash and the user's marks."""
    said = [row.uid, row.kind, repr(row.created), row.key, row.method, row.title, row.recipe, repr(row.seconds),
            row.device, row.versions, row.output_path, row.output_bytes,
            [[i.role, i.name, i.path, i.sha256] for i in row.inputs]]  # fmt: skip
    return hashlib.sha256(_dumped(said).encode()).hexdigest()


def clean(text: str, limit: int = 4096) -> str:
    """Text that every database takes: no lone surrogates, no NUL, not endless."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:limit]


def _param(name: str, value: Value) -> ParamRow:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    number = float(value) if is_number else None
    return ParamRow(name=clean(name, 128), value=_dumped(value), number=number)


def _value(text: str) -> Value:
    value = json.loads(text)
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    found = json.loads(text)
    return tuple((str(k), str(v)) for k, v in found.items()) if isinstance(found, dict) else ()


def _search(facts: Facts) -> str:
    """Everything that a word of a filter may be found in."""
    words = [facts.title, facts.method, facts.output_path, facts.device, *(i.name for i in facts.inputs),
             *(s.task for s in facts.scores)]  # fmt: skip
    return clean("\n".join(dict.fromkeys(w for w in words if w)))


def _dumped(data: object) -> str:
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))
