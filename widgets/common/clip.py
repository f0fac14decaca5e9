"""Several forms of one thing on the clipboard at once."""

from __future__ import annotations

from PySide6.QtCore import QStringListModel
from PySide6.QtGui import QGuiApplication, QImage


def copy(text: str, picture: QImage) -> None:
    """Text and picture to the clipboard; whoever pastes takes the form that fits.

    Qt itself makes what holds them. Where the system keeps no clipboard (offscreen, VNC) the last one is a global of
    Qt and ends after Python; one that Python had made would call into the interpreter then: a crash at the end.
    """
    model = QStringListModel([""])
    data = model.mimeData([model.index(0)])
    data.clear()
    data.setImageData(picture)
    data.setText(text)
    QGuiApplication.clipboard().setMimeData(data)
