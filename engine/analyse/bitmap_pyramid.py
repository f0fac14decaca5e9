"""All levels of a matrix that fit into memory, made in one pass over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.analyse.bitmap import TILE, Blocks, arrays, blocks_of, first_level, reduced, reduced_to, stored_as
from engine.analyse.bitmap_source import BAND, EVERYTHING, Matrix, Rect
from engine.merge.crew import Crew
from engine.progress import Progress, Silent

PYRAMID_BYTES = 128 << 20
"""Default memory of a pyramid."""


class Pyramid:
    """All levels of a matrix that fit into memory, made band by band; what is done can be looked at meanwhile.

    Args:
        matrix: A decided matrix (`Matrix.decide`).
        most_bytes: Memory for the finest level and all coarser ones.
    """

    def __init__(self, matrix: Matrix, most_bytes: int = PYRAMID_BYTES) -> None:
        self._matrix = matrix
        self.first = first_level(matrix.rows, matrix.columns, matrix.experts, most_bytes)
        tall, wide = blocks_of(matrix.rows, self.first), blocks_of(matrix.columns, self.first)
        counts = {"kept": (matrix.experts,), "owners": (matrix.experts + 1,), "sizes": (matrix.experts,)}
        made: dict[str, Any] = {
            name: np.zeros((*counts.get(name, ()), tall, wide), stored_as(name, self.first, matrix.experts))
            for name in EVERYTHING
        }
        self.levels = [Blocks(self.first, matrix.rows, matrix.columns, **made)]
        self.done = 0

    @property
    def is_complete(self) -> bool:
        """Whether all rows are there."""
        return self.done >= self.levels[0].shape[0]

    @property
    def bytes(self) -> int:
        """Memory in use."""
        return sum(a.nbytes for level in self.levels for a in arrays(level).values())

    def fill(self, progress: Progress | None = None, threads: int | None = None) -> None:
        """Make everything that is missing; can be called again after it was cancelled.

        Raises:
            Cancelled: if the user stopped it; what is done stays.
        """
        progress, matrix = progress or Silent(), self._matrix
        if not self.is_complete:
            progress.begin(matrix.rows * matrix.columns, f"Drawing {matrix.name}", "weights")
            progress.advance(min(self.done << self.first, matrix.rows) * matrix.columns)
            with Crew(threads) as crew:
                for top, part in crew.map(self._bands(), lambda band: self._band(band, progress)):
                    for name, array in arrays(part).items():
                        getattr(self.levels[0], name)[..., top : top + array.shape[-2], :] = array
                    self.done = top + part.shape[0]
                    progress.advance(part.rows * matrix.columns)
        while max(self.levels[-1].shape) > 1:
            progress.check()
            self.levels.append(reduced(self.levels[-1], matrix.experts))

    def _bands(self) -> Iterator[Rect]:
        """Bands of whole rows, at multiples of a block."""
        matrix, size = self._matrix, 1 << self.first
        tall = max(size, BAND // max(matrix.columns, 1) >> self.first << self.first)
        for top in range(self.done << self.first, matrix.rows, tall):
            yield Rect(top, 0, min(tall, matrix.rows - top), matrix.columns)

    def _band(self, rect: Rect, progress: Progress) -> tuple[int, Blocks]:
        blocks = self._matrix.blocks(rect, EVERYTHING, check=progress.check)
        return rect.top >> self.first, reduced_to(blocks, self.first, self._matrix.experts)

    def tile(self, level: int, down: int, across: int) -> Blocks | None:
        """One tile of `TILE` x `TILE` blocks, or None if the level is too fine or its rows are not done."""
        if level < self.first:
            return None
        position = level - self.first
        if position < len(self.levels) and (position or self.is_complete):
            return self.levels[position].part(down * TILE, across * TILE, TILE, TILE)
        size, finest = TILE << position, self.levels[0]
        if min((down + 1) * size, finest.shape[0]) > self.done:
            return None
        return reduced_to(finest.part(down * size, across * size, size, size), level, self._matrix.experts)
