"""Ranks within rows: thresholds and probabilities of (r, c) tensors, row by row without a loop."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from engine.steps.select import magnitude_bits, next_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.steps.view import Chunk, Span, View


def bounds(values: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """The low-th and high-th smallest magnitude of each row.

    Args:
        values: (r, c) float32 or float64.
        low: Rank from 1 to c.
        high: Rank from `low` to c.

    Returns:
        Two tensors (r, 1).
    """
    bits = magnitude_bits(values)
    if bits.device.type != "cpu":
        rows = bits.sort(dim=1).values
        found = rows[:, low - 1 : low], rows[:, high - 1 : high]
    else:
        rows_low = np.partition(bits.numpy(), low - 1, axis=1)  # much faster than two ranks at once
        rows_high = np.partition(rows_low[:, low - 1 :], high - low, axis=1)[:, high - low : high - low + 1]
        found = torch.from_numpy(rows_low[:, low - 1 : low].copy()), torch.from_numpy(rows_high.copy())
    kind = torch.float64 if bits.dtype == torch.int64 else torch.float32
    return found[0].contiguous().view(kind), found[1].contiguous().view(kind)


def between(values: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """The values whose magnitude lies from `low` to `high`, both included, and 0 for the others.

    Args:
        values: (r, c) or (n,).
        low: A number, or one for each row (r, 1).
        high: The same.

    Returns:
        A new tensor of the same shape.
    """
    if isinstance(low, float) and isinstance(high, float):
        return hardshrink(values, next_below(low, values.dtype)).sub_(hardshrink(values, high))
    size = values.abs()
    kept = torch.ge(size, low, out=torch.empty_like(size))
    return kept.mul_(torch.le(size, high, out=size)).mul_(values)


def by_rank(values: Tensor, lowest: float, spread: float) -> Tensor:
    """A number that grows evenly with the rank of the magnitude in its row.

    Of equal magnitudes the later one ranks higher.

    Args:
        values: (r, c) float32 or float64.
        lowest: Number of the smallest magnitude of each row.
        spread: How much more the largest has; a row of one element has the middle.

    Returns:
        (r, c) float32.
    """
    width = values.shape[1]
    if width < 2:
        return torch.full(values.shape, lowest + spread / 2, device=values.device)
    share = torch.arange(width, dtype=torch.float32, device=values.device).div_(width - 1)
    table = share.mul_(spread).add_(lowest)  # (c,)
    out = torch.empty(values.shape, device=values.device)
    return out.scatter_(1, order(values), table.expand(values.shape))


def order(values: Tensor) -> Tensor:
    """Indices (r, c) int64 that sort the magnitudes of each row; equal ones keep their order."""
    bits = magnitude_bits(values)
    if bits.dtype == torch.int64:
        return bits.sort(dim=1, stable=True).indices
    keys = bits.to(torch.int64).bitwise_left_shift_(32)
    keys.bitwise_or_(torch.arange(values.shape[1], device=values.device))  # unique, so that any sort is stable
    if keys.device.type == "cpu":
        keys.view(torch.float64).numpy().sort(axis=1)  # positive doubles sort like their bits, and faster
    else:
        keys = keys.sort(dim=1).values
    return keys.bitwise_and_(0xFFFF_FFFF)


def by_size(values: Tensor, lowest: float, spread: float) -> Tensor:
    """A number that grows evenly with the magnitude between the smallest and the largest of its row.

    Returns:
        (r, c) in the dtype of the values.
    """
    size = values.abs()
    least, most = torch.aminmax(size, dim=1, keepdim=True)
    return size.sub_(least).div_(most - least + 1e-7).mul_(spread).add_(lowest)


def whole_rows(view: View) -> Iterator[tuple[Span, list[Tensor]]]:
    """The task vectors of one tensor as whole rows (r, c), whatever pieces the view hands out.

    Args:
        view: One tensor.

    Yields:
        Where the rows are, and T copies of them.
    """

    def copied(chunk: Chunk) -> tuple[Span, list[Tensor]]:
        return chunk.span, [x.reshape(-1).clone() for x in chunk.deltas]

    held: list[Tensor] = []
    for span, pieces in view.map(copied):
        parts = [torch.cat(pair) for pair in zip(held, pieces, strict=True)] if held else pieces
        width = prod(span.shape[1:]) if len(span.shape) > 1 else prod(span.shape)
        start = span.stop - parts[0].numel()
        full = parts[0].numel() // width * width
        held = [x[full:] for x in parts]
        if full:
            yield replace(span, start=start, stop=start + full), [x[:full].view(-1, width) for x in parts]


def whole(view: View) -> list[Tensor]:
    """The task vectors of one tensor in one piece: T tensors (n,)."""
    parts = list(view.map(lambda chunk: [x.reshape(-1).clone() for x in chunk.deltas]))
    return [torch.cat([part[t] for part in parts]) for t in range(view.models)] if parts else []


class Bits:
    """A mask of a whole tensor in one bit an element, filled from the front."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._starts: list[int] = [0]

    def append(self, mask: Tensor) -> None:
        """Add the next elements: any shape, 1 or 0."""
        self._parts.append(np.packbits(mask.reshape(-1).to("cpu", torch.uint8).numpy()))
        self._starts.append(self._starts[-1] + mask.numel())

    def part(self, start: int, stop: int, like: Tensor) -> Tensor:
        """The mask of the elements from `start` to `stop`, in the shape, dtype and device of `like`."""
        found, place = [], bisect_right(self._starts, start) - 1
        while place < len(self._parts) and self._starts[place] < stop:
            first, last = self._starts[place], self._starts[place + 1]
            low, high = max(start, first) - first, min(stop, last) - first
            bits = np.unpackbits(self._parts[place][low // 8 : -(-high // 8)])
            found.append(bits[low % 8 : low % 8 + high - low])
            place += 1
        return torch.from_numpy(np.concatenate(found)).to(like.device, like.dtype).view(like.shape)
