"""Which pieces a quick look reads, and what it stands for: a few blocks of every tensor, spread evenly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.analyse.magnitude_values import Magnitudes
from engine.analyse.values import Overlap
from engine.merge.plan import TensorJob

SAMPLE = 1 << 16
"""Weights of each model that a quick look reads; a tenth of a second for eight experts."""

RUN = 1 << 10
"""Most elements of one read of a quick look."""


def strides(jobs: Sequence[TensorJob], budget: int) -> Iterator[tuple[TensorJob, int, int]]:
    """At least one piece of every tensor, together about `budget` weights, always the same ones.

    Args:
        jobs: Floating-point tensors.
        budget: Wanted weights of each model.
    """
    total = sum(job.numel for job in jobs)
    share = min(1.0, budget / max(total, 1))
    for job in jobs:
        runs = max(1, math.ceil(job.numel * share / RUN))
        step = max(job.numel / runs, RUN)
        for index in range(runs if job.numel else 0):
            start = int(index * step) // RUN * RUN
            yield job, start, min(start + RUN, job.numel)


def scaled_overlap(found: Overlap, whole: NDArray[np.int64]) -> Overlap:
    """Counts and sums of a sample as an estimate of the whole model, group by group.

    Args:
        found: Of the sample.
        whole: (G,) weights of the whole groups.
    """
    factors = whole / np.maximum(found.sizes, 1)
    parts = {name: _scaled(part, factors) for name in ("products", "signs", "masks")
             if (part := getattr(found, name)) is not None}  # fmt: skip
    share = float(found.sizes.sum() / max(whole.sum(), 1))
    return replace(found, sizes=whole, zeros=_times(found.zeros, factors, 0), share=share, **parts)


def scaled_magnitudes(found: Magnitudes, sizes: NDArray[np.int64], whole: NDArray[np.int64]) -> Magnitudes:
    """Histograms of a sample as an estimate of the whole model.

    Args:
        found: Of the sample.
        sizes: (G,) weights of the sample.
        whole: (G,) weights of the whole groups.
    """
    factor = whole.sum() / max(sizes.sum(), 1)
    fine = np.rint(found.fine * factor).astype(np.int64)
    coarse = _times(found.coarse, whole / np.maximum(sizes, 1), 0)
    return replace(found, fine=fine, coarse=coarse, share=float(1 / factor) if factor else 1.0)


def _scaled(part: Any, factors: NDArray[np.float64]) -> Any:
    """A part of an overlap with every count and sum multiplied; norms grow with the root."""
    kind = type(part).__name__
    if kind == "Products":
        return replace(part, matrix=_times(part.matrix, factors, 0), base_norm=part.base_norm * np.sqrt(factors))
    if kind == "Signs":
        return replace(part, **{name: _times(getattr(part, name), factors, 0) for name in part.__dataclass_fields__})
    names = [n for n in ("active", "pairs", "selfish", "lattice") if getattr(part, n) is not None]
    return replace(part, **{name: _times(getattr(part, name), factors, 1) for name in names})


def _times(values: NDArray[Any], factors: NDArray[np.float64], axis: int) -> NDArray[Any]:
    shape = [1] * values.ndim
    shape[axis] = -1
    made = values * factors.reshape(shape)
    return np.rint(made).astype(values.dtype) if values.dtype.kind == "i" else made.astype(values.dtype)
