"""Angles between tensors, rows and columns, and the arcs and means on the sphere that follow from them.

Every method here is a weighted sum of its inputs; only the factors need the angles. So one pass for the
inner products (in float64, added in an order that chunking does not change), a little scalar arithmetic,
and one weighted sum do the work of the references' many passes over the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import acos, ceil, cos, fsum, log2, sin, sqrt
from typing import Any

import numpy as np

from engine.steps import ops
from engine.steps.ops import Array
from engine.steps.reduce import Picks, collect, product_blocks
from engine.steps.view import Chunk, View

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Matrix = list[list[float]]
Ends = Callable[[Chunk], tuple[Array, Array]]

STRAIGHT = 1e-14
"""Arcs with 1 - cos^2 of at most this are straight lines: mergekit's 1e-16 is below what float64 can tell, so that
opposite vectors would be divided by rounding errors."""

CANCELLED = 1e-7
"""A mean of unit vectors shorter than this times the sum of the weights has no direction: a length from float64 inner
products is good to 1e-8."""


@dataclass(frozen=True, slots=True)
class Cosines:
    """What was measured of the two ends of an arc.

    Attributes:
        values: (1,) of the whole tensor or (c,) of its columns; None if the kernel measures rows itself.
        note: "lerp" where the arc of a whole tensor is a straight line.
    """

    values: Numbers | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Blend:
    """The factors with which the inputs of one tensor enter the result.

    Attributes:
        factors: One for each input.
        note: "lerp" where there is no mean on the sphere and the weighted average took its place.
    """

    factors: tuple[float, ...]
    note: str = ""


def gram(view: View, picks: Picks) -> Matrix:
    """Inner products of all pairs of picked tensors over the view; (S, S), empty if there are no elements."""

    def products(chunk: Chunk) -> list[list[float]]:
        return product_blocks(picks(chunk))

    sums = collect(view.map(products))
    size = int(sqrt(2 * len(sums)))
    found: Matrix = [[0.0] * size for _ in range(size)]
    for (s, t), value in zip(combinations_with_replacement(range(size), 2), sums, strict=True):
        found[s][t] = found[t][s] = value
    return found


def row_dots(a: Array, b: Array) -> Numbers:
    """Inner product of every row: (r, c), (r, c) -> (r,), folded in halves so that only additions happen."""
    values = ops.wide(a) * ops.wide(b)
    width = values.shape[1]
    while width > 1:
        half = (width + 1) // 2
        values[:, : width - half] += values[:, half:width]
        width = half
    return np.array(ops.to_host(values[:, 0]))


def cosines(aa: Numbers, ab: Numbers, bb: Numbers, least: float = 0.0) -> Numbers:
    """Cosines from inner products, from -1 to 1; 0 where a norm is 0.

    Args:
        aa: Squared norms of one end.
        ab: Inner products.
        bb: Squared norms of the other end.
        least: Norms below this count as this.
    """
    product = np.maximum(np.sqrt(aa), least) * np.maximum(np.sqrt(bb), least)
    out = np.zeros(np.shape(ab))
    np.divide(ab, product, out=out, where=product > 0)
    return np.clip(out, -1.0, 1.0)


def whole(products: Matrix, least: float) -> Cosines:
    """The cosine between the two tensors with these inner products."""
    if not products:
        return Cosines(np.ones(1), "lerp")
    (aa, ab), (_, bb) = products
    found = cosines(np.array([aa]), np.array([ab]), np.array([bb]), least)
    return Cosines(found, "lerp" if 1 - found[0] ** 2 <= STRAIGHT else "")


def row_cosines(a: Array, b: Array, least: float = 0.0) -> Numbers:
    """Cosine of every pair of rows: (r, c), (r, c) -> (r,)."""
    return cosines(row_dots(a, a), row_dots(a, b), row_dots(b, b), least)


def column_cosines(view: View, ends: Ends, width: int, least: float) -> Numbers:
    """Cosine of every column of a tensor with rows of `width` elements: (width,).

    Columns are scaled by a power of two to at most 1 and their products rounded to a grid so coarse that
    every sum is exact; so it does not matter where chunks begin. Two passes over the view.
    """

    def peaks(chunk: Chunk) -> list[Numbers]:
        return [_peak(_as_rows(x, chunk.span.start, width)) for x in ends(chunk)]

    largest = [np.zeros(width), np.zeros(width)]
    for found in view.map(peaks):
        largest = [np.maximum(old, new) for old, new in zip(largest, found, strict=True)]
    exponents = [np.maximum(np.frexp(peak)[1], -1000) for peak in largest]
    grid = 2.0 ** (52 - ceil(log2(max(view.numel / width, 1))))

    def products(chunk: Chunk) -> list[Numbers]:
        pairs = zip(ends(chunk), exponents, strict=True)
        a, b = (_as_rows(x, chunk.span.start, width) * _beside(np.ldexp(1.0, -e), x) for x, e in pairs)
        return [_on_grid(x * y * grid) / grid for x, y in ((a, a), (a, b), (b, b))]

    sums = [np.zeros(width) for _ in range(3)]
    for found in view.map(products):
        sums = [old + new for old, new in zip(sums, found, strict=True)]
    ea, eb = exponents
    return cosines(np.ldexp(sums[0], 2 * ea), np.ldexp(sums[1], ea + eb), np.ldexp(sums[2], 2 * eb), least)


def _beside(numbers: Numbers, values: Array) -> Array:
    """The numbers where `_as_rows` leaves these values."""
    return ops.from_host(numbers, like=ops.to_host(values) if ops.is_on_cpu(values) else values)


def _as_rows(values: Array, start: int, width: int) -> Array:
    """(n,) elements from flat index `start` on as float64 rows (r, width), filled up with zeros; numpy on the CPU."""
    lead = start % width
    ends = lead, -(lead + len(values)) % width
    if ops.is_on_cpu(values):
        padded: Any = np.pad(ops.to_host(ops.wide(values)), ends)
    else:
        import torch

        padded = torch.nn.functional.pad(ops.wide(values), ends)
    rows: Array = padded.reshape(-1, width)
    return rows


def _peak(rows: Any) -> Numbers:
    """The largest magnitude of each column: (r, c) to (c,)."""
    return ops.to_host(abs(rows).max(axis=0) if ops.is_host(rows) else rows.abs().amax(0))


def _on_grid(rows: Any) -> Numbers:
    """Sum of each column's numbers, rounded to whole ones: (r, c) to (c,)."""
    return ops.to_host(np.rint(rows).sum(axis=0) if ops.is_host(rows) else rows.round().sum(0))


def arcs(cosine: Numbers, t: float) -> tuple[Numbers, Numbers]:
    """The factors of both ends at position `t` of arcs with these cosines; (1 - t, t) where they are straight."""
    straight = 1 - cosine * cosine <= STRAIGHT
    angle = np.arccos(np.where(straight, 0.0, cosine))
    one, other = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
    return np.where(straight, 1 - t, one), np.where(straight, t, other)


def blend(a: Array, b: Array, factors: tuple[Numbers, Numbers], *, by_row: bool = False) -> Array:
    """factors[0] * a + factors[1] * b of (r, c) tensors; the factors are for all, for rows or for columns."""
    one, other = (narrowed(f, like=a) for f in factors)
    if by_row:
        one, other = one[:, None], other[:, None]
    blended = a * one
    blended += b * other
    return blended


def narrowed(factors: Numbers, like: Array) -> Array:
    """Factors in the dtype of what they multiply, and beside it: (n,)."""
    wide = ops.is_wide(like)
    return ops.from_host(factors if wide else factors.astype(np.float32), like=like)


def toward_mean(products: Matrix, weights: Sequence[float], tiny: float) -> Blend:
    """The weighted mean of the directions, at the weighted mean of the norms (Multi-SLERP).

    Args:
        products: (S, S) inner products of the inputs.
        weights: S shares.
        tiny: Added to norms; a mean direction shorter than this is none, then the weighted average is taken.
    """
    norms = [sqrt(row[s]) for s, row in enumerate(products)]
    units = [w / (norm + tiny) for w, norm in zip(weights, norms, strict=True)]
    length = sqrt(max(0.0, _square(products, units)))
    if length < max(tiny, CANCELLED * fsum(map(abs, weights))):
        return Blend(tuple(weights), "lerp")
    size = fsum(w * norm for w, norm in zip(weights, norms, strict=True)) / length
    return Blend(tuple(u * size for u in units))


def karcher(products: Matrix, shares: Sequence[float], rounds: int, tolerance: float) -> Blend:
    """The Karcher mean of the directions, at the weighted mean of the norms.

    Args:
        products: (S, S) inner products of the inputs.
        shares: S weights that add up to 1.
        rounds: Most steps of the iteration.
        tolerance: Shorter steps and norms, and smaller angles, count as 0.

    Returns:
        Factors of the inputs; all 0 if all inputs are.
    """
    norms = [sqrt(row[s]) for s, row in enumerate(products)]
    valid = [s for s, norm in enumerate(norms) if norm > tolerance]
    total = fsum(shares[s] for s in valid)
    if not valid or total == 0:
        return Blend(tuple(shares), "lerp" if valid else "")
    alphas = [shares[s] / total for s in valid]
    units = [[products[s][t] / (norms[s] * norms[t]) for t in valid] for s in valid]
    mean = _iterate(units, alphas, rounds, tolerance)
    size = fsum(share * norm for share, norm in zip(shares, norms, strict=True))
    factors = dict(zip(valid, (m * size / norms[s] for m, s in zip(mean, valid, strict=True)), strict=True))
    return Blend(tuple(factors.get(s, 0.0) for s in range(len(norms))))


def _iterate(units: Matrix, alphas: Sequence[float], rounds: int, tolerance: float) -> list[float]:
    """The Karcher mean as factors of unit vectors whose inner products are `units`."""
    length = sqrt(max(0.0, _square(units, alphas)))
    first = [1.0] + [0.0] * (len(alphas) - 1)
    mean = first if length < tolerance else [a / length for a in alphas]
    for _ in range(rounds):
        step = _tangent(units, mean, alphas, tolerance)
        length = sqrt(max(0.0, _square(units, step)))
        if length < tolerance:
            break
        mean = [cos(length) * m + sin(length) * v / length for m, v in zip(mean, step, strict=True)]
        norm = sqrt(max(0.0, _square(units, mean)))
        mean = [m / norm for m in mean] if norm > tolerance else mean
    return mean


def _tangent(units: Matrix, mean: Sequence[float], alphas: Sequence[float], tolerance: float) -> list[float]:
    """The mean of the logarithms at `mean`, as factors of the unit vectors; opposite ones have none."""
    step, along = [0.0] * len(alphas), 0.0
    for t, alpha in enumerate(alphas):
        dot = max(-1.0, min(1.0, fsum(u * m for u, m in zip(units[t], mean, strict=True))))
        angle = acos(dot)
        if angle < tolerance or sin(angle) < STRAIGHT**0.5:
            continue
        step[t] = alpha * angle / sin(angle)
        along += step[t] * dot
    return [v - along * m for v, m in zip(step, mean, strict=True)]


def _square(products: Matrix, factors: Sequence[float]) -> float:
    """Squared norm of the sum of the inputs with these factors."""
    terms = (x * y * products[s][t] for s, x in enumerate(factors) for t, y in enumerate(factors))
    return fsum(terms)
