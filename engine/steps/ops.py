"""The words that kernels are written in, for numpy arrays and torch tensors alike.

On the CPU kernels get numpy arrays in pieces that fit into the processor's cache, and torch is not even loaded; on
other devices, and where a kernel needs more than element-wise arithmetic, they get torch tensors. Both round the same:
float32 arithmetic is IEEE 754's, one rounding for each operation. Operators (`x * w`, `x += y`, `abs(x)`) mean the
same for both and need no words; these are for what is spelled differently. A number beside an array has its dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Array: TypeAlias = Tensor
else:
    Array = Any
"""A numpy array or a torch tensor, (n,) unless said otherwise; the type checker takes both for tensors."""


def is_host(x: Any) -> bool:
    """Whether this is a numpy array."""
    return isinstance(x, np.ndarray)


def _torch() -> Any:
    """torch, which is loaded where there is a tensor."""
    return sys.modules["torch"]


def empty_like(x: Any) -> Array:
    """A new array of this shape and dtype, with anything in it."""
    return np.empty_like(x) if is_host(x) else _torch().empty_like(x)


def zeros_like(x: Any) -> Array:
    """A new array of this shape and dtype, all 0."""
    return np.zeros_like(x) if is_host(x) else _torch().zeros_like(x)


def copied(x: Any) -> Array:
    """The same numbers in new memory."""
    return x.copy() if is_host(x) else x.clone()


def multiply(x: Any, y: Any, out: Any) -> Array:
    """The product x * y, written to `out`."""
    return np.multiply(x, y, out=out) if is_host(x) else _torch().mul(x, y, out=out)


_MOST_FILLED = 1 << 18
_filled: dict[tuple[np.dtype[Any], float], np.ndarray[Any, Any]] = {}


def _full(x: np.ndarray[Any, Any], value: float) -> np.ndarray[Any, Any]:
    """One number as often as in `x`: numpy's maximum with an array is three times as fast as with a number."""
    if x.size > _MOST_FILLED:
        return np.full(x.shape, value, x.dtype)
    key = x.dtype, value
    held = _filled.get(key)
    if held is None or held.size < x.size:  # another thread may be about to do the same
        held = _filled[key] = np.full(x.size, value, x.dtype)
    return held[: x.size].reshape(x.shape)


def times(x: Any, factor: float) -> Array:
    """The array itself, multiplied by a number."""
    if factor != 1:
        x *= factor
    return x


def divided(x: Any, divisor: float) -> Array:
    """The array itself, divided by a number."""
    if divisor != 1:
        x /= divisor
    return x


def add(x: Any, y: Any, out: Any) -> Array:
    """The sum x + y, written to `out`."""
    return np.add(x, y, out=out) if is_host(x) else _torch().add(x, y, out=out)


def subtract(x: Any, y: Any, out: Any) -> Array:
    """The difference x - y, written to `out`."""
    return np.subtract(x, y, out=out) if is_host(x) else _torch().sub(x, y, out=out)


def absolute(x: Any, out: Any) -> Array:
    """Magnitudes |x|, written to `out`."""
    return np.absolute(x, out=out) if is_host(x) else _torch().abs(x, out=out)


def sign(x: Any, out: Any) -> Array:
    """-1, 0 or 1, written to `out`."""
    if not is_host(x):
        return _torch().sign(x, out=out)
    return np.subtract(x > 0, x < 0, out=out, dtype=out.dtype)  # several times faster than np.sign


def at_least(x: Any, least: float, out: Any) -> Array:
    """The larger of x and a number above 0, written to `out`."""
    return np.maximum(x, _full(x, least), out=out) if is_host(x) else _torch().clamp_min(x, least, out=out)


def positive_part(x: Any, out: Any) -> Array:
    """The array where it is above 0, else +0, written to `out`; no element may be NaN."""
    if is_host(x):  # as integers every number below +0 is negative, and the larger one is found faster
        kind = np.int64 if is_wide(x) else np.int32
        bits = x.view(kind)
        np.maximum(bits, _full(bits, 0), out=out.view(kind))
        return out
    return _torch().clamp_min(x, 0, out=out).add_(0)


def at_most(x: Any, most: float, out: Any) -> Array:
    """The smaller of x and a number above 0, written to `out`."""
    return np.minimum(x, _full(x, most), out=out) if is_host(x) else _torch().clamp_max(x, most, out=out)


def smaller(x: Any, y: Any, out: Any) -> Array:
    """The smaller of two, written to `out`."""
    return np.minimum(x, y, out=out) if is_host(x) else _torch().minimum(x, y, out=out)


def larger(x: Any, y: Any, out: Any) -> Array:
    """The larger of two, written to `out`."""
    return np.maximum(x, y, out=out) if is_host(x) else _torch().maximum(x, y, out=out)


def is_above(x: Any, y: Any, out: Any) -> Array:
    """1 where x > y, else 0, as numbers written to `out`."""
    return np.greater(x, y, out=out) if is_host(x) else _torch().gt(x, y, out=out)


def is_at_least(x: Any, y: Any, out: Any) -> Array:
    """1 where x >= y, else 0, as numbers written to `out`."""
    return np.greater_equal(x, y, out=out) if is_host(x) else _torch().ge(x, y, out=out)


def differs(x: Any, y: Any, out: Any) -> Array:
    """1 where x != y, else 0, as numbers written to `out`."""
    return np.not_equal(x, y, out=out) if is_host(x) else _torch().ne(x, y, out=out)


def _ones_where(condition: np.ndarray[Any, Any], x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Integers as wide as the numbers of `x`: all bits set where the condition holds, else none."""
    return np.negative(condition.view(np.int8), dtype=np.int64 if is_wide(x) else np.int32)


def where(condition: Any, x: Any, y: Any) -> Array:
    """The first where the condition holds, else y, as a new array."""
    if not is_host(condition):
        return _torch().where(condition, x, y)
    chosen = _ones_where(condition, x)  # selecting bits is several times faster than np.where
    other = y.view(chosen.dtype)
    chosen &= x.view(chosen.dtype) ^ other
    chosen ^= other
    return chosen.view(x.dtype)


def fill_where(x: Any, condition: Any, value: float) -> Array:
    """The array itself, with a value where the condition holds."""
    if not is_host(x):
        return x.masked_fill_(condition, value)
    chosen = _ones_where(condition, x)
    bits = x.view(chosen.dtype)
    chosen &= bits ^ np.array(value, x.dtype).view(chosen.dtype)
    bits ^= chosen
    return x


def shrunk(x: Any, limit: float) -> Array:
    """The array where |x| > limit, else +0, as a new array."""
    if not is_host(x):
        return _torch().nn.functional.hardshrink(x, limit)
    if limit < 0:
        return x.copy()
    bits = x.view(np.int64 if is_wide(x) else np.int32)
    least = np.array(limit, x.dtype)
    if least > limit:
        least = np.nextafter(least, x.dtype.type(0))
    far: Any = magnitude_bits(x)  # they sort like the magnitudes
    np.subtract(least.view(bits.dtype), far, out=far)
    far >>= 8 * far.itemsize - 1  # all ones where the magnitude is larger, else 0
    far &= bits
    return far.view(x.dtype)


def within(x: Any, low: float, high: float) -> Array:
    """The array where low <= |x| <= high, else +0, as a new array; both limits are 0 or above."""
    kind: Any = np.float64 if is_wide(x) else np.float32
    least, most = kind(low), kind(high)
    least = np.nextafter(least, kind(np.inf)) if least < low else least
    most = np.nextafter(most, kind(0)) if most > high else most
    if not is_host(x):
        shrink = _torch().nn.functional.hardshrink
        return shrink(x, float(np.nextafter(least, kind(0))) if least > 0 else -1.0).sub_(shrink(x, float(most)))
    far: Any = magnitude_bits(x)  # they sort like the magnitudes
    kept = np.subtract(least.view(far.dtype) - 1, far)
    far -= most.view(far.dtype) + 1
    kept &= far  # below 0 where both are
    kept >>= 8 * far.itemsize - 1
    kept &= x.view(far.dtype)
    return kept.view(x.dtype)


def lower_median(arrays: Sequence[Any]) -> Array:
    """The median of T arrays (n,), the smaller of two in the middle, as a new array."""
    if not is_host(arrays[0]):
        return _torch().stack(list(arrays)).median(dim=0).values
    middle = (len(arrays) - 1) // 2
    return np.partition(np.stack(arrays), middle, axis=0)[middle]


def counts_of_nonzero(arrays: Sequence[Any]) -> Array:
    """How many of T < 128 arrays (n,) are not 0 at each place, but at least 1; as numbers of their dtype."""
    if is_host(arrays[0]):
        counts = (arrays[0] != 0).view(np.int8)
        for x in arrays[1:]:
            counts += (x != 0).view(np.int8)
        return np.maximum(counts, _full(counts, 1)).astype(arrays[0].dtype)
    torch = _torch()
    counts, one = torch.ne(arrays[0], 0, out=torch.empty_like(arrays[0])), torch.empty_like(arrays[0])
    for x in arrays[1:]:
        counts.add_(torch.ne(x, 0, out=one))
    return counts.clamp_min_(1)


def count_nonzero(x: Any) -> int:
    """How many numbers are not 0."""
    return int(np.count_nonzero(x)) if is_host(x) else int(_torch().count_nonzero(x))


def is_wide(x: Any) -> bool:
    """Whether the numbers are float64."""
    return bool(x.dtype == np.float64) if is_host(x) else x.dtype is _torch().float64


def wide(x: Any) -> Array:
    """The numbers in float64; the array itself if they are."""
    return x.astype(np.float64, copy=False) if is_host(x) else x.to(_torch().float64)


def is_on_cpu(x: Any) -> bool:
    """Whether the numbers are in the computer's own memory."""
    return is_host(x) or x.device.type == "cpu"


def padded(x: Any, multiple: int) -> Array:
    """The numbers (n,) with zeros after them up to a multiple; the array itself if n is one."""
    rest = -len(x) % multiple
    if not rest:
        return x
    if is_host(x):
        longer: Any = np.concatenate([x, np.zeros(rest, x.dtype)])
        return longer
    return _torch().nn.functional.pad(x, (0, rest))


def narrow(x: Any) -> Array:
    """The numbers in float32; the array itself if they are."""
    return x.astype(np.float32, copy=False) if is_host(x) else x.to(_torch().float32)


def raw_bits(x: Any) -> Array:
    """The bits as integers of the width of x (narrower floats are widened to float32)."""
    if is_host(x):
        return x.view(np.int64 if is_wide(x) else np.int32)
    torch = _torch()
    return x.view(torch.int64) if is_wide(x) else narrow(x).view(torch.int32)


def magnitude_bits(x: Any) -> Array:
    """The bits of |x| as integers of the width of x (narrower floats are widened to float32)."""
    if is_host(x):
        kind, largest = (np.int64, (1 << 63) - 1) if is_wide(x) else (np.int32, (1 << 31) - 1)
        return x.view(kind) & kind(largest)
    torch = _torch()
    if is_wide(x):
        return x.view(torch.int64) & ((1 << 63) - 1)
    return narrow(x).view(torch.int32) & ((1 << 31) - 1)


def bincount(x: Any) -> np.ndarray[Any, Any]:
    """How often each whole number from 0 on occurs: at least one count."""
    counted: np.ndarray[Any, Any]
    if is_host(x):
        counted = np.bincount(x, minlength=1)
    else:
        counted = _torch().bincount(x, minlength=1).cpu().numpy()
    return counted


def chosen(x: Any, condition: Any) -> Array:
    """The numbers where a condition holds; on the CPU numpy's way, which is faster than a mask as index."""
    if not is_on_cpu(x):
        return x[condition]
    return from_host(to_host(x)[np.flatnonzero(to_host(condition))], like=x)


def to_host(x: Any) -> np.ndarray[Any, Any]:
    """The numbers as a numpy array, without a copy where they are on the CPU."""
    host: np.ndarray[Any, Any] = x if is_host(x) else x.cpu().numpy()
    return host


def beside(x: Any, like: Any) -> Array:
    """Numbers of any kind as what may be combined with `like`."""
    if is_host(like):
        host: Any = to_host(x)
        return host
    return (_torch().from_numpy(x) if is_host(x) else x).to(like.device)


def from_host(x: Any, like: Any) -> Array:
    """Numbers of a numpy array as what `like` is: that array itself, or a tensor of its device."""
    return x if is_host(like) else _torch().from_numpy(x).to(like.device)
