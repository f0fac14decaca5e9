"""From what the user asks of a sweep to its mixes; and the form as it was the last time."""

from __future__ import annotations

import json
from dataclasses import asdict

from app import places
from app.sweep_axes import axis, sweepables, values_of
from app.sweep_state import Plan, label_of
from engine.errors import BadRecipe
from engine.evaluate.task import Task
from engine.preview.grid import Sweep, simplex, simplex_recipe
from engine.recipe.recipe import Recipe
from widgets.plots.sweep_state import Span, SweepWish


def make_plan(recipe: Recipe, wish: SweepWish, tasks: tuple[Task, ...]) -> Plan:
    """All mixes of a wish.

    Raises:
        BadRecipe: if there is nothing to sweep, or too much.
        OutOfRange: if a value is not allowed.
    """
    titles = tuple((t.name, t.name) for t in tasks)
    if wish.form == "triangle":
        if len(set(wish.experts)) < 3 or "" in wish.experts:
            raise BadRecipe("A triangle needs three different experts.", hint="Choose another corner.")
        shares = simplex(wish.steps)
        names = [recipe.expert(e).name for e in wish.experts]
        mixes = tuple(simplex_recipe(recipe, wish.experts, share, wish.total) for share in shares)
        labels = tuple(", ".join(f"{n} {s * wish.total:.2f}" for n, s in zip(names, share, strict=True))
                       for share in shares)  # fmt: skip
        order = sorted(range(len(shares)), key=lambda i: (max(shares[i]) < 1, 0 not in shares[i], i))
        return Plan(wish=wish, start=recipe, recipes=mixes, labels=labels, order=tuple(order), shares=tuple(shares),
                    tasks=titles)  # fmt: skip
    whole = {s.id: s.whole for s in sweepables(recipe)}
    spans = [span for span in (wish.x, wish.y) if span is not None]
    if len({span.id for span in spans}) < len(spans):
        raise BadRecipe("Columns and rows sweep the same number.", hint="Choose another number for the rows.")
    axes = [axis(recipe, s.id, values_of(s.low, s.high, s.count, whole=whole.get(s.id, False))) for s in spans]
    sweep = Sweep(axes[0], axes[1] if len(axes) > 1 else None)
    rows, columns = sweep.shape
    order = [r * columns + c for r, c in sweep.order()]
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    labels = tuple(
        ", ".join(label_of(recipe, s.id, a.values[at]) for s, a, at in zip(spans, axes, (c, r), strict=False))
        for r, c in cells
    )
    return Plan(wish=wish, start=recipe, recipes=tuple(sweep.recipe(recipe, r, c) for r, c in cells), labels=labels,
                order=tuple(order), sweep=sweep, tasks=titles)  # fmt: skip


def remember(wish: SweepWish) -> None:
    """Keep the form for the next start; nothing is lost if that fails."""
    try:
        (places.home() / "sweep.json").write_text(json.dumps(asdict(wish)), "utf-8")
    except OSError:
        return


def remembered() -> SweepWish | None:
    """The form of the last time; the file is our own, and what does not fit is ignored."""
    try:
        raw = json.loads((places.home() / "sweep.json").read_text("utf-8"))
        spans = {n: Span(**raw[n]) if raw[n] is not None else None for n in ("x", "y")}
        more = {"experts": tuple(raw["experts"]), "tasks": tuple(raw["tasks"]), **spans}
        return SweepWish(**{**raw, **more})
    except (OSError, ValueError, TypeError, KeyError):
        return None
