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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, MixdownError, NotEnoughMemory
from engine.evaluate.sample import Sample, read_sample
from engine.evaluate.state import completed
from engine.evaluate.task import Split, Task
from engine.merge.inputs import Inputs
from engine.preview.basis import Cell, Floats
from engine.preview.frame import Frame, by_layer, make_frame
from engine.preview.hearing import Logits, Report, Session
from engine.preview.outcomes import TaskRows
from engine.preview.surrogate import Slopes
from engine.preview.tower import Part, Tower, check_live, outputs_of, rows_of, spread, tower_key
from engine.preview.weights import EngineWeights, LinearWeights, Weights
from engine.progress import Progress, Silent
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 64
FEWEST = 8
ACTIVATIONS = 1 << 30
"""Most bytes of remembered activations."""
SLOWEST = 24.0
"""Core seconds that one evaluation of everything may cost before fewer rows are used."""


class Live(Session):
    """See the module. Made by `open_live`.

    Attributes:
        towers: The networks.
        weights: Where their weights come from.
        seconds: How long the last evaluation of everything took.
        core_seconds: What it cost, summed over cores; other programs do not change it much.
    """

    def __init__(self, frame: Frame, weights: Weights, towers: Sequence[Tower], tasks: Sequence[TaskRows]) -> None:
        super().__init__(frame, tasks, Report(frame.tier, 0, weights.bytes, 0, 0.0, (), {}))
        self.towers, self.weights = tuple(towers), weights
        self._theta: dict[str, Tensor] = {}
        self._lock = threading.Lock()
        self.seconds = self.core_seconds = 0.0

    @property
    def theta(self) -> Mapping[str, Tensor]:
        """Weights at the reference, by tensor name."""
        return self._theta

    def _record(self, point: Floats, overrides: Mapping[str, Floats], progress: Progress) -> Logits:
        with self._lock:
            theta = self.weights.all(point, overrides, progress)
            for tower in self.towers:
                tower.install(theta)
                for part in tower.parts:
                    part.memos = part.memos or [None] * len(part.rows)  # type: ignore[list-item]  # filled below
            self._theta = theta
            started, work = time.perf_counter(), time.process_time()
            logits = self._run({}, progress, record=True)
            self.seconds, self.core_seconds = time.perf_counter() - started, time.process_time() - work
        return logits

    def _evaluate(self, point: Floats, progress: Progress) -> Logits:
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

    def slopes(self, progress: Progress | None = None) -> Slopes:
        """The slope of every fader for every task, from one backward pass; see `engine.preview.gradients`."""
        from engine.preview.gradients import slopes

        return slopes(self, progress)

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

        raw: list[dict[int, NDArray[np.float32]]] = [{} for _ in self.tasks]

        def work(tower: Tower, part: Part, batch: int) -> None:
            progress.check()
            restart = 0 if record else part.memos[batch].restart(units.get(id(tower)))
            with torch.no_grad():
                if not record and units.get(id(tower)) == frozenset():
                    return
                raw[part.index][batch] = tower.logits(part, batch, restart, progress, record=record).numpy()

        spread(self.towers, work)
        made: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(self.tasks)
        for part in (part for tower in self.towers for part in tower.parts):
            made[part.index] = self._assembled(part, raw[part.index])
        return made

    def _assembled(self, part: Part, given: Mapping[int, NDArray[np.float32]]) -> NDArray[np.float32]:
        """A task's outputs from its batches; those at the reference where nothing was run."""
        if not given:
            return self._logits[part.index].copy()
        whole = np.empty((part.examples.count, given[0].shape[1]), np.float32)
        for batch, values in given.items():
            whole[part.rows[batch]] = values
        return outputs_of(self.tasks[part.index], whole)


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
    inputs.refuse_stack("A live preview")
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
        live = _seated(frame, weights, towers, loaded, count, split)
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
    most = max(task.count for task in live.tasks)
    made = sum(4 * live.theta[name].numel() for name in weights.varied if name in live.theta)
    live.report = Report(frame.tier, min(count, most), weights.bytes + made, held, live.seconds, tuple(notes), dropped)
    return live


_Key = tuple[str, str, int]
_Loaded = list[tuple[Task, Sample]]


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
            sample = read_sample(task, split, rows)
            rows_of(task, sample)
            towers[tower_key(task)].need(task, shapes)
            loaded.append((task, sample))
        except MixdownError as problem:
            dropped[task.name] = problem
    if not loaded:
        raise next(iter(dropped.values()), EvalProblem("There is no task to score on.", hint="Add a task first."))
    return towers, loaded, dropped


def _seated(
    frame: Frame, weights: Weights, towers: Mapping[_Key, Tower], loaded: _Loaded, rows: int, split: Split
) -> Live:
    """A session with the first rows of every task."""
    found = []
    for tower in towers.values():
        tower.parts.clear()
    for index, (task, sample) in enumerate(loaded):
        part = sample if sample.count <= rows else read_sample(task, split, rows)
        towers[tower_key(task)].add(task, index, part)
        found.append(rows_of(task, part))
    return Live(frame, weights, list(towers.values()), found)
