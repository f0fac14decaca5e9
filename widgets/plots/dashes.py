"""Line styles and marks of the experts: colour is never alone."""

from __future__ import annotations

from PySide6.QtCore import Qt

_DASHES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine,
           Qt.PenStyle.DashDotDotLine)  # fmt: skip
_MARKS = ("o", "s", "t", "d", "+", "x", "star")


def dash_of(expert: int) -> Qt.PenStyle:
    """Line style of the expert in a row."""
    return _DASHES[expert % len(_DASHES)]


def mark_of(expert: int) -> str:
    """Mark of the expert in a row, as pyqtgraph calls it; a dot for what is about no expert (-1)."""
    return _MARKS[expert % len(_MARKS)] if expert >= 0 else "o"
