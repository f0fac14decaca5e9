"""Leaving out weights by role after any method: those that matter to no task, to one, to some or to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine import steps
from engine.recipe.per_expert import split

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Dropped:
    """The roles whose weights keep the base's values.

    Attributes:
        nobody: Weights in no mask.
        only: Weights in one mask, whoever's, except for the experts of `only_of`.
        only_of: (name of an expert, whether weights in its mask alone are left out).
        shared: Weights in the masks of 2 to T - 1 experts.
        everybody: Weights in all masks of two experts or more.
        strictness: lambda of the masks.
    """

    nobody: bool = False
    only: bool = False
    only_of: tuple[tuple[str, bool], ...] = ()
    shared: bool = False
    everybody: bool = False
    strictness: float = 0.4

    @property
    def is_active(self) -> bool:
        """Whether anything is left out at all."""
        return self.nobody or self.only or any(v for _, v in self.only_of) or self.shared or self.everybody

    def drops_only(self, name: str) -> bool:
        """Whether weights in the mask of this expert alone are left out."""
        return dict(self.only_of).get(name, self.only)


def dropped(params: Mapping[str, Any]) -> Dropped:
    """What a method's parameters (see `engine.methods.spec.POST`) leave out.

    Args:
        params: Parameters of a recipe or plan; absent ones leave out nothing.
    """
    own = [(split(name)[1], bool(value)) for name, value in params.items() if split(name)[0] == "drop_only"]
    return Dropped(
        nobody=bool(params.get("drop_nobody", False)),
        only=dict(own).get("", False),
        only_of=tuple(sorted(pair for pair in own if pair[0])),
        shared=bool(params.get("drop_shared", False)),
        everybody=bool(params.get("drop_everybody", False)),
        strictness=float(params.get("drop_lambda", 0.4)),
    )


def lost(deltas: Sequence[Tensor], weights: Sequence[float], names: Sequence[str], roles: Dropped) -> Tensor:
    """Where the merged task vector must become 0.

    The masks are those of TALL (Wang et al. 2024) of the task vectors as they are, among the experts that are heard
    in the tensor: faders do not change whom a weight matters to, only whether an expert counts.

    Args:
        deltas: T task vectors (n,).
        weights: T coefficients; experts with 0 do not count.
        names: T names of the experts.
        roles: What is left out.

    Returns:
        (n,) of booleans.
    """
    import torch

    heard = [(x, name) for x, w, name in zip(deltas, weights, names, strict=True) if w != 0]
    if not heard:
        return torch.zeros_like(deltas[0], dtype=torch.bool)
    multi = steps.reduce.total([x for x, _ in heard])  # (n,)
    masks = [steps.masks.tall_mask(x, multi, roles.strictness) for x, _ in heard]
    counts = steps.reduce.total(masks)  # (n,)
    gone = counts == 0 if roles.nobody else torch.zeros_like(counts, dtype=torch.bool)
    for mask, (_, name) in zip(masks, heard, strict=True):
        if roles.drops_only(name):
            gone |= (counts == 1) & (mask == 1)
    if roles.shared:
        gone |= (counts > 1) & (counts < len(heard))
    if roles.everybody and len(heard) > 1:
        gone |= counts == len(heard)
    return gone
