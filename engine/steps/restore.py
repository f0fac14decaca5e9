"""Giving a thinned task vector the norm back that it had, tensor by tensor, as mergekit does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import fsum, sqrt
from typing import TYPE_CHECKING, Literal

from engine.steps.ops import Array
from engine.steps.reduce import dot_blocks, size_blocks

if TYPE_CHECKING:
    from engine.steps.view import Chunk, View

Norm = Literal["l1", "l2", "linf"]
TINY = 1e-7
"""Norms below this are left as they are, as in mergekit."""

Factors = dict[str, tuple[float, ...]]
"""For each tensor, T factors."""


def factors(view: View, thinned: Callable[[Chunk], Sequence[Array]], norm: Norm = "l1") -> Factors:
    """By which factor each expert's thinned tensors must grow to have their former norm.

    Args:
        view: The whole model or one tensor, in pieces that start at block borders.
        thinned: Chunk to T thinned task vectors (n,).
        norm: "l1", "l2" or "linf".

    Returns:
        For each tensor of the view T factors; 1 where a norm is below 1e-7.
    """

    def measured(chunk: Chunk) -> tuple[str, list[tuple[list[float], list[float]]]]:
        pairs = zip(chunk.deltas, thinned(chunk), strict=True)
        return chunk.span.tensor, [(_parts(x, norm), _parts(y, norm)) for x, y in pairs]

    before: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(view.models)])
    after: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(view.models)])
    for name, rows in view.map(measured):
        for t, (whole, left) in enumerate(rows):
            before[name][t] += whole
            after[name][t] += left
    return {
        name: tuple(ratio(_norm(a, norm), _norm(b, norm)) for a, b in zip(before[name], after[name], strict=True))
        for name in before
    }


def ratio(before: float, after: float) -> float:
    """Former over present norm; 1 where one of them is hardly there."""
    return 1.0 if before < TINY or after < TINY else before / after


def _parts(values: Array, norm: Norm) -> list[float]:
    """What the norm of a chunk is made of, independent of how the tensor is cut."""
    if norm == "l1":
        return size_blocks(values)
    return dot_blocks(values, values) if norm == "l2" else [float(abs(values).max())]


def _norm(parts: list[float], norm: Norm) -> float:
    if norm == "linf":
        return max(parts, default=0.0)
    return fsum(parts) if norm == "l1" else sqrt(fsum(parts))
