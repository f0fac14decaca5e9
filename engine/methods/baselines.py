"""Element-wise baselines that look at whole weights: the median of the experts, or the largest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

HELP_MEDIAN = """
**Median** takes, for every weight, the median of the experts' values. A single expert that went astray cannot
pull it away, as it can pull an average. It needs no base.

- With an even number of experts it is the **lower** of the two in the middle, as in the TIES repository
  (`basic_merging`) and in torch; it is not their mean.
- A *fader* is the weight with which an expert counts: the result is the smallest value up to which the experts
  hold at least half of all faders. Equal faders give the plain median. Experts whose fader is 0 or below do
  not count; if none does, the result is the base's.
- Equal values are one value, so ties do not matter; −0 comes out as 0.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_MAGNITUDE = """
**Largest magnitude** takes, for every weight, the value of the expert in which it is largest. It is the weak
baseline of the TIES repository (`basic_merging`): it looks at whole weights, not at task vectors, so it
prefers what is large rather than what has changed. It needs no base. For task vectors see MagMax.

- A *fader* makes an expert count as more or less: `|cₜ · θₜ|` is compared, but `θₜ` is taken as it is. An expert
  at 0 does not count; if none does, the result is the base's.
- **Tie rule:** where magnitudes are equal but signs differ, the positive value is taken, so that the order
  of the experts has no meaning (the reference takes the first).

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

PAPER = "Yadav et al. 2023, TIES-Merging (baselines of the official code)"


def _effective_median(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: shares of the faders above 0, as in an average."""
    return steps.estimate.shares(coefficients.clip(min=0))


def _effective_magnitude(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: how often each expert is likely to be taken."""
    return steps.estimate.shares(abs(coefficients))


def _shortcut_median(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base if nobody counts, the expert if it alone does."""
    heard = [t for t, w in enumerate(weights) if w > 0]
    return None if len(heard) > 1 else (heard[0] if heard else -1)


def _shortcut_magnitude(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base if nobody counts, the expert if it alone does."""
    heard = [t for t, w in enumerate(weights) if w != 0]
    return None if len(heard) > 1 else (heard[0] if heard else -1)


@merge_method(
    id="median",
    title="Median",
    family="linear",
    summary="The element-wise median of the experts' weights.",
    paper=PAPER,
    space="weight",
    live="full",
    host=True,
    reproducibility="A",
    needs_base=False,
    coefficient_help="With what weight the expert counts; 0 or less leaves it out.",
    help=HELP_MEDIAN,
    shortcut=_shortcut_median,
    effective=_effective_median,
)
def median(models: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The smallest value up to which the experts hold half of all weights.

    Args:
        models: T experts' weights (n,).
        weights: T coefficients, at least one of which counts.

    Returns:
        The merged weights (n,).
    """
    heard = [(x, w) for x, w in zip(models, weights, strict=True) if w > 0]
    return steps.pointwise.lower_median([x for x, _ in heard], [w for _, w in heard])


@merge_method(
    id="magnitude",
    title="Largest magnitude",
    family="linear",
    summary="For every weight the expert's value that is largest.",
    paper=PAPER,
    space="weight",
    live="full",
    host=True,
    reproducibility="A",
    needs_base=False,
    coefficient_help="Makes the expert count as larger or smaller; 0 leaves it out.",
    help=HELP_MAGNITUDE,
    shortcut=_shortcut_magnitude,
    effective=_effective_magnitude,
)
def magnitude(models: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The value theta_t of the expert with the largest |c_t theta_t|.

    Args:
        models: T experts' weights (n,).
        weights: T coefficients, at least one of which counts.

    Returns:
        The merged weights (n,).
    """
    heard = [(x, w) for x, w in zip(models, weights, strict=True) if w != 0]
    return steps.pointwise.loudest([x for x, _ in heard], [w for _, w in heard])
