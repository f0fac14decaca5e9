"""MetaGPT: task arithmetic with coefficients from the sizes of the task vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import View

HELP = """
**MetaGPT** needs no search for coefficients: each task vector counts by its share of all squared norms,
`λₜ = ‖τₜ‖² / Σ ‖τₖ‖²`, and the result is `base + Σ cₜ · λₜ · τₜ`. The coefficients minimise an upper bound of
the mean loss if task vectors are at right angles and losses are nearly quadratic.

- A *fader* `cₜ` multiplies what the expert adds, after `λₜ` was found; 1 everywhere is the paper's sum. An
  expert whose faders are all 0 takes no part in the shares.
- *Norm scope* **model** measures each task vector as a whole, as paper and code do; **tensor** gives each
  tensor shares of its own. Then a small change in a quiet layer is not drowned out; no paper has tested it.
- The code measures in float32 over all tensors at once; Mixdown adds in float64, to the same numbers.
- Where all task vectors are 0 so is the result.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""


def _survey(view: View, *, norm_scope: str) -> tuple[float, ...] | None:
    """Shares of the squared norms of the whole model."""
    return _shares(view) if norm_scope == "model" else None


def _measure(view: View, *, norm_scope: str, stats: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Shares of the squared norms of one tensor, for the scope tensor; else what the survey found."""
    return _shares(view) if norm_scope == "tensor" else stats


def _shares(view: View) -> tuple[float, ...]:
    """T shares that add up to 1; zeros if all task vectors are 0."""
    squares = steps.reduce.squared_norms(view)
    total = sum(squares)
    return tuple(s / total if total else 0.0 for s in squares)


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: as if all task vectors that are heard had the same norm."""
    heard = (coefficients != 0).any(axis=1).sum()
    factors: np.ndarray = coefficients / max(int(heard), 1)
    return factors


@merge_method(
    id="metagpt",
    title="MetaGPT",
    family="linear",
    summary="Adds the task vectors, each scaled by its share of the squared norms.",
    paper="Zhou et al. 2024, MetaGPT: Merging LLMs Using Model Exclusive Task Arithmetic",
    space="delta",
    params=[
        Param("norm_scope", "model", help="Measure the whole model or each tensor.", choices=("model", "tensor")),
    ],
    live="full",
    host=True,
    reproducibility="A",
    coefficient_help="Multiplies what the expert adds, on top of its share.",
    help=HELP,
    survey=_survey,
    measure=_measure,
    effective=_effective,
)
def metagpt(deltas: Sequence[Tensor], weights: Sequence[float], *, norm_scope: str, stats: tuple[float, ...]) -> Tensor:
    """Add up: sum_t c_t lambda_t tau_t.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        norm_scope: Of what the shares are.
        stats: T shares lambda_t.

    Returns:
        The merged task vector (n,).
    """
    return steps.reduce.weighted_sum(deltas, [c * share for c, share in zip(weights, stats, strict=True)])
