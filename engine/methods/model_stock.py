"""Model Stock: how far to go from the base to the average, from the angles between the experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.stock import Ratio
    from engine.steps.view import Chunk, Span, View

HELP = """
**Model Stock** is for fine-tunes of one base on the **same task**. It goes from the base toward their average by
`t = N · cos φ / (1 + (N − 1) · cos φ)`, where φ is the angle between task vectors: what the N experts share is
kept, what differs is noise. For experts of unlike tasks φ is near 90° and little more than the base is left.

- A *fader* `cₜ` multiplies what the expert adds, after t was found: `base + t · Σ cₜ · τₜ / N`. Experts at 0 are
  left out of the tensor; one that is heard alone is taken as it is.
- *Filter wise* measures an angle for each row (every run along the last dimension; 1-D tensors are one row)
  instead of one for the tensor.
- *Variant*: there is no official code, and the paper treats two models. **exact** averages the cosines of all
  pairs, as mergekit does, without a guard. **mergekit** has norm products below 0.000001 count as this, which
  brings t near 0 for small tensors, such as biases and those of LoRA. **fusion_bench** averages the angles
  and adds 1e-8 to the norm products.
- *Clamp* keeps t from 0 to 1: experts that point away from each other leave the base. Off (as in both codes)
  t can be negative, that is beyond the base, and very large near `cos φ = −1 / (N − 1)`; there, within 1e-6, it
  is 0 as in mergekit. The paper's geometry needs positive cosines.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size (for the variant
fusion_bench numpy's cosine and arc cosine agree to the last bit or one off).
"""


def _heard(deltas: Sequence[Tensor], weights: Sequence[float]) -> list[Tensor]:
    """The task vectors of experts whose coefficient is not 0."""
    return [x for x, w in zip(deltas, weights, strict=True) if w != 0]


def _measure(view: View, *, filter_wise: bool, variant: str, clamp: bool, **_: object) -> Ratio | None:
    """Pass over one tensor for its t; None if the kernel measures rows itself."""
    if filter_wise:
        return None

    def picks(chunk: Chunk) -> list[Tensor]:
        return _heard(chunk.deltas, chunk.weights)

    return steps.stock.of_tensor(view, picks, variant, clamp=clamp)


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: as if all experts stood at 60° to each other."""
    heard = (coefficients != 0).sum(axis=0).clip(min=1)  # (G,)
    factors: np.ndarray = coefficients / (1 + 0.5 * (heard - 1)) * (0.5 + 0.5 * (heard == 1))
    return factors


@merge_method(
    id="model_stock",
    title="Model Stock",
    family="spherical",
    summary="Goes from the base toward the experts' average as far as the angles between them say.",
    paper="Jang et al. 2024, Model Stock: All We Need Is Just a Few Fine-Tuned Models",
    space="delta",
    scope="rows",
    params=[
        Param("filter_wise", False, help="Measure an angle for each row instead of each tensor."),
        Param("variant", "exact", help="How angles are measured.", choices=("exact", "mergekit", "fusion_bench")),
        Param("clamp", True, help="Keep the way between the base and the average."),
    ],
    live="full",
    host=True,
    reproducibility="A",
    min_experts=2,
    coefficient_help="Multiplies what the expert adds.",
    help=HELP,
    measure=_measure,
    effective=_effective,
)
def model_stock(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    filter_wise: bool,
    variant: str,
    clamp: bool,
    span: Span,
    stats: Ratio | None,
) -> Tensor:
    """Go toward the mean: t * sum_t c_t tau_t / N.

    Args:
        deltas: T task vectors (r, c).
        weights: T coefficients.
        filter_wise: Whether each row has its own t.
        variant: How angles are measured.
        clamp: Whether t is kept from 0 to 1.
        span: Shape of the whole tensor.
        stats: t of the tensor, unless filter wise.

    Returns:
        The merged task vector (r, c).
    """
    heard = _heard(deltas, weights)
    total = steps.reduce.weighted_sum(deltas, weights)
    if not heard:
        return total
    if stats is not None:
        return steps.ops.times(total, stats.value / len(heard))
    width = span.shape[-1] if len(span.shape) > 1 else total.shape[1]
    rows = [x.reshape(-1, width) for x in heard]
    return steps.stock.scale_rows(total.reshape(-1, width), rows, variant, clamp=clamp).reshape(total.shape)
