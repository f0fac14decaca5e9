"""What is selected, as the plots see it; light, so that the program can name it before a plot is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Marks:
    """Where the selection lies; the empty one marks nothing.

    Attributes:
        experts: Row indices of the experts.
        layers: Layer names.
        every_expert: Whether all experts are meant.
        every_layer: Whether all layers are meant.
        combination: The experts of exactly one set of masks, or None.
        role: Name of a role of weights ("nobody", "only", "shared", "everybody"), or "".
    """

    experts: frozenset[int] = frozenset()
    layers: frozenset[str] = frozenset()
    every_expert: bool = False
    every_layer: bool = False
    combination: frozenset[int] | None = None
    role: str = ""

    def hits(self, experts: Sequence[int]) -> bool:
        """Whether something about these experts is marked: all of them must be selected."""
        return bool(experts) and self.experts.issuperset(experts)


def runs(chosen: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of consecutive ones."""
    made: list[tuple[int, int]] = []
    for index in sorted(chosen):
        if made and made[-1][1] == index - 1:
            made[-1] = (made[-1][0], index)
        else:
            made.append((index, index))
    return made
