"""The ratio of Model Stock: from the angles between task vectors to how much of their mean to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from engine.steps import ops
from engine.steps.reduce import Picks
from engine.steps.spherical import Numbers, cosines, gram, narrowed, row_dots
from engine.steps.view import View

SINGULAR = 1e-6
"""Denominators smaller than this have no ratio; then the base is kept, as in mergekit."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How far to go from the base to the mean of one tensor.

    Attributes:
        value: The ratio t.
        note: "base" where it is 0 or less: the experts of this tensor have nothing in common.
    """

    value: float
    note: str = ""


def of_tensor(view: View, picks: Picks, variant: str, *, clamp: bool) -> Ratio:
    """The ratio of one tensor; 1 for fewer than two experts. One pass over the view.

    Args:
        view: The tensor.
        picks: Which tensors of a chunk are compared.
        variant: "exact", "mergekit" or "fusion_bench".
        clamp: Whether the ratio is kept from 0 to 1.
    """
    products = gram(view, picks)
    norms = [np.array([row[t]]) for t, row in enumerate(products)]
    pairs = {(s, t): np.array([products[s][t]]) for s, t in combinations(range(len(products)), 2)}
    value = float(_ratios(norms, pairs, variant, clamp=clamp)[0]) if pairs else 1.0
    return Ratio(value, "" if value > 0 else "base")


def scale_rows(total: ops.Array, rows: Sequence[ops.Array], variant: str, *, clamp: bool) -> ops.Array:
    """Multiply every row of a sum of task vectors by its ratio over N.

    Args:
        total: (r, c) weighted sum, overwritten.
        rows: N >= 1 task vectors (r, c), the angles of whose rows count.
        variant: "exact", "mergekit" or "fusion_bench".
        clamp: Whether ratios are kept from 0 to 1.

    Returns:
        (r, c).
    """
    if len(rows) == 1:
        return total
    norms = [row_dots(x, x) for x in rows]
    pairs = {(s, t): row_dots(rows[s], rows[t]) for s, t in combinations(range(len(rows)), 2)}
    factors = _ratios(norms, pairs, variant, clamp=clamp) / len(rows)
    total *= narrowed(factors, like=total)[:, None]
    return total


def _ratios(squares: Sequence[Numbers], pairs: dict[tuple[int, int], Numbers], variant: str, *, clamp: bool) -> Numbers:
    """Ratios (r,) from squared norms and inner products of all pairs of N models, (r,) each."""
    found = np.stack([_cosine(squares[s], dot, squares[t], variant) for (s, t), dot in pairs.items()])  # (P, r)
    by_angle = variant == "fusion_bench"
    cosine: Numbers = np.cos(_mean(np.arccos(found))) if by_angle else _mean(found)
    count = len(squares)
    denominator = 1 + (count - 1) * cosine
    singular = np.abs(denominator) < SINGULAR
    ratios = np.where(singular, 0.0, count * cosine / np.where(singular, 1.0, denominator))
    return np.clip(ratios, 0.0, 1.0) if clamp else ratios


def _mean(values: Numbers) -> Numbers:
    """Mean of the rows, added in their order: (P, r) -> (r,)."""
    total = np.zeros(values.shape[1])
    for row in values:
        total = total + row
    mean: Numbers = total / len(values)
    return mean


def _cosine(aa: Numbers, ab: Numbers, bb: Numbers, variant: str) -> Numbers:
    """Cosines (r,) with the variant's guard against small norms."""
    if variant == "exact":
        return cosines(aa, ab, bb)
    product = np.sqrt(aa) * np.sqrt(bb)
    guarded = np.maximum(product, 1e-6) if variant == "mergekit" else product + 1e-8
    return np.clip(ab / guarded, -1.0, 1.0)
