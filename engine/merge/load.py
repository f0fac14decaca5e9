"""From files to float chunks: positioned reads into buffers that are made once for each thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from math import isfinite
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import NotFinite
from engine.files.model import ITEM_BYTES, TensorInfo
from engine.files.reading import Reader
from engine.merge.dtypes import TORCH
from engine.merge.models import BASE
from engine.merge.plan import Plan, TensorJob
from engine.merge.recall import SHARED, Recall
from engine.steps.view import BLOCK, Chunk, Span

BUDGET = 12 << 20
"""Bytes of float chunks that one thread may hold; with many experts the chunks get smaller, not the memory larger."""


GPU_FACTOR = 32
"""How many times larger chunks are on a GPU: a kernel call costs as much as a million elements there."""


def chunk_elements(chunk: int, experts: int, device: str = "cpu") -> int:
    """Elements of a chunk: a multiple of `BLOCK`, at most `chunk` and what `BUDGET` allows for T experts.

    On a GPU both are `GPU_FACTOR` times as large; the merged bytes do not depend on it.
    """
    factor = 1 if device == "cpu" else GPU_FACTOR
    fits = factor * BUDGET // (4 * (experts + 2))
    return max(BLOCK, min(factor * chunk, fits) // BLOCK * BLOCK)


RESIDENT = 64 << 20
"""Bytes of one tensor's float copies that a thread may keep between measuring and merging it; larger ones are read
again."""


class Scratch:
    """The buffers of one thread, reused for every chunk.

    Args:
        elements: Largest number of elements in a chunk.
        device: Where float chunks live.
        rows: Float buffers that lie side by side in memory, so that they can be seen as one matrix.
    """

    def __init__(self, elements: int, device: str, rows: int = 1) -> None:
        self._elements = elements
        self._device = device
        self._rows = rows
        self._floats: dict[torch.dtype, Tensor] = {}
        self._whole: Tensor | None = None
        self._raw: dict[str, np.ndarray[Any, Any]] = {}
        self._stored: dict[tuple[str, str], Tensor] = {}

    def floats(self, row: int, dtype: torch.dtype, count: int) -> Tensor:
        """Row `row` of the float buffers, (count,); what is larger than a chunk gets memory of its own."""
        if count > self._elements:
            return torch.empty(count, dtype=dtype, device=self._device)
        return self.matrix(dtype, count)[row]

    def matrix(self, dtype: torch.dtype, count: int) -> Tensor:
        """The float buffers together, (rows, count) of at most a chunk."""
        if dtype not in self._floats:
            self._floats[dtype] = torch.empty((self._rows, self._elements), dtype=dtype, device=self._device)
        return self._floats[dtype][:, :count]

    def whole(self, count: int) -> Tensor:
        """Buffers for all of a tensor, (rows, count) float32; at most `RESIDENT` bytes."""
        if self._whole is None:  # memory is taken only as far as it is used
            self._whole = torch.empty(RESIDENT // 4, dtype=torch.float32, device=self._device)
        return self._whole[: self._rows * count].view(self._rows, count)

    def raw(self, purpose: str, count: int) -> np.ndarray[Any, Any]:
        """Host bytes for "in" or "out", (count,) uint8."""
        if purpose not in self._raw:
            self._raw[purpose] = _host_bytes(8 * self._elements, self._device)
        return self._raw[purpose][:count]

    def stored(self, purpose: str, dtype: str, count: int) -> Tensor:
        """The same host bytes as a tensor of a stored dtype, (count,)."""
        key = (purpose, dtype)
        if key not in self._stored:
            self._stored[key] = torch.from_numpy(self.raw(purpose, 8 * self._elements)).view(TORCH[dtype])
        return self._stored[key][:count]


def _host_bytes(count: int, device: str) -> np.ndarray[Any, Any]:
    """Memory that is read into and written from, (count,) uint8: pinned where a GPU takes it.

    Every worker has its own, so that one reads the disk while the GPU copies from or to another's.
    """
    if device == "cpu":
        return np.empty(count, np.uint8)
    pinned: np.ndarray[Any, Any] = torch.empty(count, dtype=torch.uint8, pin_memory=True).numpy()
    return pinned


_Held = tuple[TensorJob, Tensor]


class Loader:
    """Reads the models of a plan; use as a context manager. All methods are thread-safe.

    A chunk that `load` returns lives in the calling thread's buffers: it is valid until that thread's next
    call.

    Args:
        plan: Whose models are read.
        device: "cpu" or "cuda"; where chunks are handed out.
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
        self.chunk = chunk_elements(chunk, len(plan.models.experts), device)
        self._readers: dict[int, Reader] = {}
        self._open = ExitStack()
        self._local = threading.local()
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
            scratch = self._local.scratch = Scratch(self.chunk, self.device, len(self.plan.models.experts) + 1)
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

    def values(self, index: int, name: str, start: int, stop: int, dtype: torch.dtype, row: int) -> Tensor:
        """Elements `start` to `stop` of one model's tensor as floats in buffer `row`, (n,) on the device."""
        return self._fill(self.scratch.floats(row, dtype, stop - start), index, name, start)

    def _fill(self, target: Tensor, index: int, name: str, start: int) -> Tensor:
        """The target, (n,), filled with elements of one model's tensor from `start` on."""
        info = self._need(index, name)
        for first in range(0, target.numel(), self.chunk):
            self._read(self._readers[index], info, start + first, target[first : first + self.chunk])
        return target

    def _read(self, reader: Reader, info: TensorInfo, start: int, out: Tensor) -> None:
        """Fill `out`, (n,) of at most a chunk, with a tensor's elements from `start` on."""
        count = out.numel()
        if TORCH[info.dtype] is out.dtype and out.device.type == "cpu":
            reader.read_into(info, start, count, out.numpy())
            return
        raw = self.scratch.raw("in", count * ITEM_BYTES[info.dtype])
        reader.read_into(info, start, count, raw)
        out.copy_(self.scratch.stored("in", info.dtype, count))

    def keep(self, job: TensorJob) -> None:
        """Read a tensor of all models at once and hand out pieces of it until `drop`, if it is small enough."""
        held: _Held | None = getattr(self._local, "held", None)
        if (held is None or held[0] is not job) and self.keeps(job):
            rows = self.scratch.whole(job.numel)
            for start in range(0, job.numel, self.chunk):
                self._load(job, start, list(rows[:, start : start + self.chunk]))
            self._local.held = (job, rows)

    def keeps(self, job: TensorJob) -> bool:
        """Whether `keep` keeps a tensor."""
        small = 4 * (len(self.plan.models.experts) + 1) * job.numel <= RESIDENT
        return small and self._dtype(job) is torch.float32

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
        models, held = self.plan.models, getattr(self._local, "held", None)
        if held is not None and held[0] is job:
            rows = list(held[1][:, start:stop])
        else:
            dtype = self._dtype(job)
            rows = [self.scratch.floats(row, dtype, stop - start) for row in range(1 + len(job.used))]
            self._load(job, start, rows)
        keys = tuple(models.keys[t] for t in job.used)
        names = tuple(models.names[t] for t in job.used)
        twin = self.plan.twins.get(job.name, "")
        span = Span(job.name, start, stop, job.shape, keys, names, self.plan.recipe.seed, twin)
        return Chunk(span, rows[0], tuple(rows[1 : 1 + len(job.used)]), job.weights)

    def _load(self, job: TensorJob, start: int, rows: Sequence[Tensor]) -> None:
        """Fill rows, (n,) each, with the base and the used experts' task vectors (or weights) from `start` on."""
        plan, base = self.plan, rows[0]
        reads = plan.reads(job) if job.action == "merge" else (BASE, *job.used)
        if BASE in reads and plan.models.base is not None:
            self._fill(base, BASE, job.name, start)
        else:
            base.zero_()
        delta = plan.method.space == "delta"
        for row, expert in enumerate(job.used, 1):
            if plan.models.info(expert, job.name) is None:
                rows[row].zero_() if delta else rows[row].copy_(base)
                continue
            self._fill(rows[row], expert, job.name, start)
            if delta:
                torch.sub(rows[row], base, out=rows[row])
        used = rows[1 : 1 + len(job.used)]
        if self._check_finite and not all(map(all_finite, used if delta else (base, *used))):
            raise self.blame(job, start, start + base.numel())

    def blame(self, job: TensorJob, start: int, stop: int) -> NotFinite:
        """The error that names the model with NaN or infinite values, or says that the merge overflows."""
        for index in (BASE, *job.used):
            if self.plan.models.info(index, job.name) is None:
                continue
            bad = int((~torch.isfinite(self.values(index, job.name, start, stop, self._dtype(job), 0))).sum())
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

    def _dtype(self, job: TensorJob) -> torch.dtype:
        """float32, or float64 if any model stores this tensor so."""
        infos = (self.plan.models.info(index, job.name) for index in (BASE, *job.used))
        return torch.float64 if any(info is not None and info.dtype == "F64" for info in infos) else torch.float32

    def _need(self, index: int, name: str) -> TensorInfo:
        info = self.plan.models.info(index, name)
        if info is None:
            raise KeyError(name)
        return info


def all_finite(values: Tensor) -> bool:
    """Whether no element is NaN or infinite; one pass, no temporary: their sum would be, too."""
    return isfinite(values.sum().item()) or fits(values, float("inf"))


def fits(values: Tensor, limit: float) -> bool:
    """Whether all elements lie strictly between -limit and limit; False for NaN."""
    if values.numel() == 0:
        return True
    low, high = torch.aminmax(values)
    return bool(-limit < low.item() and high.item() < limit)
