"""Where merged bytes go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from engine.merge.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

Buffer = memoryview | np.ndarray[Any, Any]


class Sink(Protocol):
    """Takes the bytes of merged tensors, from several threads and in any order."""

    def write(self, job_index: int, byte_offset: int, buffer: Buffer) -> None:
        """Take bytes of job `job_index`, starting at `byte_offset` of its tensor; the buffer is reused afterwards."""


class MemorySink:
    """Keeps the merged tensors in memory.

    Attributes:
        tensors: By name, in their output dtype.
    """

    def __init__(self, plan: Plan) -> None:
        import torch

        from engine.merge.dtypes import TORCH

        self.tensors: dict[str, Tensor] = {}
        self._bytes: list[np.ndarray[Any, Any]] = []
        for job in plan.jobs:
            tensor = self.tensors[job.name] = torch.empty(job.shape, dtype=TORCH[job.out_dtype])
            self._bytes.append(tensor.reshape(-1).view(torch.uint8).numpy())

    def write(self, job_index: int, byte_offset: int, buffer: Buffer) -> None:
        """Copy into place."""
        data = np.frombuffer(buffer, np.uint8)
        self._bytes[job_index][byte_offset : byte_offset + data.size] = data
