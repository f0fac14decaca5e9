"""Taking a picture of a view without what only shows where the keyboard or the mouse is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PySide6.QtCore import QItemSelectionModel
from PySide6.QtWidgets import QTableWidget

_STAY = QItemSelectionModel.SelectionFlag.NoUpdate
_SELECT = QItemSelectionModel.SelectionFlag.Select


@contextmanager
def posed(view: Any, table: QTableWidget) -> Iterator[None]:
    """Hide the cursor of a view and of its table for as long as a picture of them is taken.

    Args:
        view: Has `pose(is_posing)` if it has a cursor.
        table: Its table twin.
    """
    pose = getattr(view, "pose", lambda _: None)
    model = table.selectionModel()
    here, chosen = model.currentIndex(), model.selection()
    pose(True)
    model.clear()
    try:
        yield
    finally:
        model.setCurrentIndex(here, _STAY)
        model.select(chosen, _SELECT)
        pose(False)
