"""Chunks as torch tensors; the other kind of `engine.merge.memory`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.merge.dtypes import TORCH
from engine.merge.memory import Bytes


class TorchMemory:
    """Tensors of a device, for all dtypes.

    Args:
        device: "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self._device = device

    def floats(self, *shape: int, wide: bool = False) -> Tensor:
        """See `engine.merge.memory.Memory`."""
        return torch.empty(shape, dtype=torch.float64 if wide else torch.float32, device=self._device)

    def room(self, count: int) -> Bytes:
        """See `engine.merge.memory.Memory`: pinned where a GPU takes it.

        Every worker has its own, so that one reads the disk while the GPU copies from or to another's.
        """
        made: Bytes = torch.empty(count, dtype=torch.uint8, pin_memory=self._device != "cpu").numpy()
        return made

    def direct(self, floats: Tensor, dtype: str) -> Bytes | None:
        """See `engine.merge.memory.Memory`."""
        if TORCH[dtype] is not floats.dtype or floats.device.type != "cpu" or not floats.is_contiguous():
            return None
        made: Bytes = floats.numpy()
        return made.view("u1")

    def widen(self, raw: Bytes, dtype: str, out: Tensor) -> None:
        """See `engine.merge.memory.Memory`."""
        out.copy_(torch.from_numpy(raw).view(TORCH[dtype]))

    def narrow(self, values: Tensor, dtype: str, raw: Bytes) -> None:
        """See `engine.merge.memory.Memory`."""
        torch.from_numpy(raw).view(TORCH[dtype]).copy_(values)

    def joined(self, pieces: Sequence[Tensor]) -> Tensor:
        """See `engine.merge.memory.Memory`."""
        return torch.cat(list(pieces))

    def count_bad(self, values: Tensor) -> int:
        """See `engine.merge.memory.Memory`."""
        return int((~torch.isfinite(values)).sum())
