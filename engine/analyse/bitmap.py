"""A matrix of the model as a picture: what is known of every weight, and exact block means at coarser levels.

Light values without torch; `engine.analyse.bitmap_source` makes them from files. A pixel of level L stands for a
block of 2^L x 2^L weights (less at the right and lower edge). Blocks hold counts and sums, so that every coarser
level is an exact 2x2 reduction of the finer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Mode = Literal["owner", "kept", "sign", "magnitude", "conflict"]
MODES: tuple[Mode, ...] = ("owner", "kept", "sign", "magnitude", "conflict")
NOBODY = 255
"""Code of a block that no expert changes most."""

TILE = 256
"""Pixels of a tile, in each direction."""

LOWEST, OCTAVES = -32.0, 40.0
"""Magnitudes are coded logarithmically, from 2^-32 to 2^8."""

Array = NDArray[Any]
Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Counts and sums of all blocks of one level of (part of) a matrix, for T experts.

    Attributes:
        level: A block has 2^level x 2^level weights.
        rows: Rows of weights that the blocks cover.
        columns: Columns of weights that they cover.
        kept: (T, r, c) weights that the method's mask keeps.
        sign: (r, c) sum of the elected signs.
        owners: (T + 1, r, c) weights that belong to each expert, and at last those that nobody changes.
        sizes: (T, r, c) sums of |tau_t|, float32.
        against: (r, c) changes against the sum of all changes, counted over experts.
        changed: (r, c) changes (tau_t != 0), counted over experts.
        step: In a sample, only every step-th weight of one row of each block was looked at; 0 if all were.
    """

    level: int
    rows: int
    columns: int
    kept: Array | None = None
    sign: Array | None = None
    owners: Array | None = None
    sizes: Array | None = None
    against: Array | None = None
    changed: Array | None = None
    step: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks in each direction."""
        return blocks_of(self.rows, self.level), blocks_of(self.columns, self.level)

    def weights(self) -> NDArray[np.float64]:
        """(r, c) number of weights in each block; fewer at the edges."""
        tall, wide = _spans(self.rows, self.level), _spans(self.columns, self.level)
        if self.step:
            tall, wide = np.ones_like(tall), np.ceil(wide / self.step)
        made: NDArray[np.float64] = np.multiply.outer(tall, wide)
        return made

    def part(self, top: int, left: int, tall: int, wide: int) -> Blocks:
        """Some of the blocks, given in blocks of this level; the rest of the matrix ends the part at its edge."""
        size = 1 << self.level
        cut: dict[str, Any] = {n: a[..., top : top + tall, left : left + wide] for n, a in arrays(self).items()}
        rows = min(tall * size, self.rows - top * size)
        return replace(self, rows=rows, columns=min(wide * size, self.columns - left * size), **cut)


def arrays(blocks: Blocks) -> dict[str, Array]:
    """The arrays that are there, by field name."""
    names = ("kept", "sign", "owners", "sizes", "against", "changed")
    return {name: array for name in names if (array := getattr(blocks, name)) is not None}


def blocks_of(count: int, level: int) -> int:
    """How many blocks of 2^level cover `count` weights."""
    return -(-count >> level)


def _spans(count: int, level: int) -> NDArray[np.float64]:
    """Weights of each block along one direction."""
    made = np.full(blocks_of(count, level), float(1 << level))
    if made.size:
        made[-1] = count - (made.size - 1) * (1 << level)
    return made


def stored_as(name: str, level: int, experts: int) -> np.dtype[Any]:
    """The smallest type that holds a field exactly at a level."""
    if name == "sizes":
        return np.dtype(np.float32)
    most = (1 << 2 * level) * (experts if name in ("against", "changed") else 1)
    kinds = (np.int8, np.int16, np.int32) if name == "sign" else (np.uint8, np.uint16, np.uint32)
    return next((np.dtype(k) for k in kinds if most <= np.iinfo(k).max), np.dtype(np.int64))


def reduced(blocks: Blocks, experts: int) -> Blocks:
    """The next coarser level: 2x2 blocks become one."""
    level = blocks.level + 1
    made: dict[str, Any] = {n: _quarter(a, stored_as(n, level, experts)) for n, a in arrays(blocks).items()}
    return replace(blocks, level=level, **made)


def reduced_to(blocks: Blocks, level: int, experts: int) -> Blocks:
    """A coarser level, by repeated reduction."""
    while blocks.level < level:
        blocks = reduced(blocks, experts)
    return blocks


def _quarter(array: Array, kind: np.dtype[Any]) -> Array:
    """Sums of 2x2 blocks of the last two dimensions; what is missing at the edges counts 0."""
    rows, columns = array.shape[-2:]
    if rows % 2 or columns % 2:
        array = np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, rows % 2), (0, columns % 2)])
    wide = np.dtype(np.float64) if kind.kind == "f" else kind
    pairs = np.add(array[..., ::2, :], array[..., 1::2, :], dtype=wide)
    made: Array = np.add(pairs[..., ::2], pairs[..., 1::2], dtype=wide).astype(kind, copy=False)
    return made


def values(blocks: Blocks, mode: Mode, expert: int = -1) -> Array:
    """What a mode says of every block.

    Args:
        blocks: With the fields of the mode.
        mode: "kept", "magnitude": of one expert, or the mean over all; "sign", "conflict", "owner": of all together.
        expert: Row of the expert, or -1 for all.

    Returns:
        (r, c) float64: share of kept weights; mean elected sign; index of the expert that owns most weights (T: none;
        the first of equals); mean of |tau|; share of the changes that go against their sum. NaN where nothing changes.
    """
    count = blocks.weights()
    if mode == "owner":
        return np.asarray(_have(blocks.owners).argmax(axis=0).astype(np.float64))
    if mode == "conflict":
        changed = _have(blocks.changed)
        nothing = np.full(count.shape, np.nan)
        return np.asarray(np.divide(_have(blocks.against), changed, out=nothing, where=changed > 0))
    if mode == "sign":
        return np.asarray(_have(blocks.sign) / count)
    field = _have(blocks.kept if mode == "kept" else blocks.sizes)
    return np.asarray(field[expert] if expert >= 0 else field.mean(axis=0, dtype=np.float64)) / count


def _have(array: Array | None) -> Array:
    if array is None:
        raise ValueError("these blocks were made for another mode")
    return array


def codes(found: Array, mode: Mode, experts: int) -> Codes:
    """Values as bytes for a colour table: 0 nothing, 1 to 255 from low to high; owners by index, `NOBODY` for none."""
    if mode == "owner":
        made = np.where(found >= experts, NOBODY, np.minimum(found, NOBODY - 1))
        return made.astype(np.uint8)
    if mode == "magnitude":
        with np.errstate(divide="ignore"):
            position = (np.log2(found) - LOWEST) / OCTAVES
        return np.where(found > 0, 1 + np.clip(np.rint(position * 254), 0, 254), 0).astype(np.uint8)
    share = (found + 1) / 2 if mode == "sign" else found
    known = np.isfinite(share)
    return np.where(known, 1 + np.rint(np.where(known, share, 0) * 254), 0).astype(np.uint8)


def magnitude_of(code: float) -> float:
    """The magnitude that a code stands for."""
    return float(2.0 ** (LOWEST + (code - 1) / 254 * OCTAVES))


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole matrix in numbers, for its legend.

    Attributes:
        kept: (T,) share that the mask keeps.
        owned: (T + 1,) share that belongs to each expert, and to nobody.
        mean: (T,) mean of |tau_t|.
        conflict: Share of the changes that go against their sum.
    """

    kept: tuple[float, ...]
    owned: tuple[float, ...]
    mean: tuple[float, ...]
    conflict: float


def summarise(blocks: Blocks) -> Summary:
    """Totals of all blocks; a field that is absent gives nothing."""
    total = float(blocks.rows * blocks.columns)

    def shares(array: Array | None) -> tuple[float, ...]:
        return () if array is None else tuple((array.sum(axis=(1, 2), dtype=np.float64) / total).tolist())

    changed = 0.0 if blocks.changed is None else float(blocks.changed.sum(dtype=np.float64))
    against = 0.0 if blocks.against is None else float(blocks.against.sum(dtype=np.float64))
    return Summary(
        shares(blocks.kept), shares(blocks.owners), shares(blocks.sizes), against / changed if changed else 0.0
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything about one weight.

    Attributes:
        row: Where it is.
        column: Where it is.
        base: The base's value.
        experts: T values.
        deltas: T elements of the task vectors.
        kept: Whether the method's mask keeps each.
        sign: The elected sign: -1, 0 or 1.
        owner: Expert with the largest |coefficient * tau|; T if nobody changes the weight.
        merged: What the merge writes, or None if that is only known after it.
        note: Why there is no merged value.
    """

    row: int
    column: int
    base: float
    experts: tuple[float, ...]
    deltas: tuple[float, ...]
    kept: tuple[bool, ...]
    sign: int
    owner: int
    merged: float | None
    note: str = ""


def first_level(rows: int, columns: int, experts: int, most_bytes: int) -> int:
    """The finest level of which all fields, with all coarser ones, fit into so many bytes."""
    level = 0
    while level < 20:
        counts = stored_as("kept", level, experts).itemsize
        changes = stored_as("changed", level, experts).itemsize
        each = (2 * experts + 2) * counts + 4 * experts + 2 * changes
        if blocks_of(rows, level) * blocks_of(columns, level) * each * 4 <= 3 * most_bytes:
            break
        level += 1
    return level


def levels_of(rows: int, columns: int) -> int:
    """Number of levels until everything is in one tile."""
    level = 0
    while max(blocks_of(rows, level), blocks_of(columns, level)) > TILE:
        level += 1
    return level + 1


def grid(blocks: Blocks, mode: Mode, expert: int, experts: int, most: int = 16) -> tuple[Blocks, Array]:
    """A level with at most `most` blocks in each direction, and its values: the picture as a short table."""
    while max(blocks.shape) > most:
        blocks = reduced(blocks, experts)
    return blocks, values(blocks, mode, expert)


def joined(parts: Sequence[Blocks]) -> Blocks:
    """Blocks of bands that lie below each other, as one."""
    made: dict[str, Any] = {n: np.concatenate([arrays(p)[n] for p in parts], axis=-2) for n in arrays(parts[0])}
    return replace(parts[0], rows=sum(p.rows for p in parts), **made)
