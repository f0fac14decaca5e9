"""A curve along a fader with the scores that are drawn: made by workers, because it takes longer than a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.preview.basis import Floats
from engine.preview.curve import Curve
from engine.preview.outcomes import TaskRows

POINTS = 41


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Scores along a curve.

    Attributes:
        curve: The curve.
        amounts: (P,) where.
        scores: (K, P) score of every task there.
        nodes: (K, N) the same at the curve's nodes.
    """

    curve: Curve
    amounts: Floats
    scores: Floats
    nodes: Floats

    def of(self, task: str) -> tuple[Floats, Floats]:
        """(P,) and (N,) of one task; of the average over those of one unit where there is no such task."""
        names = [t.name for t in self.curve.tasks]
        chosen = [task] if task in names else [t.name for t in of_one_unit(self.curve.tasks)]
        rows = [names.index(name) for name in chosen]
        return self.scores[rows].mean(0), self.nodes[rows].mean(0)


def of_one_unit(tasks: Sequence[TaskRows]) -> tuple[TaskRows, ...]:
    """Tasks whose mean means something: those in percent if there are any, else those of the first one's metric."""
    shares = tuple(t for t in tasks if t.measure.unit == "%")
    return shares or tuple(t for t in tasks if t.metric == tasks[0].metric)


def draw(curve: Curve) -> Drawn:
    """The scores along a curve; some milliseconds for every task."""
    amounts: Floats = np.linspace(*curve.range, POINTS)
    return Drawn(curve, amounts, curve.table(amounts), curve.table(curve.amounts))
