"""SLERP: walk along the sphere from one model to another."""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, sin, sqrt
from typing import TYPE_CHECKING

from engine import steps
from engine.errors import OutOfRange
from engine.methods.spec import Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import Chunk, View

HELP = """
**SLERP** turns each tensor of one model into the same tensor of another along the arc between them, so that
the norm does not dip on the way.

- **One expert:** from the base (fader 0) to the expert (fader 1). **Two experts:** between them, at
  `t = c₂ / (c₁ + c₂)`; no base is needed. Values outside 0 … 1 go on along the same arc.
- The angle is measured for each whole tensor. The weights are turned, not the task vectors.
- Where the tensors point the same way or opposite ways (|cosine| above 0.9995) the result is the straight
  line, as in the reference code. Two fine-tunes of one base nearly always do: then **SLERP is the weighted
  average**, and the report says for how many tensors. A tensor of norm 0 counts as standing at a right angle.
- Opposite tensors pass through 0 at t = 0.5, as in mergekit and its source.
- mergekit and fusion_bench give the same numbers. Mixdown measures the angle in float64.
- Faders at 0 give the base. Two faders that cancel out (1 and −1) are refused.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size (the arc's two factors
come from the system's sine and arc cosine, which agree to the last bit or one off).
"""

PARALLEL = 0.9995
"""Above this |cosine| the arc is a straight line."""

TINY = 1e-8
"""A tensor of at most this norm is not divided by it, which leaves a right angle."""


@dataclass(frozen=True, slots=True)
class Angle:
    """The angle between the two ends of one tensor.

    Attributes:
        cosine: Of the angle; 0 where the norm of one end is.
        note: "lerp" where the arc is a straight line.
    """

    cosine: float
    note: str = ""


def arc(cosine: float, t: float) -> tuple[float, float]:
    """The factors of both ends at position `t`; (1 - t, t) where they are (anti)parallel."""
    if abs(cosine) > PARALLEL:
        return 1 - t, t
    angle = acos(cosine)
    return sin((1 - t) * angle) / sin(angle), sin(t * angle) / sin(angle)


def _position(weights: Sequence[float]) -> float:
    """Where on the way the result lies, from the faders of one tensor."""
    if len(weights) == 1:
        return weights[0]
    total = weights[0] + weights[1]
    if total == 0:
        raise OutOfRange("The two coefficients cancel out, so there is no place between the experts.")
    return weights[1] / total


def _ends(models: Sequence[Tensor], base: Tensor) -> tuple[Tensor, Tensor]:
    """The two tensors (n,) to walk between."""
    return (models[0], models[1]) if len(models) == 2 else (base, models[0])


def _measure(view: View, **_: Value) -> Angle:
    """Pass over one tensor for the angle between its ends."""

    def products(chunk: Chunk) -> list[list[float]]:
        return steps.reduce.product_blocks(_ends(chunk.deltas, chunk.base))

    aa, ab, bb = steps.reduce.collect(view.map(products)) or (0.0, 0.0, 0.0)
    norms = [norm if norm > TINY else 1.0 for norm in (sqrt(aa), sqrt(bb))]
    cosine = max(-1.0, min(1.0, ab / (norms[0] * norms[1])))
    return Angle(cosine, "lerp" if abs(cosine) > PARALLEL else "")


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors of the task vectors, exact where the arc is a straight line."""
    if len(coefficients) == 1:
        return coefficients
    return steps.estimate.shares(coefficients)


def _shortcut(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base or the expert at the ends of the arc."""
    heard = [t for t, w in enumerate(weights) if w != 0]
    if not heard:
        return -1
    at_end = len(heard) == 1 and (len(weights) == 2 or weights[heard[0]] == 1)
    return heard[0] if at_end else None


@merge_method(
    id="slerp",
    title="SLERP",
    family="spherical",
    summary="Walks along the arc from the base to one expert, or from one expert to another.",
    paper="Shoemake 1985; per tensor as in mergekit",
    space="weight",
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
def slerp(models: Sequence[Tensor], weights: Sequence[float], *, base: Tensor, stats: Angle) -> Tensor:
    """sin((1 - t) w) / sin(w) * a + sin(t w) / sin(w) * b for the angle w between a and b.

    Args:
        models: One or two experts' weights (n,).
        weights: Their coefficients.
        base: The base's weights (n,); the start if there is one expert.
        stats: The angle between the whole tensors.

    Returns:
        The merged weights (n,).
    """
    return steps.reduce.weighted_sum(_ends(models, base), arc(stats.cosine, _position(weights)))
