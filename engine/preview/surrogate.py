"""Scores of a mix without running it: the evaluation logits as a Taylor series in the coefficients.

Never extrapolate the loss, extrapolate the logits (or numbers, similarities, likelihoods): they are nearly linear in
the coefficients, and every metric follows from them by its own code. One small matrix product gives every task's
score. Light: numpy only, made to be called at every fader event while a worker still fills in derivatives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.measures import Measure, find_measure
from engine.preview.basis import Basis, Floats
from engine.preview.outcomes import TaskRows, measured, merit, pull, scale_of

Span = tuple[float, float]
"""How far a score's 95 % interval reaches below and above it."""
State = Literal["exact", "estimate", "stale", "waiting"]
FAR = 0.2
"""Root mean square move of the coefficients beyond which derivatives are taken anew."""
WRONG = 0.02
"""Mean error of recent estimates, as a share of rows, beyond which derivatives are taken anew."""
PRIOR = 0.01
"""Error that is claimed before anything was compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A task's score as the surrogate sees it.

    Attributes:
        task: Name of the task.
        value: Its metric; a share of rows from 0 to 1, others as they are.
        low: Lower end of the 95 % interval that the number of rows gives.
        high: Upper end.
        correct: Right rows, 0 for metrics that are not a share of rows.
        count: Rows.
        loss: Minus the task's merit (mean cross-entropy in nats); moves smoothly where the share jumps. NaN where it
            was not asked for.
        error: Mean absolute error of recent estimates in the metric's own unit, 0 where exact.
        compared: How many estimates that error comes from; 0 if it is only presumed.
        state: "exact", "estimate", "stale" (too far from where derivatives were taken, or recently wrong) or
            "waiting" (a fader was moved whose derivative is not there yet).
        metric: Id of the metric.
    """

    task: str
    value: float
    low: float
    high: float
    correct: int
    count: int
    loss: float
    error: float
    compared: int
    state: State
    metric: str = "accuracy"

    @property
    def measure(self) -> Measure:
        """What the number means: unit, digits, which way is better."""
        return find_measure(self.metric)


class ErrorLog:
    """How wrong recent estimates were, task by task.

    Args:
        keep: Comparisons that are remembered of each task.
    """

    def __init__(self, keep: int = 24) -> None:
        self._keep = keep
        self._errors: dict[str, deque[tuple[float, float]]] = {}

    def add(self, task: str, estimated: float, true: float, scale: float = 1.0) -> None:
        """Note one comparison of two scores; `scale` is what an error is a share of."""
        off = abs(estimated - true)
        if np.isfinite(off):
            self._errors.setdefault(task, deque(maxlen=self._keep)).append((off, off / scale))

    def error(self, task: str) -> tuple[float, int]:
        """Mean absolute error of a task and the number of comparisons; `PRIOR`, 0 before the first."""
        known = [off for off, _ in tuple(self._errors.get(task, ()))]
        return (float(np.mean(known)), len(known)) if known else (PRIOR, 0)

    @property
    def mean(self) -> tuple[float, int]:
        """Mean error over all tasks, each as a share of its scale, and the number of comparisons."""
        known = [share for errors in tuple(self._errors.values()) for _, share in tuple(errors)]
        return (float(np.mean(known)), len(known)) if known else (PRIOR, 0)


@dataclass(eq=False, slots=True)
class Surrogate:
    """Logits and their derivatives at one point; one worker fills it in while others read.

    Attributes:
        tasks: The K tasks.
        basis: The E directions.
        reference: (T, G) point at which the derivatives are taken.
        logits: (M,) float32 true logits there, tasks one after the other, row by row.
        first: (E, M) float32 or float16 derivatives.
        second: (E, M) second derivatives along the same directions, or None if there is no room for them.
        has_first: (E,) which first derivatives are there; set after the row was written.
        has_second: (E,) the same for the second.
        errors: How wrong recent estimates were; outlives the surrogate.
        spans: How far the interval of each task's score reaches at the reference.
    """

    tasks: tuple[TaskRows, ...]
    basis: Basis
    reference: Floats
    logits: NDArray[np.float32]
    first: NDArray[Any]
    second: NDArray[Any] | None
    has_first: NDArray[np.bool_]
    has_second: NDArray[np.bool_]
    errors: ErrorLog = field(default_factory=ErrorLog)
    spans: tuple[Span, ...] = ()

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.logits.nbytes + self.first.nbytes + (0 if self.second is None else self.second.nbytes)

    @property
    def filled(self) -> float:
        """Share of the first derivatives that are there."""
        return float(self.has_first.mean()) if len(self.has_first) else 1.0

    def at(self, point: Floats) -> NDArray[np.float32]:
        """(M,) estimated logits at a point; directions that are not there yet count as flat.

        Row by row rather than by one BLAS call, whose threads would wait for a busy worker's.
        """
        along = self.basis.coordinates(point - self.reference, self.has_first)
        moved = self.logits.copy()
        series = ((self.first, self.has_first, along), (self.second, self.has_second & self.has_first, along**2 / 2))
        part = np.empty_like(moved)
        for table, known, amounts in series:
            if table is None:
                continue
            for entry in np.flatnonzero((along != 0) & known):
                np.multiply(table[entry], np.float32(amounts[entry]), out=part)
                moved += part
        return moved

    def rms(self, point: Floats) -> float:
        """Root mean square distance of a point from the reference."""
        return float(np.sqrt(np.mean(np.square(point - self.reference)))) if point.size else 0.0

    def state(self, point: Floats) -> State:
        """What may be said about estimates at a point."""
        move = point - self.reference
        if not move.any():
            return "exact"
        along = self.basis.coordinates(move, self.has_first)
        if ((along != 0) & ~self.has_first).any():
            return "waiting"
        error, compared = self.errors.mean
        return "stale" if self.rms(point) > FAR or (compared >= 8 and error > WRONG) else "estimate"

    def split(self, logits: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """(M,) logits as (N, C) of each task."""
        return split_logits(self.tasks, logits)


def make_surrogate(
    tasks: Sequence[TaskRows], basis: Basis, reference: Floats, logits: Sequence[NDArray[np.float32]],
    errors: ErrorLog | None = None, budget: int = 1 << 28, *, second: bool = True, spans: Sequence[Span] | None = None,
) -> Surrogate:  # fmt: skip
    """An empty surrogate within a memory budget: float32 if both derivatives fit, else float16, else first only.

    Args:
        tasks: The K tasks.
        basis: The directions.
        reference: (T, G).
        logits: (N, C) of each task at the reference.
        errors: The log of an earlier surrogate to go on with.
        budget: Bytes that the derivatives may take; see `surrogate_bytes` for the least.
        second: Whether second derivatives may be wanted.
        spans: Of the tasks' scores there; None measures them.
    """
    if spans is None:
        spans = spans_of([judged(task, part, "exact") for task, part in zip(tasks, logits, strict=True)])
    flat = np.concatenate([part.reshape(-1) for part in logits]).astype(np.float32)
    elements = basis.size * len(flat)
    kind: Any = np.float32 if 4 * elements * (1 + second) <= budget else np.float16
    twice = second and 2 * elements * np.dtype(kind).itemsize <= budget
    empty = np.zeros((basis.size, len(flat)), kind)
    bends = np.zeros_like(empty) if twice else None
    unknown = np.zeros(basis.size, np.bool_)
    log = errors or ErrorLog()
    return Surrogate(tuple(tasks), basis, reference.copy(), flat, empty, bends, unknown, unknown.copy(), log,
                     tuple(spans))  # fmt: skip


def surrogate_bytes(tasks: Sequence[TaskRows], basis: Basis) -> int:
    """Least memory of a surrogate: first derivatives in float16."""
    return 2 * basis.size * sum(task.size for task in tasks)


def split_logits(tasks: Sequence[TaskRows], logits: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """(M,) outputs in the shape of each task."""
    stops = np.cumsum([task.size for task in tasks])[:-1]
    return [part.reshape(task.shape) for task, part in zip(tasks, np.split(logits, stops), strict=True)]


def judged(
    task: TaskRows, outputs: NDArray[np.float32], state: State, error: float = 0.0, compared: int = 0,
    span: Span | None = None, *, smooth: bool = True,
) -> Estimate:  # fmt: skip
    """The score of one task's outputs.

    Args:
        task: Its rows.
        outputs: In its shape.
        state: What the outputs are.
        error: Of recent estimates.
        compared: How many those are.
        span: Reach of the interval, from nearby; None draws it anew.
        smooth: Whether the loss is wanted, too, which takes longer than all else.
    """
    found = measured(task, outputs, span)
    correct = round(found.value * task.count) if task.metric == "accuracy" or task.measure.is_share_of_rows else 0
    loss = -merit(task, outputs) if smooth else float("nan")
    return Estimate(
        task=task.name, value=found.value, low=found.low, high=found.high, correct=correct, count=task.count,
        loss=loss, error=error, compared=compared, state=state, metric=task.metric,
    )  # fmt: skip


def spans_of(estimates: Sequence[Estimate]) -> tuple[Span, ...]:
    """How far the interval of each score reaches."""
    return tuple((e.value - e.low, e.high - e.value) for e in estimates)


def estimate(surrogate: Surrogate, point: Floats, *, smooth: bool = True) -> tuple[Estimate, ...]:
    """The estimated score of every task at a point, by one small matrix product.

    Args:
        surrogate: May still be filled by a worker.
        point: (T, G) from `engine.preview.frame.Frame.point`.
        smooth: Whether the tasks' losses are wanted, too.
    """
    state, found = surrogate.state(point), []
    parts, spans = surrogate.split(surrogate.at(point)), surrogate.spans or (None,) * len(surrogate.tasks)
    for task, outputs, span in zip(surrogate.tasks, parts, spans, strict=True):
        error, compared = surrogate.errors.error(task.name) if state != "exact" else (0.0, 0)
        made = judged(task, outputs, state, error, compared, span, smooth=smooth)
        if error and not compared:
            made = replace(made, error=error * scale_of(task, made.value))
        found.append(made)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Slopes:
    """What moving each fader does to every task, to first order.

    Attributes:
        tasks: Names of the K tasks.
        values: (K, T, G) change of the merit (for classes the mean log-likelihood) per unit of the coefficient; above
            0 is better. NaN where it is not known yet.
    """

    tasks: tuple[str, ...]
    values: Floats

    @property
    def mean(self) -> Floats:
        """(T, G) the mean over the tasks that are known, for the tint of the faders."""
        known = np.isfinite(self.values)
        count = known.sum(0)
        made: Floats = np.where(count > 0, np.where(known, self.values, 0.0).sum(0) / np.maximum(count, 1), np.nan)
        return made

    def completed(self, other: Slopes) -> Slopes:
        """The same, with another's values where these are not known."""
        return Slopes(self.tasks, np.where(np.isnan(self.values), other.values, self.values))

    def of(self, cells: Sequence[tuple[int, int]]) -> dict[str, float]:
        """Each task's slope when some (expert, group) coefficients move together."""
        totals = [float(sum(table[t, g] for t, g in cells)) for table in self.values]
        return dict(zip(self.tasks, totals, strict=True))

    def words(self, cells: Sequence[tuple[int, int]], most: int = 3) -> str:
        """One line such as "up helps trec6, hurts sst2"; only what is at least a fifth of the largest slope."""
        slopes = {task: value for task, value in self.of(cells).items() if value == value}
        largest = max(map(abs, slopes.values()), default=0.0)
        if largest < 1e-4:
            return "hardly matters to any task"
        ranked = sorted((task for task in slopes if abs(slopes[task]) >= 0.2 * largest), key=lambda k: -abs(slopes[k]))
        helped = [task for task in ranked if slopes[task] > 0][:most]
        hurt = [task for task in ranked if slopes[task] < 0][:most]
        parts = [f"{verb} {', '.join(names)}" for verb, names in (("helps", helped), ("hurts", hurt)) if names]
        return "up " + ", ".join(parts)


def slopes_of(surrogate: Surrogate) -> Slopes:
    """The slopes that the first derivatives give at the reference, in the surrogate's coordinates.

    A cell of several groups gives its groups equal parts.
    """
    values = np.full((len(surrogate.tasks), *surrogate.basis.shape), np.nan)
    known = np.flatnonzero(surrogate.has_first[: len(surrogate.basis.cells)])
    start = 0
    for index, (task, logits) in enumerate(zip(surrogate.tasks, surrogate.split(surrogate.logits), strict=True)):
        pulled = pull(task, logits).astype(np.float32)
        table = surrogate.first[known, start : start + task.size].astype(np.float32, copy=False)
        found = table @ pulled
        for entry, value in zip(known, found, strict=True):
            cell = surrogate.basis.cells[entry]
            values[index][np.ix_(cell.experts, cell.groups)] = value / (len(cell.experts) * len(cell.groups))
        start += task.size
    return Slopes(tuple(task.name for task in surrogate.tasks), values)
