"""What one sweep can count: inner products, signs and TALL masks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.analyse.sets import indicator
from engine.analyse.sweep import Array, Piece
from engine.analyse.values import LATTICE_LIMIT, Masks, Products, Signs


class ProductCounter:
    """Inner products of the task vectors in float64.

    Args:
        groups: Number of groups G.
        experts: Number of experts T.
    """

    piece = 1 << 17

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

    piece = 1 << 17

    def __init__(self, groups: int, experts: int) -> None:
        self._experts = experts
        self._counts = np.zeros((groups, experts + 1, experts + 1))  # sum of s_a s_b; the sum is the last row
        self._both = np.zeros((groups, experts + 1, experts + 1))  # sum of |s_a s_b|
        self._sums = np.zeros((groups, 2, experts))  # |tau_t|, and the part of it against the elected sign
        self._whole = np.zeros((groups, 3))  # disputed, touched, |sum|
        self._local = threading.local()

    def measure(self, piece: Piece) -> tuple[Array, Array, Array, Array]:
        """Counts below 2^24 are exact in float32."""
        total = torch.from_numpy(piece.total)
        signs = _rows(self._local, "signs", self._experts + 1, len(piece.base), torch.float32)
        sums = np.empty((2, self._experts))
        elected = torch.sign(total, out=_rows(self._local, "elected", 1, total.numel(), total.dtype)[0])
        signs[-1] = elected
        for t, values in enumerate(map(torch.from_numpy, piece.taus)):
            signs[t] = torch.sign(values)
            sums[0, t] = values.abs().sum(dtype=torch.float64)
            sums[1, t] = (values * elected).clamp_(max=0).sum(dtype=torch.float64).neg()
        votes = signs[:-1].sum(0).abs_()  # (n,)
        counts = torch.mm(signs, signs.T).numpy()
        signs.abs_()
        both = torch.mm(signs, signs.T).numpy()
        voters = signs[:-1].sum(0)
        whole = [(votes < voters).sum(), torch.count_nonzero(voters), total.abs().sum(dtype=torch.float64)]
        return counts, both, sums, np.array([float(x) for x in whole])

    def add(self, group: int, part: tuple[Array, Array, Array, Array]) -> None:
        """Add what a piece has."""
        self._counts[group] += part[0]
        self._both[group] += part[1]
        self._sums[group] += part[2]
        self._whole[group] += part[3]

    def value(self) -> Signs:
        """The totals."""
        both = self._both.astype(np.int64)
        opposed = (both - self._counts.astype(np.int64)) // 2
        last, rest = self._experts, slice(self._experts)
        return Signs(
            changed=np.einsum("gtt->gt", both)[:, rest].copy(),
            opposed=opposed[:, last, rest].copy(),
            mass=self._sums[:, 0].copy(),
            opposed_mass=self._sums[:, 1].copy(),
            pair_both=both[:, rest, rest].copy(),
            pair_opposed=opposed[:, rest, rest].copy(),
            disputed=self._whole[:, 0].astype(np.int64),
            touched=self._whole[:, 1].astype(np.int64),
            summed=self._whole[:, 2].copy(),
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
        self._local = threading.local()

    def measure(self, piece: Piece) -> list[Any]:
        """For every lambda what `add` wants."""
        return self._sets(piece) if self._has_lattice else self._many(piece)

    def add(self, group: int, part: list[Any]) -> None:
        """Add what a piece has."""
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

    def _sets(self, piece: Piece) -> list[Any]:
        """How many weights are in each set of masks, for every lambda: L arrays (2^T,)."""
        kind = np.uint8 if self._experts <= 8 else np.int16
        powers = (1 << np.arange(self._experts)).astype(kind)[:, None]
        bits = self._buffer("bits", self._experts, len(piece.base), kind)
        found = []
        for masks in self._masks(piece):
            np.multiply(masks, powers, out=bits)
            codes = torch.from_numpy(np.bitwise_or.reduce(bits, axis=0))
            found.append(torch.bincount(codes, minlength=1 << self._experts).numpy())
        return found

    def _many(self, piece: Piece) -> list[Any]:
        """Activation counts, pairs and selfish weights for every lambda, without the lattice."""
        rows = self._buffer("rows", self._experts, len(piece.base), np.float32)
        found = []
        for masks in self._masks(piece):
            np.copyto(rows, masks)
            found.append(self._crossed(torch.from_numpy(rows)))
        return found

    def _crossed(self, rows: torch.Tensor) -> tuple[Array, Array, Array]:
        times = rows.sum(0)  # (n,)
        active = np.bincount(times.numpy().astype(np.uint8), minlength=self._experts + 1)
        pairs = torch.mm(rows, rows.T).numpy().astype(np.int64)
        selfish = torch.mv(rows, (times == 1).float()).numpy().astype(np.int64)
        return active, pairs, selfish

    def _masks(self, piece: Piece) -> Iterator[Array]:
        """For every lambda (T, n) of 0 and 1 (uint8); the arithmetic is that of `engine.steps.masks.tall_mask`."""
        kind, shape = piece.multi.dtype, piece.taus.shape
        away, limit = (self._buffer(name, shape[0], shape[1], kind) for name in ("away", "limit"))
        mask = self._buffer("mask", shape[0], shape[1], np.bool_)
        np.abs(np.subtract(piece.multi, piece.taus, out=away), out=away)
        for level, strictness in enumerate(self._strictness):
            target = away if level == len(self._strictness) - 1 else limit
            np.multiply(away, kind.type(strictness), out=target)
            np.greater(piece.sizes, target, out=mask)
            yield mask.view(np.uint8)

    def _buffer(self, name: str, rows: int, count: int, kind: Any) -> Array:
        """This thread's memory for `rows` rows."""
        held: dict[Any, Array] = self._local.__dict__
        key = (name, np.dtype(kind))
        if key not in held or held[key].size < rows * count:
            held[key] = np.empty(rows * count, kind)
        return held[key][: rows * count].reshape(rows, count)


def _rows(local: threading.local, name: str, rows: int, count: int, dtype: torch.dtype) -> torch.Tensor:
    """This thread's (rows, count) tensor, reused."""
    held: dict[Any, torch.Tensor] = local.__dict__
    key = (name, dtype)
    if key not in held or held[key].numel() < rows * count:
        held[key] = torch.empty(rows * count, dtype=dtype)
    return held[key][: rows * count].view(rows, count)
