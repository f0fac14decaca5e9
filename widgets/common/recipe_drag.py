"""What a drag of a recipe carries: its name in the lists of pins and comparisons."""

from __future__ import annotations

from PySide6.QtCore import QMimeData

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
