"""Painting of the cells that lie in a dirty region, without the detours of Qt's table view."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QRect
from PySide6.QtGui import QPainter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PySide6.QtGui import QPaintEvent
    from PySide6.QtWidgets import QTableView

    from widgets.desk.fader_delegate import FaderDelegate


def paint_cells(view: QTableView, delegate: FaderDelegate, event: QPaintEvent) -> None:
    """Paint the cells of a table that an event touches, each once.

    Qt's own painting asks model, selection and style about every cell, all of which call back into Python; the
    desk's cells depend on none of them.

    Args:
        view: The table, without a grid and without spans.
        delegate: Paints one cell.
        event: What has to be painted.
    """
    model = view.model()
    rows, columns = model.rowCount(), model.columnCount()
    if not rows or not columns:
        return
    painter, done = QPainter(view.viewport()), set[tuple[int, int]]()
    for rect in cast("Iterable[QRect]", event.region()):  # it can be iterated; the stubs do not say so
        left, right = view.columnAt(rect.left()), view.columnAt(rect.right())
        top, bottom = view.rowAt(rect.top()), view.rowAt(rect.bottom())
        if left < 0 or top < 0:
            continue  # beyond the last cell
        across = range(left, (right if right >= 0 else columns - 1) + 1)
        for row in range(top, (bottom if bottom >= 0 else rows - 1) + 1):
            height = view.rowHeight(row)
            if not height:
                continue  # a row of the other table
            y = view.rowViewportPosition(row)
            for column in across:
                if (row, column) not in done:
                    done.add((row, column))
                    cell = QRect(view.columnViewportPosition(column), y, view.columnWidth(column), height)
                    delegate.paint_cell(painter, cell, row, column)
    painter.end()
