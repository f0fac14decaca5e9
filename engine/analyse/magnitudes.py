"""Counting |tau| by magnitude in one pass over the models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.analyse.magnitude_values import COARSE, FINE, Magnitudes
from engine.analyse.sample import scaled_magnitudes
from engine.analyse.sweep import Piece, plan_of, sweep
from engine.merge.inputs import Inputs
from engine.progress import Progress, Silent


class MagnitudeCounter:
    """Histograms of the task vectors.

    Args:
        groups: Number of groups G.
        experts: Number of experts T.
    """

    piece = 1 << 17

    def __init__(self, groups: int, experts: int) -> None:
        self._fine = np.zeros((experts, FINE), np.int64)
        self._coarse = np.zeros((groups, experts, COARSE), np.int64)

    def measure(self, piece: Piece) -> NDArray[np.int64]:
        """(T, FINE) counts; float64 is rounded to float32 first."""
        return np.array([_histogram(tau) for tau in piece.taus])

    def add(self, group: int, part: NDArray[np.int64]) -> None:
        """Add a piece to the model's and its group's histogram."""
        self._fine += part
        self._coarse[group] += part.reshape(len(part), COARSE, -1).sum(-1)

    def value(self, plan_names: tuple[str, ...], groups: Any) -> Magnitudes:
        """The totals."""
        return Magnitudes(plan_names, groups, self._fine, self._coarse)


def magnitudes(
    inputs: Inputs, *, progress: Progress | None = None, threads: int | None = None, sample: int = 0
) -> Magnitudes:
    """Exact histograms of the magnitudes of all task vectors.

    Args:
        inputs: A base and T experts.
        progress: Told the bytes read; pauses and cancels.
        threads: Worker threads; None for one a core.
        sample: Weights of each model to look at for a quick estimate; 0 for all.

    Returns:
        The histograms, with the experts in the order of `inputs`.

    Raises:
        MixdownError: as `engine.analyse.overlap.overlap`.
    """
    plan = plan_of(inputs)
    counter = MagnitudeCounter(len(plan.layout.groups), len(plan.models.experts))
    found = sweep(plan, [counter], progress or Silent(), threads=threads, text="Measuring the magnitudes",
                  sample=sample)  # fmt: skip
    made = counter.value(plan.models.names, found.groups)
    if sample:
        made = scaled_magnitudes(made, found.sizes, found.whole)
    return made.ordered([made.names.index(name) for name in inputs.names])


def _histogram(values: NDArray[Any]) -> NDArray[np.int64]:
    """(FINE,) counts by the upper 15 bits of the magnitude."""
    bits = torch.from_numpy(values.astype(np.float32, copy=False)).view(torch.int32) & 0x7FFF_FFFF
    counts: NDArray[np.int64] = torch.bincount(bits >> 16, minlength=FINE).numpy()
    return counts
