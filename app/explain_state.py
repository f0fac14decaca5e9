"""From an explained difference to what its window shows: pure functions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.evaluate.score import Score, difference
from engine.files.model import Layout
from engine.live.explain import Explained, said
from engine.recipe.recipe import Recipe
from widgets.plots.state import Heat

_MOST = 400
"""Changes that are listed."""


def summary(found: Explained) -> str:
    """How far the merges are apart, in a sentence."""
    if not found.changes:
        return "The recipes say the same."
    word = "exactly" if found.is_exact else "by estimate (a method is not linear in the faders)"
    return f"The merged weights differ by {100 * found.overall:.2f} % of the base's norm, {word}."


def change_rows(found: Explained) -> tuple[tuple[str, str, str], ...]:
    """What the recipes say differently, as a table."""
    rows = tuple((c.what, c.before or "–", c.after or "–") for c in found.changes[:_MOST])
    more = len(found.changes) - len(rows)
    return (*rows, (f"and {more} more", "", "")) if more > 0 else rows


def said_rows(first: Recipe, second: Recipe) -> tuple[tuple[str, str, str], ...]:
    """The same without weights at hand: method, parameters, experts, mutes, gains."""
    return tuple((c.what, c.before or "–", c.after or "–") for c in said(first, second))


def heat(found: Explained, layout: Layout) -> Heat:
    """Relative difference of the merged weights by kind and layer."""
    values = np.full((len(layout.kinds), len(layout.layers)), np.nan)
    for group, relative in zip(found.groups, found.relative, strict=True):
        values[layout.kinds.index(group.place.kind), layout.layers.index(group.place.layer)] = relative
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    return Heat(
        title=f"Difference of the merged weights, {found.quality}",
        rows=tuple(layout.kinds),
        columns=tuple(layout.layers),
        values=values,
        low=0.0,
        high=max(top, 1e-9),
        unit="%",
        meaning="Norm of the difference as a share of the base's norm.",
    )


def nothing(why: str) -> Heat:
    """The place of the heatmap while it cannot be measured."""
    return Heat(title="Difference of the merged weights", empty=why)


def score_rows(before: Mapping[str, Score], after: Mapping[str, Score]) -> tuple[tuple[str, ...], ...]:
    """Scores of both, their difference and its 95 % interval."""
    rows: list[tuple[str, ...]] = []
    for name, score in before.items():
        if name in after:
            other = after[name]
            if (score.metric, score.split) != (other.metric, other.split):
                rows.append((name, with_interval(score), with_interval(other), "not comparable", ""))
                continue
            share = score.measure.unit == "%"
            unit, factor = ("points", 100.0) if share else (score.measure.unit, 1.0)
            low, high = (factor * end for end in difference(score, other))
            places = 1 if share else score.measure.places
            texts = (f"{factor * (other.value - score.value):+.{places}f} {unit}".rstrip(),
                     f"{low:+.{places}f} … {high:+.{places}f}")  # fmt: skip
            rows.append((name, with_interval(score), with_interval(other), *(t.replace("-", "−") for t in texts)))
    return tuple(rows)


def with_interval(score: Score) -> str:
    """ "84.2 % [80.1, 87.6]", with the unit of other measures."""
    value, low, high = (score.measure.text(v).removesuffix("%") for v in (score.value, score.low, score.high))
    return f"{value} {score.measure.unit}".rstrip() + f" [{low}, {high}]"


def score_hint(tasks: int, *, is_ready: bool, is_scoring: bool) -> str:
    """What to do where there are no scores yet.

    Args:
        tasks: How many quick-eval tasks the desk has.
        is_ready: Whether every model of both recipes was read.
        is_scoring: Whether scores are being measured.
    """
    if is_scoring:
        return "Both recipes are being scored; the jobs panel says how far it is."
    if not tasks:
        return "Add a quick-eval task (Mix > Add task, Ctrl+T), or make one with Mix > New task from data."
    if not is_ready:
        return "A model of these recipes is still being read, or is not on the desk."
    return f"Press Score both to measure {'the task' if tasks == 1 else f'all {tasks} tasks'} on either recipe."
