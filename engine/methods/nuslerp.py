"""NuSLERP: SLERP of task vectors, by tensor, row or column, without SLERP's shortcut to the straight line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.spherical import Cosines
    from engine.steps.view import Chunk, Span, View

HELP = """
**NuSLERP** turns the task vector of one expert into that of another along an arc: `base + slerp(τ₁, τ₂, t)` at
`t = c₂ / (c₁ + c₂)`. Task vectors point in different directions where whole weights hardly do, so unlike SLERP
it really is spherical.

- *Faders* are the experts' shares of the way; only their ratio matters. If they cancel out (their sum is
  below 0.000001) the result lies halfway, as in mergekit. **One expert:** from the base to it at `t = c`, of
  the weights.
- *From base* off turns the weights themselves; no base is needed then, and without a base it makes no
  difference. This is what mergekit does when its `base_model` is left out.
- *Vectors* says what has an angle of its own. **tensor**: each tensor as a whole (mergekit `nuslerp_flatten:
  true`, its default). **rows**: every run along the last dimension (flatten false, `nuslerp_row_wise` false).
  **columns**: along the first (`nuslerp_row_wise` true: the flag's name in mergekit is the wrong way round).
- Where two vectors are parallel or opposite (1 − cos² ≤ 1e-16) the result is the straight line; the report
  says for how many whole tensors. There is no threshold at 0.9995 as in SLERP.
- As in mergekit a vector of norm 0 counts as standing at a right angle to the other.
- mergekit measures in the file's type, Mixdown in float64.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size (the factors of the
arcs come from numpy's sine and arc cosine, which agree to the last bit or one off before they are rounded).
"""

SHORTEST = 1e-7
"""Norms below this count as this when directions are computed, as in mergekit."""


def _position(weights: Sequence[float]) -> float:
    """Where on the way the result lies, from the faders of one tensor."""
    if len(weights) == 1:
        return weights[0]
    total = weights[0] + weights[1]
    return weights[1] / total if abs(total) >= 1e-6 else 0.5


def _ends(models: Sequence[Tensor], base: Tensor, from_base: bool) -> tuple[Tensor, Tensor]:
    """The two tensors to walk between."""
    if len(models) == 1:
        return base, models[0]
    return (models[0] - base, models[1] - base) if from_base else (models[0], models[1])


def _measure(view: View, *, vectors: str, from_base: bool, **_: object) -> Cosines:
    """Pass over one tensor for its cosine, or two passes for those of its columns."""
    spherical = steps.spherical

    def ends(chunk: Chunk) -> tuple[Tensor, Tensor]:
        return _ends(chunk.deltas, chunk.base, from_base)

    shape = next(iter(view.map(lambda chunk: chunk.span.shape)), ()) if vectors == "columns" else ()
    if vectors == "rows":
        return spherical.Cosines(None)
    if len(shape) > 1:
        return spherical.Cosines(spherical.column_cosines(view, ends, view.numel // shape[0], SHORTEST))
    products = spherical.gram(view, ends)
    return spherical.whole(products, SHORTEST)


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors of the task vectors on the straight line; the arc's are larger in the middle."""
    return coefficients if len(coefficients) == 1 else steps.estimate.shares(coefficients)


def _shortcut(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base or the expert at the ends of the arc."""
    heard = [t for t, w in enumerate(weights) if w != 0]
    if not heard:
        return -1
    at_end = len(heard) == 1 and (len(weights) == 2 or weights[heard[0]] == 1)
    return heard[0] if at_end else None


@merge_method(
    id="nuslerp",
    title="NuSLERP",
    family="spherical",
    summary="Walks along the arc from one expert's task vector to another's, by tensor, row or column.",
    paper="Goddard 2024, mergekit (NuSLERP)",
    space="weight",
    scope="rows",
    params=[
        Param("vectors", "tensor", help="What has an angle of its own.", choices=("tensor", "rows", "columns")),
        Param("from_base", True, help="Turn the task vectors rather than the weights."),
    ],
    live="full",
    host=True,
    reproducibility="A",
    needs_base=False,
    max_experts=2,
    min_models=2,
    hears_silent=True,
    coefficient=0.5,
    coefficient_help="One expert: how far from the base to it. Two: their shares of the way.",
    help=HELP,
    measure=_measure,
    shortcut=_shortcut,
    effective=_effective,
)
def nuslerp(
    models: Sequence[Tensor],
    weights: Sequence[float],
    *,
    vectors: str,
    from_base: bool,
    base: Tensor,
    span: Span,
    stats: Cosines,
) -> Tensor:
    """sin((1 - t) w) / sin(w) * a + sin(t w) / sin(w) * b for the angle w between a and b.

    Args:
        models: One or two experts' weights (r, c).
        weights: Their coefficients.
        vectors: What the angles are measured of.
        from_base: Whether a and b are task vectors.
        base: The base's weights (r, c).
        span: Shape of the whole tensor.
        stats: Cosines of the tensor or its columns.

    Returns:
        The merged weights (r, c).
    """
    spherical, t = steps.spherical, _position(weights)
    a, b = _ends(models, base, from_base)
    if stats.values is None:
        width = span.shape[-1] if len(span.shape) > 1 else a.shape[1]
        a, b = a.reshape(-1, width), b.reshape(-1, width)
        factors = spherical.arcs(spherical.row_cosines(a, b, SHORTEST), t)
        merged = spherical.blend(a, b, factors, by_row=True).reshape(base.shape)
    else:
        merged = spherical.blend(a, b, spherical.arcs(stats.values, t))
    if from_base and len(models) == 2:
        merged += base
    return merged
