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

_WITHIN = FINE // COARSE
"""Fine bins in a coarse one."""


_FEW = 1 << 16
"""A piece with less than so many elements is counted in one go, in the bins in use: most of its cost are empty bins."""


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

    def measure(self, piece: Piece) -> tuple[int, NDArray[np.int64]]:
        """The first bin, a multiple of `_WITHIN`, and (T, 1 + n) counts: of zeros, then of n bins from there on."""
        return _histogram(piece.taus)

    def add(self, group: int, part: tuple[int, NDArray[np.int64]]) -> None:
        """Add a piece to the model's and its group's histogram."""
        first, counts = part
        last = first + counts.shape[1] - 1
        self._fine[:, 0] += counts[:, 0]
        self._fine[:, first:last] += counts[:, 1:]
        self._coarse[group, :, 0] += counts[:, 0]
        self._coarse[group, :, first // _WITHIN : last // _WITHIN] += (
            counts[:, 1:].reshape(len(counts), -1, _WITHIN).sum(-1)
        )

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


def _histogram(taus: NDArray[Any]) -> tuple[int, NDArray[np.int64]]:
    """Counts by the upper 15 bits of the magnitude, of the bins in use only; float64 is rounded to float32 first.

    Args:
        taus: (T, n) task vectors.

    Returns:
        The first bin, and (T, 1 + n) counts, of zeros first; those are in bin 0 if that is the first one.
    """
    if taus.size >= _FEW:
        return 0, np.array([np.append(0, _row(values)) for values in taus])
    bins = _bins(taus)
    low = int(torch.where(bins > 0, bins, FINE).min()) if bins.numel() else 0
    first = min(low, FINE - 1) // _WITHIN * _WITHIN
    last = (int(bins.max()) if bins.numel() else first) // _WITHIN * _WITHIN + _WITHIN
    width = max(last - first, 0) + 1
    rows = torch.arange(len(bins), dtype=torch.int32)[:, None] * width
    places = (bins - (first - 1)).clamp_(min=0).add_(rows).view(-1)
    counts: NDArray[np.int64] = torch.bincount(places, minlength=len(bins) * width).numpy()
    return first, counts.reshape(len(bins), width)


def _bins(values: NDArray[Any]) -> torch.Tensor:
    """The bin of every element, int32."""
    return (torch.from_numpy(values.astype(np.float32, copy=False)).view(torch.int32) & 0x7FFF_FFFF) >> 16


def _row(values: NDArray[Any]) -> NDArray[np.int64]:
    """(FINE,) counts."""
    counts: NDArray[np.int64] = torch.bincount(_bins(values), minlength=FINE).numpy()
    return counts
