"""Where chunks live, and how stored numbers become floats and floats are stored: numpy arrays or torch tensors.

A plan that `suits_host` can be merged with numpy: torch, which takes seconds to load, is then not needed at all.
The bytes are the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import isfinite, prod
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from engine.files.buffers import page_aligned
from engine.merge.plan import Plan
from engine.steps.ops import Array, is_host

HOST = "host"
"""The device of numpy arrays."""

HOST_DTYPES = frozenset({"F32", "BF16"})
"""What numpy arrays are read from and stored as; it converts F16 slowly and the others not at all."""

OVERFLOW = MappingProxyType({
    "F64": float("inf"), "F32": 2.0**128 - 2.0**103, "F16": 65520.0, "BF16": 2.0**128 - 2.0**119,
    "F8_E4M3": 464.0, "F8_E5M2": 61440.0,
})  # fmt: skip
"""Smallest magnitude that rounds to infinity (or to NaN, for F8_E4M3) when stored in a dtype."""

Bytes = np.ndarray[Any, Any]


class Memory(Protocol):
    """One kind of memory for floats; stateless."""

    def floats(self, *shape: int, wide: bool = False) -> Array:
        """Room for float32 numbers, or float64 ones if `wide`."""

    def room(self, count: int) -> Bytes:
        """Host memory that is read into and written from: (count,) uint8."""

    def direct(self, floats: Array, dtype: str) -> Bytes | None:
        """The memory of floats (n,) as bytes, if numbers of this dtype are stored just so; else None."""

    def widen(self, raw: Bytes, dtype: str, out: Array) -> None:
        """Fill `out`, (n,), with stored numbers of a dtype."""

    def narrow(self, values: Array, dtype: str, raw: Bytes) -> None:
        """Round values (n,) to a dtype, once, into host memory; the values may be overwritten."""

    def joined(self, pieces: Sequence[Array]) -> Array:
        """Pieces (n_i,) as one."""

    def count_bad(self, values: Array) -> int:
        """How many are NaN or infinite."""


class HostMemory:
    """numpy arrays; for `HOST_DTYPES` alone."""

    def floats(self, *shape: int, wide: bool = False) -> Any:
        """See `Memory`; a plan that suits has no float64."""
        assert not wide
        return page_aligned(4 * prod(shape)).view(np.float32).reshape(shape)

    def room(self, count: int) -> Bytes:
        """See `Memory`."""
        return page_aligned(count)

    def direct(self, floats: Any, dtype: str) -> Bytes | None:
        """See `Memory`."""
        return floats.view(np.uint8) if dtype == "F32" else None

    def widen(self, raw: Bytes, dtype: str, out: Any) -> None:
        """See `Memory`: the bits of a BF16 number are the upper half of a float32's."""
        if dtype == "F32":
            out[:] = raw.view(np.float32)
        else:
            np.left_shift(raw.view(np.uint16), 16, out=out.view(np.uint32), dtype=np.uint32)

    def narrow(self, values: Any, dtype: str, raw: Bytes) -> None:
        """See `Memory`: to the nearest, of two equally near to the even one; the values are finite."""
        if dtype == "F32":
            raw.view(np.float32)[:] = values
            return
        bits = values.view(np.uint32)
        odd = np.right_shift(bits, 16)
        odd &= 1
        bits += odd
        bits += 0x7FFF
        bits >>= 16
        np.copyto(raw.view(np.uint16), bits, casting="unsafe")

    def joined(self, pieces: Sequence[Any]) -> Any:
        """See `Memory`."""
        return np.concatenate(pieces)

    def count_bad(self, values: Any) -> int:
        """See `Memory`."""
        return int(np.count_nonzero(~np.isfinite(values)))


def memory(device: str) -> Memory:
    """The memory of a device: `HOST`, or one of torch's."""
    if device == HOST:
        return HostMemory()
    from engine.merge.tensors import TorchMemory

    return TorchMemory(device)


def home(plan: Plan, device: str) -> str:
    """Where a plan's chunks live that is to be merged on a device: `HOST` instead of "cpu" where it suits.

    A program that has loaded torch already stays with it: its larger chunks then make up for the cache.
    """
    light = device == "cpu" and "torch" not in sys.modules and suits_host(plan)
    return HOST if light else device


def suits_host(plan: Plan) -> bool:
    """Whether numpy can do all of a plan: the method says so, the dtypes are common, and nothing follows it."""
    method, params = plan.method, plan.params
    able = method.host if isinstance(method.host, bool) else method.host(params)
    plain = able and params.get("post", "none") == "none" and not plan.dropped.is_active
    return plain and all(_is_plain(plan, index) for index in range(len(plan.jobs)))


def _is_plain(plan: Plan, index: int) -> bool:
    """Whether a tensor is copied as it is, or read from and written to common dtypes alone."""
    job = plan.jobs[index]
    models = (-1, *range(len(plan.models.experts)))
    kinds = {info.dtype for i in models if (info := plan.models.info(i, job.name)) is not None}
    if job.action == "copy" and job.dtype == job.out_dtype:
        return not job.is_float or plan.method.survey is None or kinds <= HOST_DTYPES
    return job.action == "merge" and kinds | {job.out_dtype} <= HOST_DTYPES


def all_finite(values: Any) -> bool:
    """Whether no element is NaN or infinite; one pass, no temporary."""
    if not is_host(values) and isfinite(values.sum().item()):
        return True  # their sum would not be finite, either
    return fits(values, float("inf"))


def fits(values: Any, limit: float) -> bool:
    """Whether all elements lie strictly between -limit and limit; False for NaN."""
    if is_host(values):
        if not values.size:
            return True
        low, high = float(values.min()), float(values.max())
    else:
        if values.numel() == 0:
            return True
        low, high = (x.item() for x in values.aminmax())
    return bool(-limit < low and high < limit)
