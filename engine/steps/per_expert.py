"""Steps for numbers that may differ between experts: one for all, or a `PerExpert` with names.

With one number for all these are the plain steps, with the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.recipe.per_expert import PerExpert
from engine.steps import drop, ops
from engine.steps import elect as _elect
from engine.steps import trim as _trim
from engine.steps.reduce import Picks, pick_deltas, scaled
from engine.steps.restore import factors as restored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.steps.drop import MaskSource
    from engine.steps.elect import Ballot, Election
    from engine.steps.ops import Array
    from engine.steps.trim import Cut, Rule
    from engine.steps.view import Chunk, Span, View

Number = float | PerExpert


def each(value: Number, names: Sequence[str]) -> tuple[float, ...]:
    """The number of every expert.

    Args:
        value: One for all, or for each.
        names: T names in canonical order.

    Returns:
        T numbers.
    """
    return value.of(names) if isinstance(value, PerExpert) else (value,) * len(names)


def seen(value: Number, view: View) -> tuple[float, ...]:
    """The number of every model of a view.

    Args:
        value: One for all, or for each.
        view: The whole model or one tensor.

    Returns:
        T numbers.
    """
    return value.of(view.names) if isinstance(value, PerExpert) else (value,) * view.models


def is_between(value: Number, low: float = 0.0, high: float = 1.0) -> bool:
    """Whether any expert's number lies between two others, ends excluded."""
    numbers = [value.common, *(x for _, x in value.own)] if isinstance(value, PerExpert) else [value]
    return any(low < x < high for x in numbers)


def cuts(view: View, rule: Rule, densities: Sequence[float], *, deviations: float, picks: Picks) -> tuple[Cut, ...]:
    """Where to cut every expert's task vector, each at its own density; see `engine.steps.trim.cuts`.

    Args:
        view: The whole model or one tensor.
        rule: How trimming chooses.
        densities: T shares to keep.
        deviations: For the rule "std", which asks for no density.
        picks: Which tensors of a chunk to trim.

    Returns:
        T cuts. Densities after the first are answered from its sketches where the view remembers them.
    """
    by_density = {d: _trim.cuts(view, rule, d, deviations=deviations, picks=picks) for d in dict.fromkeys(densities)}
    return tuple(by_density[d][t] for t, d in enumerate(densities))


def prepare(
    view: View,
    *,
    trim: Rule,
    density: Number,
    elect: Election,
    deviations: float = 1.0,
    zero_sum: str = "majority",
    rescale: bool = False,
    picks: Picks = pick_deltas,
) -> Ballot:
    """What `engine.steps.elect.prepare` finds, with a density for each expert.

    Args:
        view: The whole model, or one tensor.
        trim: How trimming chooses.
        density: Share to keep.
        elect: How signs are elected.
        deviations: For the trim rule "std".
        zero_sum: Which sign votes that cancel out take.
        rescale: Whether trimmed tensors get their former L1 norm back.
        picks: The task vectors to trim.

    Returns:
        Cuts, norms and the majority sign.
    """
    rest: dict[str, Any] = {"elect": elect, "zero_sum": zero_sum}
    if not isinstance(density, PerExpert):
        how: dict[str, Any] = {
            "trim": trim,
            "density": density,
            "deviations": deviations,
            "rescale": rescale,
            "picks": picks,
        }
        return _elect.prepare(view, **how, **rest)
    found = cuts(view, trim, seen(density, view), deviations=deviations, picks=picks)
    grown = restored(view, lambda chunk: _trim.trim_all(picks(chunk), found)) if rescale else {}

    def kept(chunk: Chunk) -> list[Array]:
        left = _trim.trim_all(picks(chunk), found)
        return scaled(left, grown[chunk.span.tensor]) if chunk.span.tensor in grown else left

    whole = _elect.prepare(view, trim="topk", density=1.0, picks=kept, **rest)
    return _elect.Ballot(found, whole.squares, whole.fallback, grown)


def drop_all(
    deltas: Sequence[Array], span: Span, density: Number, *, rescale: bool, masks: MaskSource | None = None
) -> list[Array]:
    """Drop elements of every task vector, each at its own density; see `engine.steps.drop.drop_all`.

    Args:
        deltas: T task vectors (n,).
        span: Which elements they are.
        density: Share to keep.
        rescale: Whether to divide by the density.
        masks: Where masks come from; `bernoulli` if None.

    Returns:
        T tensors (n,); never change them in place.
    """
    if not isinstance(density, PerExpert):
        return drop.drop_all(deltas, span, density, rescale=rescale, masks=masks)
    source = masks or drop.bernoulli
    left = []
    for t, (x, share) in enumerate(zip(deltas, density.of(span.names), strict=True)):
        if 0 < share < 1:
            left.append(drop.drop(x, source(span, t, share), share, rescale=rescale))
        else:
            left.append(x if share >= 1 else ops.zeros_like(x))
    return left
