"""From recipe and measurements to what the desk shows: pure functions, no Qt objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from app.columns import Cells, Column, cells, group_values, membership
from app.stack_state import FIXED, taking_part
from engine.files.model import Finding, Layout
from engine.live.gram import Gram, LiveMetrics, live_metrics
from engine.methods.spec import Method
from engine.recipe.recipe import Recipe
from engine.recipe.resolve import group_spots, heard
from widgets.common.colours import expert_colour
from widgets.desk import state as desk

_BADGES = {"error": "problem", "warning": "look", "info": "ok"}


@dataclass(frozen=True)
class Board:
    """One consistent picture of the desk.

    Attributes:
        columns: What each column stands for.
        cells: Fader positions and mixed marks.
        metrics: Live numbers, or None while the Gram matrix is missing.
        state: What the widget draws.
    """

    columns: tuple[Column, ...]
    cells: Cells
    metrics: LiveMetrics | None
    state: desk.DeskState


def build(
    recipe: Recipe,
    layout: Layout,
    method: Method,
    cols: tuple[Column, ...],
    *,
    gram: Gram | None = None,
    findings: Mapping[str, tuple[Finding, ...]] | None = None,
    scores: Mapping[str, str] | None = None,
    stale: bool = False,
    overrides: int = 0,
) -> Board:
    """Everything that the desk shows.

    Args:
        recipe: Of the project.
        layout: Of the base.
        method: The recipe's method.
        cols: The columns to show.
        gram: Inner products in the recipe's row order; None while they are being measured.
        findings: Checks by expert id.
        scores: Short score text by expert id.
        stale: Whether the numbers belong to an older state.
        overrides: Finer rules inside the selected cells.
    """
    shown = cells(recipe, layout, cols, method.coefficient)
    if recipe.stack:
        shown = replace(shown, values=np.where(taking_part(recipe, layout, cols), shown.values, 0.0))
    metrics = measure(recipe, layout, method, cols, gram) if gram is not None else None
    quality: desk.Quality = "stale" if stale else ("exact" if method.is_linear(dict(recipe.params)) else "estimate")
    low, high = _range(shown.values, method.coefficient)
    state = desk.DeskState(
        experts=_experts(recipe, metrics, findings or {}, scores or {}),
        columns=_headings(cols),
        values=shown.values,
        mixed=shown.mixed,
        default=method.coefficient,
        low=low,
        high=high,
        metrics=metric_rows(recipe, metrics, len(cols), quality),
        conflict=None,
        sum_row=_sum_row(recipe, method, shown.values),
        override_count=overrides,
        fixed=FIXED if recipe.stack else "",
    )  # fmt: skip
    return Board(cols, shown, metrics, state)


_known: tuple[tuple[Column, ...], tuple[desk.Column, ...]] = ((), ())


def _headings(cols: tuple[Column, ...]) -> tuple[desk.Column, ...]:
    """The columns as the widget knows them; the same objects at every fader event."""
    global _known
    if _known[0] is not cols:
        _known = cols, tuple(
            desk.Column(layer=c.layer, kind=c.kind, tensor=c.keys[0][2], label=c.label, depth=c.depth,
                        expandable=c.is_expandable, expanded=c.is_expanded) for c in cols
        )  # fmt: skip
    return _known[1]


def measure(recipe: Recipe, layout: Layout, method: Method, cols: tuple[Column, ...], gram: Gram) -> LiveMetrics:
    """Live metrics of the merged delta in the given columns."""
    return live_metrics(gram, factors(recipe, layout, method), membership(layout, cols))


def factors(recipe: Recipe, layout: Layout, method: Method) -> np.ndarray:
    """(T, G) factor with which each task vector enters the merged delta, by layer x kind group."""
    weights = group_values(recipe, layout, method.coefficient) * heard(recipe)[:, None]
    names = [e.name for e in recipe.experts]
    made = method.factors(weights, dict(recipe.params), names, group_spots(layout))
    return np.asarray(made, dtype=np.float64)


def _range(values: np.ndarray, default: float) -> tuple[float, float]:
    """Fader range: 0 to twice the default, widened in halves to hold every value."""
    low, high = 0.0, max(2.0 * default, 1.0)
    if values.size:
        low = min(low, float(np.floor(values.min() * 2) / 2))
        high = max(high, float(np.ceil(values.max() * 2) / 2))
    return low, high


_heads: tuple[tuple[object, ...], tuple[desk.ExpertRow, ...]] | None = None


def _experts(
    recipe: Recipe,
    metrics: LiveMetrics | None,
    findings: Mapping[str, tuple[Finding, ...]],
    scores: Mapping[str, str],
) -> tuple[desk.ExpertRow, ...]:
    """The heads of all rows; the same object while a fader moves, which changes none."""
    global _heads
    norms = metrics.norms.T.tobytes() if metrics is not None else b""
    key = (recipe.experts, recipe.muted, recipe.soloed, recipe.gains, norms, dict(findings), dict(scores))
    known = _heads
    if known is None or known[0] != key:
        rows = range(len(recipe.experts))
        known = _heads = key, tuple(_row(recipe, i, metrics, findings, scores) for i in rows)
    return known[1]


_rows: dict[str, tuple[tuple[object, ...], desk.ExpertRow]] = {}


def _row(
    recipe: Recipe,
    index: int,
    metrics: LiveMetrics | None,
    findings: Mapping[str, tuple[Finding, ...]],
    scores: Mapping[str, str],
) -> desk.ExpertRow:
    """The head of an expert's row; the same object while a fader moves, which changes none."""
    ref = recipe.experts[index]
    norms = metrics.norms[index].tobytes() if metrics is not None else b""
    key = (ref, index, ref.id in recipe.muted, recipe.is_heard(ref.id), ref.id in recipe.soloed, recipe.gain(ref.id),
           norms, findings.get(ref.id, ()), scores.get(ref.id, ""))  # fmt: skip
    known = _rows.get(ref.id)
    if known is None or known[0] != key:
        known = _rows[ref.id] = key, _made_row(recipe, index, metrics, findings, scores)
    return known[1]


def _made_row(
    recipe: Recipe,
    index: int,
    metrics: LiveMetrics | None,
    findings: Mapping[str, tuple[Finding, ...]],
    scores: Mapping[str, str],
) -> desk.ExpertRow:
    ref = recipe.experts[index]
    found = findings.get(ref.id, ())
    levels: tuple[desk.Severity, ...] = ("error", "warning")
    worst = next((s for s in levels if any(f.severity == s for f in found)), None)
    text = "\n".join(f"{_BADGES[f.severity]}: {f.message} {f.hint}".strip() for f in found)
    norm = float(np.sqrt(np.square(metrics.norms[index]).sum())) if metrics is not None else None
    return desk.ExpertRow(
        id=ref.id,
        name=ref.name,
        index=index,
        muted=ref.id in recipe.muted,
        silenced=not recipe.is_heard(ref.id),
        soloed=ref.id in recipe.soloed,
        gain=recipe.gain(ref.id),
        norm=norm,
        badge=worst,
        badge_text=text,
        score_text=scores.get(ref.id, ""),
    )


def _sum_row(recipe: Recipe, method: Method, values: np.ndarray) -> np.ndarray | None:
    """Column sums for methods that expect them to be 1 and do not normalise."""
    needs = method.space == "weight" and dict(recipe.params).get("normalise") is False
    return values.sum(axis=0) if needs and len(values) else None


_STEPS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def full_scale(top: float) -> float:
    """The least round number that holds the largest bar: a scale that stays while a fader moves a little.

    A scale that followed every value would also mean painting the whole row at every fader event.
    """
    if not math.isfinite(top) or top <= 1e-9:
        return 1e-9
    size = 10.0 ** math.floor(math.log10(top))
    return float(next(step * size for step in _STEPS if step * size >= top * (1 - 1e-12)))


@lru_cache(maxsize=8)
def _unknown(count: int, experts: int) -> tuple[np.ndarray, np.ndarray]:
    """(C,) and (C, T) of NaN. Do not change the arrays."""
    return np.full(count, np.nan), np.full((count, experts), np.nan)


@lru_cache(maxsize=8)
def _colours(count: int) -> tuple[str, ...]:
    return tuple(expert_colour(i).name() for i in range(count))


def metric_rows(
    recipe: Recipe, metrics: LiveMetrics | None, count: int, quality: desk.Quality
) -> tuple[desk.MetricRow, ...]:
    """The pinned rows of the merged model; shares are fractions of 1."""
    experts, (empty, nothing) = recipe.experts, _unknown(count, len(recipe.experts))
    heard = [recipe.is_heard(e.id) for e in experts]
    change = metrics.relative if metrics else empty
    top = float(change.max()) if metrics is not None and change.size else 1.0
    return (
        desk.MetricRow(id="change", title="Change ‖\u2009Δ\u2009‖", unit="%", quality=quality, values=change,
                       high=full_scale(top),
                       tooltip="Norm of the merged change as a share of the base's norm, column by column."),
        desk.MetricRow(id="cosine", title="Cosine", low=-1.0, style="bar", quality=quality,
                       values=metrics.cosine[heard].mean(axis=0) if metrics and any(heard) else empty,
                       tooltip="Mean cosine of the merged change with the task vectors of the experts that are heard: "
                       "1 when it goes where they all go, 0 when it is unrelated to them."),
        desk.MetricRow(id="cancelled", title="Cancelled", unit="%", style="heat", quality=quality,
                       values=metrics.cancelled if metrics else empty,
                       tooltip="How much of the experts' changes cancel out: 0 % when they pull the same way, 29 % for "
                       "two equal unrelated ones, 100 % when they undo each other."),
        desk.MetricRow(id="share", title="Share", unit="%", style="stack", quality=quality,
                       values=np.clip(metrics.share.T, 0.0, 1.0) if metrics else nothing,
                       tooltip="Whose change it is: each expert's part of ‖Δ‖².",
                       parts=tuple(e.name for e in experts),
                       colours=_colours(len(experts))),
    )  # fmt: skip
