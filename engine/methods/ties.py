"""TIES: trim each task vector, elect one sign per weight, merge the experts that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import steps
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.disjoint import Merge
    from engine.steps.elect import Ballot, Election
    from engine.steps.view import Span, View

HELP = """
**TIES** removes what makes task vectors interfere. It *trims* each task vector to its largest elements,
*elects* one sign for every weight, and averages the experts that have this sign: `base + scale · mean`.

- A *fader* `cₜ` multiplies the trimmed task vector **before** the election, so a louder expert has more say
  in the sign. The mean still divides by the number of experts that agree, so `cₜ` scales what it adds.
  Trimming looks at the untouched task vector: moving a fader never changes what is trimmed.
- *Density* is the share that is kept, of the whole model at once (*trim scope* global): frozen tensors count,
  busy layers keep more than quiet ones. *Trim scope* tensor ranks each tensor for itself, as mergekit and
  PEFT do; at the same density that is a different model.
- **Tie rule:** as in the official code, `int(d · density) + 1` largest magnitudes are kept, and with them
  every element that ties with the smallest one kept. Task vectors of bf16 models have many ties, so the
  real density can be higher. Density 0 keeps nothing, density 1 everything (the official code crashes).
- **Signs that cancel out** exactly take the sign that most weights have (*zero sum* majority, one more pass
  over the files); mergekit takes +. If the majority is a draw, they count as −, as in the official code.

*The paper's values* are density 0.2, election by mass and the mean; scale 1 without validation data.
*The official code* has no coefficients. Faders at 1 give its numbers.
*Rescale* gives every trimmed tensor its former L1 norm back, as mergekit does when asked to.
*mergekit* is trim `count`, scope tensor, merge `weighted` (divides by the coefficients that agree), zero sum
positive; where magnitudes tie it keeps an arbitrary choice, Mixdown keeps all. *PEFT* elects without
coefficients.

Other trims: `std` keeps what is further than *deviations* standard deviations from the mean, `normfrac` the
largest elements that hold *density* of the squared norm (the official code also always keeps the very last
element of the model; Mixdown does not). Other elections weigh each expert by its own norm: `normmass` adds,
`normfrac` takes the largest. Merges starting with `all-` ignore who agrees and only impose the sign.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

PARAMS = (
    Param("density", 0.2, help="Share of each task vector that is kept.", low=0.0, high=1.0, live="mask", each=True),
    Param("scale", 1.0, help="Multiplies the merged task vector.", low=-5.0, high=5.0),
    Param("trim", "topk", help="How trimming chooses.", choices=("topk", "count", "std", "normfrac"), live="mask"),
    Param("trim_scope", "global", help="Rank the whole model or each tensor.", choices=("global", "tensor")),
    Param("elect", "mass", help="How a sign is elected.", choices=("mass", "normfrac", "normmass", "none")),
    Param(
        "merge",
        "mean",
        help="How the experts that agree become one.",
        choices=("mean", "weighted", "sum", "max", "all-mean", "all-sum", "all-median", "all-magnitude"),
    ),
    Param("deviations", 1.0, help="Standard deviations to exceed, for the trim std.", low=0.0, high=10.0),
    Param("zero_sum", "majority", help="Sign where votes cancel out.", choices=("majority", "positive")),
    Param("rescale", False, help="Give trimmed tensors their former L1 norm back."),
)


def _survey(view: View, *, trim_scope: str, **params: Any) -> Ballot | None:
    """Cuts, norms and majority sign of the whole model, for the global scope."""
    return _ballot(view, **params) if trim_scope == "global" else None


def _measure(view: View, *, trim_scope: str, stats: Ballot | None, **params: Any) -> Ballot | None:
    """The same of one tensor, for the scope tensor; else what the survey found."""
    return _ballot(view, **params) if trim_scope == "tensor" else stats


def _whole(params: Mapping[str, Value]) -> set[str]:
    """What the pass over the whole model depends on."""
    ranked = {"density", "trim", "elect", "deviations", "zero_sum", "rescale"}
    return {"trim_scope"} | (ranked if params["trim_scope"] != "tensor" else set())


def _ballot(view: View, *, scale: float, merge: str, **params: Any) -> Ballot:
    """Pass over the view; scale and merge do not matter to it."""
    return steps.per_expert.prepare(view, **params)


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: what trimming and averaging leave of normally distributed task vectors."""
    density = float(params["density"])
    share = steps.estimate.disjoint_share(coefficients, density, divided=params["merge"] in ("mean", "weighted"))
    grown = steps.estimate.restored(density) if params["rescale"] else 1.0
    kept = steps.estimate.kept_energy(density) * grown
    factors: np.ndarray = coefficients * (float(params["scale"]) * kept) * share
    return factors


@merge_method(
    id="ties",
    title="TIES",
    family="sparse",
    summary="Trims task vectors, elects a sign for every weight and averages the experts that agree.",
    paper="Yadav et al. 2023, TIES-Merging (official code, global trim)",
    space="delta",
    params=PARAMS,
    live="mask",
    host=True,
    reproducibility="A",
    coefficient_help="Scales the trimmed task vector before the election of signs.",
    help=HELP,
    survey=_survey,
    measure=_measure,
    whole=_whole,
    effective=_effective,
)
def ties(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float,
    elect: Election,
    merge: Merge,
    span: Span,
    stats: Ballot,
    **_: Value,
) -> Tensor:
    """Trim, elect, merge.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients.
        scale: Common factor.
        elect: How signs are elected.
        merge: How the experts that agree become one.
        span: Which tensor this is.
        stats: Cuts, norms and majority sign.

    Returns:
        The merged task vector (n,).
    """
    kept = stats.kept(deltas, span.tensor)  # T x (n,)
    for x, weight in zip(kept, weights, strict=True):
        x *= weight
    sign = steps.elect.signs(kept, elect, stats)  # (n,)
    merged = steps.disjoint.merge(kept, sign, merge, weights, decided=stats.fallback != 0, spare=True)
    return steps.ops.times(merged, scale)
