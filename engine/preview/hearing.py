"""What can be asked of an open live preview, wherever its network runs: here or in another process. Light."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import MixdownError, NotEnoughMemory
from engine.evaluate.task import Split
from engine.preview.basis import Basis, Cell, Floats, block_basis, group_basis
from engine.preview.curve import NODES, Curve, chebyshev
from engine.preview.frame import Frame, by_layer
from engine.preview.outcomes import TaskRows, scale_of
from engine.preview.surrogate import (
    ErrorLog,
    Estimate,
    Slopes,
    Span,
    Surrogate,
    estimate,
    judged,
    make_surrogate,
    spans_of,
    surrogate_bytes,
)
from engine.progress import Progress, Silent

Logits = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Report:
    """What a session takes and what it is.

    Attributes:
        tier: "linear" or "engine".
        rows: Rows of each task.
        weight_bytes: Base, task vectors and the mix.
        activation_bytes: Remembered activations.
        seconds: One evaluation of everything.
        notes: What the user should know ("Only 32 rows of each task ..."), plain sentences.
        dropped: Why a task takes no part, by its name.
    """

    tier: str
    rows: int
    weight_bytes: int
    activation_bytes: int
    seconds: float
    notes: tuple[str, ...]
    dropped: Mapping[str, MixdownError]

    @property
    def bytes(self) -> int:
        """Memory of the session without its surrogate."""
        return self.weight_bytes + self.activation_bytes


class Session(ABC):
    """True outputs of all tasks at any point; used by one worker at a time.

    Attributes:
        frame: What its points mean.
        tasks: Rows of the tasks that take part.
        reference: (T, G) point at which activations are remembered.
        report: What it takes.
        split: Which rows.
        spans: How far the interval of each task's score reaches at the reference.
    """

    def __init__(self, frame: Frame, tasks: Sequence[TaskRows], report: Report, split: Split = "val") -> None:
        self.frame, self.tasks, self.report, self.split = frame, tuple(tasks), report, split
        self.reference: Floats = np.zeros((0, 0))
        self._logits: Logits = []
        self._unfinished: Mapping[str, Floats] | None = None
        self.spans: tuple[Span, ...] = ()

    @property
    def logits(self) -> Logits:
        """(N, C) of every task at the reference."""
        return self._logits

    def move(self, point: Floats, progress: Progress | None = None, overrides: Mapping[str, Floats] | None = None
             ) -> tuple[Estimate, ...]:  # fmt: skip
        """Make a point the reference: one evaluation of everything, activations remembered.

        Args:
            point: (T, G) from `Frame.point`.
            progress: Asked before every layer.
            overrides: From `Frame.overrides`.

        Returns:
            The exact scores there.
        """
        self._unfinished = dict(overrides or {})
        self.reference = point.astype(np.float64, copy=True)
        self._logits = self._record(self.reference, self._unfinished, progress or Silent())
        self._unfinished = None
        return self._judged()

    def _judged(self) -> tuple[Estimate, ...]:
        """Scores at the reference, from which all others have the reach of their intervals."""
        found = self.judge(self._logits)
        self.spans = spans_of(found)
        return found

    def at(self, point: Floats, progress: Progress | None = None) -> Logits:
        """True logits (N, C) of every task at a point, computed from the first changed stage on."""
        progress = progress or Silent()
        if self._unfinished is not None:  # a move was cancelled halfway
            self.move(self.reference, progress, self._unfinished)
        return self._evaluate(point, progress)

    @abstractmethod
    def _record(self, point: Floats, overrides: Mapping[str, Floats], progress: Progress) -> Logits:
        """Outputs at a point, from which later evaluations start."""

    @abstractmethod
    def _evaluate(self, point: Floats, progress: Progress) -> Logits:
        """Outputs at a point."""

    @abstractmethod
    def slopes(self, progress: Progress | None = None) -> Slopes:
        """The slope of every fader at the reference, from one backward pass."""

    @abstractmethod
    def matters(self, cell: Cell) -> bool:
        """Whether any network uses a tensor of a cell."""

    def truth(self, point: Floats, surrogate: Surrogate | None = None, progress: Progress | None = None
              ) -> tuple[Estimate, ...]:  # fmt: skip
        """True scores at a point; with a surrogate, its error is logged."""
        found = self.judge(self.at(point, progress))
        if surrogate is not None and surrogate.state(point) in ("estimate", "stale"):
            for guess, true in zip(estimate(surrogate, point), found, strict=True):
                scale = scale_of(self.tasks[[t.name for t in self.tasks].index(true.task)], true.value)
                surrogate.errors.add(true.task, guess.value, true.value, scale)
        return found

    def judge(self, logits: Logits) -> tuple[Estimate, ...]:
        """Exact scores of true logits."""
        return tuple(judged(task, part, "exact") for task, part in zip(self.tasks, logits, strict=True))

    def curve(
        self, cell: Cell, low: float, high: float, progress: Progress | None = None, nodes: int = NODES,
        origin: Floats | None = None,
    ) -> Curve:  # fmt: skip
        """True logits at Chebyshev points of a fader's range.

        Args:
            cell: What the fader moves.
            low: Change of the point at the lower end of the range (not above 0).
            high: The same at the upper end.
            progress: Told the nodes; asked before every layer.
            nodes: How many.
            origin: (T, G) where the fader was taken; None for the reference.
        """
        progress, origin = progress or Silent(), self.reference if origin is None else origin
        amounts, found = chebyshev(low, high, nodes), []
        progress.begin(nodes, "Following a fader", "points")
        for amount in amounts:
            logits = self.at(cell.added(origin, float(amount)), progress)
            found.append(np.concatenate([part.reshape(-1) for part in logits]))
            progress.advance(1)
        return Curve(self.tasks, cell, origin.copy(), amounts, np.stack(found), self.spans)

    def surrogate(
        self, basis: Basis | None = None, errors: ErrorLog | None = None, budget: int = 1 << 28, *,
        second: bool = True,
    ) -> Surrogate:  # fmt: skip
        """An empty surrogate at the reference: by group, or by layer where memory does not suffice.

        Raises:
            NotEnoughMemory: if not even that fits the budget.
        """
        shape = self.reference.shape
        layers = [*by_layer(self.frame.layout).values()]
        choices = [basis] if basis else [group_basis(*shape), block_basis(shape[0], layers)]
        for chosen in choices:
            if surrogate_bytes(self.tasks, chosen) <= budget:
                return make_surrogate(self.tasks, chosen, self.reference, self._logits, errors, budget, second=second,
                                      spans=self.spans or None)  # fmt: skip
        raise NotEnoughMemory("The derivatives of all faders do not fit the memory set aside for them.",
                              hint="Scores are measured when a fader is released; fewer rows take less.")  # fmt: skip
