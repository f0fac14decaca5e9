"""Weighted averages of the weights themselves: model soups."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING

from engine import steps
from engine.errors import OutOfRange
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

HELP = """
**Linear** averages the weights of the experts: `Σ cₜ · θₜ / Σ cₜ`. Equal faders are the plain average,
also called a *model soup*. It needs no base.

- A *fader* is the share of one expert; only ratios between faders matter while *normalise* is on.
- A tensor that an expert does not have counts as the base's.
- All faders at 0 give the base. Faders that cancel out (1 and −1) have no average and are refused;
  mergekit divides by that 0.
- *Normalise* off leaves out the division (mergekit's `normalize: false`): faders that do not add up to 1
  then scale the whole model.
- Order of the experts has no meaning; ties do not occur.
- Sums are made in float32 and rounded once. If only one expert is heard, its bytes are copied.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors of the task vectors; exact while normalised (else the base is scaled, too)."""
    return steps.estimate.shares(coefficients) if params["normalise"] else coefficients


def _shortcut(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base if all is silent, the expert if it is the only one."""
    heard = [t for t, w in enumerate(weights) if w != 0]
    if not heard:
        return -1
    return heard[0] if len(heard) == 1 and (params["normalise"] or weights[heard[0]] == 1) else None


@merge_method(
    id="linear",
    title="Linear (average)",
    family="linear",
    summary="The weighted average of the experts' weights.",
    paper="Wortsman et al. 2022, Model Soups (uniform and weighted soup)",
    space="weight",
    params=[
        Param("normalise", True, help="Divide by the sum of the coefficients.", live="linear"),
    ],
    live="linear",
    host=True,
    reproducibility="A",
    needs_base=False,
    coefficient_help="The expert's share of the average.",
    help=HELP,
    shortcut=_shortcut,
    effective=_effective,
)
def linear(models: Sequence[Tensor], weights: Sequence[float], *, normalise: bool) -> Tensor:
    """sum_t c_t theta_t, divided by sum_t c_t if `normalise`.

    Args:
        models: T experts' weights (n,).
        weights: T coefficients.
        normalise: Whether to divide.

    Returns:
        The merged weights (n,).

    Raises:
        OutOfRange: if the coefficients to divide by add up to 0.
    """
    total = fsum(weights) if normalise else 1.0
    if total == 0:
        raise OutOfRange(
            "The coefficients add up to 0, so there is no average.", hint="Change one of them or turn normalise off."
        )
    return steps.ops.divided(steps.reduce.weighted_sum(models, weights), total)
