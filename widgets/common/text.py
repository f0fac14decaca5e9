"""Text that comes from outside: file names, tensor names, messages. Shown literally, never as markup."""

from __future__ import annotations

import html
import textwrap
import unicodedata

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget

_TIP_COLUMNS = 64


def plain(text: str, limit: int = 400) -> str:
    """Text without characters that reorder, hide or break a line; those become a visible code.

    Args:
        text: Anything, for instance the name of a file.
        limit: Longest result; more is elided in the middle, so that the ending stays visible.
    """
    if len(text) <= limit and text.isprintable():  # nearly always, and many times as fast
        return text
    shown = "".join(_visible(c) for c in text[: 4 * limit])
    if len(text) > 4 * limit or len(shown) > limit:
        ending = "".join(_visible(c) for c in text[-limit // 3 :])
        shown = f"{shown[: limit - limit // 3 - 1]}…{ending[-(limit // 3) :]}"
    return shown


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    if char in "\t\n\r" or unicodedata.category(char).startswith("Z"):
        return " "
    return f"[U+{ord(char):04X}]"


def plain_lines(text: str, limit: int = 20_000) -> str:
    """Like `plain`, but line breaks stay."""
    return "\n".join(plain(line, 2000) for line in text[:limit].splitlines())


def tip(text: str) -> str:
    """Text for `setToolTip`: wrapped, and escaped where Qt would take it for rich text."""
    wrapped = "\n".join(textwrap.fill(plain(line, 1200), _TIP_COLUMNS) for line in text.splitlines())
    if "<" not in wrapped:  # Qt only takes text with tags for rich text
        return wrapped
    return "<qt>" + html.escape(wrapped).replace("\n", "<br>") + "</qt>"


def button_text(text: str) -> str:
    """Text for buttons, menus and tabs, where a single "&" would become a mnemonic."""
    return plain(text).replace("&", "&&")


class PlainLabel(QLabel):
    """A label that shows its text literally.

    Args:
        text: What to show.
        role: Look, a `role` of the style sheet: "", "dim", "title", "section", "small", "mono".
        wrap: Whether long text goes on in the next line.
        parent: Qt parent.
    """

    def __init__(self, text: str = "", role: str = "", *, wrap: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(wrap)
        if role:
            self.setProperty("role", role)
        self.setText(text)

    def setText(self, text: str) -> None:
        """Show other text; control characters become visible codes."""
        clean = plain_lines(text)
        if clean != self.text():
            super().setText(clean)


class ElidedLabel(PlainLabel):
    """One line that gives way: it shows "…" where there is no room, and everything in the tooltip.

    Args:
        text: What to show.
        role: As in `PlainLabel`.
        mode: Where to elide.
        parent: Qt parent.
    """

    def __init__(
        self,
        text: str = "",
        role: str = "",
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        parent: QWidget | None = None,
    ) -> None:
        self._mode = mode
        self._own_tip = ""
        self._seen: tuple[str, str, int, str] | None = None
        super().__init__(text, role, parent=parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def setText(self, text: str) -> None:
        """Show other text, on one line."""
        super().setText(" ".join(plain(text).split("\n")))
        self._update_tip()

    def set_own_tip(self, text: str) -> None:
        """A tooltip that is there even when nothing is elided."""
        self._own_tip = text
        self._update_tip()

    def is_elided(self) -> bool:
        """Whether some of the text is hidden now."""
        return self.shown_text() != self.text()

    def shown_text(self) -> str:
        """The text as it is painted."""
        return QFontMetrics(self.font()).elidedText(self.text(), self._mode, self.contentsRect().width())

    def minimumSizeHint(self) -> QSize:
        """A few characters."""
        metrics = QFontMetrics(self.font())
        return QSize(
            min(metrics.averageCharWidth() * 4, super().sizeHint().width()), super().minimumSizeHint().height()
        )

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Offer the whole text as tooltip when it no longer fits."""
        super().resizeEvent(event)
        self._update_tip()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the text, elided."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.contentsRect(), int(self.alignment() | Qt.TextFlag.TextSingleLine), self.shown_text())
        painter.end()

    def _update_tip(self) -> None:
        seen = (self.text(), self._own_tip, self.contentsRect().width(), self.font().key())
        if seen == self._seen:  # measuring text costs more than all else that a card shows
            return
        self._seen = seen
        lines = [self.text()] if self.is_elided() else []
        if self._own_tip and self._own_tip != self.text():
            lines.append(self._own_tip)
        self.setToolTip(tip("\n".join(lines)))
