"""Running a plan: worker threads that read, compute, round once and write, chunk by chunk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from engine.files.model import ITEM_BYTES
from engine.merge import forks
from engine.merge.compute import Computer, call_statistic
from engine.merge.crew import Crew, Gate
from engine.merge.load import Loader
from engine.merge.memory import HOST, home
from engine.merge.plan import Plan, TensorJob
from engine.merge.recall import survey_key
from engine.merge.sink import Buffer, MemorySink, Sink
from engine.merge.view import ModelView, spans
from engine.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 19
"""Default number of elements in a chunk (an upper bound, see `load.chunk_elements`)."""

Unit = tuple[TensorJob, int, int]
"""A tensor, or a piece of it: its first element and the one after its last."""

_UNIT = 1 << 20  # elements that a worker takes at once, in chunks of what its memory likes
_AHEAD = 3
_CHECK_S = 0.2


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did.

    Attributes:
        seconds: Wall time, statistics included.
        bytes_in: Bytes that one pass over the models reads.
        bytes_out: Bytes of the merged model.
        merged: Number of computed tensors.
        copied: Number of tensors whose bytes were copied.
        threads: Number of worker threads.
        notes: How many tensors each note of the method's statistics was about ("lerp": 12).
    """

    seconds: float
    bytes_in: int
    bytes_out: int
    merged: int
    copied: int
    threads: int
    notes: Mapping[str, int] = field(default_factory=dict)


def merge(
    plan: Plan,
    sink: Sink,
    *,
    progress: Progress | None = None,
    device: str = "cpu",
    threads: int | None = None,
    chunk: int = CHUNK,
    stats: object = None,
) -> MergeReport:
    """Compute every tensor of the plan and hand its bytes to the sink.

    The bytes do not depend on threads, chunk size, order of the experts or (for methods of class A) device.

    Args:
        plan: What to do.
        sink: Takes the bytes, from several threads.
        progress: Told the bytes read; pauses and cancels.
        device: "cpu" or "cuda". On the CPU numpy does what it can (`engine.merge.memory.suits_host`), torch the rest.
        threads: Worker threads; None for one a core.
        chunk: Most elements that are computed at once.
        stats: Result of an earlier `survey` of this plan; None to make it now if the method has one.

    Raises:
        NotFinite: if a NaN or infinity would reach the merged model.
        FileProblem: if an input is unreadable or was changed meanwhile.
        Cancelled: if the user stopped the job.
    """
    progress = progress or Silent()
    started = time.monotonic()
    place = home(plan, device)
    with Loader(plan, place, chunk) as loader, Crew(threads, host=place == HOST) as crew:
        loader.check_unchanged()
        if stats is None:
            stats = _survey(loader, crew, progress)
        progress.begin(plan.bytes_in, "Merging")
        run = _Run(loader, sink, progress, stats)
        run.go(crew, forks.are_wanted(device, crew.threads, plan.bytes_in))
        loader.check_unchanged()
    merged = sum(job.action == "merge" for job in plan.jobs)
    seconds = time.monotonic() - started
    return MergeReport(seconds, plan.bytes_in, plan.bytes_out, merged, len(plan.jobs) - merged, crew.threads, run.notes)


def survey(
    plan: Plan,
    *,
    progress: Progress | None = None,
    device: str = "cpu",
    threads: int | None = None,
    chunk: int = CHUNK,
) -> object:
    """The method's whole-model statistic, to be reused by several merges; None if it has none.

    Args:
        plan: What will be merged.
        progress: Told the bytes read.
        device: "cpu" or "cuda".
        threads: How many work at once; None for as many as there are cores.
        chunk: Elements at once.

    Raises:
        MixdownError: as `merge` does.
    """
    place = home(plan, device)
    with Loader(plan, place, chunk) as loader, Crew(threads, host=place == HOST) as crew:
        return _survey(loader, crew, progress or Silent())


def merged_state(
    plan: Plan,
    progress: Progress | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    chunk: int = CHUNK,
    stats: object = None,
) -> dict[str, Tensor]:
    """The merged model in memory, by tensor name, with the same bytes that an export has; arguments as for `merge`.

    Raises:
        MixdownError: as `merge` does.
    """
    sink = MemorySink(plan)
    merge(plan, sink, progress=progress, device=device, threads=threads, chunk=chunk, stats=stats)
    return sink.tensors


def _survey(loader: Loader, crew: Crew, progress: Progress) -> object:
    """What the method's survey finds in all floating-point tensors, if any tensor is computed at all."""
    plan = loader.plan
    if plan.method.survey is None or not any(job.action == "merge" for job in plan.jobs):
        return None
    key = survey_key(plan, tuple(plan.params.items()))
    known, found = loader.recall.survey(key)
    if not known:
        view = ModelView(loader, [job for job in plan.jobs if job.is_float], progress, crew)
        found = call_statistic(plan.method.survey, view, plan.params, {})
        loader.check_unchanged()
        loader.recall.keep_survey(key, found)
    return found


class _Run:
    """The work of one merge, cut into units that threads take from a common list."""

    def __init__(self, loader: Loader, sink: Sink, progress: Progress, stats: object) -> None:
        self._loader = loader
        self._plan = loader.plan
        self._computer = Computer(loader, stats)
        self._sink = sink
        self._progress = progress
        self._stats = stats
        self._noted: list[str] = []  # appended to by all threads
        self._indices = {job.name: index for index, job in enumerate(self._plan.jobs)}
        self._gate = Gate(self._plan.whole_bytes)

    def go(self, crew: Crew, in_processes: bool = False) -> None:
        """Do everything, in the threads of the crew or in one process for each of them."""
        with ExitStack() as stack:
            away: forks.Forks[Unit] | None = None
            if in_processes:
                with suppress(OSError):  # no process is to be had: the threads do it
                    away = stack.enter_context(forks.Forks(crew.threads, self._apart))
            crew.drain(self._units(), lambda unit: self._work(unit, away))

    @property
    def notes(self) -> dict[str, int]:
        """How many tensors each note was about, by note."""
        return dict(sorted(Counter(note for note in self._noted if note).items()))

    def _units(self) -> Iterator[Unit]:
        """Tensors that one thread takes whole (largest first, they take longest), then the others in chunks."""
        jobs = list(self._plan.jobs)
        whole = sorted((job for job in jobs if self._is_whole(job) and job.numel), key=lambda j: -j.numel)
        jobs = [job for job in jobs if not self._is_whole(job)]
        for position, job in enumerate(whole):
            yield self._begun(whole, position, job), 0, job.numel
        for position, job in enumerate(jobs):
            yield from spans(self._begun(jobs, position, job), max(_UNIT, self._loader.chunk), self._plan.scope(job))

    def _is_whole(self, job: TensorJob) -> bool:
        """Whether a tensor is measured before it is merged, or must be merged at once."""
        measured = job.action == "merge" and self._plan.method.measure is not None
        return measured or self._plan.scope(job) == "tensor"

    def _begun(self, jobs: list[TensorJob], position: int, job: TensorJob) -> TensorJob:
        """Look after the inputs when a tensor's turn comes: read ahead, notice changes."""
        self._loader.check_unchanged(at_most_every_s=_CHECK_S)
        ahead = position + _AHEAD
        if ahead < len(jobs):
            self._loader.advise(jobs[ahead])
        return job

    def _work(self, unit: Unit, away: forks.Forks[Unit] | None = None) -> None:
        """Have a unit computed, here or in a process, and write it."""
        self._progress.check()
        whole = self._is_whole(unit[0])
        with self._gate.room(self._plan.bytes_at_once(unit[0]), self._progress) if whole else nullcontext():
            if away is None:
                note = self._computed(unit, self._write)
            else:
                note = away.do(unit, self._write, self._progress.check)
        self._noted.append(note)

    @np.errstate(all="ignore")  # what overflows is found in the result and told with its place
    def _computed(self, unit: Unit, write: forks.Write) -> str:
        """Compute a unit; returns the note of its statistics, if it has some of its own."""
        job = unit[0]
        if not self._is_whole(job):
            for span in spans(job, self._loader.chunk, self._plan.scope(job), unit[1:]):
                self._chunk(span, self._stats, write)
            return ""
        try:
            stats = self._computer.measure(job, self._progress)
            for span in spans(job, self._loader.chunk, self._plan.scope(job)):
                self._chunk(span, stats, write)
        finally:
            self._loader.drop()
        return getattr(stats, "note", "") if stats is not self._stats else ""

    def _apart(self, unit: Unit, write: forks.Write) -> str:
        """The same in a process, which is told by its parent when to wait or stop."""
        self._progress = Silent()
        return self._computed(unit, write)

    def _chunk(self, span: Unit, stats: object, write: forks.Write) -> None:
        job, start, stop = span
        self._progress.check()
        data = self._computer.chunk(job, start, stop, stats)
        write(self._indices[job.name], start * ITEM_BYTES[job.out_dtype], data)

    def _write(self, index: int, offset: int, data: Buffer) -> None:
        """Give bytes of a tensor to the sink, and say how much was done."""
        self._sink.write(index, offset, data)
        job = self._plan.jobs[index]
        whole = job.numel * ITEM_BYTES[job.out_dtype]
        self._progress.advance(self._plan.job_bytes_in(job) * len(data) // whole)
