"""The models as statistics see them: a stream of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TypeVar

import numpy as np

from engine.merge.crew import Crew
from engine.merge.load import Loader
from engine.merge.plan import TensorJob
from engine.merge.recall import sketch_keys
from engine.methods.spec import Scope
from engine.progress import Progress
from engine.steps.ops import Array
from engine.steps.select import Sketch
from engine.steps.view import Chunk

R = TypeVar("R")


class ModelView:
    """Implements `engine.steps.view.View` for some tensors of a plan.

    A chunk is only valid during the call of the mapped function: its buffers are reused.

    Args:
        loader: Reads the models.
        jobs: Floating-point tensors, in order.
        progress: Told the bytes read; its `begin` is called once for every pass if `crew` is given.
        crew: Threads to spread the work over; None to stay on the calling thread.
    """

    def __init__(self, loader: Loader, jobs: Sequence[TensorJob], progress: Progress, crew: Crew | None = None) -> None:
        self._loader = loader
        self._jobs = jobs
        self._progress = progress
        self._crew = crew
        self._passes = 0

    @property
    def numel(self) -> int:
        """Elements in the view; frozen ones and those absent from experts count."""
        return sum(job.numel for job in self._jobs)

    @property
    def tensor(self) -> str:
        """Name of the tensor, or "" where the view is the whole model."""
        return self._jobs[0].name if self._crew is None and len(self._jobs) == 1 else ""

    @property
    def models(self) -> int:
        """Number of experts."""
        return len(self._jobs[0].used) if self._jobs else len(self._loader.plan.models.experts)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every expert, in canonical order."""
        names = self._loader.plan.models.names
        return tuple(names[t] for t in self._jobs[0].used) if self._jobs else names

    @property
    def resident(self) -> bool:
        """Whether another pass reads no file: one tensor that is small enough to be kept."""
        return self._crew is None and all(map(self._loader.keeps, self._jobs))

    def map(self, function: Callable[[Chunk], R]) -> Iterator[R]:
        """Apply `function` to every chunk; results come in chunk order."""

        @np.errstate(all="ignore")  # numbers that are not finite are found and told with their place
        def work(span: tuple[TensorJob, int, int]) -> R:
            self._progress.check()
            result = function(self._loader.load(*span))
            if self._crew is not None:
                self._progress.advance(span[2] - span[1])
            return result

        if self._crew is None:
            for job in self._jobs:
                self._loader.keep(job)
            return map(work, self._spans())
        self._passes += 1
        self._progress.begin(self.numel, f"Measuring the models (pass {self._passes})", "weights")
        return self._crew.map(self._spans(), work)

    def sample(self, stride: int) -> Iterator[tuple[Array, ...]]:
        """Every stride-th element of all task vectors: of a kept tensor at once, else of each chunk, in order."""
        for job in self._jobs:
            self._progress.check()
            self._loader.keep(job)
            kept = self._loader.sample(job, stride)
            if kept is not None:
                yield kept
                continue
            for span in spans(job, self._loader.chunk):
                self._progress.check()
                yield tuple(x[::stride] for x in self._loader.load(*span).deltas)

    def recall(self, make: Callable[[], tuple[Sketch, ...] | None]) -> tuple[Sketch, ...] | None:
        """Sketches of all experts' task vectors: remembered ones if the files are the same, else by `make`."""
        store, keys = self._loader.recall, sketch_keys(self._loader.plan, self._jobs)
        if keys is None:
            return make()
        known = [store.sketch(key) for key in keys]
        found = tuple(sketch for sketch in known if sketch is not None)
        if len(found) == len(keys):
            return found
        made = make()
        for key, sketch in zip(keys, made or (), strict=False):
            store.keep_sketch(key, sketch, on_disk=self._crew is not None)
        return made

    def _spans(self) -> Iterator[tuple[TensorJob, int, int]]:
        for job in self._jobs:
            yield from spans(job, self._loader.chunk)


def spans(
    job: TensorJob, chunk: int, scope: Scope = "element", part: tuple[int, int] | None = None
) -> Iterator[tuple[TensorJob, int, int]]:
    """Cut a tensor, or a part that starts and ends at such cuts: at multiples of the block, between rows, not at all.

    Args:
        job: The tensor.
        chunk: Wanted elements of a chunk; a row or tensor that has more is not cut.
        scope: What must stay together.
        part: First element and the one after the last; all if None.
    """
    total = job.numel
    first, last = part or (0, total)
    if scope == "rows" and total:
        row = row_elements(job.shape)
        chunk = max(1, chunk // row) * row
    elif scope == "tensor":
        chunk = max(total, 1)
    for start in range(first, last, chunk):
        yield job, start, min(start + chunk, last)


def row_elements(shape: tuple[int, ...]) -> int:
    """Elements of one row; a tensor of fewer than two dimensions is one row."""
    return prod(shape[1:]) if len(shape) > 1 else prod(shape)


def shaped(values: Array, shape: tuple[int, ...], scope: Scope) -> Array:
    """(n,) elements of a tensor as kernels of this scope want them: (n,), (rows, c) or the tensor's shape."""
    if scope == "rows":
        return values.reshape(-1, max(1, row_elements(shape)))
    return values.reshape(shape) if scope == "tensor" else values
