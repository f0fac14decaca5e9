"""Magnitude pruning of task vectors, and magnitude masks that restore one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.restore import Factors
    from engine.steps.trim import Cut
    from engine.steps.view import Chunk, Span, View

HELP_PRUNE = """
**Magnitude pruning** keeps the largest elements of each task vector and adds them: `base + scale · Σ cₜ τ̂ₜ`.
It is TIES without the election of signs, and the baseline of many papers.

- A *fader* `cₜ` scales what is kept of its expert; the choice looks at the untouched task vector.
- *Density* is the share that is kept. *Trim scope* model ranks the whole model as in the TALL-masks code,
  which keeps `int(d · density) + 1` elements; tensor ranks each tensor for itself as PEFT
  (`magnitude_prune`) and mergekit do, which keep `int(n · density)` but at least one.
- **Tie rule:** every element that ties with the smallest one kept is kept, too; PEFT and mergekit keep an
  arbitrary choice of them.
- *Rescale* gives every pruned tensor its former norm back: `l1`, `l2` or `linf` as in mergekit, or by dividing
  by the `density` as in MergeLM's baseline; `none` is what the papers do.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_MASK = """
**Magnitude masking** restores one task from the sum of all: `base + scale · mask · Σ cₜ τₜ`, where the mask is
where the chosen *task*'s own task vector is largest. It is the baseline that TALL masks are compared with; the
result is a model for that task alone.

- A *fader* `cₜ` scales the expert's task vector in the sum. The mask looks at the untouched one.
- *Density* is the share of the whole model that the mask holds: 0.1 in the official code.
- **Tie rule:** as in the official code `int(d · density) + 1` largest magnitudes and all that tie with the
  smallest one kept; if that is 0, the mask holds everything. Density 0 keeps nothing, 1 everything.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

Pruned = tuple[tuple["Cut", ...], "Factors"]
"""T cuts, and factors of each tensor where norms are restored."""


def _survey_prune(view: View, *, trim_scope: str, **params: Any) -> Pruned | None:
    """Cuts and norms of the whole model, for the scope model."""
    return _prune(view, "topk", **params) if trim_scope == "model" else None


def _measure_prune(view: View, *, trim_scope: str, stats: Pruned | None, **params: Any) -> Pruned | None:
    """The same of one tensor, for the scope tensor; else what the survey found."""
    return _prune(view, "count", **params) if trim_scope == "tensor" else stats


def _prune(view: View, rule: Any, *, density: float, rescale: str, **_: Value) -> Pruned:
    """Pass over the view for the cuts, and once more for norms."""
    cuts = steps.trim.cuts(view, rule, density)

    def kept(chunk: Chunk) -> list[Tensor]:
        return steps.trim.trim_all(chunk.deltas, cuts)

    norm: Any = rescale
    return cuts, steps.restore.factors(view, kept, norm) if rescale in ("l1", "l2", "linf") else {}


def _effective_prune(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: the energy that is kept."""
    density = float(params["density"])
    grown = 1 / density if params["rescale"] == "density" and density else 1.0
    grown = steps.estimate.restored(density) if params["rescale"] == "l1" else grown
    factors: np.ndarray = coefficients * (float(params["scale"]) * steps.estimate.kept_energy(density) * grown)
    return factors


@merge_method(
    id="magnitude_prune",
    title="Magnitude pruning",
    family="sparse",
    summary="Keeps the largest elements of each task vector and adds them up.",
    paper="Wang et al. 2024 (TALL-masks code, magnitude pruning); PEFT and mergekit per tensor",
    space="delta",
    params=[
        Param("density", 0.2, help="Share of each task vector that is kept.", low=0.0, high=1.0, live="mask"),
        Param("trim_scope", "model", help="Rank the whole model or each tensor.", choices=("model", "tensor")),
        Param(
            "rescale",
            "none",
            help="Norm that every pruned tensor gets back.",
            choices=("none", "density", "l1", "l2", "linf"),
        ),
        Param("scale", 0.3, help="Multiplies the sum.", low=-5.0, high=5.0, live="linear"),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales what is kept of the expert's task vector.",
    help=HELP_PRUNE,
    survey=_survey_prune,
    measure=_measure_prune,
    effective=_effective_prune,
)
def magnitude_prune(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    density: float,
    rescale: str,
    scale: float,
    span: Span,
    stats: Pruned,
    **_: Value,
) -> Tensor:
    """Trim, restore norms, add up.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        density: Share that is kept.
        rescale: How norms are restored.
        scale: Common factor.
        span: Which tensor this is.
        stats: Cuts, and factors of the tensors.

    Returns:
        The merged task vector (n,).
    """
    cuts, factors = stats
    kept = steps.trim.trim_all(deltas, cuts)  # T x (n,)
    if span.tensor in factors:
        kept = steps.reduce.scaled(kept, factors[span.tensor])
    elif rescale == "density" and 0 < density < 1:
        kept = [x / density for x in kept]
    return steps.ops.times(steps.reduce.weighted_sum(kept, weights), scale)


def _survey_mask(view: View, *, density: float, **_: Value) -> tuple[Cut, ...]:
    """Cuts of the whole model."""
    return steps.trim.cuts(view, "topk", density)


def _effective_mask(coefficients: np.ndarray, params: Mapping[str, Value], names: Sequence[str] = ()) -> np.ndarray:
    """(T, G) estimated factors: the masked energy of the own, the density of the others."""
    row = names.index(str(params["task"])) if params["task"] in names else 0
    scale, density = float(params["scale"]), float(params["density"])
    factors: np.ndarray = coefficients * scale * density
    factors[row] = coefficients[row] * scale * steps.estimate.kept_energy(density)
    return factors


@merge_method(
    id="magnitude_mask",
    title="Magnitude mask",
    family="masks",
    summary="Restores one task from the sum of all task vectors where its own is largest.",
    paper="Wang et al. 2024, TALL-masks code (magnitude masking)",
    space="delta",
    params=[
        Param("task", "", help="The expert whose task is restored.", role="expert", live="mask"),
        Param("density", 0.1, help="Share of the model that the mask holds.", low=0.0, high=1.0, live="mask"),
        Param("scale", 1.0, help="Multiplies the masked sum.", low=-5.0, high=5.0, live="linear"),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales the expert's task vector in the sum.",
    help=HELP_MASK,
    survey=_survey_mask,
    effective=_effective_mask,
)
def magnitude_mask(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    task: str,
    scale: float,
    span: Span,
    stats: tuple[Cut, ...],
    **_: Value,
) -> Tensor:
    """Mask: scale * [|tau_task| >= limit] * sum_t c_t tau_t.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        task: Name of the expert to restore; "" is the first.
        scale: Common factor.
        span: Names of the experts.
        stats: T cuts.

    Returns:
        The merged task vector (n,).

    Raises:
        OutOfRange: if no expert that is heard has this name.
    """
    chosen = span.place(task)
    size = abs(deltas[chosen])  # (n,)
    merged = steps.ops.times(steps.reduce.weighted_sum(deltas, weights), scale)
    merged *= steps.pointwise.at_least(size, stats[chosen].limit)
    return merged
