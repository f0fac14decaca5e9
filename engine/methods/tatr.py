"""TATR without data: task arithmetic where the task vectors hardly meet."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import View

HELP = """
**TATR** (zero-shot form) does task arithmetic in a *trust region*: weights that several experts change a lot
at once are left as the base has them. `base + scale · Σ cₜ τₜ` where `Ω = Σ |τᵢ| |τⱼ|` over all pairs is
small, the base elsewhere.

- A *fader* `cₜ` scales the expert's task vector; `Ω` looks at the untouched ones.
- *Trust* is the share of all weights that is in the region: 0.99 as in fusion_bench. Its threshold is the
  element of rank `int(d · trust)`, counted from 0, of the whole model.
- **Tie rule:** only `Ω` **below** the threshold is trusted, as in fusion_bench; weights where no two experts
  meet (`Ω` = 0) always are, so one expert alone gives task arithmetic. Trust 1 keeps everything.
- The paper's own form takes gradients on data instead of `|τᵢ|`; this one needs none.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""


def _survey(view: View, *, trust: float, scale: float) -> float:
    """The conflict from which on weights are not trusted."""
    if trust >= 1 or view.numel == 0:
        return inf
    rank = min(int(view.numel * trust), view.numel - 1) + 1
    return steps.order.order_statistics(view, [[rank]], lambda chunk: [conflict(chunk.deltas)])[0][0]


def conflict(deltas: Sequence[Tensor]) -> Tensor:
    """Sum over ordered pairs i != j of |tau_i| |tau_j|: a new tensor (n,)."""
    seen = abs(deltas[0])
    out = seen * 0.0
    for x in deltas[1:]:
        size = abs(x)
        out += size * seen
        seen += size
    return steps.ops.times(out, 2)


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: what is trusted of independent task vectors."""
    trust = float(params["trust"])

    def trusted(taus: np.ndarray) -> np.ndarray:
        sizes = abs(taus)
        omega = sizes.sum(axis=0) ** 2 - (sizes**2).sum(axis=0)
        edge = sorted(omega)[min(int(trust * len(omega)), len(omega) - 1)]
        merged: np.ndarray = taus.sum(axis=0) * ((omega < edge) | (omega < 1e-9) | (trust >= 1))
        return merged

    share = steps.guess.shares(coefficients, trusted, ("tatr", trust))
    factors: np.ndarray = coefficients * float(params["scale"]) * share
    return factors


@merge_method(
    id="tatr",
    title="TATR",
    family="sparse",
    summary="Task arithmetic that leaves out the weights over which the experts conflict most.",
    paper="Sun et al. 2025, Task Arithmetic in Trust Region (zero-shot, as in fusion_bench)",
    space="delta",
    params=[
        Param("trust", 0.99, help="Share of the weights that are merged.", low=0.0, high=1.0, live="mask", step=0.01),
        Param("scale", 0.3, help="Multiplies the sum of all task vectors.", low=-5.0, high=5.0, live="linear"),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales the expert's task vector.",
    help=HELP,
    survey=_survey,
    effective=_effective,
)
def tatr(deltas: Sequence[Tensor], weights: Sequence[float], *, scale: float, stats: float, **_: Value) -> Tensor:
    """Add up where the conflict is below the threshold.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        scale: Common factor.
        stats: The threshold.

    Returns:
        The merged task vector (n,).
    """
    omega = conflict(deltas)  # (n,)
    merged = steps.ops.times(steps.reduce.weighted_sum(deltas, weights), scale)
    return steps.ops.fill_where(merged, (omega >= stats) & (omega > 0), 0.0)
