"""Which experts of two recipes are the same, and how far apart their coefficients are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.files.model import Layout
from engine.methods import find
from engine.recipe.recipe import ModelRef, Recipe
from engine.recipe.resolve import Spot, effective, tensor_spots

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One expert of the comparison.

    Attributes:
        id: Handle for both recipes once they are `aligned`.
        ref: The expert as the first recipe that has it says.
        first: Its row in the first recipe, or None.
        second: Its row in the second recipe, or None.
    """

    id: str
    ref: ModelRef
    first: int | None
    second: int | None


def union(first: Recipe, second: Recipe, shown: Recipe | None = None) -> tuple[Row, ...]:
    """The experts of both recipes, each once, the first recipe's first.

    The same file is the same expert; a file that a recipe has twice counts twice.

    Args:
        first: One recipe.
        second: The other.
        shown: A recipe whose handles are taken over for experts that it has (the one on the desk).
    """
    mine, yours, known = _keys(first), _keys(second), _keys(shown) if shown is not None else []
    handles = {key: shown.experts[t].id for t, key in enumerate(known)} if shown is not None else {}
    rows = []
    for number, key in enumerate(dict.fromkeys((*mine, *yours))):
        one = mine.index(key) if key in mine else None
        other = yours.index(key) if key in yours else None
        ref = first.experts[one] if one is not None else second.experts[other or 0]
        rows.append(Row(handles.get(key, f"beside:{number}"), ref, one, other))
    return tuple(rows)


def _keys(recipe: Recipe) -> list[tuple[str, int]]:
    """Path of every expert and how often it came before."""
    paths = [ref.path for ref in recipe.experts]
    return [(path, paths[:t].count(path)) for t, path in enumerate(paths)]


def aligned(recipe: Recipe, rows: Sequence[Row], *, second: bool = False) -> Recipe:
    """The recipe with the handles of the comparison; nothing else is changed.

    Args:
        recipe: The first or the second recipe of `union`.
        rows: The union.
        second: Whether it is the second.
    """
    at = {(row.second if second else row.first): row.id for row in rows}
    fresh = {ref.id: at[t] for t, ref in enumerate(recipe.experts)}
    experts = tuple(replace(ref, id=fresh[ref.id]) for ref in recipe.experts)
    rules = tuple(replace(r, expert=fresh[r.expert]) if r.expert is not None else r for r in recipe.rules
                  if r.expert is None or r.expert in fresh)  # fmt: skip
    return replace(
        recipe, experts=experts, rules=rules, muted=tuple(fresh[m] for m in recipe.muted if m in fresh),
        soloed=tuple(fresh[s] for s in recipe.soloed if s in fresh),
        gains=tuple((fresh[g], factor) for g, factor in recipe.gains if g in fresh),
    )  # fmt: skip


def coefficients(recipe: Recipe, rows: Sequence[Row], spots: Sequence[Spot], *, second: bool = False) -> Floats:
    """(R, N) coefficients as the merge uses them, one row an expert of the comparison; 0 for experts that it lacks.

    Args:
        recipe: The first or the second recipe of `union`.
        rows: R rows of the union.
        spots: N places.
        second: Whether it is the second.
    """
    values = effective(recipe, spots, find(recipe.method).coefficient)
    made = np.zeros((len(rows), len(spots)))
    for r, row in enumerate(rows):
        at = row.second if second else row.first
        if at is not None:
            made[r] = values[at]
    return made


def apart(first: Recipe, second: Recipe, rows: Sequence[Row], layout: Layout) -> Floats:
    """(R, N) coefficient of the first recipe minus the second's, for every tensor of the layout in its order.

    Args:
        first: One recipe.
        second: The other.
        rows: Their union.
        layout: Of the base.
    """
    spots = tensor_spots(layout, list(layout.places))
    made: Floats = coefficients(first, rows, spots) - coefficients(second, rows, spots, second=True)
    return made


def largest(values: Floats, groups: Sequence[Sequence[int]]) -> Floats:
    """(R, C) value of the largest size in each of C groups of columns, with its sign; NaN for an empty group.

    Args:
        values: (R, N).
        groups: For each group the indices of its columns.
    """
    made = np.full((values.shape[0], len(groups)), np.nan)
    for c, chosen in enumerate(groups):
        if len(chosen):
            part = values[:, list(chosen)]
            made[:, c] = part[np.arange(len(part)), np.abs(part).argmax(axis=1)]
    return made
