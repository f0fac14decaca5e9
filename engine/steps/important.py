"""How important the changes of one model are: their size times what they do to a row's softmax."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

TINY = 1e-8


def changes(base: Tensor, expert: Tensor, deviation: float) -> Tensor:
    """Where the change reaches median + deviation * interquartile range of its importance.

    Args:
        base: A whole tensor that is not empty.
        expert: The same tensor of the expert.
        deviation: How far above the median.

    Returns:
        (the same shape) 1 where it does, else 0.
    """
    score = importance(base, expert)
    last = score.numel() - 1
    lower, middle, upper = quantiles(score, (last // 4, last // 2, 3 * last // 4))
    limit = middle + deviation * (upper - lower)
    return torch.ge(score, limit, out=torch.empty_like(score))


def importance(base: Tensor, expert: Tensor) -> Tensor:
    """|expert - base| times the Kullback-Leibler divergence of the rows' softmax, as mergekit computes it.

    Args:
        base: Weights of any shape; its last dimension is a row.
        expert: The same of the expert.

    Returns:
        Importances >= 0, in the same shape.
    """
    rows, other = (x.unsqueeze(0) if x.ndim == 0 else x for x in (base, expert))
    p = torch.softmax(other, dim=-1).add_(TINY)
    q = torch.softmax(rows, dim=-1).add_(TINY)
    divergence = p.mul(p.div(q).log_()).sum(dim=-1, keepdim=True)
    return (other - rows).abs_().mul_(divergence).reshape(base.shape)


def quantiles(values: Tensor, places: tuple[int, ...]) -> tuple[float, ...]:
    """The numbers at these indices of the sorted values (any shape, at least one); the values may be negative."""
    flat = values.reshape(-1)
    if flat.device.type != "cpu":
        return tuple(float(flat.kthvalue(place + 1).values) for place in places)
    found: np.ndarray = np.partition(flat.numpy(), sorted(set(places)))
    return tuple(float(found[place]) for place in places)
