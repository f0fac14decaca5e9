"""Sweeps over one or two numbers, three-expert triangles and what is best on both of two tasks. Light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadRecipe
from engine.methods import find
from engine.recipe.recipe import Recipe, Rule

MOST_CELLS = 1024


@dataclass(frozen=True, slots=True)
class Axis:
    """One number that a sweep varies.

    Attributes:
        what: "param": a parameter of the method; "gain": the factor of an expert's row; "fader": the coefficient of
            all of an expert's groups ("" as name: of all experts).
        name: The parameter's name, or the expert's id.
        values: What it takes on, ascending.
    """

    what: Literal["param", "gain", "fader"]
    name: str
    values: tuple[float, ...]

    def applied(self, recipe: Recipe, value: float) -> Recipe:
        """The recipe with the number changed.

        Raises:
            BadRecipe: if there is no such parameter or expert; OutOfRange if the value is not allowed.
        """
        if self.what == "param":
            return recipe.with_param(self.name, find(recipe.method).param(self.name).parse(value))
        if self.what == "gain":
            return recipe.with_gain(recipe.expert(self.name).id, value)
        if not self.name:
            return recipe.without_rules([rule.keys for rule in recipe.rules]).with_rules([Rule(value=value)])
        expert = recipe.expert(self.name).id
        finer = [rule for rule in recipe.rules if rule.expert is None and rule.specificity]  # would outweigh the row
        bare = recipe.without_rules([rule.keys for rule in recipe.rules if rule.expert == expert])
        return bare.with_rules([Rule(expert=expert, value=value),
                                *(replace(rule, expert=expert, value=value) for rule in finer)])  # fmt: skip

    def label(self, recipe: Recipe) -> str:
        """What the axis is called."""
        if self.what == "param":
            return find(recipe.method).param(self.name).label
        who = recipe.expert(self.name).name if self.name else "all experts"
        return f"{'gain' if self.what == 'gain' else 'coefficient'} of {who}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """A grid over one or two numbers.

    Attributes:
        x: Columns.
        y: Rows, or None for a line.
    """

    x: Axis
    y: Axis | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (len(self.y.values) if self.y else 1), len(self.x.values)

    def recipe(self, recipe: Recipe, row: int, column: int) -> Recipe:
        """The recipe of one cell, to be adopted or measured."""
        moved = self.x.applied(recipe, self.x.values[column])
        return self.y.applied(moved, self.y.values[row]) if self.y else moved

    def order(self) -> list[tuple[int, int]]:
        """All (row, column) cells, coarse to fine: corners first, then what lies between.

        Raises:
            BadRecipe: if there are more than `MOST_CELLS`.
        """
        rows, columns = self.shape
        if rows * columns > MOST_CELLS:
            raise BadRecipe(f"A sweep of {rows * columns:,} cells is too large.", hint="Use fewer values.")
        rank_r, rank_c = _refinement(rows), _refinement(columns)
        cells = [(r, c) for r in range(rows) for c in range(columns)]
        return sorted(cells, key=lambda cell: (max(rank_r[cell[0]], rank_c[cell[1]]), cell))


def _refinement(count: int) -> list[int]:
    """Level at which each of `count` values comes: both ends first, then halves, quarters, ..."""
    level, found, step = 0, [-1] * count, max(count - 1, 1)
    while min(found, default=0) < 0:
        for index in [*range(0, count, max(step, 1)), count - 1]:
            found[index] = level if found[index] < 0 else found[index]
        level, step = level + 1, step // 2
    return found


def pareto(a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]) -> list[int]:
    """Indices of the points that no other beats on both of two scores, by ascending `a`; NaN is never among them.

    Of equal points the first counts.
    """
    points = sorted((-x, -y, i) for i, (x, y) in enumerate(zip(a, b, strict=True)) if x == x and y == y)
    front: list[int] = []
    best = float("inf")
    for _, y, index in points:
        if y < best:
            best = y
            front.append(index)
    return front[::-1]


def simplex(steps: int) -> list[tuple[float, float, float]]:
    """Points of a triangle of three shares that add up to 1, in steps of 1 / steps: (steps + 1)(steps + 2) / 2."""
    return [(i / steps, j / steps, (steps - i - j) / steps) for i in range(steps + 1) for j in range(steps + 1 - i)]


def simplex_recipe(recipe: Recipe, experts: Sequence[str], shares: Sequence[float], total: float = 1.0) -> Recipe:
    """A recipe in which three experts share a total gain and all others are silent.

    Args:
        recipe: Its faders are kept; the rows' gains are set.
        experts: Three ids.
        shares: Three numbers that add up to 1.
        total: Sum of the gains.
    """
    made = recipe
    for ref in recipe.experts:
        share = dict(zip(experts, shares, strict=True)).get(ref.id, 0.0)
        made = made.with_gain(ref.id, share * total)
    return made


def linspace(low: float, high: float, count: int) -> tuple[float, ...]:
    """Evenly spaced values, rounded so that they read well."""
    return tuple(round(float(v), 6) for v in np.linspace(low, high, count))
