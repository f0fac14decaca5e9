"""The recipes that can be compared, in one line: dragged onto A or B, or put there by a key or the menu."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QRect, QSize, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QMenu, QSizePolicy, QWidget

from widgets.common.recipe_drag import recipe_mime, told
from widgets.common.text import plain, tip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtCore import QMimeData
    from PySide6.QtGui import QFocusEvent, QKeyEvent

_CHIPS = """
    QListWidget { background: transparent; }
    QListWidget::item { padding: 1px 8px; border: 1px solid palette(mid); border-radius: 5px;
        background: palette(button); color: palette(button-text); }
    QListWidget::item:selected:active { border: 2px solid palette(highlight); padding: 0 7px; }
"""
_HELP = "Drag it onto A or B, or press A or B."


class RecipeTray(QListWidget):
    """Now, pins and runs from left to right.

    Signals:
        placed: (0 for A or 1 for B, index of the recipe).
        dragging: A recipe is being dragged, or no more.
    """

    placed = Signal(int, int)
    dragging = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("compare-tray")
        self.setAccessibleName("Recipes to compare")
        self.setAccessibleDescription(_HELP)
        self._names: tuple[str, ...] = ()
        self.setFlow(QListWidget.Flow.LeftToRight)
        self.setWrapping(False)
        self.setSpacing(3)
        self.setStyleSheet(_CHIPS)
        self.setFrameShape(QListWidget.Shape.NoFrame)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setDragEnabled(True)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu)

    def set_names(self, names: Sequence[str], first: int, second: int) -> None:
        """Show the recipes; those that are A and B say so."""
        if tuple(names) != self._names:
            here = self.currentRow()
            self.clear()
            self._names = tuple(names)
            self.addItems([""] * len(names))
            self.setCurrentRow(min(max(here, 0), len(names) - 1))
        for at, name in enumerate(names):
            sides = [letter for letter, chosen in (("A", first), ("B", second)) if at == chosen]
            text = f"{'+'.join(sides)}: {plain(name, 40)}" if sides else plain(name, 40)
            item = self.item(at)
            if item.text() != text:
                item.setText(text)
                item.setToolTip(tip(f"{plain(name, 200)}\n{_HELP}"))

    def sizeHint(self) -> QSize:
        """One line."""
        return QSize(200, self.fontMetrics().height() + 16)

    def minimumSizeHint(self) -> QSize:
        """One line, as narrow as it must be."""
        return QSize(60, self.sizeHint().height())

    def mimeData(self, items: Sequence[QListWidgetItem]) -> QMimeData:
        """The recipe's whole name."""
        return recipe_mime(self._names[self.row(items[0])] if items else "")

    def startDrag(self, supported: Qt.DropAction) -> None:
        """Say when it starts and when it is over."""
        with told(self.dragging):
            super().startDrag(Qt.DropAction.CopyAction)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """A and B put the recipe there; Enter opens the menu."""
        at, key = self.currentRow(), event.key()
        plain_key = not event.modifiers() & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier)
        if at >= 0 and plain_key and key in (Qt.Key.Key_A, Qt.Key.Key_B):
            self.placed.emit(int(key == Qt.Key.Key_B), at)
        elif at >= 0 and key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            box: QRect = self.visualItemRect(self.item(at))
            self._on_menu(box.center())
        else:
            super().keyPressEvent(event)

    def _on_menu(self, at: QPoint) -> None:
        item = self.itemAt(at)
        if item is None:
            return
        row, menu = self.row(item), QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for side, letter in enumerate("AB"):
            menu.addAction(f"Show as &{letter}", partial(self.placed.emit, side, row))
        menu.popup(self.viewport().mapToGlobal(at))

    def focusInEvent(self, event: QFocusEvent) -> None:
        """The keyboard's focus needs something to stand on."""
        super().focusInEvent(event)
        if self.currentRow() < 0 and self.count():
            self.setCurrentRow(0)
