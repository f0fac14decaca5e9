"""The command palette: find any command by a few letters, run it, learn its shortcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QModelIndex, QObject, Qt, Signal
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QColor, QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QApplication, QFrame, QLineEdit, QListView, QWidget
from shiboken6 import isValid

from widgets.common.icons import icon
from widgets.common.pieces import column, dimmed
from widgets.common.theme import theme
from widgets.dialogs.fuzzy import Hit, match, rank
from widgets.dialogs.palette_list import ENTRY, PaletteDelegate, PaletteModel, spoken
from widgets.dialogs.state import PaletteEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEYS = "↑ ↓ choose    Enter run    Esc close"
_RECENT = 12
_MARGIN = 12


def find(query: str, entries: Sequence[PaletteEntry], recent: Sequence[str] = ()) -> list[tuple[PaletteEntry, Hit]]:
    """Commands that answer a query, best first: by title, then those whose menu or help has all the words."""
    index = {entry.id: number for number, entry in enumerate(entries)}
    lately = [index[key] for key in recent if key in index]
    found = [(entries[i], hit) for i, hit in rank(query, [e.title for e in entries], lately)]
    have = {entry.id for entry, _ in found}
    words = query.casefold().split()
    for entry in entries:
        text = f"{entry.menu} {entry.title} {entry.keys} {entry.help}".casefold()
        if entry.id not in have and all(word in text for word in words):
            title = match(query, entry.title)
            found.append((entry, title or Hit(0, ())))
    return found


class CommandPalette(QFrame):
    """Find any command by name; it lies over its window and never blocks it.

    Signals:
        chosen: Id of the command to run.
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._over = parent
        self.hide()
        self.setObjectName("palette")
        self.setAccessibleName("Command palette")
        self._entries: tuple[PaletteEntry, ...] = ()
        self._recent: list[str] = []
        self._before: QWidget | None = None
        self._model = PaletteModel(self)
        self._edit = self._make_edit()
        self._list = self._make_list()
        self._foot = dimmed(_KEYS, wrap=True)
        body = column(self._edit, self._list, self._foot)
        body.setContentsMargins(_MARGIN, _MARGIN, _MARGIN, _MARGIN - 2)
        self.setLayout(body)
        parent.installEventFilter(self)

    def _make_edit(self) -> QLineEdit:
        edit = QLineEdit()
        edit.setObjectName("palette-query")
        edit.setPlaceholderText("Type what you want to do")
        edit.setAccessibleName("Search commands")
        edit.addAction(icon("search", "dim"), QLineEdit.ActionPosition.LeadingPosition)
        edit.textEdited.connect(self._search)
        edit.installEventFilter(self)
        return edit

    def _make_list(self) -> QListView:
        view = QListView()
        view.setObjectName("palette-list")
        view.setModel(self._model)
        view.setItemDelegate(PaletteDelegate(view))
        view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        view.setUniformItemSizes(True)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.setAccessibleName("Commands found")
        view.clicked.connect(self._run)
        view.selectionModel().currentChanged.connect(self._announce)
        return view

    def open_with(self, entries: Sequence[PaletteEntry]) -> None:
        """Show these commands, those used lately first, and take the keyboard."""
        self._entries = tuple(entries)
        if not self.isVisible():
            self._before = QApplication.focusWidget()
            self._edit.clear()
        self._search(self._edit.text())
        self._place()
        self.show()
        self.raise_()
        self._edit.setFocus(Qt.FocusReason.PopupFocusReason)

    def recent(self) -> tuple[str, ...]:
        """Ids of the commands used lately, the latest first."""
        return tuple(self._recent)

    def set_recent(self, ids: Sequence[str]) -> None:
        """Set what was used lately, for instance from the preferences."""
        self._recent = list(dict.fromkeys(ids))[:_RECENT]

    def dismiss(self) -> None:
        """Close without running anything; the keyboard goes back to where it was."""
        if self.isVisible():
            before, self._before = self._before, None
            self.hide()
            if before is not None and isValid(before):
                before.setFocus(Qt.FocusReason.PopupFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keys of the search box; the window's size; leaving the box closes."""
        if not self.isVisible():
            return False
        if watched is self._edit and event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            return self._key(event)
        if watched is self._edit and event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            if event.key() in (Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter):
                event.accept()
                return True
        elif watched is self._edit and event.type() == QEvent.Type.FocusOut:
            if self.window().isActiveWindow() and QApplication.activePopupWidget() is None:
                self._before = None
                self.hide()
        elif watched is self._over and event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return super().eventFilter(watched, event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """A raised sheet over the window."""
        painter, colours = QPainter(self), theme()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(colours.accent), 1))
        painter.setBrush(QColor(colours.panel))
        painter.drawRoundedRect(self.rect().toRectF().adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
        painter.end()

    def _key(self, event: QKeyEvent) -> bool:
        """Whether the key was the list's."""
        page = max(1, self._list.viewport().height() // max(1, self._list.sizeHintForRow(0)) - 1)
        steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: page, Qt.Key.Key_PageUp: -page}
        key = Qt.Key(event.key())
        if key in steps:
            self._go(self._list.currentIndex().row() + steps[key], wrap=abs(steps[key]) == 1)
        elif key == Qt.Key.Key_Escape:
            self.dismiss()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._run(self._list.currentIndex())
        else:
            return key in (Qt.Key.Key_Tab, Qt.Key.Key_Backtab)
        return True

    def _go(self, number: int, *, wrap: bool) -> None:
        count = self._model.rowCount()
        if count:
            number = number % count if wrap else max(0, min(count - 1, number))
            self._list.setCurrentIndex(self._model.index(number))

    def _search(self, query: str) -> None:
        """List what answers; the best is chosen."""
        self._model.show(find(query, self._entries, self._recent))
        self._foot.setText(_KEYS if self._model.rowCount() else "No command has these letters. Esc closes.")
        self._go(0, wrap=False)
        self._list.scrollToTop()

    def _run(self, index: QModelIndex) -> None:
        entry = index.data(ENTRY)
        if not isinstance(entry, PaletteEntry):
            return
        if entry.reason:
            self._foot.setText(f"Not possible now: {entry.reason}")
            self._say(f"Not possible now: {entry.reason}")
            return
        self.set_recent([entry.id, *self._recent])
        self.dismiss()
        self.chosen.emit(entry.id)

    def _announce(self, current: QModelIndex) -> None:
        entry = current.data(ENTRY)
        if isinstance(entry, PaletteEntry):
            self._foot.setText(_KEYS)
            self._edit.setAccessibleDescription(spoken(entry))
            if self.isVisible():
                self._say(spoken(entry))

    def _say(self, text: str) -> None:
        if QAccessible.isActive():
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self._edit, text))

    def _place(self) -> None:
        """Below the top edge of the window, in the middle; its list never longer than the window has room for."""
        window = self._over
        width = min(660, window.width() - 4 * _MARGIN)
        height = min(480, window.height() - 6 * _MARGIN)
        self.setGeometry((window.width() - width) // 2, min(64, (window.height() - height) // 2), width, height)
