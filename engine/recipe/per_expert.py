"""Parameters that differ between experts: `density@code` is the density of the expert that is called code.

In a recipe they are parameters like any other, so files, flags and undo need to know nothing about them. A kernel
gets them folded into one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


def key(param: str, expert: str) -> str:
    """What a recipe calls the parameter of one expert."""
    return f"{param}{AT}{expert}"


def split(name: str) -> tuple[str, str]:
    """Parameter and expert of a name in a recipe; the expert is "" where it is for all."""
    param, _, expert = name.partition(AT)
    return param, expert


def folded(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with those of single experts folded into one `PerExpert` each."""
    if not any(AT in name for name in params):
        return dict(params)
    made = {name: value for name, value in params.items() if AT not in name}
    own: dict[str, list[tuple[str, float]]] = {}
    for name, value in params.items():
        param, expert = split(name)
        if expert and param in made:
            own.setdefault(param, []).append((expert, float(value)))
    return made | {param: PerExpert(float(made[param]), tuple(sorted(pairs))) for param, pairs in own.items()}


def for_expert(params: Mapping[str, V], expert: str) -> dict[str, V]:
    """Parameters as they are for one expert."""
    own = {split(name)[0]: value for name, value in params.items() if expert and split(name)[1] == expert}
    return {name: own.get(name, value) for name, value in params.items() if AT not in name}


def owners(names: Iterable[str]) -> set[str]:
    """Names of the experts that have a parameter of their own."""
    return {expert for _, expert in map(split, names) if expert}


def renamed(params: Iterable[tuple[str, V]], names: Mapping[str, str | None]) -> tuple[tuple[str, V], ...]:
    """A recipe's parameters after experts took other names; those of an expert that has None are left out."""
    made = []
    for name, value in params:
        param, expert = split(name)
        new = names.get(expert, expert)
        if new is not None:
            made.append((key(param, new) if expert else name, value))
    return tuple(sorted(made, key=lambda pair: pair[0]))
