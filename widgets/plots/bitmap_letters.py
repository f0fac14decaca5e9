"""Letters and signs in the cells of a bitmap: made once for a block of cells, so that a pan only moves pictures."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter

from engine.analyse.bitmap import NOBODY, TILE
from widgets.common.colours import expert_letter
from widgets.common.theme import theme
from widgets.desk.inks import readable_on, small
from widgets.plots.bitmap_state import colour_table
from widgets.plots.bitmap_tiles import Place

if TYPE_CHECKING:
    from widgets.plots.bitmap_view import BitmapView

FROM_SCALE = 16.0
"""Logical pixels of a cell from which on it has room for a letter."""

_STAMP = 15
_BLOCK_PIXELS = 512
_MEMORY = 32 << 20

_Cell = tuple[Place, int, int]


class Letters:
    """Draws letters over the cells of a view; colour is never alone. Keeps pictures of the blocks it drew last."""

    def __init__(self) -> None:
        self._look: tuple[Any, ...] = ()
        self._stamps = np.zeros((1, 1, 1), np.uint32)
        self._index = np.zeros(256, np.uint8)
        self._blocks: OrderedDict[_Cell, tuple[np.ndarray, QImage]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def draw(self, view: BitmapView, painter: QPainter) -> None:
        """Letters of all cells that are on the screen and known."""
        self._follow(view)
        pitch = view.scale * view.devicePixelRatioF()
        cells = max(4, 1 << int(math.log2(_BLOCK_PIXELS / pitch)))
        bottom, right = view.top + view.height() / view.scale, view.left + view.width() / view.scale
        for place in view.visible(0):
            codes = view.store.codes(place)
            if codes is None:
                continue
            top, left = place[1] * TILE, place[2] * TILE
            for down in _overlapping(view.top - top, bottom - top, codes.shape[0], cells):
                for across in _overlapping(view.left - left, right - left, codes.shape[1], cells):
                    image = self._block((place, down, across), codes, cells, pitch, view.devicePixelRatioF())
                    painter.drawImage(view.snapped(top + down * cells, left + across * cells), image)

    def _follow(self, view: BitmapView) -> None:
        """Start anew when the letters would look different."""
        state = view.state
        look = (state.key, state.mode, state.expert, state.names, state.low, state.high, view.scale,
                view.devicePixelRatioF(), theme().name, view.font().key())  # fmt: skip
        if look != self._look:
            self._look = look
            self._blocks.clear()
            self._make_stamps(view)

    def _make_stamps(self, view: BitmapView) -> None:
        """A picture for every code that has a letter; the first is empty."""
        ratio = view.devicePixelRatioF()
        side = round(_STAMP * ratio)
        made, self._index = [np.zeros((side, side), np.uint32)], np.zeros(256, np.uint8)
        for code, (text, back) in _texts(view).items():
            self._index[code] = len(made)
            made.append(_stamp(view, text, back, side, ratio))
        self._stamps = np.stack(made)

    def _block(self, cell: _Cell, codes: np.ndarray, cells: int, pitch: float, ratio: float) -> QImage:
        """The picture of some cells of a tile."""
        held = self._blocks.get(cell)
        if held is not None and held[0] is codes:
            self._blocks.move_to_end(cell)
            return held[1]
        _, down, across = cell
        part = codes[down * cells : (down + 1) * cells, across * cells : (across + 1) * cells]
        image = self._picture(self._index[part], pitch)
        image.setDevicePixelRatio(ratio)
        self._blocks[cell] = (codes, image)
        while len(self._blocks) > 1 and len(self._blocks) * image.sizeInBytes() > _MEMORY:
            self._blocks.popitem(last=False)
        return image

    def _picture(self, which: np.ndarray, pitch: float) -> QImage:
        """Stamps (r, c) side by side, in the middle of cells of `pitch` pixels."""
        rows, columns = which.shape
        side = self._stamps.shape[-1]
        tall, wide = math.ceil(rows * pitch), math.ceil(columns * pitch)
        pixels = np.zeros((tall, wide), np.uint32)
        places = [(np.rint((np.arange(count) + 0.5) * pitch - side / 2).astype(np.intp)[:, None]
                   + np.arange(side)).reshape(-1) for count in (rows, columns)]  # fmt: skip
        lines = self._stamps[which].transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
        pixels[np.ix_(*places)] = lines
        return QImage(pixels.data, wide, tall, 4 * wide, QImage.Format.Format_ARGB32_Premultiplied).copy()


def _overlapping(first: float, last: float, count: int, cells: int) -> range:
    """Blocks of a tile between two cells."""
    return range(max(0, math.floor(first)) // cells, -(-min(count, max(0, math.ceil(last))) // cells))


def _texts(view: BitmapView) -> dict[int, tuple[str, QColor]]:
    """The letter of every code that has one, and the colour behind it."""
    table = colour_table(view.state)
    if view.state.mode == "owner":
        experts = range(min(len(view.state.names), NOBODY))
        return {t: (expert_letter(t), QColor(int(table[t]) & 0xFFFFFF)) for t in experts}
    return {code: (text, QColor(int(table[code]) & 0xFFFFFF)) for code, text in ((1, "−"), (255, "+"))}


def _stamp(view: BitmapView, text: str, back: QColor, side: int, ratio: float) -> np.ndarray:
    """(side, side) premultiplied pixels of a letter."""
    image = QImage(side, side, QImage.Format.Format_ARGB32_Premultiplied)
    image.setDevicePixelRatio(ratio)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setFont(small(view.font(), 0.8))
    painter.setPen(readable_on(back))
    painter.drawText(QRectF(0, 0, side / ratio, side / ratio), Qt.AlignmentFlag.AlignCenter, text)
    painter.end()
    return np.frombuffer(image.constBits(), np.uint32).reshape(side, image.bytesPerLine() // 4)[:, :side].copy()
