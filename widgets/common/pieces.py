"""Small pieces that dialogs, toasts and the export panel share: marks, labels, buttons, calm fields."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

from PySide6.QtCore import QEvent, QObject, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QKeyEvent, QPainter, QPaintEvent, QPalette, QWheelEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.common.icons import icon, paint_icon
from widgets.common.text import PlainLabel, button_text, plain_lines, tip
from widgets.common.theme import theme

if TYPE_CHECKING:
    from collections.abc import Iterable

Box = TypeVar("Box", bound=QBoxLayout)

SEVERITIES: Final = {
    "ok": ("done", "OK", "ok"),
    "info": ("info", "Note", "accent"),
    "warning": ("warning", "Warning", "warning"),
    "error": ("error", "Problem", "error"),
}
"""Icon, word and theme colour of each severity; the word is always there, colour is never alone."""

INDENT = 5
"""Pixels before the number of a spin box; the style sheet's padding does not reach it."""


class Mark(QWidget):
    """An icon and a word in the colour of a severity.

    Args:
        severity: A key of `SEVERITIES`.
        word: Another word; None takes the severity's own, "" shows the icon alone.
        parent: Qt parent.
    """

    def __init__(self, severity: str = "info", word: str | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon, self._word, self._tone = SEVERITIES[severity]
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.show_severity(severity, word)

    def show_severity(self, severity: str, word: str | None = None) -> None:
        """Show another severity."""
        name, own, tone = SEVERITIES[severity]
        self._set(name, own if word is None else word, tone, own)

    def show_icon(self, name: str, word: str, tone: str) -> None:
        """Show any icon with a word in a theme colour ("ok", "dim", ...)."""
        self._set(name, word, tone, word)

    def text(self) -> str:
        """The word beside the icon."""
        return self._word

    def _set(self, name: str, word: str, tone: str, spoken: str) -> None:
        if (name, word, tone) != (self._icon, self._word, self._tone) or not self.accessibleName():
            self._icon, self._word, self._tone = name, word, tone
            self.setAccessibleName(spoken)
            self.updateGeometry()
            self.update()

    def _side(self) -> int:
        return self.fontMetrics().height()

    def sizeHint(self) -> QSize:
        """Icon, gap and word."""
        text = self.fontMetrics().horizontalAdvance(self._word) + 6 if self._word else 0
        return QSize(self._side() + text, self._side() + 2)

    def minimumSizeHint(self) -> QSize:
        """Never clipped."""
        return self.sizeHint()

    def changeEvent(self, event: QEvent) -> None:
        """Measure again with another font."""
        if event.type() == QEvent.Type.FontChange:
            self.updateGeometry()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw both in the theme's colour of this moment."""
        colour = QColor(getattr(theme(), self._tone))
        painter, side = QPainter(self), self._side()
        paint_icon(painter, self._icon, QRectF(0, (self.height() - side) / 2, side, side), colour)
        painter.setPen(colour)
        painter.drawText(self.rect().adjusted(side + 6, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self._word)
        painter.end()


class WrappedLabel(PlainLabel):
    """A label of several lines that also breaks inside long words: paths and tensor names have no spaces."""

    _clean = ""

    def setText(self, text: str) -> None:
        """Show other text."""
        clean = plain_lines(text)
        if clean != self._clean:
            self._clean = clean
            QLabel.setText(self, breakable(clean))
            self.setAccessibleName(clean)

    def text(self) -> str:
        """The text, without the places where it may break."""
        return self._clean


def breakable(text: str) -> str:
    """Text in which words of more than 20 characters may break, after "/", "_" and the like if possible."""
    return re.sub(r"\S{21,}", lambda word: _broken(word.group()), text)


def _broken(word: str) -> str:
    parts = re.sub(r"([/\\_.:,=\-])(?=\w)", "\\1\u200b", word)
    return re.sub("[^\u200b]{20}(?=[^\u200b])", "\\g<0>\u200b", parts)


def dimmed(text: str = "", *, wrap: bool = True, parent: QWidget | None = None) -> PlainLabel:
    """A label in the quieter colour."""
    return (WrappedLabel if wrap else PlainLabel)(text, "dim", wrap=wrap, parent=parent)


def heading(text: str = "", *, larger: float = 1.25, wrap: bool = True, parent: QWidget | None = None) -> PlainLabel:
    """A title: bold and `larger` times the normal size."""
    label = (WrappedLabel if wrap else PlainLabel)(text, "title" if larger > 1 else "section", wrap=wrap, parent=parent)
    font = QFont(label.font())
    font.setWeight(QFont.Weight.DemiBold)
    font.setPointSizeF(font.pointSizeF() * larger)
    label.setFont(font)
    return label


class PushButton(QPushButton):
    """A button that Enter presses when, and only when, it has the keyboard."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setAutoDefault(False)  # otherwise a dialog would let Enter in a text field press it

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter does what Space does."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(event)


def push(text: str, *, name: str = "", primary: bool = False, icon_name: str = "", hint: str = "") -> QPushButton:
    """A button; Enter never presses it by accident from another field."""
    button = PushButton(button_text(text))
    if primary:
        button.setProperty("primary", True)
    if icon_name:
        button.setIcon(icon(icon_name, "on_accent" if primary else "text"))
    if name:
        button.setObjectName(name)
    if hint:
        button.setToolTip(tip(hint))
        button.setAccessibleDescription(hint)
    return button


def icon_button(icon_name: str, spoken: str, *, name: str = "") -> QToolButton:
    """A flat button with only an icon; `spoken` is its tooltip and accessible name."""
    button = QToolButton()
    button.setAutoRaise(True)
    button.setIcon(icon(icon_name, "dim"))
    button.setToolTip(tip(spoken))
    button.setAccessibleName(spoken)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if name:
        button.setObjectName(name)
    return button


def row(*items: QWidget | QLayout | int | None, spacing: int = 8) -> QHBoxLayout:
    """Widgets side by side; an int is a gap, None a stretch."""
    return _filled(QHBoxLayout(), items, spacing)


def column(*items: QWidget | QLayout | int | None, spacing: int = 8) -> QVBoxLayout:
    """Widgets below each other; an int is a gap, None a stretch."""
    return _filled(QVBoxLayout(), items, spacing)


def _filled(layout: Box, items: Iterable[QWidget | QLayout | int | None], spacing: int) -> Box:
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    for item in items:
        if item is None:
            layout.addStretch(1)
        elif isinstance(item, int):
            layout.addSpacing(item)
        elif isinstance(item, QLayout):
            layout.addLayout(item)
        else:
            layout.addWidget(item)
    return layout


def clear(layout: QLayout) -> None:
    """Take everything out of a layout; widgets are deleted later, once no event of theirs is under way."""
    while (item := layout.takeAt(0)) is not None:
        widget, inner = item.widget(), item.layout()
        if widget is not None:
            widget.hide()
            widget.deleteLater()
        elif inner is not None:
            clear(inner)


def tab_chain(*widgets: QWidget) -> None:
    """Let Tab visit these one after the other."""
    for first, second in pairwise(widgets):
        QWidget.setTabOrder(first, second)


def rule() -> QFrame:
    """A thin line across."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Plain)
    line.setForegroundRole(QPalette.ColorRole.Mid)
    return line


def labelled(text: str, field: QWidget) -> QLabel:
    """A label for a field; Alt+letter after "&" goes there."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setBuddy(field)
    if not field.accessibleName():
        field.setAccessibleName(text.replace("&", ""))
    return label


class TallArea(QScrollArea):
    """Scrolls up and down only; never narrower than what it shows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.viewport().setAutoFillBackground(False)

    def show_widget(self, widget: QWidget) -> None:
        """Scroll this widget, on the background of whatever is around."""
        self.setWidget(widget)
        widget.setAutoFillBackground(False)

    def minimumSizeHint(self) -> QSize:
        """The content's least width and the scroll bar; a few lines high."""
        inner = self.widget()
        wide = inner.minimumSizeHint().width() if inner is not None else 0
        return QSize(wide + self.verticalScrollBar().sizeHint().width(), 4 * self.fontMetrics().height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The content's width may have changed."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class CalmComboBox(QComboBox):
    """A combo box that the wheel does not change while the page scrolls under the pointer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Only with the keyboard's focus."""
        super().wheelEvent(event) if self.hasFocus() else event.ignore()

    def set_choices(self, choices: Iterable[tuple[str, str]], chosen: str) -> None:
        """Offer (id, label) pairs and choose one, silently; an unknown id chooses none."""
        wanted = list(choices)
        blocked = self.blockSignals(True)
        if wanted != [(self.itemData(i), self.itemText(i)) for i in range(self.count())]:
            self.clear()
            for key, label in wanted:
                self.addItem(label, key)
        if self.currentData() != chosen:
            self.setCurrentIndex(self.findData(chosen))
        self.blockSignals(blocked)


class CalmSpinBox(QSpinBox):
    """A whole number that the wheel changes only with focus; it reports when typing is over."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)
        self.lineEdit().setTextMargins(INDENT, 0, 0, 0)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Only with the keyboard's focus."""
        super().wheelEvent(event) if self.hasFocus() else event.ignore()


class CalmDoubleSpinBox(QDoubleSpinBox):
    """Like `CalmSpinBox`, with decimals."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)
        self.lineEdit().setTextMargins(INDENT, 0, 0, 0)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Only with the keyboard's focus."""
        super().wheelEvent(event) if self.hasFocus() else event.ignore()
