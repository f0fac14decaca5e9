"""Running a tuner on a live session: validation rows only, pinned faders stay, bounds are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem
from engine.files.text import printable
from engine.preview.basis import Basis, Cell, Floats, block_basis
from engine.preview.fill import fill
from engine.preview.hearing import Session
from engine.preview.surrogate import Surrogate
from engine.progress import Progress, Silent
from engine.recipe.recipe import Recipe
from engine.tuners import Step, find_tuner


class LiveBench:
    """Implements `engine.tuners.Bench` on a session.

    Args:
        live: The session.
        start: (T, G) where to start.
        cells: The variables.
        chosen: Indices of the tasks to tune for.
        bounds: (E,) least and (E,) greatest move of each variable.
        seed: For tuners that draw at random.
        progress: Asked all the time.
    """

    def __init__(
        self, live: Session, start: Floats, cells: Sequence[Cell], chosen: Sequence[int], bounds: tuple[Floats, Floats],
        seed: int, progress: Progress,
    ) -> None:  # fmt: skip
        self.tasks, self.chosen, self.start = live.tasks, tuple(chosen), start
        self.cells, (self.low, self.high), self.seed = tuple(cells), bounds, seed
        self._live, self._progress = live, progress

    def point(self, moves: Floats) -> Floats:
        """(T, G) the start with each variable moved."""
        made = self.start.copy()
        for cell, amount in zip(self.cells, moves, strict=True):
            made[np.ix_(cell.experts, cell.groups)] += amount
        return made

    def logits(self, point: Floats) -> list[NDArray[np.float32]]:
        """True logits of every task."""
        return self._live.at(point, self._progress)

    def derivatives(self, point: Floats) -> Surrogate:
        """First derivatives along all variables at a point, which becomes the session's reference."""
        if not np.array_equal(point, self._live.reference):
            self._live.move(point, self._progress)
        surrogate = self._live.surrogate(Basis(self.start.shape, self.cells), budget=1 << 30, second=False)
        fill(self._live, surrogate, progress=self._progress)
        return surrogate

    def check(self) -> None:
        """Wait while paused; raise `Cancelled` when stopped."""
        self._progress.check()


def tune(
    live: Session, recipe: Recipe, tuner: str = "levenberg_marquardt", *, tasks: Sequence[str] | None = None,
    pinned: NDArray[np.bool_] | None = None, blocks: Sequence[Sequence[int]] | None = None, low: float = -1.0,
    high: float = 2.0, seed: int = 0, params: Mapping[str, object] | None = None, progress: Progress | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Tune a recipe's faders, step by step; close the generator (or cancel the progress) to stop.

    Args:
        live: A session of the recipe; its reference moves along.
        recipe: Where to start. Silenced rows stay as they are.
        tuner: Its id.
        tasks: Names of the tasks to tune for; None for all that the session can run.
        pinned: (T, G) faders that must stay.
        blocks: Groups that move together (`by_layer(layout).values()`); None for each group alone.
        low: Lowest value that a fader may get (one that is lower already stays above its own).
        high: Highest.
        seed: The same seed and rows give the same steps.
        params: Parameters of the tuner.
        progress: Pauses and cancels.

    Yields:
        Steps; `live.frame.applied(recipe, step.point)` makes a recipe of one.

    Raises:
        EvalProblem: if there is nothing to tune, or the session is on test rows.
    """
    progress, chosen_tuner = progress or Silent(), find_tuner(tuner)
    if live.split != "val":
        raise EvalProblem("Coefficients are chosen on validation rows only.", hint="Open the session on them.")
    start, gain = live.frame.point(recipe), live.frame.gain(recipe)
    fixed = (gain == 0) if pinned is None else (gain == 0) | pinned
    cells = block_basis(len(start), blocks or [(g,) for g in range(start.shape[1])], fixed).cells
    cells = tuple(cell for cell in cells if live.matters(cell))
    chosen = [k for k, task in enumerate(live.tasks) if tasks is None or task.name in tasks]
    if not chosen:
        raise _no_task(live, tasks or ())
    if not cells:
        raise EvalProblem("There is nothing to tune: no fader that may move changes what the tasks see.",
                          hint="Unpin or unmute a fader.")  # fmt: skip
    bounds = _bounds(cells, live.frame.faders(recipe, start), gain, low, high)
    if not np.array_equal(live.reference, start):
        live.move(start, progress, live.frame.overrides(recipe))
    bench = LiveBench(live, start, cells, chosen, bounds, seed, progress)
    yield from chosen_tuner.run(bench, **chosen_tuner.complete(params or {}))


def _no_task(live: Session, wanted: Sequence[str]) -> EvalProblem:
    """Why none of the wanted tasks can be tuned for, as the session said when it left them out."""
    known = [(name, live.report.dropped[name]) for name in wanted if name in live.report.dropped]
    if not known:
        return EvalProblem("There is nothing to tune for: none of these tasks is here.", hint="Choose a task.")
    name, why = known[0]
    return EvalProblem(f"{printable(name, 60)} cannot be tuned for. {why.message}",
                       hint="Choose another task; this one is scored on release and by Evaluate now.")  # fmt: skip


def _bounds(
    cells: Sequence[Cell], shown: Floats, gain: Floats, low: float, high: float
) -> tuple[Floats, Floats]:  # fmt: skip
    """How far each variable may move until one of its faders is at a bound."""
    least, most = np.zeros(len(cells)), np.zeros(len(cells))
    for index, cell in enumerate(cells):
        window = np.ix_(cell.experts, cell.groups)
        ends = np.stack([(low - shown[window]) * gain[window], (high - shown[window]) * gain[window]])
        least[index] = min(float(ends.min(0).max()), 0.0)
        most[index] = max(float(ends.max(0).min()), 0.0)
    return least, most
