"""Eight examples of a task whose predictions flip visibly as faders move. Light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.preview.basis import Floats
from engine.preview.outcomes import softmax
from engine.preview.surrogate import Surrogate

Change = Literal["right", "wrong", "changed"]
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the strip.

    Attributes:
        row: Position in the task's split; `engine.preview.examples` gets its picture or tokens.
        label: Right class, as an index.
        predicted: Predicted class at the point shown.
        before: Predicted class at the reference.
        probability: Probability of the predicted class.
        change: "right" or "wrong" now; "changed" if it is wrong in another way than before.
        flipped: Whether the prediction differs from the one at the reference.
    """

    row: int
    label: int
    predicted: int
    before: int
    probability: float
    change: Change
    flipped: bool


def choose(surrogate: Surrogate, task: str, count: int = SHOWN) -> NDArray[np.int64]:
    """Rows (indices into the task's rows) that are nearest to flipping along any known direction.

    A row is rated by how little a coefficient must move, at the fastest, until another class wins; half of the rows
    shown are right now and half wrong, as far as there are any.
    """
    index = next(i for i, rows in enumerate(surrogate.tasks) if rows.name == task)
    rows, start = surrogate.tasks[index], sum(t.size for t in surrogate.tasks[:index])
    logits = surrogate.split(surrogate.logits)[index]
    everyone = np.arange(len(rows.labels))
    best = logits.argmax(1)
    rival = np.where(best == rows.labels, _second(logits, best), rows.labels)
    margin = logits[everyone, best] - logits[everyone, rival]
    known = surrogate.has_first
    table = surrogate.first[known, start : start + rows.size].reshape(-1, *logits.shape)
    speed = np.zeros(len(everyone))
    for slope in table:  # one direction at a time, to stay small
        speed = np.maximum(speed, np.abs(slope[everyone, best].astype(np.float32) - slope[everyone, rival]))
    order = np.argsort(margin / np.maximum(speed, 1e-9), kind="stable")
    right = best[order] == rows.labels[order]
    half = count // 2
    chosen = [*order[right][:half], *order[~right][: count - half]]
    chosen += [row for row in order if row not in chosen][: count - len(chosen)]
    return np.array(sorted(chosen, key=list(order).index), np.int64)


def strip(surrogate: Surrogate, task: str, point: Floats, chosen: NDArray[np.int64]) -> tuple[Example, ...]:
    """How the chosen rows stand at a point."""
    index = next(i for i, rows in enumerate(surrogate.tasks) if rows.name == task)
    rows = surrogate.tasks[index]
    before = surrogate.split(surrogate.logits)[index][chosen].argmax(1)
    logits = surrogate.split(surrogate.at(point))[index][chosen]
    chances, found = softmax(logits), []
    for place, row in enumerate(chosen):
        label, now, then = int(rows.labels[row]), int(logits[place].argmax()), int(before[place])
        change: Change = "right" if now == label else "changed" if now != then and then != label else "wrong"
        chance = float(chances[place, now])
        found.append(Example(int(rows.rows[row]), label, now, then, chance, change, now != then))
    return tuple(found)


def _second(logits: NDArray[np.float32], best: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the class that comes second."""
    lowered = logits.copy()
    lowered[np.arange(len(best)), best] = -np.inf
    made: NDArray[np.int64] = lowered.argmax(1)
    return made
