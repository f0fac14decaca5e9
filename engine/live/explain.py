"""What is different between two recipes, and what that does to the merged weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.files.model import Group, Layout
from engine.live.gram import Gram
from engine.methods import find
from engine.recipe.recipe import ModelRef, Recipe
from engine.recipe.resolve import effective, group_spots

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that two recipes say differently; "" for nothing.

    Attributes:
        what: What it is ("density", "code, layer 3, attn").
        before: In the first recipe.
        after: In the second.
    """

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Explained:
    """The difference of two merges of the same base, group by group (layer x kind).

    Attributes:
        changes: Method, parameters and experts first, then coefficients, the largest change first.
        groups: The G groups.
        coefficients: (T, G) of the second recipe minus those of the first.
        experts: T names.
        distance: (G,) Euclidean norm of the difference of the merged weights.
        relative: (G,) that divided by the norm of the base's weights; 0 where the base is 0.
        overall: The same for the whole model.
        is_exact: Whether both merges are linear in the coefficients; else the distances are estimates.
    """

    changes: tuple[Change, ...]
    groups: tuple[Group, ...]
    coefficients: Floats
    experts: tuple[str, ...]
    distance: Floats
    relative: Floats
    overall: float
    is_exact: bool

    @property
    def quality(self) -> str:
        """ "exact" or "estimate"."""
        return "exact" if self.is_exact else "estimate"


def all_experts(first: Recipe, second: Recipe) -> tuple[ModelRef, ...]:
    """The experts of both recipes, every file once, the first recipe's first."""
    known = {ref.path: ref for ref in (*second.experts, *first.experts)}
    order = dict.fromkeys(ref.path for ref in (*first.experts, *second.experts))
    return tuple(known[path] for path in order)


def explain(first: Recipe, second: Recipe, layout: Layout, gram: Gram) -> Explained:
    """Compare two recipes with the same base.

    Args:
        first: From here.
        second: To there.
        layout: Of the base.
        gram: Inner products of the task vectors of `all_experts`, in that order.
    """
    experts = all_experts(first, second)
    coefficients = [_rows(r, experts, effective(r, group_spots(layout), find(r.method).coefficient))
                    for r in (first, second)]  # fmt: skip
    factors = [_rows(r, experts, _factors(r, layout)) for r in (first, second)]
    step = factors[1] - factors[0]  # (T, G)
    squares = np.maximum(np.einsum("tg,gts,sg->g", step, gram.matrix, step), 0.0)
    base = np.square(gram.base_norm)
    names = tuple(ref.name for ref in experts)
    apart = coefficients[1] - coefficients[0]
    return Explained(
        changes=(*said(first, second), *_moved(names, layout, coefficients, gram)),
        groups=layout.groups,
        coefficients=apart,
        experts=names,
        distance=np.sqrt(squares),
        relative=_root_ratio(squares, base),
        overall=float(_root_ratio(squares.sum(keepdims=True), base.sum(keepdims=True))[0]),
        is_exact=all(find(r.method).is_linear(dict(r.params)) for r in (first, second))
        and not any(rule.tensor is not None for r in (first, second) for rule in r.rules),
    )


def _factors(recipe: Recipe, layout: Layout) -> Floats:
    """(T, G) factor with which every task vector enters the merge."""
    method = find(recipe.method)
    spots = group_spots(layout)
    values = effective(recipe, spots, method.coefficient)
    made: Floats = method.factors(values, dict(recipe.params), [e.name for e in recipe.experts], spots)
    return made


def _rows(recipe: Recipe, experts: Sequence[ModelRef], values: Floats) -> Floats:
    """Rows of a recipe's experts in the order of all experts; 0 for those that it does not have."""
    places = {ref.path: t for t, ref in enumerate(experts)}
    made = np.zeros((len(experts), values.shape[1]))
    for row, ref in zip(values, recipe.experts, strict=True):
        made[places[ref.path]] += row
    return made


def _root_ratio(above: Floats, below: Floats) -> Floats:
    made: Floats = np.sqrt(np.divide(above, below, out=np.zeros_like(above), where=below > 0))
    return made


def said(first: Recipe, second: Recipe) -> list[Change]:
    """Method, parameters, experts, mutes, gains, seed and type."""
    found = []
    if first.method != second.method:
        found.append(Change("method", find(first.method).title, find(second.method).title))
    before, after = (find(r.method).complete(dict(r.params)) for r in (first, second))
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name) and (
            first.method == second.method or (name in before and name in after)
        ):
            found.append(Change(name, _text(before.get(name)), _text(after.get(name))))
    pairs = (("experts", *(", ".join(sorted(e.name for e in r.experts)) for r in (first, second))),
             ("base", *(r.base.name if r.base else "" for r in (first, second))),
             ("silent", *(", ".join(e.name for e in r.experts if not r.is_heard(e.id)) for r in (first, second))),
             ("gains", *(", ".join(f"{e.name} ×{r.gain(e.id):g}" for e in r.experts if r.gain(e.id) != 1)
                         for r in (first, second))),
             ("seed", str(first.seed), str(second.seed)),
             ("data type", first.dtype or "as the base", second.dtype or "as the base"))  # fmt: skip
    return [*found, *(Change(what, a, b) for what, a, b in pairs if a != b)]


def _moved(names: Sequence[str], layout: Layout, values: Sequence[Floats], gram: Gram) -> list[Change]:
    """Coefficients that differ, the one that moves most weights first."""
    apart = np.abs(values[1] - values[0])
    weight = apart * np.sqrt(np.maximum(np.einsum("gtt->tg", gram.matrix), 0.0))
    order = np.argsort(-weight, axis=None, kind="stable")
    found = []
    for t, g in zip(*np.unravel_index(order, apart.shape), strict=True):
        if apart[t, g] != 0:
            place = layout.groups[g].place
            where = f"{names[t]} · {place.layer} · {place.kind}"
            found.append(Change(where, f"{values[0][t, g]:g}", f"{values[1][t, g]:g}"))
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
