"""NearSwap and passthrough: one model and, for NearSwap, a second one where it is near."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

HELP_NEARSWAP = """
**NearSwap** takes the expert's value where it is near the base's, and where it is not moves the base's value
toward it by at most *reach*: `base + c · w · τ` with `w = min(1, reach / |τ|)`. So every weight changes by
`reach` at most, whatever the expert did.

- There is one expert. The *fader* `c` multiplies what is taken.
- *Reach* is called `t` in mergekit, which has no default; its first published model used 0.0001. At 0 the
  result is the base, at a large value the expert.
- As in mergekit, changes below 0.000001 count as this when the share is computed.
- mergekit gives the same numbers. Mixdown computes in float32 and rounds once.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_PASSTHROUGH = """
**Passthrough** takes one expert as it is and multiplies its weights: `scale · c · θ`. With *scale* 1 the file's
bytes are copied. Scaling some layers or kinds with the faders is what people do to try out what they are
for; 0 gives the base's weights back, not zeros.

- There is one expert; it needs no base. The *fader* `c` multiplies the weights themselves, not the task vector.
- mergekit gives the same numbers; there *scale* is a parameter of each slice.
- Layers of several models on top of each other (a "frankenmerge") are read from mergekit's YAML: then every
  slice has its own expert, and 0 gives zeros, as there is no base.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

SMALLEST = 1e-6
"""Changes smaller than this count as this, as in mergekit."""


def _effective_nearswap(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors where all changes lie within reach: the most that can be taken."""
    factors: np.ndarray = coefficients * float(float(params["reach"]) > 0)
    return factors


@merge_method(
    id="nearswap",
    title="NearSwap",
    family="linear",
    summary="Moves every weight toward the expert's, but never further than a given reach.",
    paper="Alchemonaut 2024, QuartetAnemoi-70B (NearSwap); as in mergekit",
    space="delta",
    params=[
        Param("reach", 0.0001, help="How far a weight may move.", low=0.0, high=1.0, step=0.0001),
    ],
    live="full",
    host=True,
    reproducibility="A",
    max_experts=1,
    coefficient_help="Multiplies what is taken of the expert.",
    help=HELP_NEARSWAP,
    effective=_effective_nearswap,
)
def nearswap(deltas: Sequence[Tensor], weights: Sequence[float], *, reach: float) -> Tensor:
    """Take c * min(1, reach / |tau|) * tau.

    Args:
        deltas: The expert's task vector (n,).
        weights: Its coefficient.
        reach: How far a weight may move at coefficient 1.

    Returns:
        The merged task vector (n,).
    """
    share = steps.pointwise.near_share(deltas[0], reach, SMALLEST)  # (n,)
    share *= deltas[0]
    return steps.ops.times(share, weights[0])


def _effective_passthrough(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors of the task vector; an estimate, since the base in it is scaled, too."""
    return coefficients * float(params["scale"])


def _shortcut(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base if the fader is 0, the expert if its factor is 1."""
    if weights[0] == 0:
        return -1
    return 0 if weights[0] * float(params["scale"]) == 1 else None


@merge_method(
    id="passthrough",
    title="Passthrough",
    family="linear",
    summary="One expert as it is, its weights multiplied by a factor.",
    paper="mergekit 2023 (passthrough with scale)",
    space="weight",
    params=[Param("scale", 1.0, help="Multiplies the weights.", low=-5.0, high=5.0)],
    live="full",
    host=True,
    reproducibility="A",
    needs_base=False,
    max_experts=1,
    coefficient_help="Multiplies the expert's weights.",
    help=HELP_PASSTHROUGH,
    shortcut=_shortcut,
    effective=_effective_passthrough,
)
def passthrough(models: Sequence[Tensor], weights: Sequence[float], *, scale: float) -> Tensor:
    """Multiply: scale * c * theta.

    Args:
        models: The expert's weights (n,).
        weights: Its coefficient.
        scale: Another factor.

    Returns:
        The merged weights (n,).
    """
    return models[0] * (weights[0] * scale)
