"""Task arithmetic: add, negate and combine task vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

HELP = """
**Task arithmetic** adds the experts' task vectors to the base: `base + scale · Σ cₜ · τₜ`.

- A *fader* is the coefficient `cₜ` of one expert; `scale` multiplies all of them.
- A negative coefficient **negates** a task: the model forgets it. `C + B − A` is the **analogy**.
- Order of the experts has no meaning; ties do not occur.
- Official code and mergekit give the same numbers; mergekit calls `scale` *lambda* and has 1 as default.
  The paper tunes the scale on validation data; 0.3 is its value for eight tasks when there is none.
- Sums are made in float32 and rounded once, so bf16 models lose nothing on the way.
- If exactly one expert is heard and `c · scale = 1`, its bytes are copied; if all are 0, the base's.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors of the task vectors; exact."""
    return coefficients * float(params["scale"])


def _shortcut(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base if all is silent, the expert if it alone enters with factor 1."""
    heard = [t for t, w in enumerate(weights) if w * float(params["scale"]) != 0]
    if not heard:
        return -1
    return heard[0] if len(heard) == 1 and weights[heard[0]] * float(params["scale"]) == 1 else None


@merge_method(
    id="task_arithmetic",
    title="Task arithmetic",
    family="linear",
    summary="Adds the scaled task vectors of the experts to the base.",
    paper="Ilharco et al. 2023, Editing Models with Task Arithmetic",
    space="delta",
    params=[
        Param("scale", 0.3, help="Multiplies the sum of all task vectors.", low=-5.0, high=5.0, live="linear"),
    ],
    live="linear",
    host=True,
    reproducibility="A",
    coefficient_help="Multiplies the expert's task vector; negative values negate the task.",
    help=HELP,
    shortcut=_shortcut,
    effective=_effective,
)
def task_arithmetic(deltas: Sequence[Tensor], weights: Sequence[float], *, scale: float) -> Tensor:
    """Add up: scale * sum_t c_t tau_t.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        scale: Common factor.

    Returns:
        The merged task vector (n,).
    """
    return steps.ops.times(steps.reduce.weighted_sum(deltas, weights), scale)
