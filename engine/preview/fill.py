"""Derivatives for the surrogate, in the order in which they are likely to be needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.preview.basis import Cell
from engine.preview.hearing import Session
from engine.preview.surrogate import Slopes, Surrogate
from engine.progress import Progress, Silent

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
    live: Session, surrogate: Surrogate, order: Sequence[int] | None = None, progress: Progress | None = None, *,
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


def _change(live: Session, surrogate: Surrogate, cell: Cell, step: float, progress: Progress) -> np.ndarray:
    """(M,) change of the logits over one step along a cell."""
    logits = live.at(cell.added(live.reference, step), progress)
    made: np.ndarray = np.concatenate([part.reshape(-1) for part in logits]) - surrogate.logits
    return made
