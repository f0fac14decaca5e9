"""What is drawn over the pixels of a bitmap: letters, the cursor, an overview."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPixmap

from engine.analyse.bitmap import TILE, levels_of
from widgets.common.colours import expert_letter
from widgets.common.theme import theme
from widgets.desk.inks import readable_on, small
from widgets.plots.bitmap_state import colour_table, ink_of

if TYPE_CHECKING:
    from widgets.plots.bitmap_view import BitmapView

_INSET, _STAMP = 112, 15.0


def letters(view: BitmapView, painter: QPainter) -> None:
    """Expert letters or signs in cells that hold them: colour is never alone."""
    stamps = _Stamps(view)
    side = stamps.side
    for place in view.visible(0):
        codes = view.store.codes(place)
        if codes is None:
            continue
        top, left = place[1] * TILE, place[2] * TILE
        rows = slice(max(0, int(view.top) - top), max(0, math.ceil(view.top + view.height() / view.scale) - top))
        columns = slice(max(0, int(view.left) - left), max(0, math.ceil(view.left + view.width() / view.scale) - left))
        corner = view.spot(top + rows.start, left + columns.start)
        x0, y0 = corner.x() + (view.scale - side) / 2, corner.y() + (view.scale - side) / 2
        for r, line in enumerate(codes[rows, columns].tolist()):
            y = y0 + r * view.scale
            for c, code in enumerate(line):
                stamp = stamps.of(code)
                if stamp is not None:
                    painter.drawPixmap(QPointF(x0 + c * view.scale, y), stamp)


class _Stamps:
    """Small pictures of letters, made once for a frame: drawing text thousands of times is slow."""

    def __init__(self, view: BitmapView) -> None:
        self._view = view
        self.side = int(_STAMP)
        self._made: dict[int, QPixmap | None] = {}

    def of(self, code: int) -> QPixmap | None:
        """The picture of a code; None for codes without a letter."""
        if code not in self._made:
            text, back = _letter(self._view, code)
            self._made[code] = self._draw(text, back) if text else None
        return self._made[code]

    def _draw(self, text: str, back: QColor) -> QPixmap:
        ratio = self._view.devicePixelRatioF()
        pixmap = QPixmap(round(self.side * ratio), round(self.side * ratio))
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setFont(small(self._view.font(), 0.8))
        painter.setPen(readable_on(back))
        painter.drawText(QRectF(0, 0, self.side, self.side), Qt.AlignmentFlag.AlignCenter, text)
        painter.end()
        return pixmap


def _letter(view: BitmapView, code: int) -> tuple[str, QColor]:
    """The text of a cell and the colour behind it."""
    if view.state.mode == "owner":
        return (expert_letter(code), ink_of(code)) if code < len(view.state.names) else ("", QColor())
    return {1: "−", 255: "+"}.get(code, ""), QColor(int(colour_table(view.state)[code]) & 0xFFFFFF)


def crosshair(view: BitmapView, painter: QPainter) -> None:
    """Thin lines through the cursor, and a box around its pixel."""
    row, column = view.cursor_weight
    if row < 0:
        return
    size = 1 << view.level
    corner = view.spot(row // size * size, column // size * size)
    side = max(size * view.scale, 3.0)
    painter.setPen(QPen(QColor(theme().warning), 1))
    painter.setOpacity(0.6)
    centre = corner + QPointF(side / 2, side / 2)
    first, last = view.spot(0, 0), view.spot(view.state.rows, view.state.columns)
    painter.drawLine(QPointF(first.x(), centre.y()), QPointF(last.x(), centre.y()))
    painter.drawLine(QPointF(centre.x(), first.y()), QPointF(centre.x(), last.y()))
    painter.setOpacity(1.0)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(theme().window), 5))
    painter.drawRect(QRectF(corner.x() - 1, corner.y() - 1, side + 2, side + 2))
    painter.setPen(QPen(QColor(theme().text), 2))
    painter.drawRect(QRectF(corner.x() - 1, corner.y() - 1, side + 2, side + 2))


def overview(view: BitmapView, painter: QPainter) -> None:
    """All of it in a corner, with a frame around what is on the screen."""
    levels = levels_of(view.state.rows, view.state.columns)
    image = view.store.image((levels - 1, 0, 0))
    share = min(_INSET, 0.5 * view.height()) / max(view.state.rows, view.state.columns)
    box = QRectF(0, 0, max(view.state.columns * share, 8), max(view.state.rows * share, 8))
    box.moveBottomRight(QPointF(view.width() - 8, view.height() - 8))
    painter.fillRect(box.adjusted(-2, -2, 2, 2), QColor(theme().panel))
    if image is not None:
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
        painter.drawImage(box, image)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(theme().line), 1))
    painter.drawRect(box)
    wide, tall = (max(side / view.scale * share, 3.0) for side in (view.width(), view.height()))
    seen = QRectF(box.left() + view.left * share, box.top() + view.top * share, wide, tall)
    painter.setPen(QPen(QColor(theme().text), 1.5))
    painter.drawRect(seen.intersected(box))
