"""The curve along one fader's range from a few true evaluations: logits interpolated, never scores. Light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.preview.basis import Cell, Floats
from engine.preview.outcomes import TaskRows
from engine.preview.surrogate import Estimate, Span, judged, split_logits

NODES = 5


def chebyshev(low: float, high: float, count: int = NODES) -> Floats:
    """(count,) Chebyshev points of the second kind, ascending; both ends are among them."""
    inner = -np.cos(np.pi * np.arange(count) / (count - 1)) if count > 1 else np.zeros(1)
    made: Floats = (low + high) / 2 + (high - low) / 2 * inner
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """True logits at some values of one fader, and what lies between them.

    Attributes:
        tasks: The K tasks.
        cell: What the fader moves.
        origin: (T, G) point at which it was pressed.
        amounts: (P,) change of the cell's coefficients at each node, ascending.
        logits: (P, M) true logits there.
        spans: How far the interval of each task's score reaches.
    """

    tasks: tuple[TaskRows, ...]
    cell: Cell
    origin: Floats
    amounts: Floats
    logits: NDArray[np.float32]
    spans: tuple[Span, ...] = ()

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest amount that may be asked for."""
        return float(self.amounts[0]), float(self.amounts[-1])

    def at(self, amount: float) -> NDArray[np.float32]:
        """(M,) interpolated logits (barycentric formula, Berrut and Trefethen 2004); clipped to the range."""
        wanted = min(max(amount, self.range[0]), self.range[1])
        gap = wanted - self.amounts
        if (np.abs(gap) < 1e-12).any():
            node: NDArray[np.float32] = self.logits[int(np.argmin(np.abs(gap)))]
            return node
        signs = np.where(np.arange(len(gap)) % 2, -1.0, 1.0)
        signs[[0, -1]] *= 0.5
        weights = (signs / gap).astype(np.float32)
        made: NDArray[np.float32] = (weights @ self.logits) / weights.sum()
        return made

    def scores(self, amount: float, *, smooth: bool = True) -> tuple[Estimate, ...]:
        """Every task's score at an amount; its loss only if it is wanted."""
        parts = split_logits(self.tasks, self.at(amount))
        exact = bool((np.abs(self.amounts - amount) < 1e-12).any())
        spans = self.spans or (None,) * len(parts)
        return tuple(
            judged(task, part, "exact" if exact else "estimate", span=span, smooth=smooth)
            for task, part, span in zip(self.tasks, parts, spans, strict=True)
        )

    def table(self, amounts: Sequence[float] | Floats) -> Floats:
        """(K, P) score of every task at some amounts: the ghost behind the fader."""
        return np.array([[score.value for score in self.scores(float(a), smooth=False)] for a in amounts]).T

    def amount(self, point: Floats) -> float | None:
        """How far along the curve a point lies; None if it is not on it or beyond its ends."""
        move = point - self.origin
        window = np.ix_(self.cell.experts, self.cell.groups)
        inside = move[window]
        along = float(inside.flat[0])
        rest = move.copy()
        rest[window] -= along
        on_line = bool((np.abs(rest) < 1e-9).all()) and self.range[0] - 1e-9 <= along <= self.range[1] + 1e-9
        return along if on_line else None
