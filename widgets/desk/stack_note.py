"""The strip above the desk that says how layers are restacked, and where that is changed."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from widgets.common.pieces import SEVERITIES, Mark, WrappedLabel, column, push, row
from widgets.common.theme import theme


class StackNote(QWidget):
    """What the stack of the recipe is, in words.

    Signals:
        saveRequested: The user wants the recipe as mergekit YAML, to edit its slices.
        helpRequested: The user wants the help page.
    """

    saveRequested = Signal()
    helpRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("stack-note")
        self._severity = "info"
        self._mark = Mark("info", "Restacked layers")
        self._text = WrappedLabel(wrap=True)
        self._hint = WrappedLabel(role="dim", wrap=True)
        self._save = push("Save as mergekit YAML…", name="stack-save", hint="Write the slices to a file to edit them")
        self._save.clicked.connect(self.saveRequested)
        self._help = push("Help", name="stack-help", hint="How restacked layers are written and merged")
        self._help.clicked.connect(self.helpRequested)
        words = column(row(self._mark, None), self._text, self._hint, spacing=4)
        ways = column(row(self._save, self._help), None)
        body = row(words, ways, spacing=16)
        body.setStretch(0, 1)
        body.setContentsMargins(16, 10, 12, 10)
        self.setLayout(body)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def show_stack(self, text: str, hint: str, *, is_problem: bool) -> None:
        """Show a stack.

        Args:
            text: Its slices, or why they cannot be merged.
            hint: What can be done on the desk, or about the problem.
            is_problem: Whether it cannot be merged.
        """
        self._severity = "error" if is_problem else "info"
        self._mark.show_severity(self._severity, "These layers cannot be stacked" if is_problem else "Restacked layers")
        self._text.setText(text)
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))
        self.setAccessibleName(self._mark.text())
        self.setAccessibleDescription(f"{text} {hint}".strip())
        self.update()

    def text(self) -> str:
        """Everything that it says."""
        return f"{self._mark.text()}: {self._text.text()} {self._hint.text()}".strip()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A strip with an edge in the severity's colour."""
        colours, painter = theme(), QPainter(self)
        painter.fillRect(self.rect(), QColor(colours.raised))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(getattr(colours, SEVERITIES[self._severity][2])))
        painter.drawRoundedRect(QRectF(3, 8, 3, self.height() - 16), 1.5, 1.5)
        painter.setBrush(QColor(colours.line))
        painter.drawRect(QRectF(0, self.height() - 1, self.width(), 1))
        painter.end()
