"""Tiles of a bitmap, as codes and as coloured pictures, within a fixed amount of memory."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from PySide6.QtGui import QImage

Place = tuple[int, int, int]
"""Level, tile row, tile column."""

TILE_MEMORY = 96 << 20


class TileStore:
    """Keeps the tiles that were used last.

    Args:
        most_bytes: Memory for codes and pictures together.
    """

    def __init__(self, most_bytes: int = TILE_MEMORY) -> None:
        self._most = most_bytes
        self._codes: OrderedDict[Place, np.ndarray] = OrderedDict()
        self._images: dict[Place, QImage] = {}
        self._table = np.zeros(256, np.uint32)
        self.bytes = 0

    def clear(self) -> None:
        """Forget all tiles."""
        self._codes.clear()
        self._images.clear()
        self.bytes = 0

    def recolour(self, table: np.ndarray) -> None:
        """Use other colours from now on."""
        if not np.array_equal(table, self._table):
            self._table = table
            self.bytes -= sum(image.sizeInBytes() for image in self._images.values())
            self._images.clear()

    def put(self, place: Place, codes: np.ndarray) -> None:
        """Keep a tile: (r, c) uint8."""
        self.drop(place)
        self._codes[place] = codes
        self.bytes += codes.nbytes
        while self.bytes > self._most and len(self._codes) > 1:
            self.drop(next(iter(self._codes)))

    def drop(self, place: Place) -> None:
        """Forget one tile, if it is there."""
        codes, image = self._codes.pop(place, None), self._images.pop(place, None)
        self.bytes -= (0 if codes is None else codes.nbytes) + (0 if image is None else image.sizeInBytes())

    def __contains__(self, place: Place) -> bool:
        return place in self._codes

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, place: Place) -> np.ndarray | None:
        """A tile's codes."""
        return self._codes.get(place)

    def image(self, place: Place) -> QImage | None:
        """A tile's picture, made when it is first drawn."""
        codes = self._codes.get(place)
        if codes is None:
            return None
        self._codes.move_to_end(place)
        image = self._images.get(place)
        if image is None:
            image = self._images[place] = picture(codes, self._table)
            self.bytes += image.sizeInBytes()
        return image


def picture(codes: np.ndarray, table: np.ndarray) -> QImage:
    """Codes through a colour table as an opaque picture that owns its pixels."""
    pixels = np.ascontiguousarray(table[codes])
    rows, columns = codes.shape
    return QImage(pixels.data, columns, rows, 4 * columns, QImage.Format.Format_RGB32).copy()
