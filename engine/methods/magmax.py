"""MagMax: of all task vectors, the element of largest magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

HELP = """
**MagMax** keeps, for every weight, the one task vector that changed it most: `base + scale · τ_largest`.

- A *fader* `cₜ` multiplies the task vector **before** the comparison: a louder expert wins more weights.
- **Tie rule:** of equal magnitudes the later expert wins, as in the official code; later means in the order
  of the experts' content, so that the order of the rows has no meaning.
- *Scale* is 0.5 in the paper for eight independent tasks; it was made for models tuned one after the other.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: what is left of a task vector where it is the largest."""
    share = steps.guess.shares(coefficients, steps.guess.largest, ("magmax",))
    factors: np.ndarray = coefficients * float(params["scale"]) * share
    return factors


@merge_method(
    id="magmax",
    title="MagMax",
    family="sparse",
    summary="Keeps for every weight the task vector that changed it most.",
    paper="Marczak et al. 2024, MagMax (official code)",
    space="delta",
    params=[Param("scale", 0.5, help="Multiplies the merged task vector.", low=-5.0, high=5.0, live="linear")],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Multiplies the expert's task vector before the comparison.",
    help=HELP,
    effective=_effective,
)
def magmax(deltas: Sequence[Tensor], weights: Sequence[float], *, scale: float) -> Tensor:
    """Scale * the c_t tau_t of largest magnitude, the last of equals.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        scale: Common factor.

    Returns:
        The merged task vector (n,).
    """
    heard = steps.reduce.scaled(deltas, weights)[::-1]  # the first of equals is then the last
    return steps.ops.times(steps.disjoint.merge(heard, None, "max", weights), scale)
