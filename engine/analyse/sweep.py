"""One pass over the base and all experts that hands their task vectors, piece by piece, to several counters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine import steps
from engine.analyse.apart import Apart
from engine.analyse.feed import Feed
from engine.analyse.packed import Room
from engine.analyse.sample import strides
from engine.errors import BadRecipe, Mismatch, NotFinite
from engine.files.model import Group
from engine.merge import forks
from engine.merge.crew import Crew
from engine.merge.inputs import Inputs
from engine.merge.plan import Plan, TensorJob, make_plan
from engine.merge.run import survey
from engine.merge.view import spans
from engine.methods import find
from engine.progress import Progress
from engine.recipe.recipe import ModelRef, Recipe

CHUNK = 1 << 17
"""Most elements of a piece; small enough that all experts' pieces stay in the processor's cache."""

_RUN = 1 << 20
"""Elements that a worker takes at a time: handing out a run and adding up what is in it costs as much as some 10 k."""

_TOGETHER = 1 << 16
"""A sample's pieces are put together up to about so many elements: each alone costs more than what is in it."""

_TELLING = 64
"""A sample leaves out tensors that are this much smaller than the largest of their group."""

Array = NDArray[Any]

Unit = tuple[TensorJob, int, int]
"""Elements of a tensor: from, and up to."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some elements of one tensor of all models; valid during one call, never changed in place.

    Attributes:
        tensor: Name of the tensor, of the first one in a sample.
        start: Flat index of the first element.
        base: (n,) the base's weights.
        taus: T arrays (n,): task vectors times their coefficients.
        total: (n,) their sum.
        sizes: T arrays (n,): the magnitudes of `taus`.
        multi: (n,) the multi-task vector of the masks: the sum, or the TIES merge if the plan says so.
        changed: (T,) number of weights with tau_t != 0.
    """

    tensor: str
    start: int
    base: Array
    taus: Array
    sizes: Array
    total: Array
    multi: Array
    changed: Array


_Counted = tuple[list[tuple[TensorJob, int, Array]], list[Any]]
"""Tensors, how many of their elements a piece has, how many of these each expert changes; what the counters found."""


class Counter(Protocol):
    """One kind of statistic. `measure` is called from several threads, `add` from one, in a fixed order.

    One that has an attribute `piece` says how many elements it wants at a time; the largest wish counts.
    """

    def measure(self, piece: Piece) -> Any:
        """What a piece contributes; pure."""

    def add(self, group: int, part: Any) -> None:
        """Add a contribution to a group."""


@dataclass(frozen=True)
class Found:
    """What every sweep counts.

    Attributes:
        groups: The G groups.
        sizes: (G,) floating-point weights.
        zeros: (G, T) weights whose task vector is exactly 0.
        frozen: (G,) weights of tensors that no expert changes.
        whole: (G,) floating-point weights of the whole groups; `sizes` unless only a sample was read.
    """

    groups: tuple[Group, ...]
    sizes: NDArray[np.int64]
    zeros: NDArray[np.int64]
    frozen: NDArray[np.int64]
    whole: NDArray[np.int64]


def plan_of(inputs: Inputs, method: str = "consensus", **params: float | str) -> Plan:
    """A plan that hears all experts fully, for the statistics of the task vectors themselves.

    Raises:
        Mismatch: if there is no base, or the models do not fit.
        BadRecipe: if two experts have the same name.
    """
    if inputs.base is None:
        raise Mismatch("Without a base there are no task vectors.", hint="Add the model the experts come from.")
    if len(set(inputs.names)) < len(inputs.names):
        raise BadRecipe("Two experts have the same name.", hint="Give every expert a name of its own.")
    spec = find(method)
    models = zip(inputs.names, inputs.experts, strict=True)
    refs = tuple(ModelRef(id=f"e{k}", name=name, path=str(ck.path)) for k, (name, ck) in enumerate(models))
    recipe = Recipe(
        base=ModelRef(id="base", name=inputs.base.name, path=str(inputs.base.path)),
        experts=refs,
        gains=tuple(sorted((ref.id, 1.0 / spec.coefficient) for ref in refs)),
    )
    recipe = replace(recipe, method=method, params=tuple(sorted(params.items())))
    return make_plan(recipe, inputs)


def sweep(
    plan: Plan,
    counters: Sequence[Counter],
    progress: Progress,
    *,
    threads: int | None = None,
    chunk: int = CHUNK,
    text: str = "Comparing the experts",
    sample: int = 0,
    apart: bool = False,
) -> Found:
    """Read all models of a plan once and feed the counters; the result does not depend on the threads.

    With `sample` only about so many weights of each model are read, some of every group and of its larger tensors.
    With `apart` the pieces are measured in processes where the program allows them: the counters find little in each.

    Raises:
        NotFinite: if a model has a NaN or infinity.
        FileProblem: if a file cannot be read or was changed.
        Cancelled: if the user stopped it.
    """
    ballot = _ballot(plan, progress, threads)
    tally = _Tally(plan)
    with Feed(plan, chunk) as feed, Crew(threads) as crew:
        feed.check_unchanged()
        worker = _Worker(feed, counters, progress, ballot, together=bool(sample))
        if sample:
            batches = tally.batches(list(strides(tally.telling(), sample)), feed)
        else:
            batches = list(tally.runs(feed.chunk))
        total = sum(worker.bytes_in(unit) for batch in batches for unit in batch)
        progress.begin(total, text)
        for pieces in worker.all(crew, batches, apart and forks.are_wanted("cpu", crew.threads, total)):
            for found, parts in pieces:
                [group, *_] = [tally.add(*one) for one in found]
                for counter, part in zip(counters, parts, strict=True):
                    counter.add(group, part)
        feed.check_unchanged()
    return tally.found()


def _ballot(plan: Plan, progress: Progress, threads: int | None) -> Any:
    """Statistics of the TIES merge, if the masks are made from one."""
    wanted = plan.params.get("vector") == "ties"
    return survey(plan, progress=progress, threads=threads) if wanted else None


class _Tally:
    """Sizes, zeros and frozen tensors, by group."""

    def __init__(self, plan: Plan) -> None:
        self._layout = plan.layout
        self.jobs = [job for job in plan.jobs if job.is_float]
        groups, experts = len(self._layout.groups), len(plan.models.experts)
        self._where = {name: g for g, group in enumerate(self._layout.groups) for name in group.tensors}
        self._sizes = np.zeros(groups, np.int64)
        self._changed = np.zeros((groups, experts), np.int64)
        self._moved: set[str] = set()
        self._seen: set[str] = set()

    def runs(self, chunk: int) -> Iterator[list[Unit]]:
        """The chunks, tensor by tensor, as many together as make up about `_RUN` elements."""
        run, filled = list[Unit](), 0
        for job in self.jobs:
            for unit in spans(job, chunk):
                run.append(unit)
                filled += unit[2] - unit[1]
                if filled >= _RUN:
                    yield run
                    run, filled = [], 0
        if run:
            yield run

    def batches(self, units: Sequence[Unit], feed: Feed) -> list[list[Unit]]:
        """Units of one group and of one dtype together, as many as are counted at a time."""
        made: dict[tuple[int, Any, int], list[Unit]] = {}
        filled: dict[tuple[int, Any], int] = {}
        for unit in units:
            key = self._where[unit[0].name], feed.kind(unit[0])
            made.setdefault((*key, filled.get(key, 0) // _TOGETHER), []).append(unit)
            filled[key] = filled.get(key, 0) + unit[2] - unit[1]
        return list(made.values())

    def telling(self) -> list[TensorJob]:
        """The tensors that a sample reads: those that make up most of their group, so not the biases of matrices."""
        largest = np.zeros(len(self._sizes), np.int64)
        for job in self.jobs:
            group = self._where[job.name]
            largest[group] = max(largest[group], job.numel)
        return [job for job in self.jobs if job.numel * _TELLING >= largest[self._where[job.name]]]

    def add(self, job: TensorJob, count: int, changed: Array) -> int:
        """Count one piece; its group."""
        group = self._where[job.name]
        self._seen.add(job.name)
        self._sizes[group] += count
        self._changed[group] += changed
        if changed.any():
            self._moved.add(job.name)
        return group

    def found(self) -> Found:
        """The totals."""
        frozen = np.zeros_like(self._sizes)
        for job in self.jobs:
            if job.name in self._seen and job.name not in self._moved:
                frozen[self._where[job.name]] += job.numel
        whole = np.zeros_like(self._sizes)
        for job in self.jobs:
            whole[self._where[job.name]] += job.numel
        return Found(self._layout.groups, self._sizes, self._sizes[:, None] - self._changed, frozen, whole)


class _Worker:
    """Loads a piece and lets every counter measure it; thread-safe."""

    def __init__(
        self, feed: Feed, counters: Sequence[Counter], progress: Progress, ballot: Any, *, together: bool
    ) -> None:
        self._feed = feed
        self._sampled = together
        self._counters = counters
        self._progress = progress
        self._ballot = ballot
        self._size = max((getattr(counter, "piece", CHUNK) for counter in counters), default=CHUNK)
        self._room = Room()

    def bytes_in(self, unit: Unit) -> int:
        """Bytes of some elements in all models."""
        job, start, stop = unit
        return self._feed.bytes_in(job) * (stop - start) // max(job.numel, 1)

    def all(self, crew: Crew, batches: Sequence[list[Unit]], in_processes: bool) -> Iterator[list[_Counted]]:
        """What is found in every batch, in their order; by the crew's threads, or by a process for each of them."""
        measure: Callable[[list[Unit]], list[_Counted]] = self._measure
        with ExitStack() as stack:
            if in_processes:
                with suppress(OSError):  # no process is to be had: the threads do it
                    away = stack.enter_context(Apart(crew.threads, self._measure))
                    measure = partial(away.do, check=self._progress.check)
            yield from crew.map(batches, partial(self._told, measure))

    def _told(self, measure: Callable[[list[Unit]], list[_Counted]], batch: list[Unit]) -> list[_Counted]:
        """Measure a batch, and say so."""
        self._progress.check()
        for job, start, _ in batch:
            if start == 0 and not self._sampled:
                self._feed.advise(job)
        found = measure(batch)
        self._progress.advance(sum(map(self.bytes_in, batch)))
        return found

    def _measure(self, batch: list[Unit]) -> list[_Counted]:
        """What is in a batch: a sample's units together, others in pieces as large as the counters want them."""
        if self._sampled and self._ballot is None:
            return self._together(batch)
        return [counted for unit in batch for counted in self._pieces(unit)]

    def _pieces(self, unit: Unit) -> Iterator[_Counted]:
        job, start, stop = unit
        rows, taus = self._feed.load(job, start, stop)
        for first in range(0, stop - start, self._size):
            last = min(first + self._size, stop - start)
            piece = self._piece(unit, first, rows[0, first:last], taus[:, first:last], rows[1:, first:last])
            yield [(job, last - first, piece.changed)], self._measured(piece, [unit])

    def _together(self, batch: Sequence[Unit]) -> list[_Counted]:
        """The units of a sample, of one group, as one piece."""
        ends = np.cumsum([stop - start for _, start, stop in batch]).tolist()
        base, taus = np.zeros(0), np.zeros((0, 0))
        for unit, end in zip(batch, ends, strict=True):
            rows, own = self._feed.load(*unit)
            if not base.size:
                base = self._room.array("base", (ends[-1],), own.dtype)
                taus = self._room.array("taus", (len(own), ends[-1]), own.dtype)
            base[end - own.shape[1] : end], taus[:, end - own.shape[1] : end] = rows[0], own
        piece = self._piece(batch[0], 0, base, taus, taus)
        none = self._room.array("none", piece.total.shape, np.bool_)
        found = []
        for (job, start, stop), end in zip(batch, ends, strict=True):
            part = slice(end - stop + start, end)
            found.append((job, stop - start, _changed(piece.sizes[:, part], none[part])))
        return [(found, self._measured(piece, batch))]

    def _measured(self, piece: Piece, units: Sequence[Unit]) -> list[Any]:
        """What every counter finds in a piece."""
        if not _is_finite(piece.total) and not np.isfinite(piece.taus).all():
            raise self._blamed(units)  # a sum hides no NaN and no infinity
        return [counter.measure(piece) for counter in self._counters]

    def _blamed(self, units: Sequence[Unit]) -> NotFinite:
        """The error that names the first tensor with a NaN or infinity."""
        bad = (unit for unit in units if not np.isfinite(self._feed.load(*unit)[1]).all())
        return self._feed.blame(*next(bad, units[0]))

    def _piece(self, unit: Unit, first: int, base: Array, taus: Array, deltas: Array) -> Piece:
        """Everything about some elements; `deltas` are the task vectors before their coefficients."""
        room, job = self._room, unit[0]
        sizes = room.array("sizes", taus.shape, taus.dtype)
        total = room.array("total", taus.shape[1:], taus.dtype)
        total.fill(0)
        for tau, size in zip(taus, sizes, strict=True):  # row by row: one fits into the nearer cache, all do not
            np.add(total, tau, out=total)  # in this order, as a merge adds them
            np.abs(tau, out=size)
        multi = total if self._ballot is None else self._ties(job, deltas)
        changed = _changed(sizes, room.array("none", sizes.shape[1:], np.bool_))
        return Piece(job.name, unit[1] + first, base, taus, sizes, total, multi, changed)

    def _ties(self, job: TensorJob, rows: Array) -> Array:
        """The TIES merge with the sum, as `engine.methods.tall` makes it."""
        deltas = [torch.from_numpy(row) for row in rows]
        kept = steps.reduce.scaled(steps.trim.trim_all(deltas, self._ballot.cuts), job.weights)
        signs = steps.elect.signs(kept, "mass", self._ballot)
        made: Array = steps.disjoint.merge(kept, signs, "sum", job.weights).numpy()
        return made


def _is_finite(values: Array) -> bool:
    """Whether there is no NaN and no infinity in (n,) values, n > 0; both are seen at the ends of their order."""
    return math.isfinite(np.maximum.reduce(values)) and math.isfinite(np.minimum.reduce(values))


def _changed(sizes: Array, none: Array) -> Array:
    """(T,) number of elements that are not 0, of (T, n) magnitudes; `none` is memory for (n,) bool."""
    return np.array([len(none) - np.count_nonzero(np.equal(row, 0, out=none)) for row in sizes])
