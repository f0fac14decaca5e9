"""Localize-and-Stitch without data: sparse task vectors, averaged where they overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.trim import Cut
    from engine.steps.view import View

HELP = """
**Localize-and-Stitch** (its dataless form) keeps the few largest elements of each task vector and stitches
them in: `base + scale · Σ cₜ mₜ τₜ / Σ mₜ`, the average where several experts keep the same weight.

- A *fader* `cₜ` scales what its expert adds. The mask `mₜ` looks at the untouched task vector.
- *Density* is the share that is kept of the whole model at once: 0.05 for language models in the paper. The
  vision script sets 0.1 but its class reads another name, so that it also runs with 0.05.
- **Tie rule:** as in the official code only elements **larger** than the `int(d · density)`-th largest are
  kept, so one fewer, and of equal magnitudes at the threshold none. Density 1 keeps everything.
- The official code leaves embeddings, the final norm and the projection out of `d`; here they count, like in
  every global method. Set their faders to 0 to leave them as they are.
- The variant that learns the masks needs data and is not this one.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""


def _survey(view: View, *, density: float, scale: float) -> tuple[Cut, ...]:
    """The magnitude to exceed, for each expert."""
    trim = steps.trim
    count = int(density * view.numel)
    if density >= 1 or count < 1:
        return (trim.KEEP_ALL if density >= 1 else trim.KEEP_NONE,) * view.models
    return tuple(trim.Cut(limit) for limit in steps.select.kth_magnitudes(view, view.numel - count + 1))


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: the energy that is kept, shared on overlaps."""
    density = float(params["density"])
    others = ((coefficients != 0).sum(axis=0) - 1).clip(0)  # (G,)
    kept = steps.estimate.kept_energy(density) / (1 + density * others)
    factors: np.ndarray = coefficients * float(params["scale"]) * kept
    return factors


@merge_method(
    id="localize_stitch",
    title="Localize-and-Stitch",
    family="sparse",
    summary="Keeps the few largest elements of each task vector and averages them where they overlap.",
    paper="He et al. 2024, Localize-and-Stitch (official code, dataless)",
    space="delta",
    params=[
        Param("density", 0.05, help="Share of each task vector that is kept.", low=0.0, high=1.0, live="mask"),
        Param("scale", 1.0, help="Multiplies the stitched task vector.", low=-5.0, high=5.0, live="linear"),
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales what the expert adds.",
    help=HELP,
    survey=_survey,
    effective=_effective,
)
def localize_stitch(
    deltas: Sequence[Tensor], weights: Sequence[float], *, scale: float, stats: tuple[Cut, ...], **_: Value
) -> Tensor:
    """Keep what exceeds the cuts, average on overlaps.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        scale: Common factor.
        stats: T cuts.

    Returns:
        The merged task vector (n,).
    """
    kept = steps.reduce.scaled(steps.trim.trim_all(deltas, stats), weights)  # T x (n,)
    return steps.ops.times(steps.disjoint.merge(kept, None, "mean", weights), scale)
