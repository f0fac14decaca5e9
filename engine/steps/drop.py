"""Dropping elements at random, reproducibly on any machine.

A mask is a function of the seed, the content of the expert, the tensor's name and the element's index,
and of nothing else: not of the device, the chunk size, the threads or the order of the experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from engine.steps.view import Span

MaskSource = Callable[[Span, int, float], Tensor]
"""(span, model index, density) -> (n,) float32 on the CPU, 1 where the element is kept, else 0."""


def bernoulli(span: Span, model: int, density: float) -> Tensor:
    """Keep each element with probability `density`, from random bits that can be had from anywhere (PCG64DXSM).

    Element i of a tensor takes the i-th 16-bit word of the stream whose state and increment are the BLAKE2b hash
    of seed, content key of the model and tensor name. One word in 65,536 does not decide; then 16 more bits do, the
    BLAKE2b hash of the same and the index. So the probability is exact to 2^-32.

    Args:
        span: Which elements of which tensor.
        model: Index of the expert.
        density: Probability to keep an element.

    Returns:
        (n,) float32 on the CPU: 1 kept, 0 dropped.
    """
    words = _words(span, model)
    mask = torch.empty(len(words))
    edge, finer = divmod(round(density * 2**32), 1 << 16)
    if edge >= 1 << 16:
        return mask.fill_(1)
    edge -= 1 << 15  # words are uniform in [-2^15, 2^15)
    torch.lt(words, edge, out=mask)
    if finer:
        for place in np.flatnonzero(words.numpy() == edge).tolist():
            mask[place] = _more(span, model, place) < finer
    return mask


def bernoulli_each(span: Span, model: int, chances: Tensor) -> Tensor:
    """The same with a probability for each element, from the same bits.

    Args:
        span: Which elements of which tensor.
        model: Index of the expert.
        chances: (n,) or rows (r, c): probability to keep each element.

    Returns:
        A new float32 tensor of the shape and device of `chances`: 1 kept, 0 dropped.
    """
    edges = chances.to("cpu", torch.float32).reshape(-1).mul(2.0**16)
    words = _words(span, model).to(torch.float32).add_(2.0**15)  # whole numbers from 0 to 2^16 - 1
    whole = torch.floor(edges)
    mask = torch.lt(words, whole, out=torch.empty_like(words))
    for place in np.flatnonzero(words.numpy() == whole.numpy()).tolist():
        mask[place] = _more(span, model, place) < float(edges[place] - whole[place]) * 2**16
    return mask.view(chances.shape).to(chances.device)


def _more(span: Span, model: int, place: int) -> int:
    """16 more bits for an element of the span."""
    return int.from_bytes(
        blake2b(_stream_name(span, model) + b"\0%d" % (span.start + place), digest_size=2).digest(), "little"
    )


def _words(span: Span, model: int) -> Tensor:
    """The random words of the elements of a span: (n,) int16, uniform."""
    count, skipped = span.stop - span.start, span.start % 4  # four words in one number of the stream
    digest = blake2b(_stream_name(span, model), digest_size=32).digest()
    state, increment = int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little") | 1
    stream = np.random.PCG64DXSM(0)
    stream.state = {**stream.state, "state": {"state": state, "inc": increment}}
    stream.advance(span.start // 4)
    raw = stream.random_raw(-(-(skipped + count) // 4)).astype("<u8", copy=False)
    return torch.from_numpy(raw.view("<i2")[skipped : skipped + count])


def _stream_name(span: Span, model: int) -> bytes:
    """What the random numbers of a tensor depend on: seed, content of the expert, tensor."""
    return "\0".join((str(span.seed), span.keys[model], span.twin or span.tensor)).encode()


def drop(delta: Tensor, mask: Tensor, density: float, *, rescale: bool) -> Tensor:
    """The task vector with dropped elements set to 0 and the others divided by the density.

    Args:
        delta: (n,) task vector, or rows (r, c) of one.
        mask: (n,) of 1 (kept) and 0 (dropped), any device.
        density: Probability with which elements were kept, above 0.
        rescale: Whether to divide, so that the expected value is the task vector.

    Returns:
        A new tensor (n,).
    """
    kept = mask.to(delta.device).view(delta.shape) * delta
    return kept.div_(density) if rescale and density != 1 else kept


def drop_all(
    deltas: Sequence[Tensor], span: Span, density: float, *, rescale: bool, masks: MaskSource | None = None
) -> list[Tensor]:
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
        return [torch.zeros_like(x) for x in deltas]
    source = masks or bernoulli
    return [drop(x, source(span, t, density), density, rescale=rescale) for t, x in enumerate(deltas)]
