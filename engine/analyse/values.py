"""What is known about the overlap of experts: counts and sums, as light numpy values (no torch).

Everything is counted exactly, group by group (layer x kind). G groups, T experts, L values of lambda, C columns
(sums of groups, chosen by a (C, G) 0/1 matrix as on the desk). Bit t of a *set* of experts is expert t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.analyse.sets import members, permuted
from engine.files.model import Group

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Columns = NDArray[Any] | None

LATTICE_LIMIT = 12
"""Most experts for which all 2^T intersections are counted."""


@dataclass(frozen=True)
class Products:
    """Inner products of the task vectors.

    Attributes:
        matrix: (G, T, T) <tau_t, tau_s>.
        base_norm: (G,) Euclidean norm of the base's weights.
    """

    matrix: Floats
    base_norm: Floats

    def norms(self, columns: Columns = None) -> Floats:
        """(C, T) Euclidean norms of the task vectors."""
        squares = np.einsum("gtt->gt", self.matrix)
        found: Floats = np.sqrt(np.maximum(_sum(squares, columns), 0.0))
        return found

    def cosine(self, columns: Columns = None) -> Floats:
        """(C, T, T) cosines of the task vectors; 0 where one of them is 0."""
        norms = self.norms(columns)
        cosine = ratio(_sum(self.matrix, columns), norms[:, :, None] * norms[:, None, :])
        return np.clip(cosine, -1.0, 1.0)

    def ordered(self, order: Sequence[int]) -> Products:
        """The same with the experts in another order."""
        return replace(self, matrix=self.matrix[:, order][:, :, order])


@dataclass(frozen=True)
class Signs:
    """Where the task vectors pull against each other. The elected sign is that of sum_t tau_t.

    Attributes:
        changed: (G, T) weights that an expert changes.
        opposed: (G, T) of these, the ones whose sign is not the elected one (a sum of 0 opposes nobody).
        mass: (G, T) sum of |tau_t|.
        opposed_mass: (G, T) the part of it that pulls against the elected sign.
        pair_both: (G, T, T) weights that both experts change.
        pair_opposed: (G, T, T) of these, the ones that they change in opposite directions.
        disputed: (G,) weights that some experts raise and others lower.
        touched: (G,) weights that any expert changes.
        summed: (G,) sum of |sum_t tau_t|.
    """

    changed: Counts
    opposed: Counts
    mass: Floats
    opposed_mass: Floats
    pair_both: Counts
    pair_opposed: Counts
    disputed: Counts
    touched: Counts
    summed: Floats

    def conflict(self, columns: Columns = None, *, weighted: bool = False) -> Floats:
        """(C, T) share of an expert's changes that go against the elected sign, plain or by magnitude."""
        if weighted:
            return ratio(_sum(self.opposed_mass, columns), _sum(self.mass, columns))
        return ratio(_sum(self.opposed, columns), _sum(self.changed, columns))

    def pair_conflict(self, columns: Columns = None) -> Floats:
        """(C, T, T) share of the weights changed by both experts that they change in opposite directions."""
        return ratio(_sum(self.pair_opposed, columns), _sum(self.pair_both, columns))

    def disputed_share(self, columns: Columns = None) -> Floats:
        """(C,) share of the changed weights that are raised by some and lowered by other experts."""
        return ratio(_sum(self.disputed, columns), _sum(self.touched, columns))

    def interference(self, columns: Columns = None) -> Floats:
        """(C,) 1 - sum_j |sum_t tau_tj| / sum_j sum_t |tau_tj|: 0 when all agree, 1 when they cancel; 0 for no change.

        That is the interference of the single weights, averaged by magnitude.
        """
        mass = _sum(self.mass, columns).sum(-1)
        return np.where(mass > 0, np.clip(1.0 - ratio(_sum(self.summed, columns), mass), 0.0, 1.0), 0.0)

    def ordered(self, order: Sequence[int]) -> Signs:
        """The same with the experts in another order."""
        moved = {n: getattr(self, n)[:, order] for n in ("changed", "opposed", "mass", "opposed_mass")}
        pairs = {n: getattr(self, n)[:, order][:, :, order] for n in ("pair_both", "pair_opposed")}
        return replace(self, **moved, **pairs)


@dataclass(frozen=True)
class Roles:
    """To how many tasks the weights of C columns matter, as shares that add up to 1.

    Attributes:
        catastrophic: (C,) in no mask.
        selfish: (C, T) in the mask of this expert only.
        shared: (C,) in the masks of 2 to T - 1 experts.
        universal: (C,) in all masks.
    """

    catastrophic: Floats
    selfish: Floats
    shared: Floats
    universal: Floats


@dataclass(frozen=True)
class Masks:
    """TALL masks |tau_t| > lambda |tau_multi - tau_t| for several lambda, counted.

    Attributes:
        strictness: (L,) the values of lambda.
        active: (L, G, T + 1) weights that are in exactly n masks, n = 0 ... T.
        pairs: (L, G, T, T) weights that are in both masks; the diagonal is the size of each mask.
        selfish: (L, G, T) weights that are in this mask only (all of the mask for one expert).
        lattice: (L, G, 2^T) weights that are in exactly this set of masks; None for more than `LATTICE_LIMIT` experts.
        frozen: (G,) weights of tensors that no expert changes; they are all in no mask.
    """

    strictness: Floats
    active: Counts
    pairs: Counts
    selfish: Counts
    lattice: Counts | None
    frozen: Counts

    def level(self, strictness: float) -> int:
        """Index of the measured lambda that is nearest."""
        return int(np.abs(self.strictness - strictness).argmin())

    def density(self, level: int, columns: Columns = None, *, frozen: bool = True) -> Floats:
        """(C, T) share of the weights that each mask holds."""
        return ratio(_diagonal(_sum(self.pairs[level], columns)), self._sizes(level, columns, frozen)[:, None])

    def jaccard(self, level: int, columns: Columns = None) -> Floats:
        """(C, T, T) |a and b| / |a or b| of all pairs of masks; 0 for two empty masks."""
        both = _sum(self.pairs[level], columns)
        sizes = _diagonal(both)
        return ratio(both, sizes[:, :, None] + sizes[:, None, :] - both)

    def roles(self, level: int, columns: Columns = None, *, frozen: bool = True) -> Roles:
        """Shares of the roles; `frozen` says whether tensors that no expert changes count as catastrophic."""
        active, own = _sum(self.active[level], columns), _sum(self.selfish[level], columns)
        sizes = self._sizes(level, columns, frozen)
        unused = active[:, 0] - (0 if frozen else _sum(self.frozen, columns))
        last = active.shape[1] - 1
        universal = active[:, last] if last > 1 else np.zeros_like(unused)
        return Roles(
            ratio(unused, sizes),
            ratio(own, sizes[:, None]),
            ratio(active[:, 2:last].sum(1), sizes),
            ratio(universal, sizes),
        )

    def kept(self, level: int, columns: Columns = None) -> Floats:
        """(C, T + 2) share of the weights that Consensus keeps for k = 0 ... T + 1."""
        active = _sum(self.active[level], columns)
        above = np.concatenate([active[:, ::-1].cumsum(1)[:, ::-1], np.zeros_like(active[:, :1])], axis=1)
        return ratio(above, active.sum(1)[:, None])

    def intersections(self, level: int, columns: Columns = None, *, top: int | None = None) -> list[list[Intersection]]:
        """For every column the non-empty sets of experts, the one that owns most weights first, then by set.

        Empty lists if the lattice was not counted. The empty set (in no mask) is left out.
        """
        if self.lattice is None:
            return [[] for _ in range(1 if columns is None else len(columns))]
        found = []
        for row in _sum(self.lattice[level], columns):
            sets = np.flatnonzero(row[1:]) + 1
            order = sorted(sets.tolist(), key=lambda s: (-row[s], s))[:top]
            found.append([Intersection(s, members(s), int(row[s])) for s in order])
        return found

    def ordered(self, order: Sequence[int]) -> Masks:
        """The same with the experts in another order."""
        lattice = None if self.lattice is None else self.lattice[..., permuted(order)]
        pairs = self.pairs[:, :, order][..., order]
        return replace(self, pairs=pairs, selfish=self.selfish[..., order], lattice=lattice)

    def _sizes(self, level: int, columns: Columns, frozen: bool) -> Counts:
        sizes = _sum(self.active[level], columns).sum(1)
        made: Counts = sizes if frozen else sizes - _sum(self.frozen, columns)
        return made


@dataclass(frozen=True, slots=True)
class Intersection:
    """Weights that belong to exactly one set of masks.

    Attributes:
        bits: The set; bit t is expert t.
        experts: Its members.
        count: Number of weights.
    """

    bits: int
    experts: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Overlap:
    """All that one pass over the models tells; a part that was not asked for is None.

    Attributes:
        names: The T experts.
        groups: The G groups, in the layout's order.
        sizes: (G,) floating-point weights.
        zeros: (G, T) weights whose task vector is exactly 0.
        products: Norms and cosines.
        signs: Conflicts and interference.
        masks: TALL masks.
        share: Share of the weights that was looked at; less than 1 for an estimate from a sample.
    """

    names: tuple[str, ...]
    groups: tuple[Group, ...]
    sizes: Counts
    zeros: Counts
    products: Products | None = None
    signs: Signs | None = None
    masks: Masks | None = None
    share: float = 1.0

    def zero_share(self, columns: Columns = None) -> Floats:
        """(C, T) share of exactly-zero deltas; 1 for an empty column."""
        sizes = _sum(self.sizes, columns)[:, None]
        return np.where(sizes > 0, ratio(_sum(self.zeros, columns), sizes), 1.0)

    def by_layer(self, layers: Sequence[str]) -> NDArray[np.float64]:
        """(C, G) columns that add up the groups of each layer."""
        return np.array([[float(g.place.layer == layer) for g in self.groups] for layer in layers])

    def ordered(self, names: Sequence[str]) -> Overlap:
        """The same with the experts in the order of `names` (all of them)."""
        order = [self.names.index(name) for name in names]
        parts = {
            n: part.ordered(order) for n in ("products", "signs", "masks") if (part := getattr(self, n)) is not None
        }
        return replace(self, names=tuple(names), zeros=self.zeros[:, order], **parts)


def arrays_of(value: DataclassInstance) -> dict[str, NDArray[Any]]:
    """The arrays of one of these values by field name; those that are None are left out."""
    found: Mapping[str, Any] = {f.name: getattr(value, f.name) for f in fields(value)}
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """Above / below in float64; 0 where below is not positive."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    made: Floats = np.divide(above, below, out=np.zeros(shape), where=np.broadcast_to(below > 0, shape))
    return made


def _sum(values: NDArray[Any], columns: Columns) -> NDArray[Any]:
    """(G, ...) summed to (C, ...), integers exactly; without columns to (1, ...)."""
    if columns is None:
        total: NDArray[Any] = values.sum(0, keepdims=True)
        return total
    chosen = np.asarray(columns).astype(values.dtype)
    made: NDArray[Any] = np.tensordot(chosen, values, axes=1)
    return made


def _diagonal(values: NDArray[Any]) -> NDArray[Any]:
    """(C, T) diagonal of (C, T, T)."""
    made: NDArray[Any] = np.einsum("ctt->ct", values)
    return made
