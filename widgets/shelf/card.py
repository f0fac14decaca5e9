"""The card of one model."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QFocusEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from widgets.common.colours import expert_letter
from widgets.common.format import bytes_text, count_text
from widgets.common.icons import icon
from widgets.common.text import ElidedLabel, plain, tip
from widgets.common.theme import theme
from widgets.panels.panel_parts import Chip, Mark, dim, icon_button
from widgets.shelf.drops import FileDrop
from widgets.shelf.handle import Handle
from widgets.shelf.state import ModelCard

CHECK_ICONS = {"reading": "reading", "checked": "checked", "warning": "warning", "error": "error"}
CHECK_TONES = {"reading": "dim", "checked": "ok", "warning": "warning", "error": "error"}
CHECK_WORDS = {"reading": "being read", "checked": "checked", "warning": "warning", "error": "problem"}
_MAX_NAME = 80
_ENDS = (Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter)


class Card(FileDrop):
    """One model: chip, name, numbers, badge. The name is edited in place with F2 or a double click.

    Signals:
        chosen: Clicked, or reached with the keyboard.
        renamed: New name.
        badgeClicked: The badge of the checks.
        menuRequested: Global position.
        stepRequested: Go to the card above (-1) or below (+1).
        moveRequested: Move the row up (-1) or down (+1).
        removeRequested: The Delete key.
    """

    chosen = Signal()
    renamed = Signal(str)
    badgeClicked = Signal()
    menuRequested = Signal(QPoint)
    stepRequested = Signal(int)
    moveRequested = Signal(int)
    removeRequested = Signal()

    def __init__(self, is_base: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.card = ModelCard(id="", name="")
        self.is_current = False
        self._editing = False
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAcceptDrops(not is_base)
        self.handle, self._chip = Handle(), Chip(-1)
        self.handle.setVisible(not is_base)
        self._name, self._facts = ElidedLabel(mode=Qt.TextElideMode.ElideMiddle), dim(ElidedLabel())
        self._editor = QLineEdit()
        self._editor.setMaxLength(_MAX_NAME)
        self._editor.hide()
        self._editor.installEventFilter(self)
        self._editor.editingFinished.connect(self._commit)
        self._mute = Mark("mute", "dim", 15)
        self._mute.setToolTip("Muted: not in the mix")
        self._badge = icon_button("Checks", "reading", tone="dim")
        self._badge.clicked.connect(self.badgeClicked)
        self._more = icon_button("More", "more", tone="dim")
        self._more.clicked.connect(self._open_menu_below)
        self._lay_out()
        self.hotChanged.connect(self._show_facts)

    def show_card(self, card: ModelCard, is_current: bool) -> None:
        """Show a model."""
        if card == self.card and is_current == self.is_current:
            return
        if card.id != self.card.id:
            self._stop_editing()
        self.card, self.is_current = card, is_current
        name = plain(card.name, _MAX_NAME)
        self._chip.show_expert(card.index, card.is_muted)
        self._mute.setVisible(card.is_muted)
        self._name.setText(card.name)
        self._name.set_own_tip(card.path)
        self._facts.set_own_tip(facts_text(card))
        self._show_facts()
        self._badge.setIcon(icon(CHECK_ICONS[card.check], CHECK_TONES[card.check]))
        self._badge.setAccessibleName(f"{name}: {CHECK_WORDS[card.check]}")
        self._badge.setAccessibleDescription(plain(card.check_text))
        self._badge.setToolTip(tip(card.check_text or CHECK_WORDS[card.check].capitalize()))
        self._more.setAccessibleName(f"More about {name}")
        self._editor.setAccessibleName(f"New name for {name}")
        self.handle.setToolTip(tip("Drag to move the row (Alt+Up, Alt+Down); onto the base to make it the base"))
        self.setAccessibleName(f"{self._role()}, {name}")
        self.setAccessibleDescription(
            ", ".join(t for t in ("muted" * card.is_muted, facts_text(card), plain(card.check_text)) if t)
        )
        self.update()

    def focus_chain(self) -> tuple[QWidget, ...]:
        """What Tab goes through, in this order."""
        return (self, self._editor, self._badge, self._more)

    def edit_name(self) -> None:
        """Open the line edit over the name."""
        self._editing = True
        self._editor.setText(self.card.name)
        self._name.hide()
        self._editor.show()
        self._editor.selectAll()
        self._editor.setFocus(Qt.FocusReason.OtherFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """In the line edit Esc takes the new name back and Enter keeps it; neither goes on to the card."""
        if watched is self._editor and isinstance(event, QKeyEvent) and event.key() in _ENDS:
            if event.type() == QEvent.Type.ShortcutOverride:
                event.accept()
                return True
            if event.type() == QEvent.Type.KeyPress:
                (self._stop_editing if event.key() == Qt.Key.Key_Escape else self._commit)()
                return True
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Table keys: arrows go on, Alt moves the row, F2 renames, Del removes, Enter chooses."""
        step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()), 0)
        if step and event.modifiers() & Qt.KeyboardModifier.AltModifier:
            self.moveRequested.emit(step)
        elif step:
            self.stepRequested.emit(step)
        elif event.key() == Qt.Key.Key_F2:
            self.edit_name()
        elif event.key() == Qt.Key.Key_Delete:
            self.removeRequested.emit()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.chosen.emit()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """A click chooses."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.setFocus(Qt.FocusReason.MouseFocusReason)
            self.chosen.emit()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Rename, when it is on the name."""
        if self._name.geometry().adjusted(0, -4, 0, 4).contains(event.position().toPoint()):
            self.edit_name()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Right click, or the menu key."""
        by_mouse = event.reason() == QContextMenuEvent.Reason.Mouse
        self.menuRequested.emit(event.globalPos() if by_mouse else self._below(self))

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Reaching the card with Tab chooses it."""
        super().focusInEvent(event)
        self.update()
        if event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason):
            self.chosen.emit()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Repaint without the ring."""
        super().focusOutEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Ground and border: amber bar when current, ring when focused, dashes while files hover."""
        colours, painter = theme(), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        ring = self.hasFocus() or self.hot
        border = colours.accent if ring else colours.selection if self.is_current else colours.line
        style = Qt.PenStyle.DashLine if self.hot else Qt.PenStyle.SolidLine
        painter.setPen(QPen(QColor(border), 2 if ring or self.is_current else 1, style))
        painter.setBrush(QColor(colours.hover if self.is_current or self.hot else colours.raised))
        painter.drawRoundedRect(box, 5, 5)
        if self.is_current:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(colours.selection))
            painter.drawRect(QRectF(1, 7, 3, self.height() - 14))
        painter.end()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(0)
        head.addWidget(self._name, 1)
        head.addWidget(self._editor, 1)
        head.addWidget(self._mute)
        for button in (self._badge, self._more):
            button.setFixedSize(28, 22)
            head.addWidget(button)
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addLayout(head)
        words.addWidget(self._facts)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 5, 4, 5)
        row.setSpacing(5)
        row.addWidget(self.handle)
        row.addWidget(self._chip)
        row.addLayout(words, 1)

    def _role(self) -> str:
        return "Base" if self.card.index < 0 else f"Expert {expert_letter(self.card.index)}"

    def _show_facts(self) -> None:
        self._facts.setText("Drop to replace this model" if self.hot else facts_text(self.card, is_short=True))

    def _commit(self) -> None:
        if not self._editing:
            return
        name = self._editor.text().strip()
        self._stop_editing()
        if name and name != self.card.name:
            self.renamed.emit(name)

    def _stop_editing(self) -> None:
        if not self._editing:
            return
        self._editing = False  # first: losing the focus below finishes the editing as well
        had_focus = self._editor.hasFocus()
        self._name.show()
        if had_focus:
            self.setFocus(Qt.FocusReason.OtherFocusReason)
        self._editor.hide()

    def _open_menu_below(self) -> None:
        self.menuRequested.emit(self._below(self._more))

    def _below(self, widget: QWidget) -> QPoint:
        return widget.mapToGlobal(QPoint(widget.width() // 2, widget.height()))


def facts_text(card: ModelCard, *, is_short: bool = False) -> str:
    """Like "124 M · bf16 · 248 MB · unverified", what is known.

    Args:
        card: The model.
        is_short: Whether to leave the bytes out where there is more to say: they follow from what is before them.
    """
    parts = [count_text(card.parameters)] if card.parameters is not None else []
    if card.dtype:
        parts.append(plain(card.dtype, 20))
    if card.size_bytes is not None and not (is_short and card.origin):
        parts.append(bytes_text(card.size_bytes))
    if card.origin:
        parts.append(card.origin)
    return " · ".join(parts) or ("reading …" if card.check == "reading" else "")
