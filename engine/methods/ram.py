"""RAM and RAM+: what only one expert changed in full, what several changed on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.view import Chunk, View

_COMMON = """
- A *fader* `cₜ` scales what the expert changed; which weights count as changed looks at its untouched task
  vector.
- *Epsilon* is the change from which on a weight counts as changed (strictly more). 1e-5 as in mergekit: with
  models that were tuned with all weights moving, raise it, or everything counts as shared.
"""

HELP_RAM = f"""
**RAM** (Reinforced Agent Merging) is made for experts tuned by reinforcement learning, which change few
weights. A weight that one expert changed takes its full change, one that several changed their average:
`base + scale · merged`.

{_COMMON.strip()}
- mergekit's `ram` gives the same numbers with *scale* 1 and faders at 1; it has no coefficients.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_PLUS = f"""
**RAM+** is RAM that makes up for averaging: what only one expert changed is multiplied by
`1 + r · clip(shared / unique, 0, alpha)`, where *shared* and *unique* count the weights that it changed
together with others and alone.

{_COMMON.strip()}
- *r* and *alpha*: 0.1 and 0.2 as in mergekit's `ramplus_tl`.
- *Counts* are taken of each tensor, as in mergekit (`ramplus_tl`, tensor-local), or of the whole model.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

EPSILON = Param("epsilon", 1e-5, help="A change above this counts.", low=0.0, high=1.0, step=1e-5, live="mask")
SCALE = Param("scale", 1.0, help="Multiplies the merged task vector.", low=-5.0, high=5.0, live="linear")


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) factors if every expert changes every weight: an average."""
    heard = (coefficients != 0).sum(axis=0).clip(1)  # (G,)
    factors: np.ndarray = coefficients * float(params["scale"]) / heard
    return factors


@merge_method(
    id="ram",
    title="RAM",
    family="sparse",
    summary="Takes changes of one expert in full and averages those that several experts share.",
    paper="Reinforced Agent Merging 2026, arXiv 2601.13572 (as in mergekit)",
    space="delta",
    params=[EPSILON, SCALE],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales what the expert changed.",
    help=HELP_RAM,
    effective=_effective,
)
def ram(deltas: Sequence[Tensor], weights: Sequence[float], *, epsilon: float, scale: float) -> Tensor:
    """Average of the changes above epsilon.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        epsilon: Change to exceed.
        scale: Common factor.

    Returns:
        The merged task vector (n,).
    """
    kept = steps.reduce.scaled(_changed(deltas, epsilon), weights)  # T x (n,)
    return steps.ops.times(steps.disjoint.merge(kept, None, "mean", weights), scale)


def _changed(deltas: Sequence[Tensor], epsilon: float) -> list[Tensor]:
    """T task vectors (n,) with 0 where the change is not above epsilon."""
    return steps.trim.trim_all(deltas, [steps.trim.Cut(epsilon)] * len(deltas))


def _survey(view: View, *, counts: str, epsilon: float, r: float, alpha: float, **_: Value) -> tuple[float, ...] | None:
    """Boosts from counts of the whole model."""
    return _boosts(view, epsilon, r, alpha) if counts == "model" else None


def _measure(
    view: View, *, counts: str, epsilon: float, r: float, alpha: float, stats: tuple[float, ...] | None, **_: Value
) -> tuple[float, ...] | None:
    """Boosts from counts of one tensor, or those of the whole model."""
    return _boosts(view, epsilon, r, alpha) if counts == "tensor" else stats


def _whole(params: Mapping[str, Value]) -> set[str]:
    """What the pass over the whole model depends on."""
    return {"counts"} | ({"epsilon", "r", "alpha"} if params["counts"] != "tensor" else set())


def _boosts(view: View, epsilon: float, r: float, alpha: float) -> tuple[float, ...]:
    """T factors of what only one expert changed."""

    def count(chunk: Chunk) -> list[tuple[int, int]]:
        changed = [steps.pointwise.present(x) for x in _changed(chunk.deltas, epsilon)]
        crowd = steps.reduce.total(changed)  # (n,)
        several, one = crowd > 1, crowd == 1
        count = steps.ops.count_nonzero
        return [(count((c != 0) & several), count((c != 0) & one)) for c in changed]

    shared, unique = [0] * view.models, [0] * view.models
    for part in view.map(count):
        shared = [a + b for a, (b, _) in zip(shared, part, strict=True)]
        unique = [a + b for a, (_, b) in zip(unique, part, strict=True)]
    return tuple(1 + r * min(alpha, s / u if u else alpha if s else 0.0) for s, u in zip(shared, unique, strict=True))


@merge_method(
    id="ramplus_tl",
    title="RAM+",
    family="sparse",
    summary="RAM that amplifies what only one expert changed where much is shared.",
    paper="Reinforced Agent Merging 2026, arXiv 2601.13572 (tensor-local, as in mergekit)",
    space="delta",
    params=[
        EPSILON,
        Param("r", 0.1, help="Strength of the amplification.", low=0.0, high=10.0),
        Param("alpha", 0.2, help="Largest ratio of shared to unique weights that counts.", low=0.0, high=10.0),
        Param("counts", "tensor", help="Count in each tensor or in the whole model.", choices=("tensor", "model")),
        SCALE,
    ],
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales what the expert changed.",
    help=HELP_PLUS,
    survey=_survey,
    measure=_measure,
    whole=_whole,
    effective=_effective,
)
def ramplus_tl(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    epsilon: float,
    scale: float,
    stats: tuple[float, ...],
    **_: Value,
) -> Tensor:
    """Average of the changes above epsilon, those of one expert times its boost.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        epsilon: Change to exceed.
        scale: Common factor.
        stats: T boosts.

    Returns:
        The merged task vector (n,).
    """
    kept = steps.reduce.scaled(_changed(deltas, epsilon), weights)  # T x (n,)
    crowd = steps.reduce.total([steps.pointwise.present(x) for x in kept])  # (n,) how many changed it
    alone = steps.ops.differs(crowd, 1, out=steps.ops.empty_like(crowd))
    alone = 1 - alone
    merged = steps.reduce.total([x * (alone * (boost - 1) + 1) for x, boost in zip(kept, stats, strict=True)])
    merged /= steps.ops.at_least(crowd, 1, out=crowd)
    return steps.ops.times(merged, scale)
