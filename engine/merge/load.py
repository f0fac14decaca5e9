"""From files to float chunks: positioned reads into buffers that are made once for each thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from engine.errors import NotFinite
from engine.files.model import ITEM_BYTES, TensorInfo
from engine.files.reading import Reader
from engine.merge.memory import HOST, Memory, all_finite, memory
from engine.merge.models import BASE
from engine.merge.plan import Plan, TensorJob
from engine.merge.recall import SHARED, Recall
from engine.steps.ops import Array
from engine.steps.view import BLOCK, Chunk, Span

BUDGET = 12 << 20
"""Bytes of float chunks that one thread may hold; with many experts the chunks get smaller, not the memory larger."""

HOST_CHUNK = 1 << 17
"""Most elements of a numpy chunk: all that an operation touches is then in the processor's own cache."""

GPU_FACTOR = 32
"""How many times larger chunks are on a GPU: a kernel call costs as much as a million elements there."""


def chunk_elements(chunk: int, experts: int, device: str = "cpu") -> int:
    """Elements of a chunk: a multiple of `BLOCK`, at most `chunk` and what `BUDGET` allows for T experts.

    On a GPU both are `GPU_FACTOR` times as large, and numpy's are at most `HOST_CHUNK`; the merged bytes do not
    depend on it.
    """
    factor = 1 if device in ("cpu", HOST) else GPU_FACTOR
    most = min(chunk, HOST_CHUNK) if device == HOST else factor * chunk
    fits = factor * BUDGET // (4 * (experts + 2))
    return max(BLOCK, min(most, fits) // BLOCK * BLOCK)


RESIDENT = 64 << 20
"""Bytes of one tensor's float copies that a thread may keep between measuring and merging it; larger ones are read
again."""


class Scratch:
    """The buffers of one thread, reused for every chunk.

    Args:
        elements: Largest number of elements in a chunk.
        where: What memory float chunks live in.
        rows: Float buffers that lie side by side in memory, so that they can be seen as one matrix.
    """

    def __init__(self, elements: int, where: Memory, rows: int = 1) -> None:
        self._elements = elements
        self._where = where
        self._rows = rows
        self._floats: dict[bool, Array] = {}
        self._whole: Array | None = None
        self._raw: dict[str, np.ndarray[Any, Any]] = {}

    def floats(self, row: int, wide: bool, count: int) -> Array:
        """Row `row` of the float buffers, (count,); what is larger than a chunk gets memory of its own."""
        if count > self._elements:
            return self._where.floats(count, wide=wide)
        if wide not in self._floats:
            self._floats[wide] = self._where.floats(self._rows, self._elements, wide=wide)
        return self._floats[wide][row, :count]

    def whole(self, count: int) -> Array:
        """Buffers for all of a tensor, (rows, count) float32; at most `RESIDENT` bytes."""
        if self._whole is None:  # memory is taken only as far as it is used
            self._whole = self._where.floats(RESIDENT // 4)
        return self._whole[: self._rows * count].reshape(self._rows, count)

    def resident(self) -> np.ndarray[Any, Any]:
        """Host bytes for all of a tensor of all models: (RESIDENT,) uint8."""
        if "resident" not in self._raw:  # memory is taken only as far as it is used
            self._raw["resident"] = self._where.room(RESIDENT)
        return self._raw["resident"]

    def raw(self, purpose: str, count: int) -> np.ndarray[Any, Any]:
        """Host bytes for "in" or "out", (count,) uint8."""
        if purpose not in self._raw:
            self._raw[purpose] = self._where.room(8 * self._elements)
        return self._raw[purpose][:count]


@dataclass(slots=True)
class _Held:
    """One tensor of all models in memory.

    Attributes:
        job: Which tensor.
        rows: Base and task vectors, (1 + T, n) floats; None where the stored bytes are held.
        raws: The stored bytes of each model that has the tensor, by its index; they take half the room of floats,
            and making floats of them again, in the processor's cache, is faster than fetching floats from memory.
        checked: Where chunks begin whose numbers were seen to be finite.
    """

    job: TensorJob
    rows: Array | None = None
    raws: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)
    checked: set[int] = field(default_factory=set)


_Source = tuple[int, Reader, TensorInfo]
"""A model's index, what reads it, and the tensor."""


@dataclass(frozen=True, slots=True)
class _Supply:
    """What the chunks of one tensor are made of.

    Attributes:
        wide: Whether in float64: any model stores this tensor so.
        base: Where the base's values come from; None for zeros.
        experts: Where those of the used experts come from; None where the base's count.
        keys: Content keys of the used experts.
        names: Their names.
        twin: The tensor whose random masks this one has, too.
    """

    wide: bool
    base: _Source | None
    experts: tuple[_Source | None, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...]
    twin: str


class Loader:
    """Reads the models of a plan; use as a context manager. All methods are thread-safe.

    A chunk that `load` returns lives in the calling thread's buffers: it is valid until that thread's next
    call.

    Args:
        plan: Whose models are read.
        device: "cpu" or "cuda" for torch tensors, `HOST` for numpy arrays.
        chunk: Wanted elements of a chunk.
        recall: What is remembered of the models.
        check: Whether `load` looks for NaN and infinity (else the caller does).
    """

    def __init__(
        self, plan: Plan, device: str = "cpu", chunk: int = 1 << 17, recall: Recall = SHARED, *, check: bool = True
    ) -> None:
        self.plan = plan
        self.device = device
        self.recall = recall
        self.memory = memory(device)
        self.chunk = chunk_elements(chunk, len(plan.models.experts), device)
        self._readers: dict[int, Reader] = {}
        self._open = ExitStack()
        self._local = threading.local()
        self._supplies: dict[str, _Supply] = {}
        self._check_finite = check and plan.method.live != "linear"
        self._checked = 0.0

    def __enter__(self) -> Loader:
        if self.plan.models.base is not None:
            self._readers[BASE] = self._open.enter_context(Reader(self.plan.models.base))
        for index, expert in enumerate(self.plan.models.experts):
            self._readers[index] = self._open.enter_context(Reader(expert))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def scratch(self) -> Scratch:
        """The calling thread's buffers."""
        scratch: Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = Scratch(self.chunk, self.memory, len(self.plan.models.experts) + 1)
        return scratch

    def advise(self, job: TensorJob) -> None:
        """Ask the system to read a job's tensors ahead."""
        for index in self.plan.reads(job):
            info = self.plan.models.info(index, job.name)
            if info is not None and info.numel:
                with suppress(OSError):  # only advice
                    self._readers[index].advise(info)

    def check_unchanged(self, *, at_most_every_s: float = 0.0) -> None:
        """Make sure that no input file was changed.

        Raises:
            Changed: naming the file.
        """
        now = time.monotonic()
        if now - self._checked >= at_most_every_s:
            self._checked = now
            for reader in self._readers.values():
                reader.check_unchanged()

    def read_bytes(self, job: TensorJob, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The stored bytes of a copied tensor's elements `start` to `stop`, (n,) uint8."""
        info = self._need(job.source, job.name)
        raw = self.scratch.raw("in", (stop - start) * ITEM_BYTES[info.dtype])
        self._readers[job.source].read_into(info, start, stop - start, raw)
        return raw

    def values(self, index: int, name: str, start: int, stop: int, *, wide: bool = False, row: int = 0) -> Array:
        """Elements `start` to `stop` of one model's tensor as floats in buffer `row`, (n,) on the device."""
        source = index, self._readers[index], self._need(index, name)
        return self._fill(self.scratch.floats(row, wide, stop - start), source, start)

    def _fill(self, target: Array, source: _Source, start: int) -> Array:
        """The target, (n,), filled with elements of one model's tensor from `start` on."""
        count = len(target)
        if count <= self.chunk:
            self._read(*source[1:], start, target)
        else:
            for first in range(0, count, self.chunk):
                self._read(*source[1:], start + first, target[first : first + self.chunk])
        return target

    def _read(self, reader: Reader, info: TensorInfo, start: int, out: Array) -> None:
        """Fill `out`, (n,) of at most a chunk, with a tensor's elements from `start` on."""
        direct = self.memory.direct(out, info.dtype)
        if direct is not None:
            reader.read_into(info, start, len(out), direct)
            return
        raw = self.scratch.raw("in", len(out) * ITEM_BYTES[info.dtype])
        reader.read_into(info, start, len(out), raw)
        self.memory.widen(raw, info.dtype, out)

    def keep(self, job: TensorJob) -> None:
        """Read a tensor of all models at once and hand out pieces of it until `drop`, if it is small enough."""
        held: _Held | None = getattr(self._local, "held", None)
        if (held is not None and held.job is job) or not self.keeps(job):
            return
        if self.device == HOST:
            self._local.held = _Held(job, raws=self._stored(job))
            return
        rows = self.scratch.whole(job.numel)
        for start in range(0, job.numel, self.chunk):
            self._load(job, start, list(rows[:, start : start + self.chunk]))
        self._local.held = _Held(job, rows)

    def _stored(self, job: TensorJob) -> dict[int, np.ndarray[Any, Any]]:
        """The stored bytes of a tensor of each model that has it, side by side in this thread's memory."""
        supply, raws, done = self._supply(job), {}, 0
        room = self.scratch.resident()
        for index, reader, info in filter(None, (supply.base, *supply.experts)):
            raws[index] = room[done : done + info.size_bytes]
            reader.read_into(info, 0, info.numel, raws[index])
            done += info.size_bytes
        return raws

    def keeps(self, job: TensorJob) -> bool:
        """Whether `keep` keeps a tensor."""
        supply, models = self._supply(job), len(self.plan.models.experts) + 1
        size = (
            max(ITEM_BYTES[info.dtype] for _, _, info in filter(None, (supply.base, *supply.experts)))
            if self.device == HOST
            else 4
        )
        return models * size * job.numel <= RESIDENT and not supply.wide

    def drop(self) -> None:
        """Keep nothing any more."""
        self._local.held = None

    def load(self, job: TensorJob, start: int, stop: int) -> Chunk:
        """The base and all used experts of one span, as kernels and statistics want them.

        Args:
            job: Which tensor.
            start: Flat index of the first element.
            stop: Flat index after the last one.

        Returns:
            (stop - start,) numbers of each; they are valid until this thread loads again.

        Raises:
            NotFinite: for a NaN or infinity, unless the method is linear (then the result shows it).
        """
        supply, held = self._supply(job), self._held(job)
        if held is not None and held.rows is not None:
            rows = list(held.rows[:, start:stop])
        else:
            rows = [self.scratch.floats(row, supply.wide, stop - start) for row in range(1 + len(job.used))]
            self._load(job, start, rows, held)
        span = Span(job.name, start, stop, job.shape, supply.keys, supply.names, self.plan.recipe.seed, supply.twin)
        return Chunk(span, rows[0], tuple(rows[1 : 1 + len(job.used)]), job.weights)

    def sample(self, job: TensorJob, stride: int) -> tuple[Array, ...] | None:
        """Every stride-th number of the used experts' task vectors (or weights) of a kept tensor; None for another."""
        held = self._held(job)
        if held is None:
            return None
        if held.rows is not None:
            return tuple(held.rows[1 : 1 + len(job.used), ::stride])
        rows = [self.memory.floats(-(-job.numel // stride)) for _ in range(1 + len(job.used))]
        self._assemble(job, rows, lambda row, source: self._widen(row, source, held, slice(None, None, stride)))
        return tuple(rows[1:])

    def _held(self, job: TensorJob) -> _Held | None:
        held: _Held | None = getattr(self._local, "held", None)
        return held if held is not None and held.job is job else None

    def _widen(self, row: Array, source: _Source, held: _Held, part: slice) -> None:
        """Fill a row, (n,), with a part of a tensor whose bytes are held."""
        index, _, info = source
        stored = held.raws[index].view(f"u{ITEM_BYTES[info.dtype]}")[part]
        self.memory.widen(np.ascontiguousarray(stored).view(np.uint8), info.dtype, row)

    def _load(self, job: TensorJob, start: int, rows: Sequence[Array], held: _Held | None = None) -> None:
        """Fill rows, (n,) each, with the base and the used experts' task vectors (or weights) from `start` on."""
        base, used = rows[0], rows[1 : 1 + len(job.used)]
        if held is None:
            self._assemble(job, rows, lambda row, source: self._fill(row, source, start))
        else:
            part = slice(start, start + len(base))
            self._assemble(job, rows, lambda row, source: self._widen(row, source, held, part))
            if start in held.checked:
                return
            held.checked.add(start)
        checked = used if self.plan.method.space == "delta" else (base, *used)
        if self._check_finite and not all(map(all_finite, checked)):
            raise self.blame(job, start, start + len(base))

    def _assemble(self, job: TensorJob, rows: Sequence[Array], fill: Callable[[Array, _Source], object]) -> None:
        """Have the rows filled with stored numbers, and make task vectors of them if the method wants these."""
        supply, base, used = self._supply(job), rows[0], rows[1 : 1 + len(job.used)]
        delta = self.plan.method.space == "delta"
        if supply.base is not None:
            fill(base, supply.base)
        else:
            base[:] = 0
        for row, source in zip(used, supply.experts, strict=True):
            if source is None:
                row[:] = 0 if delta else base
                continue
            fill(row, source)
            if delta:
                row -= base

    def _supply(self, job: TensorJob) -> _Supply:
        """What a tensor's chunks are made of; looked up once, since there are many of them."""
        found = self._supplies.get(job.name)
        return found if found is not None else self._supplies.setdefault(job.name, self._supplied(job))

    def _supplied(self, job: TensorJob) -> _Supply:
        plan, models = self.plan, self.plan.models
        reads = plan.reads(job) if job.action == "merge" else (BASE, *job.used)
        infos = {index: models.info(index, job.name) for index in (BASE, *job.used)}
        sources = {i: None if info is None else (i, self._readers[i], info) for i, info in infos.items()}
        return _Supply(
            wide=any(info is not None and info.dtype == "F64" for info in infos.values()),
            base=sources[BASE] if BASE in reads else None,
            experts=tuple(sources[t] for t in job.used),
            keys=tuple(models.keys[t] for t in job.used),
            names=tuple(models.names[t] for t in job.used),
            twin=plan.twins.get(job.name, ""),
        )

    def blame(self, job: TensorJob, start: int, stop: int) -> NotFinite:
        """The error that names the model with NaN or infinite values, or says that the merge overflows."""
        for index in (BASE, *job.used):
            if self.plan.models.info(index, job.name) is None:
                continue
            bad = self.memory.count_bad(self.values(index, job.name, start, stop, wide=self._supply(job).wide))
            if bad:
                return NotFinite(
                    f"{self.plan.models.name(index)} has NaN or infinite values here ({bad:,} near element {start:,}).",
                    where=job.name,
                    hint="Remove this model, or set the coefficients of this tensor to 0 to keep the base's values.",
                )
        return NotFinite(
            f"The merged values are too large for {job.out_dtype}.",
            where=job.name,
            hint="Lower the coefficients or export in a wider dtype (F32 or BF16).",
        )

    def _need(self, index: int, name: str) -> TensorInfo:
        info = self.plan.models.info(index, name)
        if info is None:
            raise KeyError(name)
        return info
