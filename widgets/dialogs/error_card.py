"""A problem, told as what happened, why, and what to do next."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFontDatabase, QGuiApplication, QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QPlainTextEdit, QPushButton, QSizePolicy, QWidget

from widgets.common.icons import icon
from widgets.common.pieces import (
    SEVERITIES,
    Mark,
    WrappedLabel,
    clear,
    column,
    heading,
    icon_button,
    push,
    row,
    tab_chain,
)
from widgets.common.text import plain_lines
from widgets.common.theme import theme

if TYPE_CHECKING:
    from widgets.dialogs.state import Problem


def as_text(problem: Problem) -> str:
    """A problem as text for the clipboard, for instance to file an issue."""
    parts = (problem.title, problem.why, f"What next: {problem.hint}" if problem.hint else "", problem.details)
    return "\n\n".join(plain_lines(p) for p in parts if p)


class ErrorCard(QWidget):
    """A problem with its ways out.

    Signals:
        actionTriggered: Id of the button.
        dismissed: The user has seen it.
    """

    actionTriggered = Signal(str)
    dismissed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state: Problem | None = None
        self.setObjectName("error-card")
        self._mark = Mark("error")
        self._title = heading(larger=1.1)
        self._why = WrappedLabel(wrap=True)
        self._hint = WrappedLabel(wrap=True)
        self._close = icon_button("close", "Dismiss", name="error-close")
        self._close.clicked.connect(self.dismissed)
        self._toggle = push("Details", name="error-details", hint="Show the technical text")
        self._toggle.setCheckable(True)
        self._toggle.toggled.connect(self._show_details)
        self._copy = push("Copy", name="error-copy", icon_name="copy", hint="Copy the whole message as text")
        self._copy.clicked.connect(self._copy_text)
        self._details = self._make_details()
        self._actions = row()
        foot = row(self._toggle, None, self._copy)
        body = column(
            row(self._mark, None, self._close), self._title, self._why, self._hint, self._actions, foot, self._details
        )
        body.setContentsMargins(16, 10, 12, 12)
        self.setLayout(body)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    @staticmethod
    def _make_details() -> QPlainTextEdit:
        details = QPlainTextEdit()
        details.setReadOnly(True)
        details.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        details.setAccessibleName("Technical details")
        details.setTabChangesFocus(True)
        details.setMinimumHeight(110)
        details.setMaximumHeight(220)
        details.hide()
        return details

    def set_state(self, state: Problem) -> None:
        """Show a problem; opened details stay open while it is the same one."""
        if state == self.state:
            return
        before, self.state = self.state, state
        self._copy.setText("Copy")
        self._copy.setIcon(icon("copy"))
        self._mark.show_severity(state.severity)
        self._title.setText(state.title)
        for label, text in ((self._why, state.why), (self._hint, f"What next: {state.hint}" if state.hint else "")):
            label.setText(text)
            label.setVisible(bool(text))
        if before is None or before.actions != state.actions:
            self._show_actions(state)
        if before is None or before.details != state.details:
            self._details.setPlainText(plain_lines(state.details, 200_000))
        self._toggle.setVisible(bool(state.details))
        if before is None or before.title != state.title or not state.details:
            self._toggle.setChecked(False)
        self.setAccessibleName(f"{SEVERITIES[state.severity][1]}: {self._title.text()}")
        self.setAccessibleDescription(as_text(state))
        self.update()

    def first_button(self) -> QPushButton:
        """The best way out: the first action, or Copy."""
        item = self._actions.itemAt(0)
        widget = item.widget() if item is not None else None
        return widget if isinstance(widget, QPushButton) else self._copy

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc dismisses."""
        if event.key() == Qt.Key.Key_Escape:
            self.dismissed.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """A card with an edge in the severity's colour."""
        colours, painter = theme(), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(colours.line), 1))
        painter.setBrush(QColor(colours.raised))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(getattr(colours, SEVERITIES[self.state.severity if self.state else "error"][2])))
        painter.drawRoundedRect(QRectF(3, 8, 3, self.height() - 16), 1.5, 1.5)
        painter.end()

    def _show_actions(self, state: Problem) -> None:
        clear(self._actions)
        buttons: list[QWidget] = []
        for number, (key, label) in enumerate(state.actions):
            button = push(label, name=f"error-action-{key}", primary=number == 0)
            button.clicked.connect(partial(self.actionTriggered.emit, key))
            self._actions.addWidget(button)
            buttons.append(button)
        self._actions.addStretch(1)
        tab_chain(*buttons, self._toggle, self._details, self._copy, self._close)

    def _show_details(self, wanted: bool) -> None:
        self._details.setVisible(wanted)
        self._toggle.setText("Hide details" if wanted else "Details")

    def _copy_text(self) -> None:
        if self.state is not None:
            QGuiApplication.clipboard().setText(as_text(self.state))
            self._copy.setText("Copied")
            self._copy.setIcon(icon("done", "ok"))
