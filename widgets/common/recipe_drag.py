"""What a drag of a recipe carries: its name in the lists of pins and comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PySide6.QtCore import QMimeData, SignalInstance

MIME = "application/x-mixdown-recipe"


def recipe_mime(name: str) -> QMimeData:
    """A drag of the recipe of this name; nothing that another program could read."""
    made = QMimeData()
    made.setData(MIME, name.encode("utf-8", "surrogatepass"))
    return made


def recipe_name(mime: QMimeData) -> str:
    """The name that a drag carries, "" for another kind of drag."""
    data = mime.data(MIME).data() if mime.hasFormat(MIME) else b""
    return bytes(data).decode("utf-8", "replace")


@contextmanager
def told(dragging: SignalInstance) -> Iterator[None]:
    """Say when a drag starts and when it is over, whatever happens in between."""
    dragging.emit(True)
    try:
        yield
    finally:
        dragging.emit(False)
