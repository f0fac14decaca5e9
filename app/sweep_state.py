"""From a sweep's cells to what the sweep panel shows: heatmap, line, triangle, Pareto front, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from app.project import without_hashes
from app.sweep_axes import shown, sweepables
from engine.errors import MixdownError
from engine.evaluate.measures import find_measure
from engine.evaluate.score import Average, Score, average
from engine.preview.grid import Sweep, pareto
from engine.recipe.recipe import Recipe
from widgets.common.text import plain
from widgets.plots.state import Table, with_unit
from widgets.plots.sweep_state import Pairs, SweepWish
from widgets.plots.sweep_values import Grid, Line, Lines, Points

if TYPE_CHECKING:
    from engine.preview.sweep import Outcome

_UP = math.sqrt(3) / 2
_MOST_BESIDE = 3
_TAILS = ("", " low", " high")
_NONE_GOOD = "No mix could be measured. The reason is below Run."
_HINT = "Click a mix, or walk with the arrows and press Enter, to put it on the desk."


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One sweep: its mixes and where they belong.

    Attributes:
        wish: What the user asked for.
        start: The recipe that everything else is taken from.
        recipes: All mixes, by index.
        labels: What each mix is, in words.
        order: Indices in the order in which they are measured.
        sweep: The grid, or None for a triangle.
        shares: Shares of a triangle's mixes.
        tasks: (name, title) of the tasks.
    """

    wish: SweepWish
    start: Recipe
    recipes: tuple[Recipe, ...]
    labels: tuple[str, ...]
    order: tuple[int, ...]
    sweep: Sweep | None = None
    shares: tuple[tuple[float, float, float], ...] = ()
    tasks: Pairs = ()

    @cached_property
    def bare(self) -> tuple[Recipe, ...]:
        """Its mixes for comparing; see `bare`."""
        return tuple(map(bare, self.recipes))

    def short(self, index: int) -> str:
        """A mix in few words, to be written beside a point: its numbers, in the order of the form."""
        if self.sweep is None:
            return " · ".join(f"{share * self.wish.total:.2f}" for share in self.shares[index])
        if self.sweep.y is None:
            return plain(self.labels[index], 44)
        row, column = divmod(index, self.sweep.shape[1])
        return f"{shown(self.sweep.x.values[column])} · {shown(self.sweep.y.values[row])}"

    @property
    def shown(self) -> str:
        """Which view shows it."""
        return "triangle" if self.sweep is None else "lines" if self.sweep.y is None else "grid"


@dataclass(frozen=True, slots=True)
class Cells:
    """What is known of a plan.

    Attributes:
        plan: The plan.
        found: Outcomes by index.
    """

    plan: Plan
    found: Mapping[int, Outcome] = field(default_factory=dict)

    @property
    def all_failed(self) -> bool:
        """Whether every mix was tried and none could be measured."""
        return len(self.found) == len(self.plan.recipes) and all(found.error for found in self.found.values())

    def reading(self, index: int, measure: str) -> Score | Average | None:
        """The score of a task, or ("") the average; None while it is not known."""
        outcome = self.found.get(index)
        if outcome is None or not outcome.scores:
            return None
        return outcome.scores.get(measure) if measure else average(list(outcome.scores.values()))

    def values(self, measure: str) -> np.ndarray:
        """(N,) values, NaN where not known."""
        readings = [self.reading(i, measure) for i in range(len(self.plan.recipes))]
        return np.array([np.nan if r is None else r.value for r in readings])

    def merits(self, measure: str) -> np.ndarray:
        """(N,) what is better is larger; NaN where not known."""
        made = self.values(measure)
        return made if self.higher(measure) else -made

    def metric(self, measure: str) -> str:
        """Id of what a measure measures."""
        known = (self.reading(i, measure) for i in self.found)
        return next((r.metric for r in known if r is not None), "accuracy")

    def higher(self, measure: str) -> bool:
        """Whether more is better."""
        return find_measure(self.metric(measure)).higher_is_better

    def best(self, measure: str) -> int:
        """Index of the best mix known, -1 if none is."""
        merits = self.merits(measure)
        return int(np.nanargmax(merits)) if np.isfinite(merits).any() else -1

    def here(self, recipe: Recipe) -> int:
        """Index of the mix that the desk shows, or -1."""
        now = bare(recipe)
        return next((i for i, made in enumerate(self.plan.bare) if made == now), -1)

    def words(self, index: int) -> str:
        """One mix as a sentence, with every task's interval."""
        label, outcome = self.plan.labels[index], self.found.get(index)
        if outcome is None:
            return f"{label}: not measured yet"
        if outcome.error is not None:
            return f"{label}: {said(outcome.error)}"
        titles = dict(self.plan.tasks)
        lines = [f"{titles.get(name, name)} {scored(score)}" for name, score in outcome.scores.items()]
        mean = self.reading(index, "")
        head = f"{label}: average {scored(mean)}" if mean is not None and len(lines) > 1 else f"{label}:"
        return "\n".join([head, *lines])


def said(error: MixdownError) -> str:
    """Why a mix could not be measured, and what to do."""
    return f"{error.message} {error.hint}".strip()


def failures(cells: Cells) -> str:
    """How many mixes could not be measured, and why the first of them: "2 failed (!): …"; "" for none."""
    wrong = [found.error for found in cells.found.values() if found.error is not None]
    return f"{len(wrong)} failed (!): {said(wrong[0])}" if wrong else ""


def bare(recipe: Recipe) -> Recipe:
    """What a mix is apart from hashes, tasks and names for others."""
    rules = tuple(sorted(recipe.rules, key=lambda rule: str(rule.keys)))
    return replace(without_hashes(recipe), tasks=(), extras=(), rules=rules)


def scored(score: Score | Average) -> str:
    """ "81.3 % (78.0 to 84.2, 384 rows)"."""
    measure = find_measure(score.metric)
    factor, unit = (100.0, " %") if measure.unit == "%" else (1.0, f" {measure.unit}".rstrip())
    places = measure.places
    return (f"{score.value * factor:.{places}f}{unit} ({score.low * factor:.{places}f} to "
            f"{score.high * factor:.{places}f}, {score.count} rows)")  # fmt: skip


def twin(cells: Cells) -> Table:
    """Every mix with every score and interval; percentages as numbers."""
    names = [name for name, _ in cells.plan.tasks]
    measures = [*names, ""] if len(names) > 1 else names
    titles = {**dict(cells.plan.tasks), "": "average"}
    units = {m: find_measure(cells.metric(m)).unit for m in measures}
    heads = [with_unit(f"{titles[m]}{tail}", units[m]) for m in measures for tail in _TAILS]
    head = ["mix", *heads, "rows"]
    body = []
    for index, label in enumerate(cells.plan.labels):
        readings = [cells.reading(index, m) for m in measures]
        numbers = [text for r in readings for text in _numbers(r)]
        body.append((label, *numbers, str(max((r.count for r in readings if r is not None), default=0))))
    return tuple(head), tuple(body)


def _numbers(reading: Score | Average | None) -> tuple[str, str, str]:
    """A score and the ends of its interval, percentages as numbers."""
    if reading is None:
        return "–", "–", "–"
    is_share, ends = find_measure(reading.metric).unit == "%", (reading.value, reading.low, reading.high)
    value, low, high = (f"{100 * v:.2f}" if is_share else f"{v:.4g}" for v in ends)
    return value, low, high


def _ends(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 0.005, high + 0.005)


def _title(cells: Cells, measure: str) -> str:
    return dict(cells.plan.tasks).get(measure, "Average over tasks") if measure else "Average over tasks"


def _meaning(cells: Cells, measure: str, low: float, high: float) -> str:
    metric = find_measure(cells.metric(measure))
    unit = " %" if metric.unit == "%" else ""
    factor = 100.0 if unit else 1.0
    rows = cells.plan.wish.rows
    start = f"{metric.title}{unit and ' in %'} on up to {rows} validation rows a task"
    if not np.isfinite(cells.values(measure)).any():
        return f"{start}. {_HINT}"
    return (f"{start}; colours from {low * factor:.{metric.places}f} (dark) to "
            f"{high * factor:.{metric.places}f}{unit} (bright). ★ best. {_HINT}")  # fmt: skip


def grid(cells: Cells, measure: str, recipe: Recipe) -> Grid:
    """The heatmap."""
    sweep = cells.plan.sweep
    if sweep is None or sweep.y is None:
        return Grid(title="Sweep")
    (rows, columns), values = sweep.shape, cells.values(measure)
    low, high = _ends(values)
    wrong = {divmod(i, columns) for i, found in cells.found.items() if found.error is not None}
    best, here = cells.best(measure), cells.here(recipe)
    every = [cells.words(i) for i in range(rows * columns)]
    return Grid(
        title=_title(cells, measure), meaning=_meaning(cells, measure, low, high),
        rows=tuple(shown(v) for v in sweep.y.values), columns=tuple(shown(v) for v in sweep.x.values),
        values=values.reshape(rows, columns), low=low, high=high,
        unit="%" if find_measure(cells.metric(measure)).unit == "%" else "",
        x_label=sweep.x.label(cells.plan.start), y_label=sweep.y.label(cells.plan.start),
        words=tuple(tuple(every[r * columns : (r + 1) * columns]) for r in range(rows)),
        best=divmod(best, columns) if best >= 0 else None, here=divmod(here, columns) if here >= 0 else None,
        wrong=frozenset(wrong), twin=twin(cells),
    )  # fmt: skip


def lines(cells: Cells, measure: str, recipe: Recipe) -> Lines:
    """One number: a line for each task and a thick one for what is looked at."""
    sweep = cells.plan.sweep
    if sweep is None or sweep.y is not None:
        return Lines(title="Sweep")
    x, here = np.array(sweep.x.values), cells.here(recipe)
    tasks = [
        (name, title)
        for name, title in cells.plan.tasks
        if name != measure and find_measure(cells.metric(name)).unit == find_measure(cells.metric(measure)).unit
    ]
    made = [_line(cells, name, title, tone, x) for tone, (name, title) in enumerate(tasks)]
    if len(cells.plan.tasks) > 1 or measure:
        made.append(replace(_line(cells, measure, _title(cells, measure), -1, x), thick=True))
    metric = find_measure(cells.metric(measure))
    best = cells.best(measure)
    peak = f" Best at {shown(float(x[best]))}." if best >= 0 else ""
    return Lines(
        title=_title(cells, measure), lines=tuple(made) if cells.found and not cells.all_failed else (),
        stops=sweep.x.values,
        words=tuple(cells.words(i) for i in range(len(x))), x_label=sweep.x.label(cells.plan.start),
        y_label=f"{metric.title} in %" if metric.unit == "%" else metric.title,
        here=float(x[here]) if here >= 0 else math.nan,
        meaning=f"Bars are 95 % intervals.{peak} {_HINT}", twin=twin(cells),
        empty=_NONE_GOOD if cells.all_failed else "Measuring the first mix…",
    )  # fmt: skip


def _line(cells: Cells, measure: str, title: str, tone: int, x: np.ndarray) -> Line:
    """One line; only what counts has its interval drawn."""
    factor = 100.0 if find_measure(cells.metric(measure)).unit == "%" else 1.0
    readings = [cells.reading(i, measure) for i in range(len(x))]
    y, low, high = (np.array([np.nan if r is None else getattr(r, name) for r in readings]) * factor
                    for name in ("value", "low", "high"))  # fmt: skip
    known = np.isfinite(y)
    bars = (low[known], high[known]) if tone < 0 else (np.zeros(0), np.zeros(0))
    return Line(name=title, x=x[known], y=y[known], low=bars[0], high=bars[1], tone=tone)


def triangle(cells: Cells, measure: str, recipe: Recipe) -> Points:
    """Three experts' shares."""
    plan = cells.plan
    if plan.sweep is not None:
        return Points(title="Three experts")
    values = cells.values(measure)
    low, high = _ends(values)
    best = cells.best(measure)
    share = find_measure(cells.metric(measure)).unit == "%"
    texts = [("★\n" if i == best else "") + (f"{100 * v:.1f}" if share else f"{v:.3g}") if np.isfinite(v) else
             "!" if (found := cells.found.get(i)) is not None and found.error is not None else ""
             for i, v in enumerate(values)]  # fmt: skip
    names = {ref.id: ref.name for ref in plan.start.experts}
    return Points(
        title=_title(cells, measure), xy=np.array([(b + 0.5 * c, _UP * c) for _, b, c in plan.shares]), values=values,
        texts=tuple(texts), words=tuple(cells.words(i) for i in range(len(values))), best=best,
        here=cells.here(recipe), corners=tuple(names[key] for key in plan.wish.experts), low=low, high=high,
        meaning=_meaning(cells, measure, low, high), twin=twin(cells), unit="%" if share else "",
    )  # fmt: skip


def front(cells: Cells, pair: tuple[str, str], recipe: Recipe) -> Points:
    """Two tasks against each other: what no other mix beats on both is joined."""
    if len(cells.plan.tasks) < 2:
        return Points(title="Two tasks", empty="Needs two tasks: tick more than one and run the sweep.")
    a, b = (cells.values(name) for name in pair)
    known = [i for i in range(len(a)) if np.isfinite(a[i]) and np.isfinite(b[i])]
    if not known:
        return Points(title="Two tasks", empty=_NONE_GOOD if cells.all_failed else "Appears with the first mixes.")
    factors = [100.0 if find_measure(cells.metric(name)).unit == "%" else 1.0 for name in pair]
    best = pareto(cells.merits(pair[0]), cells.merits(pair[1]))
    titles = dict(cells.plan.tasks)
    values = cells.values("")
    xy = np.stack([a * factors[0], b * factors[1]], axis=1)[known]
    place = {index: at for at, index in enumerate(known)}
    here = cells.here(recipe)
    low, high = _ends(values)
    labels = [f"{titles[name]}{' in %' if factor == 100 else ''}" for name, factor in zip(pair, factors, strict=True)]
    return Points(
        title=f"{titles[pair[0]]} and {titles[pair[1]]}", xy=xy, values=values[known],
        texts=tuple(cells.plan.short(i) if i in best and len(best) <= 8 else "" for i in known),
        words=tuple(cells.words(i) + _beside(cells, i, known, a, b) for i in known),
        ids=tuple(known), front=tuple(place[i] for i in best), here=place.get(here, -1),
        best=place[best[0]] if best else -1, x_label=labels[0], y_label=labels[1], low=low, high=high,
        meaning=f"{len(best)} of {len(known)} mixes {'is' if len(best) == 1 else 'are'} beaten by no other on both. "
                f"Colour: the average. {_HINT}", unit="%" if find_measure(cells.metric("")).unit == "%" else "",
        twin=_front_twin(cells, pair, best),
    )  # fmt: skip


def _beside(cells: Cells, index: int, known: Sequence[int], a: np.ndarray, b: np.ndarray) -> str:
    """Other mixes with the same two scores, which lie under the same point."""
    same = [cells.plan.labels[i] for i in known if i != index and a[i] == a[index] and b[i] == b[index]]
    more = f" and {len(same) - _MOST_BESIDE} more" if len(same) > _MOST_BESIDE else ""
    return f"\nThe same two scores: {'; '.join(same[:_MOST_BESIDE])}{more}" if same else ""


def front_indices(cells: Cells, pair: tuple[str, str]) -> list[int]:
    """Indices of the mixes that `front` shows, in its order."""
    a, b = (cells.values(name) for name in pair)
    return [i for i in range(len(a)) if np.isfinite(a[i]) and np.isfinite(b[i])]


def _front_twin(cells: Cells, pair: tuple[str, str], best: Sequence[int]) -> Table:
    """Both scores with their intervals, and what is on the front."""
    titles = dict(cells.plan.tasks)
    units = {name: find_measure(cells.metric(name)).unit for name in pair}
    head = [with_unit(f"{titles[name]}{tail}", units[name]) for name in pair for tail in _TAILS]
    rows = []
    for index in front_indices(cells, pair):
        numbers = [text for name in pair for text in _numbers(cells.reading(index, name))]
        rows.append((cells.plan.labels[index], *numbers, "yes" if index in best else ""))
    return ("mix", *head, "on the front"), tuple(rows)


def label_of(recipe: Recipe, what: str, value: float) -> str:
    """ "scale 0.3", "gain of code 0.5"."""
    names = {found.id: found.label for found in sweepables(recipe)}
    return f"{names.get(what, what)} {shown(value)}"
