"""Dropping elements at random, reproducibly on any machine.

A mask is a function of the seed, the content of the expert, the tensor's name and the element's index,
and of nothing else: not of the device, the chunk size, the threads or the order of the experts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from engine.steps import ops
from engine.steps.ops import Array
from engine.steps.view import Span

MaskSource = Callable[[Span, int, float], Any]
"""(span, model index, density) -> (n,) on the CPU: 1 or True where the element is kept, else 0."""


def bernoulli(span: Span, model: int, density: float) -> np.ndarray[Any, Any]:
    """Keep each element with probability `density`, from random bits that can be had from anywhere (PCG64DXSM).

    Element i of a tensor takes the i-th 16-bit word of the stream whose state and increment are the BLAKE2b hash
    of seed, content key of the model and tensor name. One word in 65,536 does not decide; then 16 more bits do, the
    BLAKE2b hash of the same and the index. So the probability is exact to 2^-32.

    Args:
        span: Which elements of which tensor.
        model: Index of the expert.
        density: Probability to keep an element.

    Returns:
        (n,) numpy booleans: whether it is kept.
    """
    words = _words(span, model)
    edge, finer = divmod(round(density * 2**32), 1 << 16)
    if edge >= 1 << 16:
        return np.ones(len(words), np.bool_)
    edge -= 1 << 15  # words are uniform in [-2^15, 2^15)
    mask = words < edge
    if finer:
        for place in np.flatnonzero(words == edge).tolist():
            mask[place] = _more(span, model, place) < finer
    return mask


def bernoulli_each(span: Span, model: int, chances: Array) -> Array:
    """The same with a probability for each element, from the same bits.

    Args:
        span: Which elements of which tensor.
        model: Index of the expert.
        chances: (n,) or rows (r, c): probability to keep each element.

    Returns:
        A new float32 tensor of the shape and device of `chances`: 1 kept, 0 dropped.
    """
    edges = ops.to_host(chances).astype(np.float32, copy=False).reshape(-1) * np.float32(2.0**16)
    words = _words(span, model).astype(np.float32)
    words += np.float32(2.0**15)  # whole numbers from 0 to 2^16 - 1
    whole = np.floor(edges)
    mask = np.empty_like(words)
    np.less(words, whole, out=mask)
    for place in np.flatnonzero(words == whole).tolist():
        mask[place] = _more(span, model, place) < float(edges[place] - whole[place]) * 2**16
    return ops.from_host(mask.reshape(chances.shape), like=chances)


def _more(span: Span, model: int, place: int) -> int:
    """16 more bits for an element of the span."""
    return int.from_bytes(
        blake2b(_stream_name(span, model) + b"\0%d" % (span.start + place), digest_size=2).digest(), "little"
    )


class _Streams(threading.local):
    """A bit generator for each thread, since making one takes longer than setting its state."""

    def __init__(self) -> None:
        self.of_this_thread = np.random.PCG64DXSM(0)


_streams = _Streams()
_STATE = _streams.of_this_thread.state


def _words(span: Span, model: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The random words of the elements of a span: (n,) int16, uniform."""
    count, skipped = span.stop - span.start, span.start % 4  # four words in one number of the stream
    digest = blake2b(_stream_name(span, model), digest_size=32).digest()
    state, increment = int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little") | 1
    stream = _streams.of_this_thread
    stream.state = {**_STATE, "state": {"state": state, "inc": increment}}
    stream.advance(span.start // 4)
    raw = stream.random_raw(-(-(skipped + count) // 4)).astype("<u8", copy=False)
    return raw.view("<i2")[skipped : skipped + count]


def _stream_name(span: Span, model: int) -> bytes:
    """What the random numbers of a tensor depend on: seed, content of the expert, tensor."""
    return "\0".join((str(span.seed), span.keys[model], span.twin or span.tensor)).encode()


def drop(delta: Array, mask: Any, density: float, *, rescale: bool) -> Array:
    """The task vector with dropped elements set to 0 and the others divided by the density.

    Args:
        delta: (n,) task vector, or rows (r, c) of one.
        mask: (n,) of 1 (kept) and 0 (dropped), any device or numpy's.
        density: Probability with which elements were kept, above 0.
        rescale: Whether to divide, so that the expected value is the task vector.

    Returns:
        A new tensor (n,).
    """
    kept = delta * ops.beside(mask, delta).reshape(delta.shape)
    if rescale and density != 1:
        kept /= density
    return kept


def drop_all(
    deltas: Sequence[Array], span: Span, density: float, *, rescale: bool, masks: MaskSource | None = None
) -> list[Array]:
    """Drop elements of every task vector, each with its own mask.

    Args:
        deltas: T task vectors (n,).
        span: Which elements they are.
        density: Share to keep; 1 keeps the tensors themselves, 0 drops everything.
        rescale: Whether to divide by the density.
        masks: Where masks come from; `bernoulli` if None.

    Returns:
        T tensors (n,); never change them in place.
    """
    if density >= 1:
        return list(deltas)
    if density <= 0:
        return [ops.zeros_like(x) for x in deltas]
    source = masks or bernoulli
    return [drop(x, source(span, t, density), density, rescale=rescale) for t, x in enumerate(deltas)]
