"""Levenberg-Marquardt on linearised logits: damped Gauss-Newton steps for the mean loss of chosen tasks.

The loss of a row is (1 - p^q) / q for the probability p of the right class (generalised cross-entropy, Zhang and
Sabuncu 2018): q near 0 is the cross-entropy, which a few confidently wrong rows govern; q = 1 is the expected error.
Logits are first scaled so that they say best how sure they are (Guo et al. 2017), task by task, at the start.

Metrics of anything else than classes count by minus their merit, with its Gauss-Newton matrix: nats for each token,
question or query, half the squared error as a share of the targets' variance, or 1 - r for a correlation (see
`engine.preview.outcomes` and `.curvature`). Every task counts the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.methods.spec import Param
from engine.preview import outcomes
from engine.preview.basis import Floats
from engine.preview.curvature import curvature
from engine.preview.outcomes import TaskRows, cross_entropy, softmax
from engine.preview.surrogate import Estimate, Surrogate, judged
from engine.tuners.spec import Bench, Step, tuner

_INNER, _TRIALS = 12, 3
_ENOUGH = 1e-3


@tuner(
    id="levenberg_marquardt",
    title="Levenberg-Marquardt",
    summary="Follows the outputs' derivatives to the coefficients with the least mean loss of the chosen tasks.",
    paper="Levenberg 1944, Marquardt 1963; generalised Gauss-Newton on linearised logits (Schraudolph 2002)",
    params=[
        Param("rounds", 3, help="How often derivatives are taken anew.", low=1, high=20),
        Param("reach", 0.3, help="Furthest that a coefficient moves in one round.", low=0.01, high=2.0),
        Param("focus", 0.7, help="0: cross-entropy; 1: expected share of wrong rows.", low=0.01, high=1.0),
        Param("ridge", 0.01, help="Pull back to the start; more for few rows.", low=0.0, high=10.0, step=0.01),
    ],
)
def levenberg_marquardt(bench: Bench, *, rounds: int, reach: float, focus: float, ridge: float) -> Iterator[Step]:
    """Tune; see the module.

    Each round linearises the logits where it stands, solves for the best move within `reach` by damped steps (which
    are yielded as estimates), and measures. A round that made the measured loss worse is tried again with half the
    reach; one that gains less than a thousandth is the last.

    Args:
        bench: What to tune, on which rows.
        rounds: Most linearisations.
        reach: Greatest change of a coefficient in one round.
        focus: The loss's q.
        ridge: Half of it times the mean square move is added to the loss.
    """
    here, number = np.zeros(len(bench.cells)), 0
    logits = bench.logits(bench.start)
    scales = tuple(_scale(part, task) for part, task in zip(logits, bench.tasks, strict=True))
    problem = _Problem(bench, focus, ridge, scales)
    value = problem.value(logits, here)
    yield _step(bench, 0, bench.start, logits, value, "The start.", measured=True)
    for turn in range(rounds):
        surrogate = bench.derivatives(bench.point(here))
        trust, gained = reach, 0.0
        for _ in range(_TRIALS):
            there = here
            for there, guess, guessed in problem.solve(surrogate, here, trust):
                number += 1
                yield _step(bench, number, bench.point(there), guess, guessed, "", measured=False)
            logits = bench.logits(bench.point(there))
            measured = problem.value(logits, there)
            number, gained = number + 1, value - measured
            note = f"Round {turn + 1}: loss {value:.4f} to {measured:.4f}."
            yield _step(bench, number, bench.point(there), logits, measured, note, measured=True, accepted=gained > 0)
            if gained > 0:
                here, value = there, measured
                break
            trust /= 2
        if gained < _ENOUGH * value:
            return


@dataclass(frozen=True, slots=True)
class _Problem:
    """The loss and its damped solution."""

    bench: Bench
    focus: float
    ridge: float
    scales: tuple[float, ...]

    def value(self, logits: Sequence[NDArray[np.float32]], moves: Floats) -> float:
        """Mean loss of the chosen tasks and the pull back."""
        losses = [self._loss(k, logits[k]) for k in self.bench.chosen]
        return float(np.mean(losses)) + 0.5 * self.ridge * float(np.mean(np.square(moves)))

    def _loss(self, k: int, logits: NDArray[np.float32]) -> float:
        """Of one task."""
        task = self.bench.tasks[k]
        if task.family != "class":
            return (1.0 if task.metric == "spearman" else 0.0) - outcomes.merit(task, logits)
        chance = _right(softmax(self.scales[k] * logits), task.labels)
        return float(np.mean(1 - chance**self.focus)) / self.focus

    def solve(
        self, surrogate: Surrogate, here: Floats, trust: float
    ) -> Iterator[tuple[Floats, list[NDArray[np.float32]], float]]:
        """Damped steps on the linearised logits, each better than the one before: (moves, logits, loss)."""
        low, high = np.maximum(self.bench.low, here - trust), np.minimum(self.bench.high, here + trust)
        moves, damping = here.copy(), 0.01
        logits = surrogate.split(surrogate.logits)
        value = self.value(logits, moves)
        for _ in range(_INNER):
            self.bench.check()
            slope, bend = self._system(surrogate, logits, moves)
            before = value
            for _ in range(6):
                tried = np.clip(moves + _damped(slope, bend, damping, moves, low, high), low, high)
                guess = surrogate.split(_along(surrogate, tried - here))
                found = self.value(guess, tried)
                if found < value:
                    moves, logits, value, damping = tried, guess, found, damping / 4
                    yield moves, logits, value
                    break
                damping *= 8
            if before - value < _ENOUGH * 0.1 * before:
                return

    def _system(
        self, surrogate: Surrogate, logits: Sequence[NDArray[np.float32]], moves: Floats
    ) -> tuple[Floats, Floats]:
        """Gradient (E,) and Gauss-Newton matrix (E, E) of the value."""
        bench, size = self.bench, len(moves)
        slope, bend = self.ridge * moves / size, np.eye(size) * self.ridge / size
        starts = np.cumsum([0, *(task.size for task in bench.tasks)])
        for k in bench.chosen:
            bench.check()
            task, share = bench.tasks[k], 1 / (len(bench.chosen) * len(bench.tasks[k].labels))
            table = surrogate.first[:, starts[k] : starts[k + 1]].astype(np.float32) * np.float32(self.scales[k])
            if task.family != "class":
                slope = slope - table.astype(np.float64) @ outcomes.pull(task, logits[k]) / len(bench.chosen)
                bend = bend + curvature(task, logits[k], table) / len(bench.chosen)
                continue
            chance = softmax(self.scales[k] * logits[k])
            heed = _right(chance, task.labels)[:, None] ** self.focus  # (N, 1): how much a row still counts
            pull = chance * heed
            pull[np.arange(len(task.labels)), task.labels] -= heed[:, 0]
            slope = slope + share * (table @ pull.reshape(-1)).astype(np.float64)
            weighted = table * chance.reshape(-1)
            means = weighted.reshape(size, *chance.shape).sum(2)
            heeded = weighted * np.repeat(heed, chance.shape[1])
            bend = bend + share * (heeded @ table.T - (means * heed[:, 0]) @ means.T).astype(np.float64)
        return slope, bend


def _scale(logits: NDArray[np.float32], task: TaskRows) -> float:
    """The factor of (N, C) logits at which their cross-entropy is least, by powers of 2 ** 0.25; 1 if they are none."""
    if task.family != "class":
        return 1.0
    choices = 2.0 ** (np.arange(-16, 25) / 4)
    return float(min(choices, key=lambda factor: cross_entropy(np.float32(factor) * logits, task.labels)))


def _right(chance: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N,) probability of the right class."""
    made: NDArray[np.float32] = chance[np.arange(len(labels)), labels]
    return made


def _damped(slope: Floats, bend: Floats, damping: float, moves: Floats, low: Floats, high: Floats) -> Floats:
    """One damped step; variables that press against a bound stay."""
    free = ~(((moves <= low) & (slope > 0)) | ((moves >= high) & (slope < 0)))
    step = np.zeros(len(moves))
    if free.any():
        matrix = bend[np.ix_(free, free)]
        scale = np.diag(matrix)
        matrix = matrix + np.diag(damping * scale + 1e-9 * max(float(scale.max()), 1e-12))
        step[free] = -np.linalg.solve(matrix, slope[free])
    return step


def _along(surrogate: Surrogate, moves: Floats) -> NDArray[np.float32]:
    """(M,) linearised logits."""
    made: NDArray[np.float32] = surrogate.logits + moves.astype(np.float32) @ surrogate.first.astype(
        np.float32, copy=False
    )
    return made


def _step(
    bench: Bench, number: int, point: Floats, logits: Sequence[NDArray[np.float32]], value: float, note: str, *,
    measured: bool, accepted: bool = True,
) -> Step:  # fmt: skip
    scores: tuple[Estimate, ...] = tuple(
        judged(task, part, "exact" if measured else "estimate") for task, part in zip(bench.tasks, logits, strict=True)
    )
    return Step(number=number, point=point, estimated=scores, true=scores if measured else None, value=value,
                accepted=accepted, note=note)  # fmt: skip
