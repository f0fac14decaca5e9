"""What a bundle will take at most, from headers alone."""

from __future__ import annotations

import json
from dataclasses import dataclass

from engine.bundle.quantise import BLOCK
from engine.merge.inputs import Inputs

_ENTRY_BYTES = 110
"""Bytes that are kept for a header entry beside its name: type, shape and offsets."""

_ROOM, _TASK_BYTES = 2_000, 400


@dataclass(frozen=True, slots=True)
class Forecast:
    """The size of a bundle if every float tensor is changed by some expert and no mask can be coded smaller.

    Attributes:
        tasks: Number of experts T.
        parameters: Float weights of one model.
        experts_bytes: What the experts take as models of the base's size.
        base_bytes: What the base takes.
        multi_bytes: The multi-task vector with its scales.
        mask_bytes: All masks, one bit a weight.
        file_bytes: The whole bundle, with its header, and with the base if it is included.
    """

    tasks: int
    parameters: int
    experts_bytes: int
    base_bytes: int
    multi_bytes: int
    mask_bytes: int
    file_bytes: int

    @property
    def bits_a_parameter(self) -> float:
        """Bits of base, multi-task vector and masks for each parameter of one model, as the paper counts."""
        return 8 * (self.base_bytes + self.multi_bytes + self.mask_bytes) / max(1, self.parameters)

    @property
    def ratio(self) -> float:
        """How many times smaller base and bundle are than the experts."""
        return self.experts_bytes / max(1, self.base_bytes + self.multi_bytes + self.mask_bytes)


def forecast(inputs: Inputs, *, bits: int = 32, include_base: bool = False) -> Forecast | None:
    """The forecast for a base and its experts; None without a base.

    Args:
        inputs: A base and T experts.
        bits: 32 or 8 bits of a weight of the multi-task vector.
        include_base: Whether the base's weights go into the bundle.
    """
    base = inputs.base
    if base is None:
        return None
    tasks = len(inputs.experts)
    floats = [info for info in base.tensors.values() if info.is_float]
    multi = sum(_multi_bytes(info.numel, info.dtype, bits) for info in floats)
    masks = tasks * sum(-(-info.numel // 8) for info in floats)
    header = _ROOM + _TASK_BYTES * tasks + 3 * len(json.dumps(dict(base.config or {})))
    header += (tasks + 3) * sum(len(info.name) + _ENTRY_BYTES for info in base.tensors.values())
    carried = sum(file.stat().st_size for file in base.sidecars if file.exists())
    whole = multi + masks + header + carried + (base.size_bytes if include_base else 0)
    return Forecast(tasks, sum(info.numel for info in floats), tasks * base.size_bytes, base.size_bytes, multi, masks,
                    whole)  # fmt: skip


def _multi_bytes(numel: int, dtype: str, bits: int) -> int:
    """Bytes of one tensor of the multi-task vector."""
    if bits == 8:
        return numel + 4 * -(-numel // BLOCK)
    return numel * (8 if dtype == "F64" else 4)
