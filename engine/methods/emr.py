"""EMR-Merging: elect one task vector, restore each task by its mask and a rescaler."""

from __future__ import annotations

from collections import defaultdict
from math import fsum, prod
from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import Chunk, Span, View

HELP = """
**EMR-Merging** elects one *unified* task vector: for every weight the sign of the mean and the largest
magnitude that has it. Each task is restored from it with its mask (where its own sign agrees) and one number:
`base + λ · mask · τ_unified`. The result is a model for the chosen *task* alone.

- A *fader* `cₜ` multiplies the expert's task vector before everything else.
- *Rescaler* is how `λ = Σ |τₜ| / Σ |mask · τ_unified|` is added up: `flat` over all weights, the formula of the
  paper and the code for 30 vision tasks; `tensor` adds the means of all tensors, so that biases count as much as
  matrices, in the code for 8 vision tasks, language models and BEiT, and in fusion_bench.
- **Tie rule:** where the mean is 0 the sign counts as −, as in the official code.
- *Scale* is 1 in the paper.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

Sums = tuple[list[list[float]], list[list[float]]]
"""Block sums of |tau_t| and of what task t's mask leaves of the unified task vector, T each."""


def _elected(taus: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The sign and the magnitude of the unified task vector: two tensors (n,)."""
    sign = steps.reduce.total(taus)
    steps.ops.is_above(sign, 0, out=sign)
    sign *= 2
    sign -= 1
    best = steps.disjoint.agreeing(taus[0], sign)
    for x in taus[1:]:
        steps.ops.larger(best, steps.disjoint.agreeing(x, sign), out=best)
    return sign, best


def _masked(tau: Tensor, sign: Tensor, best: Tensor) -> Tensor:
    """The unified magnitude where the task agrees with the sign: (n,)."""
    mask = steps.disjoint.agreeing(tau, sign)
    steps.ops.is_above(mask, 0, out=mask)
    mask *= best
    return mask


def _survey(view: View, *, rescaler: str, **_: Value) -> tuple[float, ...]:
    """One pass: lambda of every expert."""

    def sums(chunk: Chunk) -> tuple[str, int, Sums]:
        taus = steps.reduce.scaled(chunk.deltas, chunk.weights)
        sign, best = _elected(taus)
        own = [steps.reduce.block_sums(abs(x)) for x in taus]
        left = [steps.reduce.block_sums(_masked(x, sign, best)) for x in taus]
        return chunk.span.tensor, prod(chunk.span.shape), (own, left)

    blocks: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(2 * view.models)])
    sizes = {}
    for name, size, (own, left) in view.map(sums):
        sizes[name] = size if rescaler == "tensor" else 1
        for held, found in zip(blocks[name], own + left, strict=True):
            held += found
    totals = [fsum(fsum(blocks[name][i]) / sizes[name] for name in blocks) for i in range(2 * view.models)]
    pairs = zip(totals[: view.models], totals[view.models :], strict=True)
    return tuple(own / left if left else 1.0 for own, left in pairs)


def _effective(coefficients: np.ndarray, params: Mapping[str, Value], names: Sequence[str] = ()) -> np.ndarray:
    """(T, G) estimated factors: nearly all of the chosen expert's task vector, little of the others'."""

    def first(taus: np.ndarray) -> np.ndarray:
        sign = 2.0 * (taus.sum(axis=0) > 0) - 1
        mask = taus[0] * sign > 0
        best = (taus * sign).max(axis=0).clip(0) * mask
        merged: np.ndarray = sign * best * (abs(taus[0]).sum() / max(best.sum(), 1e-9))
        return merged

    row = names.index(str(params["task"])) if params["task"] in names else 0
    own, others = steps.guess.restored(coefficients, first, ("emr",))
    factors: np.ndarray = coefficients * float(params["scale"]) * others
    factors[row] = coefficients[row] * float(params["scale"]) * own
    return factors


@merge_method(
    id="emr",
    title="EMR-Merging",
    family="masks",
    summary="Restores one task from a unified task vector by a mask and a rescaler.",
    paper="Huang et al. 2024, EMR-Merging (flat rescaler)",
    space="delta",
    params=[
        Param("task", "", help="The expert whose task is restored.", role="expert", live="mask"),
        Param("rescaler", "flat", help="How the rescaler is added up.", choices=("flat", "tensor")),
        Param("scale", 1.0, help="Multiplies the restored task vector.", low=-5.0, high=5.0, live="linear"),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Multiplies the expert's task vector before the election.",
    help=HELP,
    survey=_survey,
    effective=_effective,
)
def emr(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    task: str,
    scale: float,
    span: Span,
    stats: tuple[float, ...],
    **_: Value,
) -> Tensor:
    """lambda_task * m_task * tau_unified.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        task: Name of the expert to restore; "" is the first.
        scale: Common factor.
        span: Names of the experts.
        stats: T rescalers.

    Returns:
        The merged task vector (n,).

    Raises:
        OutOfRange: if no expert that is heard has this name.
    """
    chosen = span.place(task)
    taus = steps.reduce.scaled(deltas, weights)  # T x (n,)
    sign, best = _elected(taus)
    masked = _masked(taus[chosen], sign, best)
    masked *= sign
    return steps.ops.times(masked, stats[chosen] * scale)
