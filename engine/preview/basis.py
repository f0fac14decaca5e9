"""Directions in which faders move: single groups of one expert, whole rows, everything. Light: numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """What one derivative is about: some experts' coefficients in some groups, moved together.

    Attributes:
        experts: Rows, as indices into the recipe's experts.
        groups: Columns, as indices into the layout's groups.
    """

    experts: tuple[int, ...]
    groups: tuple[int, ...]

    def added(self, point: Floats, amount: float) -> Floats:
        """(T, G) the point with the cell moved by an amount."""
        moved = point.copy()
        moved[np.ix_(self.experts, self.groups)] += amount
        return moved


@dataclass(frozen=True)
class Basis:
    """The directions of a surrogate.

    Attributes:
        shape: (T, G).
        cells: Disjoint cells; any other coefficient is taken to stay.
        wholes: Larger cells (everything, then rows). A move that is the same over most of one is followed along
            it, which catches how its parts act on each other.
    """

    shape: tuple[int, int]
    cells: tuple[Cell, ...]
    wholes: tuple[Cell, ...] = ()

    @property
    def size(self) -> int:
        """Number of directions, E."""
        return len(self.cells) + len(self.wholes)

    @property
    def directions(self) -> tuple[Cell, ...]:
        """All E directions: the cells, then the wholes."""
        return (*self.cells, *self.wholes)

    def coordinates(self, move: Floats, usable: NDArray[np.bool_] | None = None) -> Floats:
        """(E,) how far to go along each direction to make a move.

        Args:
            move: (T, G) change of the coefficients.
            usable: (E,) whether a direction may be used; only asked for wholes. None for all.
        """
        rest, found = move.astype(np.float64, copy=True).reshape(-1), np.zeros(self.size)
        for index, places in enumerate(self._places, len(self.cells)):
            values = rest[places]
            if np.count_nonzero(values) * 2 <= values.size or (usable is not None and not usable[index]):
                continue
            common = float(np.partition(values, values.size // 2)[values.size // 2])
            alike = np.abs(values - common) < 1e-9
            if common != 0 and np.count_nonzero(alike) * 2 > values.size:
                found[index] = common
                rest[places] = np.where(alike, 0.0, values - common)
        if rest.any():
            found[: len(self.cells)] = self._means @ rest
        return found

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], ...]:
        """Flat positions of the coefficients of every whole."""
        return tuple(_flat(whole, self.shape) for whole in self.wholes)

    @cached_property
    def _means(self) -> Floats:
        """(cells, T x G) matrix that takes the mean over every cell."""
        made = np.zeros((len(self.cells), self.shape[0] * self.shape[1]))
        for index, cell in enumerate(self.cells):
            places = _flat(cell, self.shape)
            made[index, places] = 1 / len(places)
        return made


def _flat(cell: Cell, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Positions of a cell's coefficients in a flattened point."""
    made: NDArray[np.int64] = (
        np.arange(shape[0] * shape[1]).reshape(shape)[np.ix_(cell.experts, cell.groups)].reshape(-1)
    )
    return made


def group_basis(experts: int, groups: int) -> Basis:
    """One cell for each expert and group; everything and the rows as wholes."""
    everyone, all_groups = tuple(range(experts)), tuple(range(groups))
    cells = tuple(Cell((t,), (g,)) for t in everyone for g in all_groups)
    rows = tuple(Cell((t,), all_groups) for t in everyone)
    return Basis((experts, groups), cells, (Cell(everyone, all_groups), *rows) if experts > 1 else rows)


def block_basis(experts: int, blocks: Sequence[Sequence[int]], pinned: NDArray[np.bool_] | None = None) -> Basis:
    """One cell for each expert and block of groups, without those that are pinned.

    Args:
        experts: T.
        blocks: Which groups move together, for instance all of a layer.
        pinned: (T, G) coefficients that must stay; a cell loses them, an empty one is left out.
    """
    groups = max((g for block in blocks for g in block), default=-1) + 1 if pinned is None else pinned.shape[1]
    cells = []
    for t in range(experts):
        for block in blocks:
            free = tuple(g for g in block if pinned is None or not pinned[t, g])
            if free:
                cells.append(Cell((t,), free))
    return Basis((experts, groups), tuple(cells))
