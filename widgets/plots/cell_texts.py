"""The numbers in the cells of a heatmap: one item of the scene for all of them, drawn in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget


@dataclass(frozen=True, slots=True)
class CellText:
    """What is written in one cell.

    Attributes:
        row: Of the cell.
        column: Of the cell.
        text: A number.
        ink: Its colour, readable on the cell's.
    """

    row: int
    column: int
    text: str
    ink: QColor


class CellTexts(pg.GraphicsObject):
    """Texts in the middle of cells of one unit each, as high on the screen at any zoom.

    A scene with one item for every number takes longer to make than all the rest of a heatmap.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cells: tuple[CellText, ...] = ()
        self._font = QFont()
        self._around = QRectF()
        self.setZValue(10)

    def show_cells(self, cells: Sequence[CellText]) -> None:
        """Write other texts."""
        self.cells = tuple(cells)
        wide, tall = (1 + max((getattr(cell, name) for cell in cells), default=-1) for name in ("column", "row"))
        if self._around != (around := QRectF(0, 0, wide, tall)):
            self.prepareGeometryChange()
            self._around = around
        self.update()

    def set_font(self, font: QFont) -> None:
        """Write in another font; nothing happens when it is the same."""
        if font != self._font:
            self._font = font
            self.update()

    def boundingRect(self) -> QRectF:
        """All cells from the first to the last that has a text."""
        return self._around

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw the texts; the font is not scaled with the cells."""
        scale = painter.worldTransform()
        across, down = scale.m11(), scale.m22()
        if not across or not down:
            return
        painter.save()
        painter.scale(1 / across, 1 / down)
        painter.setFont(self._font)
        half = QPointF(abs(across) / 2, abs(down) / 2)
        for cell in self.cells:
            middle = QPointF((cell.column + 0.5) * across, (cell.row + 0.5) * down)
            painter.setPen(cell.ink)
            painter.drawText(QRectF(middle - half, middle + half), Qt.AlignmentFlag.AlignCenter, cell.text)
        painter.restore()
