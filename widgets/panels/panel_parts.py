"""Small parts that several panels share: labels, chips, marked notes, empty states, icon buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.common.colours import expert_letter
from widgets.common.icons import icon, paint_icon
from widgets.common.text import PlainLabel, plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import paint_chip

if TYPE_CHECKING:
    from collections.abc import Callable

Label = TypeVar("Label", bound=QLabel)
Item = TypeVar("Item", bound=QWidget)

SEVERITY_ICONS = {"ok": "checked", "info": "info", "warning": "warning", "error": "error"}
SEVERITY_WORDS = {"ok": "OK", "info": "Note", "warning": "Warning", "error": "Error"}


def dim(label: Label) -> Label:
    """The label in the theme's dim text colour; it follows the palette."""
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    return label


def bold(label: Label, share: float = 1.0) -> Label:
    """The label in bold, at `share` of its size."""
    font = label.font()
    font.setBold(True)
    if share != 1.0 and font.pointSizeF() > 0:
        font.setPointSizeF(font.pointSizeF() * share)
    label.setFont(font)
    return label


def squeezed(widget: Item) -> Item:
    """The widget with no smallest width of its own, so that a narrow dock can be narrow."""
    widget.setMinimumWidth(0)
    widget.setSizePolicy(QSizePolicy.Policy.Ignored, widget.sizePolicy().verticalPolicy())
    return widget


def icon_button(name: str, icon_name: str, hint: str = "", tone: str = "text") -> QToolButton:
    """A flat button with an icon, an accessible name and a tooltip."""
    button = QToolButton()
    button.setAutoRaise(True)
    button.setIcon(icon(icon_name, tone))
    button.setIconSize(QSize(16, 16))
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    button.setAccessibleName(plain(name))
    button.setToolTip(tip(hint or name))
    return button


def fit_pool(pool: list[Item], count: int, make: Callable[[], Item], layout: QBoxLayout, first: int = 0) -> None:
    """Make the pool and the layout hold exactly `count` widgets; those that are there stay.

    Args:
        pool: The widgets, in the layout's order.
        count: How many there should be.
        make: Makes one more.
        layout: Where they live, from index `first` on without gaps.
        first: Index of the pool's first widget in the layout.
    """
    while len(pool) < count:
        made = make()
        layout.insertWidget(first + len(pool), made)
        pool.append(made)
    while len(pool) > count:
        gone = pool.pop()
        layout.removeWidget(gone)
        gone.hide()
        gone.deleteLater()


def scroller(content: QWidget, name: str) -> QScrollArea:
    """A frameless area that scrolls its content vertically only."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setAccessibleName(name)
    area.setWidget(content)
    return area


def column(owner: QWidget, spacing: int = 6, margin: int = 10) -> QVBoxLayout:
    """A vertical layout of `owner` with the house's spacing."""
    layout = QVBoxLayout(owner)
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(spacing)
    return layout


class Chip(QWidget):
    """An expert's colour with its letter; row -1 shows the base's icon."""

    def __init__(self, index: int = 0, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._index, self._silenced = index, False
        side = self.fontMetrics().height() + 4
        self.setFixedSize(side + 2, side)

    def show_expert(self, index: int, silenced: bool = False) -> None:
        """Show another expert."""
        if (index, silenced) != (self._index, self._silenced):
            self._index, self._silenced = index, silenced
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Chip or icon."""
        painter = QPainter(self)
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        if self._index < 0:
            paint_icon(painter, "base", box, theme().text)
        else:
            paint_chip(painter, box, self._index, expert_letter(self._index), self._silenced)
        painter.end()


class PaintedLine(QWidget):
    """One line of our own text that changes with every move of a fader: painted, nothing is laid out anew."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self.setFixedHeight(self.fontMetrics().height() + 2)

    def show_text(self, text: str) -> None:
        """Show another text."""
        if text != self._text:
            self._text = text
            self.setAccessibleName(text)
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The text, elided."""
        painter = QPainter(self)
        painter.setPen(QColor(theme().text))
        shown = painter.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), shown)
        painter.end()


class Mark(QWidget):
    """One small icon in a theme colour."""

    def __init__(self, name: str = "info", tone: str = "dim", side: int = 16, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name, self._tone = name, tone
        self.setFixedSize(side, side)

    def show_icon(self, name: str, tone: str = "dim") -> None:
        """Show another icon."""
        if (name, tone) != (self._name, self._tone):
            self._name, self._tone = name, tone
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The icon."""
        painter = QPainter(self)
        paint_icon(painter, self._name, self.rect(), getattr(theme(), self._tone))
        painter.end()


class NoteLine(QWidget):
    """A finding: icon, message, and what to do about it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown = ("", "", "")
        self._mark = Mark()
        self._text, self._hint = squeezed(PlainLabel(wrap=True)), squeezed(dim(PlainLabel(wrap=True)))
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addWidget(self._text)
        words.addWidget(self._hint)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)

    def show_note(self, severity: str, message: str, hint: str = "") -> None:
        """Show another finding."""
        if (severity, message, hint) == self._shown:
            return
        self._shown = severity, message, hint
        tone = {"ok": "ok", "warning": "warning", "error": "error"}.get(severity, "accent")
        self._mark.show_icon(SEVERITY_ICONS.get(severity, "info"), tone)
        self._text.setText(message)
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))
        self.setAccessibleName(plain(f"{SEVERITY_WORDS.get(severity, 'Note')}: {message} {hint}".strip()))


class EmptyHint(QWidget):
    """What an empty panel says: an icon, what is missing, what to do."""

    def __init__(self, icon_name: str, title: str, hint: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title, self._hint = PlainLabel(title, wrap=True), dim(PlainLabel(hint, wrap=True))
        bold(self._title)
        layout = column(self, 6, 16)
        layout.addStretch(1)
        layout.addWidget(Mark(icon_name, "dim", 28), 0, Qt.AlignmentFlag.AlignHCenter)
        for label in (self._title, self._hint):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            layout.addWidget(squeezed(label))
        layout.addStretch(2)
        self.setAccessibleName(f"{title} {hint}")

    def set_hint(self, hint: str) -> None:
        """Say something else to do."""
        self._hint.setText(hint)
        self.setAccessibleName(f"{self._title.text()} {hint}")


def is_seen(widget: QWidget) -> bool:
    """Whether any of a widget is on the screen of its window.

    A dock behind another tab is visible for Qt, which only moves it out of the window; it can be left alone all
    the same until its tab is chosen.
    """
    return widget.isVisible() and not widget.visibleRegion().isEmpty()
