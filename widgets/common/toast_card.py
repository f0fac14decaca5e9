"""One notification on the screen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QEnterEvent, QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QApplication, QFrame, QPushButton, QWidget
from shiboken6 import isValid

from widgets.common.pieces import SEVERITIES, Mark, WrappedLabel, clear, column, icon_button, push, row, tab_chain
from widgets.common.theme import theme

if TYPE_CHECKING:
    from collections.abc import Sequence

_GRACE_MS = 2500


class ToastCard(QFrame):
    """A notice with its buttons; it goes by itself unless the pointer or the keyboard is on it.

    Signals:
        closed: Its time is over, or the user closed it.
        actionTriggered: Id of the button.
        resized: Its text changed its height.
    """

    closed = Signal()
    actionTriggered = Signal(str)
    resized = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self.seconds = 0.0
        self._severity = "info"
        self._left_ms = 0
        self._before: QWidget | None = None
        self._mark = Mark("info")
        self._text = WrappedLabel(wrap=True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        self._close = icon_button("close", "Dismiss this notice (Esc)", name="toast-close")
        self._close.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._close.clicked.connect(self.closed)
        self._close.installEventFilter(self)
        self._actions = row()
        body = column(row(self._mark, None, self._close), self._text, self._actions, spacing=4)
        body.setContentsMargins(14, 6, 8, 10)
        self.setLayout(body)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.closed)
        self.setObjectName("toast")

    def show_text(self, text: str, severity: str, actions: Sequence[tuple[str, str]], seconds: float) -> None:
        """Show a notice; `seconds` is 0 when it stays."""
        self.seconds, self._severity, self._left_ms = seconds, severity, int(seconds * 1000)
        self._timer.stop()
        self._mark.show_severity(severity)
        self._text.setText(text)
        self.setAccessibleName(f"{self.word()}: {self._text.text()}")
        clear(self._actions)
        buttons: list[QWidget] = []
        for key, label in actions:
            button = push(label, name=f"toast-action-{key}")
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(partial(self._press, key))
            button.installEventFilter(self)
            self._actions.addWidget(button)
            buttons.append(button)
        self._actions.addStretch(1)
        tab_chain(*buttons, self._close)
        self._layout_margins(bool(actions))
        if self.isVisible():
            self._run()
            self.resized.emit()

    def word(self) -> str:
        """The severity as a word."""
        return SEVERITIES[self._severity][1]

    def height_for(self, width: int) -> int:
        """Height at a width."""
        layout = self.layout()
        assert layout is not None
        layout.activate()
        return max(layout.totalHeightForWidth(width), layout.totalMinimumSize().height())

    def appear(self) -> None:
        """Be on the screen, and let the time run."""
        if not self.isVisible():
            self.show()
            self._run()
        self.raise_()

    def wait(self) -> None:
        """Make room for others; the time stands still."""
        if self._timer.isActive():
            self._left_ms = self._timer.remainingTime()
        self._timer.stop()
        self.hide()

    def leave(self) -> None:
        """Go for good, and give the keyboard back."""
        self._timer.stop()
        if self._has_keyboard() and self._before is not None and isValid(self._before):
            self._before.setFocus(Qt.FocusReason.OtherFocusReason)
        self._before = None
        self.hide()
        self.deleteLater()

    def take_keyboard(self) -> None:
        """Focus the first button."""
        if not self._has_keyboard():
            self._before = QApplication.focusWidget()
        buttons: list[QWidget] = [b for b in self.findChildren(QPushButton) if b.isVisibleTo(self)]
        (buttons or [self._close])[0].setFocus(Qt.FocusReason.ShortcutFocusReason)

    def is_running(self) -> bool:
        """Whether its time runs."""
        return self._timer.isActive()

    def enterEvent(self, event: QEnterEvent) -> None:
        """The pointer holds it."""
        self._hold()
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        """The pointer lets go."""
        self._run()
        super().leaveEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The keyboard on a button holds it as well."""
        if event.type() == QEvent.Type.FocusIn:
            self._hold()
        elif event.type() == QEvent.Type.FocusOut:
            QTimer.singleShot(0, self, self._run)
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc dismisses."""
        if event.key() == Qt.Key.Key_Escape:
            self.closed.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """A raised card with an edge in the severity's colour."""
        colours, painter = theme(), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        tone = QColor(getattr(colours, SEVERITIES[self._severity][2]))
        painter.setPen(QPen(QColor(colours.line), 1))
        painter.setBrush(QColor(colours.raised))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(tone)
        painter.drawRoundedRect(QRectF(3, 6, 3, self.height() - 12), 1.5, 1.5)
        painter.end()

    def _layout_margins(self, has_actions: bool) -> None:
        self._actions.setContentsMargins(0, 4 if has_actions else 0, 0, 0)

    def _press(self, key: str) -> None:
        self.actionTriggered.emit(key)

    def _has_keyboard(self) -> bool:
        focus = QApplication.focusWidget()
        return focus is not None and self.isAncestorOf(focus)

    def _hold(self) -> None:
        if self._timer.isActive():
            self._left_ms = max(self._timer.remainingTime(), _GRACE_MS)
            self._timer.stop()

    def _run(self) -> None:
        """Let the rest of the time run, unless something holds the card or it stays anyway."""
        if self.seconds > 0 and self.isVisible() and not self.underMouse() and not self._has_keyboard():
            self._timer.start(self._left_ms)
