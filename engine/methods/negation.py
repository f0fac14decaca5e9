"""Negation and analogy: task arithmetic under its names for forgetting a task and for A : B :: C : ?."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import Span

HELP_NEGATION = """
**Negation** makes the model forget what the experts do: `base − scale · Σ cₜ · τₜ`. It is task arithmetic with
the sign turned round.

- A *fader* `cₜ` says how much of the expert's task to take away; a negative one adds it instead.
- *Scale* multiplies all of them. The paper chooses it on validation data: the largest at which the tasks that
  must stay lose less than 5 %. Without such data start at 0.3, as for adding.
- Official code and mergekit (task arithmetic with negative weights) give the same numbers.
- Sums are made in float32 and rounded once. Faders at 0 give the base.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_ANALOGY = """
**Analogy** finds what relates to C as B relates to A: `base + scale · (τ_C + τ_B − τ_A)`. A model for a task
without data can be had from three related ones.

- *Subtract* names the expert A; all other experts are added. An expert that is silent is left out.
- A *fader* `cₜ` multiplies the task vector of its expert, of A as well; 1 everywhere is the paper's sum.
- *Scale* multiplies the sum. The paper chooses it on validation data; 0.3 is the value for adding without any.
- The official code has no subtraction of task vectors (its README's `C + B - A` fails); it is written there
  as a sum with a negated one, which gives the same numbers.
- Sums are made in float32 and rounded once. Faders at 0 give the base.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

SCALE = Param("scale", 0.3, help="Multiplies the sum of the task vectors.", low=-5.0, high=5.0, live="linear")
PAPER = "Ilharco et al. 2023, Editing Models with Task Arithmetic"


def _effective_negation(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors of the task vectors; exact."""
    return coefficients * -float(params["scale"])


@merge_method(
    id="negation",
    title="Negation",
    family="linear",
    summary="Takes the scaled task vectors of the experts away from the base.",
    paper=f"{PAPER} (forgetting)",
    space="delta",
    params=[SCALE],
    live="linear",
    host=True,
    reproducibility="A",
    coefficient_help="How much of the expert's task vector is taken away.",
    help=HELP_NEGATION,
    effective=_effective_negation,
)
def negation(deltas: Sequence[Tensor], weights: Sequence[float], *, scale: float) -> Tensor:
    """Take away: -scale * sum_t c_t tau_t.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        scale: Common factor.

    Returns:
        The merged task vector (n,).
    """
    return steps.ops.times(steps.reduce.weighted_sum(deltas, weights), -scale)


def _effective_analogy(coefficients: np.ndarray, params: Mapping[str, Value], names: Sequence[str] = ()) -> np.ndarray:
    """(T, G) factors of the task vectors; exact."""
    factors: np.ndarray = coefficients * float(params["scale"])
    taken = names.index(str(params["subtract"])) if params["subtract"] in names else 0
    factors[taken] *= -1
    return factors


@merge_method(
    id="analogy",
    title="Analogy",
    family="linear",
    summary="Adds the experts' task vectors and subtracts that of one: C + B − A.",
    paper=f"{PAPER} (task analogies)",
    space="delta",
    params=[Param("subtract", "", help="The expert A whose task vector is subtracted.", role="expert"), SCALE],
    live="linear",
    host=True,
    reproducibility="A",
    min_experts=2,
    coefficient_help="Multiplies the expert's task vector before it is added or subtracted.",
    help=HELP_ANALOGY,
    effective=_effective_analogy,
)
def analogy(deltas: Sequence[Tensor], weights: Sequence[float], *, subtract: str, scale: float, span: Span) -> Tensor:
    """Add and subtract: scale * (sum over all but A of c_t tau_t - c_A tau_A).

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        subtract: Name of A; "" is the first.
        scale: Common factor.
        span: Names of the experts.

    Returns:
        The merged task vector (n,).
    """
    taken = subtract or span.names[0]
    signed = [-w if name == taken else w for w, name in zip(weights, span.names, strict=True)]
    return steps.ops.times(steps.reduce.weighted_sum(deltas, signed), scale)
