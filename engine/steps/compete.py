"""Scores by which parameters of several experts compete and balance (PCB-Merging, Du et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from engine.steps.order import order_statistics
from engine.steps.reduce import total
from engine.steps.select import ranked_magnitudes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.steps.view import Chunk, View

Variant = Literal["vision-es", "vision", "nlp", "root"]
VARIANTS = ("vision-es", "vision", "nlp", "root")


@dataclass(frozen=True, slots=True)
class Ranges:
    """Statistics of the whole model, one pair for each expert.

    Attributes:
        sizes: Magnitudes to which the task vector is clamped.
        scores: Scores that become 0 and 1.
    """

    sizes: tuple[tuple[float, float], ...]
    scores: tuple[tuple[float, float], ...]


def ranges(view: View, variant: Variant, ratio: float) -> Ranges:
    """Magnitudes are counted as for TIES, scores in two more passes.

    Args:
        view: The whole model.
        variant: Which official code.
        ratio: Share of the scores that is kept.

    Returns:
        Ranges for `clamped` and `balance`.
    """
    count, edge = view.numel, 1e-4 if variant == "root" else 0.01
    low = int(count * edge) + 1
    high = max(int(count * (1 - edge) - 1), 0) + 1
    pairs = tuple(zip(*ranked_magnitudes(view, (low, high)), strict=True))

    def made(chunk: Chunk) -> list[Tensor]:
        return scores(chunk.deltas, pairs, variant)

    rank = min(int(count * (1 - ratio)), count - 1) + 1 if count else 1
    ends = order_statistics(view, [[rank, max(count, 1)]] * view.models, made)
    return Ranges(pairs, tuple((low, high) for low, high in ends))


def clamped(delta: Tensor, sizes: tuple[float, float]) -> Tensor:
    """The task vector with magnitudes clamped; zeros stay zeros: (n,)."""
    return delta.abs().clamp_(*sizes).mul_(delta.sign())


def scores(deltas: Sequence[Tensor], sizes: Sequence[tuple[float, float]], variant: Variant) -> list[Tensor]:
    """How each expert's elements do within their task and between the tasks.

    Args:
        deltas: T task vectors (n,).
        sizes: For each the magnitudes between which it is compared.
        variant: Whose code the comparison between tasks follows, one of `VARIANTS`.

    Returns:
        T signed scores (n,).
    """
    norms = [_normal(x.abs().clamp_(*pair), pair) for x, pair in zip(deltas, sizes, strict=True)]
    if variant == "vision-es":
        signed = [n * x.sign() for n, x in zip(norms, deltas, strict=True)]
        pairs = {(i, j): torch.tanh(a * b) for i, a in enumerate(signed) for j, b in enumerate(signed[: i + 1])}
        tasks = range(len(signed))
        inter = [total([pairs[max(i, j), min(i, j)] for j in tasks]) for i in tasks]
    else:
        crowd = total([n * x.sign() for n, x in zip(norms, deltas, strict=True)] if variant == "vision" else deltas)
        inter = [torch.tanh(x * crowd) for x in deltas]
    return [n.mul_(n).mul_(len(deltas)).exp_().mul_(i) for n, i in zip(norms, inter, strict=True)]


def balance(score: Tensor, pair: tuple[float, float]) -> Tensor:
    """Scores from 0 (at the lower end and below) to 1: a new tensor (n,)."""
    return _normal(score.clamp(*pair), pair)


def _normal(values: Tensor, pair: tuple[float, float]) -> Tensor:
    """Move the range to [0, 1], in place; an empty range gives 0."""
    low, high = pair
    width = torch.tensor(high, dtype=values.dtype) - torch.tensor(low, dtype=values.dtype)
    return values.sub_(low).div_(width.item()) if width > 0 else values.zero_()
