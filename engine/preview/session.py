"""A live preview of one recipe: true scores at any point, from the first changed stage on.

Weights are float32, not rounded as an export rounds them; quick eval of the mix has the last word. A session holds the
task vectors, the network, the evaluation rows and, at its reference point, what every stage gave
for them. It is used by one worker at a time; the light values that it gives out are read anywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, MixdownError, NotEnoughMemory
from engine.evaluate.data import Examples, read_examples
from engine.evaluate.state import completed
from engine.evaluate.task import Split, Task
from engine.merge.inputs import Inputs
from engine.preview.basis import Basis, Cell, Floats, block_basis, group_basis
from engine.preview.curve import NODES, Curve, chebyshev
from engine.preview.frame import Frame, by_layer, make_frame
from engine.preview.surrogate import (
    ErrorLog,
    Estimate,
    Surrogate,
    TaskRows,
    estimate,
    judged,
    make_surrogate,
    surrogate_bytes,
)
from engine.preview.tower import Part, Tower, check_live, spread, tower_key
from engine.preview.weights import EngineWeights, LinearWeights, Weights
from engine.progress import Progress, Silent
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

Logits = list[NDArray[np.float32]]
ROWS = 64
FEWEST = 8
ACTIVATIONS = 1 << 30
"""Most bytes of remembered activations."""
SLOWEST = 24.0
"""Core seconds that one evaluation of everything may cost before fewer rows are used."""


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


class Live:
    """See the module. Made by `open_live`.

    Attributes:
        frame: What its points mean.
        tasks: Rows of the tasks that take part.
        reference: (T, G) point at which activations are remembered.
        report: What it takes.
        split: Which rows.
        seconds: How long the last evaluation of everything took.
        core_seconds: What it cost, summed over cores; other programs do not change it much.
    """

    def __init__(self, frame: Frame, weights: Weights, towers: Sequence[Tower], tasks: Sequence[TaskRows]) -> None:
        self.frame, self.tasks = frame, tuple(tasks)
        self.towers, self.weights = tuple(towers), weights
        self.reference: Floats = np.zeros((0, 0))
        self.report = Report(frame.tier, 0, weights.bytes, 0, 0.0, (), {})
        self._theta: dict[str, Tensor] = {}
        self._logits: Logits = []
        self._unfinished: Mapping[str, Floats] | None = None
        self._lock = threading.Lock()
        self.seconds = self.core_seconds = 0.0
        self.split: Split = "val"

    @property
    def logits(self) -> Logits:
        """(N, C) of every task at the reference."""
        return self._logits

    @property
    def theta(self) -> Mapping[str, Tensor]:
        """Weights at the reference, by tensor name."""
        return self._theta

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
        progress = progress or Silent()
        with self._lock:
            theta = self.weights.all(point, overrides or {}, progress)
            for tower in self.towers:
                tower.install(theta)
                for part in tower.parts:
                    part.memos = part.memos or [None] * len(part.rows)  # type: ignore[list-item]  # filled below
            self._theta, self.reference = theta, point.astype(np.float64, copy=True)
            self._unfinished = dict(overrides or {})
            started, work = time.perf_counter(), time.process_time()
            self._logits, self._unfinished = self._run({}, progress, record=True), None
            self.seconds, self.core_seconds = time.perf_counter() - started, time.process_time() - work
        return self.judge(self._logits)

    def at(self, point: Floats, progress: Progress | None = None) -> Logits:
        """True logits (N, C) of every task at a point, computed from the first changed stage on."""
        progress = progress or Silent()
        if self._unfinished is not None:  # a move was cancelled halfway
            self.move(self.reference, progress, self._unfinished)
        groups = np.flatnonzero((point != self.reference).any(0)).tolist()
        with self._lock:
            changed = self.weights.moved(self._theta, self.reference, point, groups, progress)
            if not changed:
                return [part.copy() for part in self._logits]
            try:
                for tower in self.towers:
                    tower.install(changed)
                return self._run({id(t): t.units_of(n for n in changed if n in t.names) for t in self.towers}, progress)
            finally:
                for tower in self.towers:
                    tower.install({name: self._theta[name] for name in changed})

    def truth(self, point: Floats, surrogate: Surrogate | None = None, progress: Progress | None = None
              ) -> tuple[Estimate, ...]:  # fmt: skip
        """True scores at a point; with a surrogate, its error is logged."""
        found = self.judge(self.at(point, progress))
        if surrogate is not None and surrogate.state(point) in ("estimate", "stale"):
            for guess, true in zip(estimate(surrogate, point), found, strict=True):
                surrogate.errors.add(true.task, guess.value, true.value)
        return found

    def judge(self, logits: Logits) -> tuple[Estimate, ...]:
        """Exact scores of true logits."""
        return tuple(judged(task, part, "exact") for task, part in zip(self.tasks, logits, strict=True))

    def curve(
        self, cell: Cell, low: float, high: float, progress: Progress | None = None, nodes: int = NODES
    ) -> Curve:  # fmt: skip
        """True logits at Chebyshev points of a fader's range.

        Args:
            cell: What the fader moves.
            low: Change of the point at the lower end of the range (not above 0).
            high: The same at the upper end.
            progress: Told the nodes; asked before every layer.
            nodes: How many.
        """
        progress = progress or Silent()
        amounts, found = chebyshev(low, high, nodes), []
        progress.begin(nodes, "Following a fader", "points")
        for amount in amounts:
            logits = self.at(cell.added(self.reference, float(amount)), progress)
            found.append(np.concatenate([part.reshape(-1) for part in logits]))
            progress.advance(1)
        return Curve(self.tasks, cell, self.reference.copy(), amounts, np.stack(found))

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
                return make_surrogate(self.tasks, chosen, self.reference, self._logits, errors, budget, second=second)
        raise NotEnoughMemory("The derivatives of all faders do not fit the memory set aside for them.",
                              hint="Scores are measured when a fader is released; fewer rows take less.")  # fmt: skip

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """The session for the caller alone."""
        with self._lock:
            yield

    def matters(self, cell: Cell) -> bool:
        """Whether any network uses a tensor of a cell."""
        names = {name for g in cell.groups for name in self.frame.layout.groups[g].tensors}
        return any(names & set(tower.names) for tower in self.towers)

    def restarts(self) -> dict[str, float]:
        """Share of the network's units that a change of each layer runs anew, by layer label."""
        found: dict[str, float] = {}
        for layer, groups in by_layer(self.frame.layout).items():
            names = [n for g in groups for n in self.frame.layout.groups[g].tensors]
            shares = [self._share(tower, names) for tower in self.towers]
            found[layer] = max(shares, default=0.0)
        return found

    @staticmethod
    def _share(tower: Tower, names: Sequence[str]) -> float:
        memo = next((m for part in tower.parts for m in part.memos), None)
        if memo is None or not memo.order:
            return 1.0
        known = [name for name in names if name in tower.names]
        return 1 - memo.restart(tower.units_of(known)) / len(memo.order) if known else 0.0

    def _run(self, units: Mapping[int, frozenset[int] | None], progress: Progress, *, record: bool = False) -> Logits:
        import torch

        made = [np.empty((len(task.labels), len(task.classes)), np.float32) for task in self.tasks]

        def work(tower: Tower, part: Part, batch: int) -> None:
            progress.check()
            restart = 0 if record else part.memos[batch].restart(units.get(id(tower)))
            with torch.no_grad():
                if not record and units.get(id(tower)) == frozenset():
                    made[part.index][part.rows[batch]] = self._logits[part.index][part.rows[batch]]
                    return
                logits = tower.logits(part, batch, restart, progress, record=record)
            made[part.index][part.rows[batch]] = logits.numpy()

        spread(self.towers, work)
        return made


def open_live(
    recipe: Recipe, inputs: Inputs, tasks: Sequence[Task], *, rows: int = ROWS, split: Split = "val",
    progress: Progress | None = None, activations: int = ACTIVATIONS,
) -> Live:  # fmt: skip
    """Open a live preview at a recipe's present point.

    Rows are halved until remembered activations and the time of one evaluation are bearable.

    Args:
        recipe: What to hear.
        inputs: Its models.
        tasks: What to score on; those that cannot take part are left out and reported.
        rows: First rows of each task.
        split: "val"; the test rows are not for choosing.
        progress: Told the tensors read; asked all the time.
        activations: Most bytes of remembered activations.

    Raises:
        EvalProblem: if no task can take part or the network cannot be run; the message is the reason to show.
        NotEnoughMemory: if the model is too large for it.
        MixdownError: if the recipe cannot be merged.
    """
    progress = progress or Silent()
    frame, notes = make_frame(recipe, inputs.layout), []
    towers, loaded, dropped = _towers(inputs, tasks, split, rows)
    names = sorted({name for tower in towers.values() for name in tower.names})
    weights: Weights
    if frame.tier == "linear":
        weights = LinearWeights(inputs, names, progress)
    else:
        weights = EngineWeights(recipe, inputs, names, frame.reason)
    count = rows
    while True:
        live = _seated(frame, weights, towers, loaded, count)
        live.move(frame.point(recipe), progress, frame.overrides(recipe))
        held = sum(memo.bytes for tower in live.towers for part in tower.parts for memo in part.memos)
        if count // 2 < FEWEST or (held <= activations and live.core_seconds <= SLOWEST):
            break
        count //= 2
    if held > activations:
        raise NotEnoughMemory(f"Remembering the layers' outputs takes {held / 2**30:.1f} GiB.",
                              hint="Scores are measured when a fader is released.")  # fmt: skip
    if count < rows:
        notes.append(f"Only {count} rows of each task are used: the model is large for this computer.")
    notes += [note for note in (weights.note,) if note]
    live.split = split
    made = sum(4 * live.theta[name].numel() for name in weights.varied if name in live.theta)
    live.report = Report(frame.tier, count, weights.bytes + made, held, live.seconds, tuple(notes), dropped)
    return live


_Key = tuple[str, int]
_Loaded = list[tuple[Task, Examples]]


def _towers(
    inputs: Inputs, tasks: Sequence[Task], split: Split, rows: int
) -> tuple[dict[_Key, Tower], _Loaded, dict[str, MixdownError]]:
    """A network for each kind of task, the rows of all that can take part, and why others cannot."""
    models = [m for m in (inputs.base, *inputs.experts) if m is not None]
    config = next((m.config for m in models if m.config), None)
    shapes = {name: info.shape for name, info in completed(inputs.base or models[0], None).items()}
    towers: dict[_Key, Tower] = {}
    loaded: _Loaded = []
    dropped: dict[str, MixdownError] = {}
    for task in tasks:
        try:
            check_live(task)
            if tower_key(task) not in towers:
                towers[tower_key(task)] = Tower(config, task, shapes)
            loaded.append((task, read_examples(task, split, rows)))
        except MixdownError as problem:
            dropped[task.name] = problem
    if not loaded:
        raise next(iter(dropped.values()), EvalProblem("There is no task to score on.", hint="Add a task first."))
    return towers, loaded, dropped


def _seated(frame: Frame, weights: Weights, towers: Mapping[_Key, Tower], loaded: _Loaded, rows: int) -> Live:
    """A session with the first rows of every task."""
    found = []
    for tower in towers.values():
        tower.parts.clear()
    for index, (task, examples) in enumerate(loaded):
        part = _first(task, examples, rows)
        towers[tower_key(task)].add(task, index, part)
        found.append(TaskRows(task.name, task.title, part.labels, task.labels, np.arange(part.count)))
    return Live(frame, weights, list(towers.values()), found)


def _first(task: Task, examples: Examples, rows: int) -> Examples:
    """The first rows of what was read."""
    if examples.count <= rows:
        return examples
    if task.kind == "image":
        return Examples(examples.inputs[:rows], examples.lengths, examples.labels[:rows])
    stop = int(examples.lengths[:rows].sum())
    return Examples(examples.inputs[:stop], examples.lengths[:rows], examples.labels[:rows])
