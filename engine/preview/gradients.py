"""The slope of every fader for every task from one backward pass."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from engine.preview.basis import Cell
from engine.preview.surrogate import Slopes
from engine.preview.tower import Part, Tower, spread
from engine.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

    from engine.preview.session import Live


def slopes(live: Live, progress: Progress | None = None) -> Slopes:
    """The slope of every fader for every task, from one backward pass and T x G dot products for each task.

    Only for tasks of classes; those of others (NaN) follow from the derivatives of their outputs.

    Args:
        live: The session; slopes are taken at its reference.
        progress: Told the tasks done; asked before every layer.
    """
    progress = progress or Silent()
    shape = live.reference.shape
    values = np.zeros((len(live.tasks), *shape))
    progress.begin(len(live.tasks), "Slopes of all faders", "tasks")
    gradients = _gradients(live, progress)
    graded = {k: table for k, table in enumerate(gradients) if live.tasks[k].family == "class"}
    values[[k for k in range(len(gradients)) if k not in graded]] = np.nan
    for t in range(shape[0]):
        for g in range(shape[1]):
            progress.check()
            direction = live.weights.direction(live.reference, Cell((t,), (g,)), progress)
            for k, table in graded.items():
                pairs = [(table[name], change) for name, change in direction.items() if name in table]
                values[k, t, g] = -sum(float(a.flatten().dot(b.flatten())) for a, b in pairs)
    return Slopes(tuple(task.name for task in live.tasks), values)


def _gradients(live: Live, progress: Progress) -> list[dict[str, Tensor]]:
    """Gradient of every task's mean cross-entropy with respect to the weights."""
    import torch

    lock, found = threading.Lock(), [dict[str, torch.Tensor]() for _ in live.tasks]
    lively = {name: t for name, t in live.theta.items() if name in live.weights.varied}

    def work(tower: Tower, part: Part, batch: int) -> None:
        if part.task.family != "class":
            return
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
