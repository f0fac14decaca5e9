"""Task vectors of all experts, piece by piece, read with little ado: what a sweep eats."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.analyse.packed import Room
from engine.errors import NotFinite
from engine.files.model import ITEM_BYTES, TensorInfo
from engine.files.reading import Reader
from engine.merge.dtypes import TORCH
from engine.merge.load import Loader, chunk_elements
from engine.merge.models import BASE
from engine.merge.plan import Plan, TensorJob

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where one model has a tensor, and in which dtype; `kind` is None for what can be read as it is stored."""

    reader: Reader
    info: TensorInfo
    kind: torch.dtype | None


@dataclass(frozen=True, slots=True)
class _Supply:
    """All that is needed to read a tensor of all models: base first, None for a model that does not have it."""

    sources: tuple[_Source | None, ...]
    kind: np.dtype[Any]
    bytes: int
    missing: tuple[int, ...]
    scales: Array | None


class Feed:
    """Reads the base and the task vectors of a plan's experts; use as a context manager. Thread-safe.

    The arithmetic is that of `engine.merge.load.Loader`: float32 (float64 where any model stores a tensor so), the
    base subtracted from what is stored.

    Args:
        plan: Of a method with task vectors, with a base.
        chunk: Wanted elements of a chunk.
    """

    def __init__(self, plan: Plan, chunk: int) -> None:
        self.plan = plan
        self.chunk = chunk_elements(chunk, len(plan.models.experts))
        self._readers: dict[int, Reader] = {}
        self._supplies: dict[str, _Supply] = {}
        self._open = ExitStack()
        self._room = Room()

    def __enter__(self) -> Feed:
        models = self.plan.models
        for index, model in enumerate((models.base, *models.experts), BASE):
            if model is not None:
                self._readers[index] = self._open.enter_context(Reader(model))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def check_unchanged(self) -> None:
        """Make sure that no file was changed.

        Raises:
            Changed: naming the file.
        """
        for reader in self._readers.values():
            reader.check_unchanged()

    def advise(self, job: TensorJob) -> None:
        """Ask the system to read a tensor of all models ahead."""
        for source in self._supply(job).sources:
            if source is not None and source.info.numel:
                with suppress(OSError):  # only advice
                    source.reader.advise(source.info)

    def bytes_in(self, job: TensorJob) -> int:
        """Bytes of one tensor in all models."""
        return self._supply(job).bytes

    def kind(self, job: TensorJob) -> np.dtype[Any]:
        """The dtype of a tensor's task vectors."""
        return self._supply(job).kind

    def load(self, job: TensorJob, start: int, stop: int) -> tuple[Array, Array]:
        """Elements `start` to `stop` of a tensor, at most a chunk.

        Returns:
            (T + 1, n) the base and the task vectors as they are, and (T, n) the task vectors times their
            coefficients, which is a part of the former if all of these are 1. Both are valid until this thread's
            next call.

        Raises:
            FileProblem: if a file cannot be read or was changed.
        """
        supply, count = self._supply(job), stop - start
        rows = self._room.array("rows", (len(supply.sources), count), supply.kind)
        for row, source in zip(rows, supply.sources, strict=True):
            if source is None:
                row.fill(0)
            elif source.kind is None:
                source.reader.read_into(source.info, start, count, row)
            else:
                raw = self._room.array("raw", (count * ITEM_BYTES[source.info.dtype],), np.uint8)
                source.reader.read_into(source.info, start, count, raw)
                torch.from_numpy(row).copy_(torch.from_numpy(raw).view(source.kind))
        taus = rows[1:]
        np.subtract(taus, rows[0], out=taus)
        for index in supply.missing:
            taus[index] = 0
        if supply.scales is None:
            return rows, taus
        return rows, np.multiply(taus, supply.scales, out=self._room.array("scaled", taus.shape, supply.kind))

    def blame(self, job: TensorJob, start: int, stop: int) -> NotFinite:
        """The error that names the model with NaN or infinite values."""
        with Loader(self.plan, chunk=self.chunk, check=False) as loader:
            return loader.blame(job, start, stop)

    def _supply(self, job: TensorJob) -> _Supply:
        """Looked up once for each tensor; making it twice in two threads does no harm."""
        if job.name not in self._supplies:
            infos = [self.plan.models.info(index, job.name) for index in (BASE, *job.used)]
            present = [info for info in infos if info is not None]
            kind = "F64" if any(info.dtype == "F64" for info in present) else "F32"
            sources = tuple(
                None if info is None else
                _Source(self._readers[index], info, None if info.dtype == kind else TORCH[info.dtype])
                for index, info in zip((BASE, *job.used), infos, strict=True)
            )  # fmt: skip
            missing = tuple(row for row, info in enumerate(infos[1:]) if info is None)
            wide = np.dtype(np.float64 if kind == "F64" else np.float32)
            scales = None if all(w == 1 for w in job.weights) else np.array(job.weights, wide)[:, None]
            self._supplies[job.name] = _Supply(sources, wide, sum(i.size_bytes for i in present), missing, scales)
        return self._supplies[job.name]
