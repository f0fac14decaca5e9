"""How a task's loss bends along directions of its outputs: the Gauss-Newton matrix of `-merit`. Light: numpy only.

Every merit is a smooth convex function of the outputs or close to one, so that linearised outputs give a matrix that
is never indefinite (Schraudolph 2002): softmax families have their Fisher matrix, squared errors are exact, a
correlation is half the squared distance of two unit vectors, and log likelihoods, which are linear in themselves, have
the empirical Fisher matrix of their rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.preview.outcomes import Outputs, TaskRows, centred, option_chances, query_pull, softmax, variance

Matrix = NDArray[np.float64]


def curvature(task: TaskRows, outputs: Outputs, table: NDArray[np.float32]) -> Matrix:
    """(E, E) Gauss-Newton matrix of minus the task's merit.

    Args:
        task: The rows.
        outputs: Of them, in the task's shape.
        table: (E, size) derivatives of the outputs along E directions.
    """
    if task.family == "class":
        return _spread(table, softmax(outputs)) / len(task.labels)
    if task.family == "retrieve":
        chance, asked, sharp = query_pull(task, outputs)
        searched: Matrix = _spread(table, chance, asked) * sharp**2
        return searched
    if task.family == "choice":
        weighted = table * option_chances(task, outputs)[None, :]
        starts = np.searchsorted(task.groups, np.arange(task.count))
        means = np.add.reduceat(weighted, starts, axis=1)
        return _matrix(weighted @ table.T - means @ means.T) / task.count
    if task.family == "lm":
        return _matrix(table @ table.T) / float(task.labels.sum())
    if task.metric == "spearman":
        flat = outputs.reshape(-1).astype(np.float64)
        ours, length = centred(flat), max(float(np.linalg.norm(flat - flat.mean())), 1e-12)
        turned = table - table.mean(1, keepdims=True)
        turned = turned - np.outer(turned @ ours, ours)
        return _matrix(turned @ turned.T) / (length * length)
    squares: Matrix = _matrix(table @ table.T) / (table.shape[1] * variance(task))
    return squares


def _spread(table: NDArray[np.float32], chance: Outputs, share: NDArray[np.float64] | None = None) -> Matrix:
    """Sum over rows of J (diag p - p p^T) J^T, each row times its share."""
    heed: Matrix = np.ones((len(chance), 1)) if share is None else share[:, None]
    weighted = table * chance.reshape(-1)
    means = weighted.reshape(len(table), *chance.shape).sum(2)
    heeded = weighted * np.repeat(heed, chance.shape[1])
    return _matrix(heeded @ table.T - (means * heed[:, 0]) @ means.T)


def _matrix(made: NDArray[Any]) -> Matrix:
    """Symmetric in spite of rounding."""
    whole = made.astype(np.float64)
    symmetric: Matrix = (whole + whole.T) / 2
    return symmetric
