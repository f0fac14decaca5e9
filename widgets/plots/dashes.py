"""Line styles of the experts: colour is never alone."""

from __future__ import annotations

from PySide6.QtCore import Qt

_DASHES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine,
           Qt.PenStyle.DashDotDotLine)  # fmt: skip


def dash_of(expert: int) -> Qt.PenStyle:
    """Line style of the expert in a row."""
    return _DASHES[expert % len(_DASHES)]
