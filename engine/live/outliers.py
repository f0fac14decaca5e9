"""Layers of an expert that changed much more than its other layers of the same kind: a hint, not a detection.

The measure is the norm of the task vector relative to the base's weights, on a log scale. A layer sticks out if its
modified z-score exceeds 3.5 (median and median absolute deviation; Iglewicz and Hoaglin, How to Detect and Handle
Outliers, 1993) and it changed at least twice as much as the median. Fine-tunes have such layers for honest reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.files.text import listed, printable
from engine.live.gram import Gram

LEAST_LAYERS = 6
"""Layers of a kind from which on a median says something."""
LEAST_SCORE, LEAST_RATIO = 3.5, 2.0
_NORMAL = 0.6745
"""Median absolute deviation of a standard normal distribution."""
_LEAST_SPREAD = 0.02
HINT = "A hint, not a detection: fine-tuning does this, too."


@dataclass(frozen=True, slots=True)
class Outlier:
    """One layer of one kind that sticks out.

    Attributes:
        expert: Row of the expert.
        layer: Its label.
        kind: Of its tensors.
        ratio: How many times the median of the expert's layers of this kind it changed.
        score: Modified z-score of the logarithm.
    """

    expert: int
    layer: str
    kind: str
    ratio: float
    score: float


def outliers(gram: Gram) -> tuple[Outlier, ...]:
    """All layers that stick out, the most conspicuous of each expert first."""
    norms = np.sqrt(np.maximum(np.einsum("gtt->gt", gram.matrix), 0.0))  # (G, T)
    base = gram.base_norm[:, None]
    changes = np.divide(norms, base, out=norms.copy(), where=base > 0)
    kinds: dict[str, list[int]] = {}
    for number, group in enumerate(gram.groups):
        if group.place.layer.rpartition(".")[2].isdigit():  # of a kind with its neighbours: not emb and head
            kinds.setdefault(group.place.kind, []).append(number)
    found = [outlier for kind, members in kinds.items() for outlier in _sticking_out(gram, kind, members, changes)]
    return tuple(sorted(found, key=lambda o: (o.expert, -o.score, o.kind, o.layer)))


def _sticking_out(gram: Gram, kind: str, members: Sequence[int], changes: NDArray[np.float64]) -> list[Outlier]:
    """The groups of one kind that changed much more than the others; layers that did not change are left out.

    Args:
        gram: Names the layers.
        kind: Of the groups.
        members: Their numbers, L of them.
        changes: (G, T) relative norms of all groups.
    """
    mine = changes[list(members)]  # (L, T)
    heard = (mine > 0).sum(0) >= LEAST_LAYERS
    if not heard.any():
        return []
    logs = np.log(mine, where=mine > 0, out=np.full_like(mine, np.nan))
    logs[:, ~heard] = 0.0  # no median of nothing
    middle = np.nanmedian(logs, axis=0)
    spread = np.maximum(np.nanmedian(np.abs(logs - middle), axis=0), _LEAST_SPREAD)
    scores, ratios = _NORMAL * (logs - middle) / spread, np.exp(logs - middle)
    places = zip(*np.nonzero((scores > LEAST_SCORE) & (ratios >= LEAST_RATIO)), strict=True)
    layers = [gram.groups[number].place.layer for number in members]
    return [Outlier(int(t), layers[at], kind, float(ratios[at, t]), float(scores[at, t])) for at, t in places]


def about_outliers(name: str, found: Sequence[Outlier]) -> str:
    """A sentence about the outliers of one expert; "" without any."""
    if not found:
        return ""
    places = [f"{o.kind} of layer {o.layer} ({o.ratio:.1f} times)" for o in found]
    return f"{printable(name, 80)} changed more than in its other layers: {listed(places)}."
