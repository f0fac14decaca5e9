"""Metrics of the merged model from Gram matrices of the task vectors.

For every method that is linear in its coefficients the merged delta of a group is sum_t c_t tau_t, so
its norm and its cosine with every expert follow from G[t, s] = <tau_t, tau_s> exactly, in microseconds.
For other methods the same numbers are an estimate and are shown as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.files.model import Group


@dataclass(frozen=True)
class Gram:
    """Inner products of the task vectors of every layer x kind group.

    Attributes:
        groups: The G groups, in the layout's order.
        matrix: (G, T, T) float64, <tau_t, tau_s> summed over the group's tensors.
        zeros: (G, T) share of elements whose task vector is exactly 0.
        base_norm: (G,) Euclidean norm of the base's weights.
    """

    groups: tuple[Group, ...]
    matrix: np.ndarray
    zeros: np.ndarray
    base_norm: np.ndarray

    def reordered(self, order: list[int]) -> Gram:
        """The same numbers with the experts in another order (or fewer of them)."""
        return Gram(self.groups, self.matrix[:, order][:, :, order], self.zeros[:, order], self.base_norm)


@dataclass(frozen=True)
class LiveMetrics:
    """What the pinned rows of the desk show, for C columns and T experts.

    Attributes:
        change: (C,) norm of the merged delta.
        relative: (C,) that norm divided by the norm of the base's weights.
        cosine: (T, C) cosine of the merged delta with each task vector; 0 where either is 0.
        share: (T, C) part of the squared change that comes from each expert, in signed shares adding to 1;
            0 where nothing changes.
        cancelled: (C,) 1 - |sum| / sum of norms: 0 when the task vectors agree, 1 when they cancel out.
        norms: (T, C) norms of the task vectors.
    """

    change: np.ndarray
    relative: np.ndarray
    cosine: np.ndarray
    share: np.ndarray
    cancelled: np.ndarray
    norms: np.ndarray


def live_metrics(gram: Gram, factors: np.ndarray, columns: np.ndarray) -> LiveMetrics:
    """Metrics of the merged delta for every column of the desk.

    Args:
        gram: Inner products by group.
        factors: (T, G) factor with which each task vector enters, from `Method.effective`.
        columns: (C, G) 0/1 membership: which groups a column shows.

    Returns:
        The metrics; every 0/0 is 0.
    """
    matrix, weights = gram.matrix, factors.T  # (G, T, T), (G, T)
    own, norms, base = _still(gram, columns)
    pulled = np.einsum("gts,gs->gt", matrix, weights)  # <tau_t, delta> by group
    power = weights * pulled  # (G, T): what expert t adds to |delta|^2
    count = weights.shape[1]
    summed = columns @ np.concatenate((pulled, power, np.square(weights) * own), axis=1)  # (C, 3T): groups of a column
    along, shares, squares = summed[:, :count], summed[:, count : 2 * count], summed[:, 2 * count :]
    change_sq = shares.sum(1)  # (C,)
    change = np.sqrt(np.maximum(change_sq, 0.0))
    parts = np.sqrt(np.maximum(squares, 0.0)).sum(1)
    return LiveMetrics(
        change=change,
        relative=_ratio(change, base),
        cosine=_ratio(along.T, (norms * change[:, None]).T),
        share=_ratio(shares.T, np.broadcast_to(change_sq, (count, len(change)))),
        cancelled=np.clip(1.0 - _ratio(change, parts), 0.0, 1.0) * (parts > 0),
        norms=norms.T,
    )


_Still = tuple[np.ndarray, np.ndarray, np.ndarray]
_known: tuple[Gram, np.ndarray, _Still] | None = None


def _still(gram: Gram, columns: np.ndarray) -> _Still:
    """What no coefficient changes: (G, T) squared norms by group, (C, T) norms and (C,) the base's by column."""
    global _known
    known = _known
    if known is None or known[0] is not gram or known[1] is not columns:  # the same ones at every fader event
        own = np.einsum("gtt->gt", gram.matrix)
        norms = np.sqrt(np.maximum(columns @ own, 0.0))
        known = _known = gram, columns, (own, norms, np.sqrt(columns @ np.square(gram.base_norm)))
    return known[2]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Above / below, 0 where below is 0."""
    made: np.ndarray = np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
    return made
