"""Keys that all plots share: + and − zoom, Shift and an arrow moves what is seen."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent

_IN, _OUT, _STEP = 0.8, 1.25, 0.1
_WAYS = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1)}


def moved_view(event: QKeyEvent, box: pg.ViewBox, *, tall: bool = True) -> bool:
    """Zoom or move a plot by a key; whether the key was about that.

    Args:
        event: The key.
        box: What is seen of the plot.
        tall: Whether it moves and zooms up and down, too; else only sideways.
    """
    key, is_shift = event.key(), bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
    if key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
        share = _OUT if key == Qt.Key.Key_Minus else _IN
        box.scaleBy((share, share if tall else 1.0))
    elif is_shift and key in _WAYS:
        across, up = _WAYS[Qt.Key(key)]
        (left, right), (low, high) = box.viewRange()
        down = -1 if box.yInverted() else 1
        box.translateBy((_STEP * (right - left) * across, _STEP * (high - low) * up * down if tall else 0.0))
    else:
        return False
    return True
