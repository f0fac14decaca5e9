"""Derivatives for the surrogate, in the order in which they are likely to be needed; and all slopes at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.preview.basis import Cell
from engine.preview.session import Live
from engine.preview.surrogate import Slopes, Surrogate
from engine.preview.tower import Part, Tower, spread
from engine.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

STEP = {"linear": 0.02, "engine": 0.1}
"""Step of the first derivative; methods that are not smooth need a longer one."""
STRIDE = 0.2
"""Step of the second derivative: a quarter of a usual move."""


def order_of(
    surrogate: Surrogate, touched: Sequence[tuple[int, int]] = (), slopes: Slopes | None = None
) -> list[int]:  # fmt: skip
    """Directions in the order of likely need.

    Args:
        surrogate: Whose directions.
        touched: (expert, group) coefficients of the faders under the pointer; theirs come first, then their rows.
        slopes: The others follow by the size of their slope, if known.
    """
    held, rows = set(touched), {t for t, _ in touched}
    sizes = np.abs(np.nan_to_num(slopes.values)).sum(0) if slopes is not None else np.zeros(surrogate.basis.shape)

    def rank(item: tuple[int, Cell]) -> tuple[int, float]:
        index, cell = item
        pairs = {(t, g) for t in cell.experts for g in cell.groups}
        is_whole = index >= len(surrogate.basis.cells)
        near = 0 if held & pairs and (not is_whole or held == pairs) else 1 if rows & set(cell.experts) else 2
        weight = float(sum(sizes[t, g] for t, g in pairs))
        return (near if held else 0, -weight)

    return [index for index, _ in sorted(enumerate(surrogate.basis.directions), key=rank)]


def fill(
    live: Live, surrogate: Surrogate, order: Sequence[int] | None = None, progress: Progress | None = None, *,
    filled: Callable[[int], None] | None = None, second: bool = False,
) -> None:  # fmt: skip
    """Compute what is missing of a surrogate at the session's reference; may be cancelled and called again.

    First derivatives of all directions come first, then second ones.

    Args:
        live: Its reference must be the surrogate's.
        surrogate: Rows are written in place, each marked when it is complete.
        order: From `order_of`; None for as they are.
        progress: Told the directions done; asked before every layer.
        filled: Called after each first derivative with its index.
        second: Whether second derivatives are wanted, too (if the surrogate has room for them): they take as long
            again and help most when a single fader goes far, for which a curve is better still.

    Raises:
        Cancelled: within a batch of the user's wish; what is complete stays.
    """
    progress = progress or Silent()
    if not np.array_equal(live.reference, surrogate.reference):
        raise ValueError("the surrogate belongs to another point")
    order = list(order) if order is not None else list(range(surrogate.basis.size))
    wanted = [e for e in order if not surrogate.has_first[e]]
    later = [e for e in order if not surrogate.has_second[e]] if second and surrogate.second is not None else []
    progress.begin(len(wanted) + len(later), "Preparing live scores", "faders")
    step, directions = STEP[live.frame.tier], surrogate.basis.directions
    for entry in wanted:
        surrogate.first[entry] = _change(live, surrogate, directions[entry], step, progress) / step
        surrogate.has_first[entry] = True
        progress.advance(1)
        if filled is not None:
            filled(entry)
    for entry in later:
        if surrogate.second is not None:
            change = _change(live, surrogate, directions[entry], STRIDE, progress)
            bend = change - STRIDE * surrogate.first[entry].astype(np.float32)
            surrogate.second[entry] = 2 * bend / STRIDE**2
            surrogate.has_second[entry] = True
        progress.advance(1)


def _change(live: Live, surrogate: Surrogate, cell: Cell, step: float, progress: Progress) -> np.ndarray:
    """(M,) change of the logits over one step along a cell."""
    logits = live.at(cell.added(live.reference, step), progress)
    made: np.ndarray = np.concatenate([part.reshape(-1) for part in logits]) - surrogate.logits
    return made


def slopes(live: Live, progress: Progress | None = None) -> Slopes:
    """The slope of every fader for every task, from one backward pass and T x G dot products for each task.

    Args:
        live: The session; slopes are taken at its reference.
        progress: Told the tasks done; asked before every layer.
    """
    progress = progress or Silent()
    shape = live.reference.shape
    values = np.zeros((len(live.tasks), *shape))
    progress.begin(len(live.tasks), "Slopes of all faders", "tasks")
    gradients = _gradients(live, progress)
    for t in range(shape[0]):
        for g in range(shape[1]):
            progress.check()
            direction = live.weights.direction(live.reference, Cell((t,), (g,)), progress)
            for k, table in enumerate(gradients):
                pairs = [(table[name], change) for name, change in direction.items() if name in table]
                values[k, t, g] = -sum(float(a.flatten().dot(b.flatten())) for a, b in pairs)
    return Slopes(tuple(task.name for task in live.tasks), values)


def _gradients(live: Live, progress: Progress) -> list[dict[str, Tensor]]:
    """Gradient of every task's mean cross-entropy with respect to the weights."""
    import torch

    lock, found = threading.Lock(), [dict[str, torch.Tensor]() for _ in live.tasks]
    lively = {name: t for name, t in live.theta.items() if name in live.weights.varied}

    def work(tower: Tower, part: Part, batch: int) -> None:
        rows = part.rows[batch]
        labels = torch.from_numpy(part.examples.labels[rows])
        parameters = tower.installed(lively)
        with torch.enable_grad():
            logits = tower.logits(part, batch, 0, progress)
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / part.examples.count
            made = torch.autograd.grad(loss, [*parameters.values()], allow_unused=True)
        with lock:
            table = found[part.index]
            for name, gradient in zip(parameters, made, strict=True):
                if gradient is not None:
                    table[name] = table[name].add_(gradient) if name in table else gradient
        progress.check()

    with live.borrowed():
        try:
            for tower in live.towers:
                tower.install(lively, grad=True)
            spread(live.towers, work)
        finally:
            for tower in live.towers:
                tower.install(lively)
    return found
