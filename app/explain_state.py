"""From an explained difference to what its window shows: pure functions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.evaluate.score import Score, difference
from engine.files.model import Layout
from engine.live.explain import Explained
from widgets.plots.state import Heat

_MOST = 400
"""Changes that are listed."""


def summary(found: Explained) -> str:
    """How far the merges are apart, in a sentence."""
    if not found.changes:
        return "The recipes say the same."
    word = "exactly" if found.is_exact else "by estimate (a method is not linear in the faders)"
    return f"The merged weights differ by {found.overall:.2%} of the base's norm, {word}."


def change_rows(found: Explained) -> tuple[tuple[str, str, str], ...]:
    """What the recipes say differently, as a table."""
    rows = tuple((c.what, c.before or "–", c.after or "–") for c in found.changes[:_MOST])
    more = len(found.changes) - len(rows)
    return (*rows, (f"and {more} more", "", "")) if more > 0 else rows


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


def score_rows(before: Mapping[str, Score], after: Mapping[str, Score]) -> tuple[tuple[str, ...], ...]:
    """Scores of both, their difference and its 95 % interval."""
    rows = []
    for name, score in before.items():
        if name in after:
            low, high = difference(score, after[name])
            change = 100 * (after[name].value - score.value)
            texts = (f"{change:+.1f} points", f"{100 * low:+.1f} … {100 * high:+.1f}")
            rows.append((name, f"{score.value:.1%}", f"{after[name].value:.1%}", *(t.replace("-", "−") for t in texts)))
    return tuple(rows)
