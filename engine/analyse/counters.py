"""What one sweep can count: inner products, signs and TALL masks."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.analyse.packed import Room, common, histogram, packed, population, set_codes
from engine.analyse.sets import indicator
from engine.analyse.sweep import Array, Piece
from engine.analyse.values import LATTICE_LIMIT, Masks, Products, Signs


class ProductCounter:
    """Inner products of the task vectors in float64.

    Args:
        groups: Number of groups G.
        experts: Number of experts T.
    """

    piece = 1 << 16

    def __init__(self, groups: int, experts: int) -> None:
        self._matrix = np.zeros((groups, experts + 1, experts + 1))
        self._local = threading.local()

    def measure(self, piece: Piece) -> Array:
        """(T + 1, T + 1) products with the base first."""
        rows = _rows(self._local, "wide", len(piece.taus) + 1, len(piece.base), torch.float64)
        for row, values in enumerate((piece.base, *piece.taus)):
            rows[row] = torch.from_numpy(values)
        return torch.mm(rows, rows.T).numpy()

    def add(self, group: int, part: Array) -> None:
        """Add a piece's products."""
        self._matrix[group] += part

    def value(self) -> Products:
        """The totals."""
        return Products(self._matrix[:, 1:, 1:].copy(), np.sqrt(self._matrix[:, 0, 0]))


class SignCounter:
    """Signs that agree and disagree, and how much cancels out.

    Args:
        groups: Number of groups G.
        experts: Number of experts T.
    """

    piece = 1 << 16

    def __init__(self, groups: int, experts: int) -> None:
        self._experts = experts
        rows = 2 * (experts + 1)  # raised by each expert, by the sum; then lowered
        self._common = np.zeros((groups, rows, rows), np.int64)
        self._sums = np.zeros((groups, 2, experts))  # |tau_t|, and the part of it against the elected sign
        self._votes = np.zeros((groups, 2), np.int64)  # disputed, touched
        self._summed = np.zeros(groups)
        self._room = Room()

    def measure(self, piece: Piece) -> tuple[Array, Array, float, Array] | None:
        """Weights that two rows have in common, sums, |sum| and votes; nothing where no expert changes a weight."""
        if not piece.changed.any():
            return None
        experts, count = piece.taus.shape
        signs = self._room.array("signs", (2, experts + 1, count), np.bool_)
        for rows, compare in zip(signs, (np.greater, np.less), strict=True):
            compare(piece.taus, 0, out=rows[:experts])
            compare(piece.total, 0, out=rows[experts])
        words = packed(signs.reshape(-1, count).view(np.uint8))
        up, down = np.bitwise_or.reduce(words.reshape(2, experts + 1, -1)[:, :experts], axis=1)
        votes = population(np.array([up & down, up | down]))
        return common(words), *self._sizes(piece), votes

    def _sizes(self, piece: Piece) -> tuple[Array, float]:
        """(2, T) sums of |tau_t| and of the part of it against the sum's sign, and the sum of |sum|, in float64."""
        total = torch.from_numpy(piece.total)
        wide = torch.from_numpy(self._room.array("wide", piece.total.shape, np.float64))
        along = torch.from_numpy(self._room.array("along", piece.total.shape, piece.total.dtype))
        signs, sums = torch.sign(total), np.empty((2, len(piece.taus)))
        for expert, (tau, size) in enumerate(zip(piece.taus, piece.sizes, strict=True)):
            sums[0, expert] = wide.copy_(torch.from_numpy(size)).sum().item()
            torch.mul(torch.from_numpy(tau), signs, out=along).clamp_(max=0)
            sums[1, expert] = -wide.copy_(along).sum().item()
        return sums, wide.copy_(total).abs_().sum().item()

    def add(self, group: int, part: tuple[Array, Array, float, Array] | None) -> None:
        """Add what a piece has."""
        if part is not None:
            self._common[group] += part[0]
            self._sums[group] += part[1]
            self._summed[group] += part[2]
            self._votes[group] += part[3]

    def value(self) -> Signs:
        """The totals."""
        last, rest, half = self._experts, slice(self._experts), self._experts + 1
        agree = self._common[:, :half, :half] + self._common[:, half:, half:]
        opposed = self._common[:, :half, half:] + self._common[:, half:, :half]
        both = agree + opposed
        return Signs(
            changed=np.einsum("gtt->gt", both)[:, rest].copy(),
            opposed=opposed[:, last, rest].copy(),
            mass=self._sums[:, 0].copy(),
            opposed_mass=self._sums[:, 1].copy(),
            pair_both=both[:, rest, rest].copy(),
            pair_opposed=opposed[:, rest, rest].copy(),
            disputed=self._votes[:, 0].copy(),
            touched=self._votes[:, 1].copy(),
            summed=self._summed.copy(),
        )


class MaskCounter:
    """TALL masks for several lambda: sizes, pairs, roles and, for up to 12 experts, all intersections.

    Args:
        groups: Number of groups G.
        experts: Number of experts T.
        strictness: The L values of lambda.
    """

    piece = 1 << 16

    def __init__(self, groups: int, experts: int, strictness: NDArray[np.float64]) -> None:
        self._strictness = strictness
        self._experts = experts
        self._has_lattice = experts <= LATTICE_LIMIT
        levels = len(strictness)
        if self._has_lattice:
            self._lattice = np.zeros((levels, groups, 1 << experts), np.int64)
        else:
            self._active = np.zeros((levels, groups, experts + 1), np.int64)
            self._pairs = np.zeros((levels, groups, experts, experts), np.int64)
            self._selfish = np.zeros((levels, groups, experts), np.int64)
        self._room = Room()

    def measure(self, piece: Piece) -> list[Any] | int:
        """For every lambda what `add` wants; only the number of weights where no expert changes any."""
        if not piece.changed.any():
            return len(piece.total)
        count = self._sets if self._has_lattice else self._many
        return [count(masks) for masks in self._masks(piece)]

    def add(self, group: int, part: list[Any] | int) -> None:
        """Add what a piece has."""
        if isinstance(part, int):
            none = self._lattice if self._has_lattice else self._active
            none[:, group, 0] += part
            return
        for level, found in enumerate(part):
            if self._has_lattice:
                self._lattice[level, group] += found
            else:
                self._active[level, group] += found[0]
                self._pairs[level, group] += found[1]
                self._selfish[level, group] += found[2]

    def value(self, frozen: NDArray[np.int64]) -> Masks:
        """The totals; with a lattice everything else follows from it."""
        if not self._has_lattice:
            return Masks(self._strictness, self._active, self._pairs, self._selfish, None, frozen)
        sets, lattice = indicator(self._experts), self._lattice
        sizes = sets.sum(1)
        active = lattice @ (sizes[:, None] == np.arange(self._experts + 1)).astype(np.int64)
        pairs = np.einsum("lgs,sa,sb->lgab", lattice, sets, sets, optimize=True)
        return Masks(self._strictness, active, pairs, lattice[..., 1 << np.arange(self._experts)], lattice, frozen)

    def _sets(self, masks: Array) -> Array:
        """How many weights are in each set of masks, (2^T,)."""
        return histogram(set_codes(masks, self._room), 1 << self._experts)

    def _many(self, masks: Array) -> tuple[Array, Array, Array]:
        """Activation counts, pairs and selfish weights, without the lattice."""
        times = np.add.reduce(masks, axis=0, out=self._room.array("times", masks.shape[1:], np.uint8))
        bits = packed(masks)
        selfish = population(bits & packed((times == 1)[None]))
        return histogram(times, self._experts + 1), common(bits), selfish

    def _masks(self, piece: Piece) -> Array:
        """(L, T, n) of 0 and 1 (uint8); the arithmetic is that of `engine.steps.masks.tall_mask`.

        Expert by expert, so that what all lambda are compared with stays in the nearer cache.
        """
        kind, count = piece.multi.dtype, len(piece.multi)
        away, limit = (self._room.array(name, (count,), kind) for name in ("away", "limit"))
        masks = self._room.array("masks", (len(self._strictness), self._experts, count), np.bool_)
        levels = [kind.type(strictness) for strictness in self._strictness]
        for expert, (tau, size) in enumerate(zip(piece.taus, piece.sizes, strict=True)):
            np.subtract(piece.multi, tau, out=away)
            np.abs(away, out=away)
            for strictness, mask in zip(levels, masks[:, expert], strict=True):
                np.multiply(away, strictness, out=limit)
                np.greater(size, limit, out=mask)
        return masks.view(np.uint8)


def _rows(local: threading.local, name: str, rows: int, count: int, dtype: torch.dtype) -> torch.Tensor:
    """This thread's (rows, count) tensor, reused."""
    held: dict[Any, torch.Tensor] = local.__dict__
    key = (name, dtype)
    if key not in held or held[key].numel() < rows * count:
        held[key] = torch.empty(rows * count, dtype=dtype)
    return held[key][: rows * count].view(rows, count)
