"""What a tuner declares about itself, what it is given, what it yields, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadRecipe
from engine.methods.spec import Param, Value
from engine.preview.basis import Cell, Floats
from engine.preview.outcomes import TaskRows
from engine.preview.surrogate import Estimate, Surrogate


class Bench(Protocol):
    """What a tuner works on: validation rows of one session, and the coefficients that it may change.

    Attributes:
        tasks: All K tasks of the session.
        chosen: Indices of the tasks to tune for; the others are only shown.
        start: (T, G) where it starts.
        cells: The E variables; how far each has moved from the start is one number.
        low: (E,) least move of each variable from the start (not above 0).
        high: (E,) greatest.
        seed: For whatever is drawn at random; the same seed gives the same steps.
    """

    tasks: tuple[TaskRows, ...]
    chosen: tuple[int, ...]
    start: Floats
    cells: tuple[Cell, ...]
    low: Floats
    high: Floats
    seed: int

    def point(self, moves: Floats) -> Floats:
        """(T, G) the start with each variable moved: (E,)."""

    def logits(self, point: Floats) -> list[NDArray[np.float32]]:
        """True logits (N, C) of every task; takes one evaluation."""

    def derivatives(self, point: Floats) -> Surrogate:
        """First derivatives along all variables, taken at a point; takes up to E evaluations."""

    def check(self) -> None:
        """Wait while paused; raise `Cancelled` when stopped. Ask at least every 100 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a tuner stands.

    Attributes:
        number: Counts from 0.
        point: (T, G).
        estimated: Scores of all tasks as the tuner sees them, or those that are true.
        true: The same, measured; None for steps between measurements.
        value: What is minimised, at this step.
        accepted: False for a trial that was taken back: the next step starts from the one before.
        note: One sentence for the log, or "".
    """

    number: int
    point: Floats
    estimated: tuple[Estimate, ...]
    true: tuple[Estimate, ...] | None
    value: float
    accepted: bool = True
    note: str = ""


Run = Callable[..., Iterator[Step]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuner:
    """One tuner.

    Attributes:
        id: Stable name.
        title: Name in the menu.
        summary: One sentence.
        paper: Source.
        params: Declared parameters, in panel order.
        run: `run(bench, **params)` yields steps; the last accepted one is the result.
    """

    id: str
    title: str
    summary: str
    paper: str
    run: Run
    params: tuple[Param, ...] = ()

    def complete(self, given: Mapping[str, object]) -> dict[str, Value]:
        """All parameters: the given ones checked, the others at their defaults.

        Raises:
            BadRecipe: for an unknown one; OutOfRange for a wrong value.
        """
        known = {param.name: param for param in self.params}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise BadRecipe(f"{self.title} has no parameter {unknown[0]!r}.", hint=f"It has: {', '.join(known)}.")
        return {name: p.parse(given[name]) if name in given else p.default for name, p in known.items()}


_TUNERS: dict[str, Tuner] = {}


def tuner(**declaration: Any) -> Callable[[Run], Run]:
    """Register the decorated generator as a tuner; see `Tuner` for the declaration."""

    def register(run: Run) -> Run:
        made = Tuner(run=run, **{**declaration, "params": tuple(declaration.get("params", ()))})
        if made.id in _TUNERS:
            raise ValueError(f"two tuners are called {made.id!r}")
        _TUNERS[made.id] = made
        return run

    return register


def tuners() -> dict[str, Tuner]:
    """All tuners by id, in the order in which they were declared."""
    return dict(_TUNERS)


def find_tuner(tuner_id: str) -> Tuner:
    """The tuner with this id.

    Raises:
        BadRecipe: if there is none.
    """
    if tuner_id not in _TUNERS:
        raise BadRecipe(f"There is no tuner {tuner_id!r}.", hint=f"Known: {', '.join(sorted(_TUNERS))}.")
    return _TUNERS[tuner_id]
