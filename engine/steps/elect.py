"""Electing one sign for every element from trimmed task vectors that disagree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from engine.steps import ops
from engine.steps.ops import Array
from engine.steps.reduce import Picks, pick_deltas, scaled, squared_norms, total
from engine.steps.restore import Factors
from engine.steps.restore import factors as restored
from engine.steps.trim import Cut, Rule, cuts, trim_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.steps.view import Chunk, View

Election = Literal["mass", "normfrac", "normmass", "none"]


@dataclass(frozen=True, slots=True)
class Ballot:
    """The statistics that trimming and electing need of the whole model or of one tensor.

    Attributes:
        cuts: T cuts of the task vectors.
        squares: T squared norms of the trimmed and scaled task vectors; ones where the election needs none.
        fallback: Sign of elements where the votes cancel out: -1, 0 or 1.
        factors: What gives trimmed tensors their L1 norm back, for each tensor; empty if not asked for.
    """

    cuts: tuple[Cut, ...]
    squares: tuple[float, ...]
    fallback: int
    factors: Factors = field(default_factory=dict)

    def kept(self, deltas: Sequence[Array], tensor: str) -> list[Array]:
        """T trimmed task vectors (n,) of a tensor, with its norm restored if asked for."""
        left = trim_all(deltas, self.cuts)
        return scaled(left, self.factors[tensor]) if tensor in self.factors else left


def prepare(
    view: View,
    *,
    trim: Rule,
    density: float,
    elect: Election,
    deviations: float = 1.0,
    zero_sum: str = "majority",
    rescale: bool = False,
    picks: Picks = pick_deltas,
) -> Ballot:
    """Pass over the view as often as needed to fix cuts, norms and the majority sign, in this order.

    Args:
        view: The whole model, or one tensor.
        trim: Rule of `engine.steps.trim.cuts`.
        density: Share to keep.
        elect: Rule of `signs`.
        deviations: For the trim rule "std".
        zero_sum: "majority": votes that cancel out take the sign that most elements have; "positive": +1.
        rescale: Whether trimmed tensors get their former L1 norm back.
        picks: The task vectors to trim.

    Returns:
        What `signs` and `engine.steps.trim.trim_all` need.
    """
    found = cuts(view, trim, density, deviations=deviations, picks=picks)

    factors = restored(view, lambda chunk: trim_all(picks(chunk), found)) if rescale else {}
    plain = Ballot(found, (1.0,) * view.models, 1, factors)

    def kept(chunk: Chunk) -> list[Array]:
        return scaled(plain.kept(picks(chunk), chunk.span.tensor), chunk.weights)

    squares = tuple(squared_norms(view, kept)) if elect.startswith("norm") else plain.squares
    if zero_sum == "positive" or elect == "none" or view.models < 2:
        return Ballot(found, squares, 1, factors)
    majority = sum(view.map(lambda chunk: _balance(votes(kept(chunk), elect, squares))))
    return Ballot(found, squares, (majority > 0) - (majority < 0), factors)


def _balance(sign: Array) -> int:
    """How many more elements are positive than negative."""
    return ops.count_nonzero(sign > 0) - ops.count_nonzero(sign < 0)


def votes(kept: Sequence[Array], elect: Election, squares: Sequence[float]) -> Array:
    """The sign that wins each element, 0 where the votes cancel out.

    Args:
        kept: T trimmed and scaled task vectors (n,).
        elect: "mass": sign of their sum; "normmass": sign of the sum of their signed shares of the own
            squared norm; "normfrac": sign of the one with the largest such share, the first of equals.
        squares: T squared norms of the whole task vectors.

    Returns:
        (n,) of -1, 0 and 1.
    """
    if elect == "mass":
        mass = total(kept)
        return ops.sign(mass, out=mass)
    shares = [_share(x, square) for x, square in zip(kept, squares, strict=True)]
    if elect == "normmass":
        mass = total(shares)
        return ops.sign(mass, out=mass)
    best = shares[0]
    for share in shares[1:]:
        best = ops.where(abs(share) > abs(best), share, best)
    return ops.sign(best, out=best)


def _share(x: Array, square: float) -> Array:
    """Signed shares of the squared norm, (n,), as a new array."""
    if square <= 0:
        return ops.zeros_like(x)
    share = abs(x)
    share *= x
    share /= square
    return share


def signs(kept: Sequence[Array], elect: Election, ballot: Ballot) -> Array | None:
    """The elected sign of each element, with cancelled votes decided by the ballot's fallback.

    Args:
        kept: T trimmed task vectors (n,).
        elect: Who votes with what.
        ballot: The statistics of `prepare`.

    Returns:
        (n,) of -1, 0 and 1; None for the election "none".
    """
    if elect == "none":
        return None
    sign = total(kept) if elect == "mass" and ballot.fallback else votes(kept, elect, ballot.squares)
    if ballot.fallback:
        decide = ops.is_at_least if ballot.fallback > 0 else ops.is_above
        decide(sign, 0, out=sign)
        sign *= 2
        sign -= 1
    return sign
