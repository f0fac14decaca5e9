"""From the history's values to what the panel of runs shows: pure functions."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from engine.history.columns import PARAM, SCORE
from engine.history.lineage import Graph
from engine.history.recipes import shown
from engine.history.values import Called, Column, Mean, Run
from widgets.common.format import bytes_text, duration_text, number_text
from widgets.common.text import plain
from widgets.panels.runs_state import Family, FamilyNode, RunColumn, RunLine

SHOWN = ("star", "id", "created", "kind", "title", "score", "seconds", "bytes", "tag", "output")
"""Columns that are shown at first."""

_LETTERS = {"star": 3, "id": 6, "created": 17, "kind": 8, "title": 32, "score": 13, "rows": 8, "seconds": 9,
            "bytes": 10, "method": 16, "base": 16, "input": 28, "experts": 9, "device": 10, "output": 28, "tag": 16,
            "note": 30}  # fmt: skip
_NUMBERS = ("id", "score", "rows", "seconds", "bytes", "experts")
_ORDER = ("star", *(name for name in _LETTERS if name != "star"))


def columns(found: Iterable[Column]) -> tuple[RunColumn, ...]:
    """Columns of the table: the star first, then as people read them, then tasks and parameters."""
    known = {c.name: c for c in found}
    fixed = [known[name] for name in _ORDER if name in known]
    extra = [c for c in known.values() if c.name not in _LETTERS]
    return tuple(_column(c) for c in (*fixed, *extra))


def _column(column: Column) -> RunColumn:
    is_extra = column.name not in _LETTERS
    title = column.title.replace("_", " ") if column.name.startswith(PARAM) else column.title
    return RunColumn(column.name, plain(title, 24), "", is_extra or column.name in _NUMBERS,
                     _LETTERS.get(column.name, 12))  # fmt: skip


def line(run: Run) -> RunLine:
    """One run as a row."""
    facts = run.facts
    cells = {
        "id": str(run.id), "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.created)),
        "kind": facts.kind, "title": facts.title, "method": facts.method,
        "base": next((i.name for i in facts.inputs if i.role == "base"), ""),
        "experts": str(sum(i.role == "expert" for i in facts.inputs)),
        "input": ", ".join(i.name for i in facts.inputs if i.role == "expert"), "score": score_text(run),
        "rows": str(run.mean.count) if run.mean else "",
        "seconds": duration_text(facts.seconds) if facts.seconds is not None else "",
        "bytes": bytes_text(facts.output_bytes) if facts.output_bytes else "", "device": facts.device,
        "output": facts.output_path, "tag": ", ".join(run.tags), "note": run.note,
    }  # fmt: skip
    for score in facts.scores:
        unit = " %" if score.measure.unit == "%" else f" {score.measure.unit}".rstrip()
        cells[SCORE + score.task] = f"{number_text(shown(score)[0], 1 if unit == ' %' else score.measure.places)}{unit}"
    for name, value in facts.params:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            cells[PARAM + name] = f"{value:g}"
    clean = {name: plain(text, 300) for name, text in cells.items()}
    return RunLine(run.id, clean, run.star, hint(run), bool(facts.output_path))


def score_text(run: Run) -> str:
    """ "84.2 ±2.1 %" or "12.3 ±0.4 ppl"."""
    return mean_text(run.mean)


def mean_text(mean: Mean | None) -> str:
    """A mean score with half of its 95 % interval and its unit, "" for none."""
    if mean is None:
        return ""
    places = 1 if mean.unit == "%" else 2
    margin = number_text((mean.high - mean.low) / 2, places)
    return f"{number_text(mean.value, places)} ±{margin} {mean.unit}".rstrip()


def hint(run: Run) -> str:
    """A run in a few lines, for the tooltip."""
    facts = run.facts
    lines = [f"Run {run.id}: {facts.title}", ", ".join(i.name for i in facts.inputs), facts.output_path]
    for s in facts.scores:
        value, low, high = (s.measure.text(v) for v in (s.value, s.low, s.high))
        unit = "" if s.measure.unit == "%" else f" {s.measure.unit}"
        lines.append(f"{s.task}: {value}{unit} [{low}, {high}], {s.count} {s.split} rows")
    lines.append(run.note)
    if not run.is_intact:
        lines.append("This row is not what was recorded: the history file was changed.")
    return "\n".join(plain(text, 300) for text in lines if text)


def family(graph: Graph, focus: int, scope: str = "kin", fitting: Collection[int] = (), filter: str = "") -> Family:
    """The map of a run's relatives, or of all merges of merges.

    Args:
        graph: The models.
        focus: The run that it is about, 0 for none.
        scope: "kin" for its relatives, "all" for everything.
        fitting: Runs that fit the filter; they are marked.
        filter: The filter's text; models from elsewhere are marked when their name has it.
    """
    word = filter.strip().casefold()
    nodes = tuple(
        FamilyNode(n.run, f"{n.run} · {n.name}" if n.run else n.name, n.detail, n.layer, n.place,
                   n.run == focus and focus != 0, mean_text(n.mean), n.star,
                   n.run in fitting if n.run else bool(word) and word in n.name.casefold())
        for n in graph.nodes
    )  # fmt: skip
    empty = ("No merge of merges yet. Put an exported model on the desk and export a mix of it: "
             "it is told by its content, wherever it lies.")  # fmt: skip
    return Family(nodes, graph.edges, graph.bends, empty, graph.left_out, scope, focus)


def marks(called: Called | None) -> str:
    """A run's star and tags in words: "★ starred, tags: good, small"; "" for none."""
    if called is None:
        return ""
    tags = f"tags: {', '.join(called.tags)}" if called.tags else ""
    return plain(", ".join(part for part in ("★ starred" if called.star else "", tags) if part), 200)


def axis_label(column: Column) -> str:
    """A column on an axis, with its unit."""
    return f"{column.title} ({column.unit})" if column.unit else column.title


def axes(found: Iterable[Column]) -> tuple[tuple[str, str], ...]:
    """(name, title) of columns that can be plotted."""
    return tuple((c.name, plain(axis_label(c), 40)) for c in found if c.kind == "number")
