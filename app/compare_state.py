"""From two recipes to what the compare layout shows: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from app.columns import Column
from app.desk_state import build
from app.explain_state import with_interval
from engine.compare.rows import Row, aligned, apart, coefficients, largest
from engine.compare.table import Mean, TaskRow, mean_difference
from engine.evaluate.paired import Difference
from engine.files.model import Layout
from engine.live.explain import said
from engine.live.gram import Gram
from engine.methods import find
from engine.recipe.recipe import Recipe
from engine.recipe.resolve import group_spots
from widgets.common.colours import expert_colour, expert_letter
from widgets.common.text import plain
from widgets.compare.state import EMPTY, Listing, ScoreLine, ScoreList
from widgets.desk.state import DeskState, ExpertRow, MetricRow
from widgets.plots.state import Heat

Grams = Callable[[Recipe], Gram | None]
FIXED = "This is a look at a recipe. Adopt it, or leave the comparison, to change it."
_MOST = 400


def places(rows: Sequence[Row], shown: Recipe) -> tuple[int, ...]:
    """For every row of the comparison the position that decides its colour and letter: the desk's own where it can."""
    known = {ref.id: t for t, ref in enumerate(shown.experts)}
    made, fresh = [], len(known)
    for row in rows:
        if row.id in known:
            made.append(known[row.id])
        else:
            made.append(fresh)
            fresh += 1
    return tuple(made)


def desks(
    first: Recipe, second: Recipe, rows: Sequence[Row], shown: Recipe, layout: Layout, cols: tuple[Column, ...],
    grams: Grams,
) -> tuple[DeskState, DeskState]:  # fmt: skip
    """Both desks, with the same rows, columns and scales.

    Args:
        first: A.
        second: B.
        rows: Their union.
        shown: The recipe on the desk, whose colours are kept.
        layout: Of the base.
        cols: The columns to show.
        grams: Gives the Gram matrix of a recipe's experts, if it is known.
    """
    indices = places(rows, shown)
    made = []
    for recipe, is_second in ((first, False), (second, True)):
        own = aligned(recipe, rows, second=is_second)
        gram = grams(own) if own.experts else None
        state = build(own, layout, find(own.method), cols, gram=gram).state
        made.append(_spread(state, rows, indices, "B" if is_second else "A"))
    return _one_scale(*made)


def _spread(state: DeskState, rows: Sequence[Row], indices: Sequence[int], side: str) -> DeskState:
    """The state with a row for every expert of the comparison; those that it lacks are silent at 0."""
    at = [state.row_of(row.id) for row in rows]
    experts = tuple(
        replace(state.experts[t], index=i) if t >= 0 else
        ExpertRow(id=row.id, name=f"{row.ref.name} (not in {side})", index=i, silenced=True)
        for row, t, i in zip(rows, at, indices, strict=True)
    )  # fmt: skip
    mixed = np.zeros((0, 0), bool) if state.mixed is None else state.mixed
    return replace(
        state, experts=experts, values=_laid(state.values, at), mixed=_laid(mixed, at), fixed=FIXED,
        metrics=tuple(_parts(m, rows, at, indices) for m in state.metrics),
    )  # fmt: skip


def _laid(values: np.ndarray, at: Sequence[int]) -> np.ndarray:
    """Rows of an array in another order; zeros for index -1."""
    made = np.zeros((len(at), values.shape[1] if values.ndim == 2 else 0), dtype=values.dtype)
    for r, t in enumerate(at):
        if t >= 0:
            made[r] = values[t]
    return made


def _parts(metric: MetricRow, rows: Sequence[Row], at: Sequence[int], indices: Sequence[int]) -> MetricRow:
    """A stack with a part for every expert of the comparison; other rows stay."""
    if metric.style != "stack":
        return metric
    shares = _laid(metric.values.T, at).T
    if not np.isfinite(metric.values).any():
        shares = np.full_like(shares, np.nan)
    return replace(metric, values=shares, parts=tuple(r.ref.name for r in rows),
                   colours=tuple(expert_colour(i).name() for i in indices))  # fmt: skip


def _one_scale(left: DeskState, right: DeskState) -> tuple[DeskState, DeskState]:
    """The same fader range and the same full bar on both sides, so that equal lengths mean equal numbers."""
    low, high = min(left.low, right.low), max(left.high, right.high)
    tops: dict[str, float] = {}
    for metric in (*left.metrics, *right.metrics):
        if np.isfinite(metric.values).any():  # a side that is not measured has no say
            tops[metric.id] = max(tops.get(metric.id, metric.high), metric.high)

    def scaled(state: DeskState) -> DeskState:
        metrics = tuple(replace(m, high=tops.get(m.id, m.high)) for m in state.metrics)
        return replace(state, low=low, high=high, metrics=metrics)

    return scaled(left), scaled(right)


def heat(
    first: Recipe, second: Recipe, rows: Sequence[Row], shown: Recipe, layout: Layout, cols: Sequence[Column]
) -> Heat:
    """Coefficient of A minus that of B, in the desk's rows and columns; see `desks`."""
    difference = largest(apart(first, second, rows, layout), column_tensors(layout, cols))
    top = float(np.nanmax(np.abs(difference), initial=0.0)) or 1.0
    letters = [expert_letter(i) for i in places(rows, shown)]
    names = tuple(f"{letter} {plain(row.ref.name, 60)}" for letter, row in zip(letters, rows, strict=True))
    notes = ["Where places in a column differ, the largest."] if any(c.kind is None for c in cols) else []
    if first.method != second.method:
        notes.insert(0, "The methods differ, so equal coefficients do not mean equal merges.")
    return Heat(
        title="A − B: coefficients",
        rows=names,
        short_rows=tuple(letters),
        columns=tuple(f"{c.layer} {c.label}" if c.is_expanded else c.label for c in cols),
        values=difference,
        low=-top,
        high=top,
        diverging=True,
        signed=True,
        meaning=" ".join((f"Orange, +: A has more. Blue, −: B has more. Full colour is ±{top:.2f}.", *notes)),
        empty=EMPTY,
    )


def column_tensors(layout: Layout, cols: Sequence[Column]) -> list[list[int]]:
    """For every column the tensors (indices in the layout's order) that it stands for."""
    spots = [(place.layer, place.kind, name) for name, place in layout.places.items()]
    by_layer: dict[str | None, list[int]] = {None: list(range(len(spots)))}
    for n, (layer, _, _) in enumerate(spots):
        by_layer.setdefault(layer, []).append(n)
    return [
        [n for layer, kind, tensor in col.keys for n in by_layer.get(layer, ())
         if kind in (None, spots[n][1]) and tensor in (None, spots[n][2])]
        for col in cols
    ]  # fmt: skip


def changes(first: Recipe, second: Recipe, rows: Sequence[Row], layout: Layout | None) -> Listing:
    """What the recipes say differently, in words; the largest differences of coefficients last."""
    body = [(c.what, c.before or "–", c.after or "–") for c in said(first, second) if c.what != "experts"]
    only_a = ", ".join(plain(r.ref.name, 60) for r in rows if r.second is None)
    only_b = ", ".join(plain(r.ref.name, 60) for r in rows if r.first is None)
    if only_a or only_b:
        body.append(("experts only here", only_a or "–", only_b or "–"))
    if layout is not None:
        body += _moved(first, second, rows, layout)
    more = len(body) - _MOST
    if more > 0:
        body = [*body[:_MOST], (f"and {more} more", "", "")]
    return Listing(title="Differences", head=("What", "A", "B"), body=tuple(body), empty="The recipes say the same.")


def _moved(first: Recipe, second: Recipe, rows: Sequence[Row], layout: Layout) -> list[tuple[str, str, str]]:
    """Coefficients that differ: whole rows where a row differs everywhere alike, else by layer and kind."""
    spots = group_spots(layout)
    a = coefficients(first, rows, spots)
    b = coefficients(second, rows, spots, second=True)
    found: list[tuple[float, tuple[str, str, str]]] = []
    for r, row in enumerate(rows):
        if np.array_equal(a[r], b[r]):
            continue
        name = plain(row.ref.name, 60)
        if len({*a[r]}) == 1 and len({*b[r]}) == 1:
            found.append((abs(a[r, 0] - b[r, 0]), (f"{name} · everywhere", f"{a[r, 0]:g}", f"{b[r, 0]:g}")))
            continue
        for layer in layout.layers:
            here = [g for g, spot in enumerate(spots) if spot[0] == layer]
            alike = len({*a[r, here]}) == 1 and len({*b[r, here]}) == 1 and len(here) > 1
            for g in here[:1] if alike else here:
                if a[r, g] != b[r, g]:
                    where = layer if alike else f"{layer} · {spots[g][1]}"
                    found.append((abs(a[r, g] - b[r, g]), (f"{name} · {where}", f"{a[r, g]:g}", f"{b[r, g]:g}")))
    return [texts for _, texts in sorted(found, key=lambda f: -f[0])]


# Scores ------------------------------------------------------------------------------------------------------


def score_list(rows: Sequence[TaskRow], empty: str = "") -> ScoreList:
    """The table of scores as it is shown."""
    lines = [_line(row) for row in rows]
    mean = mean_difference(rows)
    if mean is not None:
        lines.append(_mean_line(mean))
    ways = dict.fromkeys(r.difference.words for r in rows if r.difference is not None)
    meaning = "A − B with its 95 % interval. " + _sentence("; ".join(ways)) if ways else ""
    made = ScoreList(lines=tuple(lines), meaning=meaning)
    return replace(made, empty=empty) if empty else made


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _line(row: TaskRow) -> ScoreLine:
    first, second = (with_interval(s) if s is not None else "–" for s in (row.first, row.second))
    found = row.difference
    if found is None:
        return ScoreLine(task=row.task, first=first, second=second, verdict=row.problem)
    unit, factor, digits = _unit(found)
    low, value, high = (factor * x for x in (found.low, found.value, found.high))
    ends = (low, value, high) if found.first.measure.higher_is_better else (-high, -value, -low)
    return ScoreLine(
        task=row.task, first=first, second=second, difference=f"{_signed(value, digits)} {unit}".rstrip(),
        interval=f"{_signed(low, digits)} … {_signed(high, digits)}", verdict=_verdict(found), how=_how(found),
        ends=ends, unit=unit, better={"first": "A", "second": "B", "": ""}[found.better],
    )  # fmt: skip


def _mean_line(mean: Mean) -> ScoreLine:
    low, value, high = (100 * x for x in (mean.low, mean.value, mean.high))
    better = "A" if low > 0 else "B" if high < 0 else ""
    return ScoreLine(
        task=f"Mean of {mean.tasks}", first="", second="", difference=f"{_signed(value, 1)} points",
        interval=f"{_signed(low, 1)} … {_signed(high, 1)}",
        verdict=f"{better} better" if better else "not told apart",
        how="tasks' errors taken as independent" + ("" if mean.is_paired else "; not all paired"),
        ends=(low, value, high), unit="points", better=better, is_mean=True,
    )  # fmt: skip


def _unit(found: Difference) -> tuple[str, float, int]:
    measure = found.first.measure
    return ("points", 100.0, 1) if measure.unit == "%" else (measure.unit, 1.0, measure.places)


def _verdict(found: Difference) -> str:
    if found.better:
        return "A better" if found.better == "first" else "B better"
    if found.way == "paired proportions" and not found.only_first and not found.only_second:
        return "same answers"
    return "not told apart"


def _how(found: Difference) -> str:
    """The interval's maker, with the rows behind it."""
    if found.p is None:
        return found.words
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    return (f"{found.words}: {p}; of {found.first.count} rows {found.only_first} are right only in A, "
            f"{found.only_second} only in B")  # fmt: skip


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "−")
