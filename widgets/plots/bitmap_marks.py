"""What is drawn over the pixels of a bitmap: the cursor and an overview."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from engine.analyse.bitmap import levels_of
from widgets.common.theme import theme

if TYPE_CHECKING:
    from widgets.plots.bitmap_view import BitmapView

_INSET = 112


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
