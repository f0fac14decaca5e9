"""A dialog that is never too low for its texts."""

from __future__ import annotations

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog


class FittedDialog(QDialog):
    """Grows to the height that its wrapped texts need at its width, when it appears.

    Qt takes the height from the size hints, which know one line of a text that wraps; the rest would be cut off.
    """

    def showEvent(self, event: QShowEvent) -> None:
        """Ask the layout again now that the width is known."""
        super().showEvent(event)
        layout = self.layout()
        if layout is not None and layout.hasHeightForWidth():
            layout.activate()
            needed = layout.totalHeightForWidth(self.width())
            self.setMinimumHeight(max(self.minimumHeight(), needed))
