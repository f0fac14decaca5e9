"""Parameters that differ between experts: `density@code` is the density of the expert that is called code.

In a recipe they are parameters like any other, so files, flags and undo need to know nothing about them. A kernel
gets them folded into one value. Names may also hold a place, `density[attn:3]@code`: see `engine.recipe.places`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

AT = "@"
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class PerExpert:
    """A number that some experts have for themselves.

    Attributes:
        common: For all experts that have none of their own.
        own: (name of the expert, its number), sorted.
    """

    common: float
    own: tuple[tuple[str, float], ...]

    def of(self, names: Sequence[str]) -> tuple[float, ...]:
        """The numbers of the experts of these names, in their order."""
        own = dict(self.own)
        return tuple(own.get(name, self.common) for name in names)


def key(param: str, expert: str, place: str = "") -> str:
    """What a recipe calls the parameter of one expert, or of a place ("attn:3"), or of both."""
    return param + (f"[{place}]" if place else "") + (f"{AT}{expert}" if expert else "")


@lru_cache(maxsize=4096)
def parts(name: str) -> tuple[str, str, str]:
    """Parameter, expert and place of a name in a recipe; "" where it is for all experts, or all places."""
    before, opened, rest = name.partition("[")
    if opened and AT not in before:
        place, closed, after = rest.partition("]")
        if closed and place and (not after or (after[0] == AT and len(after) > 1)):
            return before, after[1:], place
    param, _, expert = name.partition(AT)
    return param, expert, ""


def split(name: str) -> tuple[str, str]:
    """Parameter and expert of a name in a recipe; the expert is "" where it is for all."""
    return parts(name)[:2]


def is_own(name: str) -> bool:
    """Whether a name in a recipe is for one expert or place only."""
    return AT in name or "[" in name


def folded(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with those of single experts folded into one `PerExpert` each; those of places are left out."""
    if not any(map(is_own, params)):
        return dict(params)
    made = {name: value for name, value in params.items() if not is_own(name)}
    own: dict[str, list[tuple[str, float]]] = {}
    for name, value in params.items():
        param, expert, place = parts(name)
        if expert and not place and param in made:
            own.setdefault(param, []).append((expert, float(value)))
    return made | {param: PerExpert(float(made[param]), tuple(sorted(pairs))) for param, pairs in own.items()}


def for_expert(params: Mapping[str, V], expert: str) -> dict[str, V]:
    """Parameters as they are for one expert in most places."""
    found = {name: parts(name) for name in params}
    own = {p: params[n] for n, (p, whose, place) in found.items() if expert and whose == expert and not place}
    return {name: own.get(name, value) for name, value in params.items() if not is_own(name)}


def owners(names: Iterable[str]) -> set[str]:
    """Names of the experts that have a parameter of their own."""
    return {expert for _, expert in map(split, names) if expert}


def renamed(params: Iterable[tuple[str, V]], names: Mapping[str, str | None]) -> tuple[tuple[str, V], ...]:
    """A recipe's parameters after experts took other names; those of an expert that has None are left out."""
    made = []
    for name, value in params:
        param, expert, place = parts(name)
        new = names.get(expert, expert)
        if new is not None:
            made.append((key(param, new, place) if expert else name, value))
    return tuple(sorted(made, key=lambda pair: pair[0]))
