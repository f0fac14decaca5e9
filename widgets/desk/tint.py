"""What moving a fader up would do to the score, drawn on its cell: a wash of colour and a mark that points.

Blue helps and orange hurts, which colour-blind people tell apart; the triangle says the same without colour.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QColor, QPainter, QPolygonF

from widgets.desk.inks import inks, mix

HELPS, HURTS = QColor("#3a8fd9"), QColor("#e07b1a")
LEAST = 0.12
"""Smaller shares of the largest slope get no mark: up or down hardly matters there."""


def hue_of(share: float) -> QColor:
    """Blue where up helps, orange where it hurts."""
    return HELPS if share > 0 else HURTS


def washed(ground: QColor, share: float) -> QColor:
    """A cell's ground with the wash.

    Args:
        ground: Without it.
        share: Slope as a share of the largest one, -1 to 1.
    """
    if abs(share) < LEAST:
        return ground
    return mix(hue_of(share), ground, (0.10 if inks().contrast else 0.06) + 0.20 * min(1.0, abs(share)))


def paint_slope(painter: QPainter, cell: QRect, share: float) -> None:
    """A triangle in the upper right corner, up where up helps, down where it hurts; larger for steeper slopes."""
    if abs(share) < LEAST or cell.width() < 12 or cell.height() < 16:
        return
    size = min(5.0 + 4.0 * min(1.0, abs(share)), cell.width() / 3)
    centre = QPointF(cell.right() - 2 - size / 2, cell.top() + 3 + size / 2)
    way = -1.0 if share > 0 else 1.0
    tip = QPointF(centre.x(), centre.y() + way * size * 0.45)
    base = centre.y() - way * size * 0.4
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(mix(hue_of(share), inks().text, 0.75))
    painter.drawPolygon(QPolygonF([tip, QPointF(centre.x() + size / 2, base), QPointF(centre.x() - size / 2, base)]))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
