"""The desk's two lines of controls: face, grouping, links; selection box and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QButtonGroup, QComboBox, QHBoxLayout, QLineEdit, QMenu, QSizePolicy, QVBoxLayout, QWidget

from widgets.common.text import PlainLabel, button_text
from widgets.desk.button import DeskButton
from widgets.desk.inks import inks
from widgets.desk.state import FACES, GROUPINGS, LINKS, Face
from widgets.desk.wording import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_FACES = {
    "faders": ("Faders", "One fader for each expert and layer"),
    "curve": ("Curves", "Coefficients over depth: one curve for each expert, with points to drag"),
    "numbers": ("Numbers", "A spreadsheet; copy and paste to and from CSV"),
    "heat": ("Heat", "Coloured by distance from the default; for many layers"),
}
_GROUPS = {
    "model": "Whole model", "region": "Regions", "layer": "Layers", "layer x kind": "Layers × kinds",
    "tensor": "Tensors",
}  # fmt: skip
_LINK_TEXTS = {
    "experts": ("All experts, same ratio", "Moving one expert moves all others by the same ratio."),
    "sum": ("Keep the sum of each column", "When one grows, the others shrink."),
    "mirror": ("Mirror two experts", "The other expert is always 1 minus this one."),
}


class SelectionBox(QLineEdit):
    """The line for the selection language, with a red frame while it is wrong.

    Signals:
        left: Esc, or the down arrow: back to the cells.
    """

    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.wrong = False
        self.setAcceptDrops(False)
        self.setPlaceholderText("code : attn : 3-6 = 0.7")
        self.setAccessibleName("Select cells")
        self.setToolTip(
            plain(
                "Experts : kinds : layers, for instance  chat, code : attn : 3-6\n"
                "With = 0.7, += 0.1 or *= 0.5 Enter sets values."
            )
        )
        self.setClearButtonEnabled(True)

    def setWrong(self, wrong: bool) -> None:
        """Mark the text as wrong or right."""
        if wrong != self.wrong:
            self.wrong = wrong
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc and Down leave the box."""
        if event.key() in (Qt.Key.Key_Escape, Qt.Key.Key_Down):
            self.left.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """The error frame on top."""
        super().paintEvent(event)
        if self.wrong:
            painter = QPainter(self)
            painter.setPen(QPen(inks().error, 2))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))


class ErrorNote(QWidget):
    """One line that says what is wrong; elided where there is no room, whole in the tooltip."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def setText(self, text: str) -> None:
        """Show a message."""
        self.text = plain(" ".join(text.split()))
        self.setToolTip(self.text)
        self.setAccessibleName(self.text)
        self.update()

    def sizeHint(self) -> QSize:
        """One line; as wide as there is room."""
        return QSize(0, self.fontMetrics().height() + 4)

    def paintEvent(self, event: QPaintEvent) -> None:
        """The message in the colour of errors."""
        painter = QPainter(self)
        painter.setPen(inks().error)
        shown = self.fontMetrics().elidedText(self.text, Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter, shown)


class TopBar(QWidget):
    """Controls above the table; says what is wanted and shows what it is told.

    Signals:
        faceWanted: (Face). groupingWanted: (grouping). linksWanted: (frozenset).
        shapeWanted: (shape id). typed, committed: (text). clearWanted, boxLeft: ().
    """

    faceWanted = Signal(str)
    groupingWanted = Signal(str)
    linksWanted = Signal(object)
    shapeWanted = Signal(str)
    typed = Signal(str)
    committed = Signal(str)
    clearWanted = Signal()
    boxLeft = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.faces: dict[str, DeskButton] = {}
        self.grouping = QComboBox()
        self.links = DeskButton("Link", "Link faders")
        self.shapes = DeskButton("Shapes", "Shapes over depth")
        self.clear = DeskButton("Clear overrides", "Clear finer overrides inside the selection")
        self.box = SelectionBox()
        self.error = ErrorNote()
        self._words = (PlainLabel("View"), PlainLabel("Group"))
        self._edited, self._overrides = False, -1
        self._link_actions: dict[str, QAction] = {}
        self._build_controls()
        self._lay_out()

    def _build_controls(self) -> None:
        group = QButtonGroup(self)
        for face in FACES:
            title, help_text = _FACES[face]
            button = DeskButton(title, f"Show as {title.lower()}")
            button.setCheckable(True)
            button.setToolTip(plain(help_text))
            button.clicked.connect(lambda _=False, f=face: self.faceWanted.emit(f))
            group.addButton(button)
            self.faces[face] = button
        self.faces["faders"].setChecked(True)
        for grouping in GROUPINGS:
            self.grouping.addItem(_GROUPS[grouping], grouping)
        self.grouping.setCurrentIndex(GROUPINGS.index("layer"))
        self.grouping.setAccessibleName("Group columns")
        self.grouping.setToolTip(plain("How tensors are grouped under one fader (G coarser, Shift+G finer)"))
        self.grouping.activated.connect(lambda i: self.groupingWanted.emit(self.grouping.itemData(i)))
        self._build_links()
        self.shapes.setMenu(QMenu(self.shapes))
        self.shapes.setPopupMode(DeskButton.ToolButtonPopupMode.InstantPopup)
        self.shapes.setToolTip(plain("Write a curve over depth into the selected rows, or into all of them"))
        self.clear.clicked.connect(lambda: self.clearWanted.emit())
        self.clear.hide()
        self.box.textEdited.connect(self._on_typed)
        self.box.returnPressed.connect(self._on_committed)
        self.box.left.connect(self._on_left)

    def _build_links(self) -> None:
        menu = QMenu(self.links)
        menu.setToolTipsVisible(True)
        for link in LINKS:
            title, help_text = _LINK_TEXTS[link]
            action = menu.addAction(button_text(title))
            action.setCheckable(True)
            action.setToolTip(help_text)
            action.triggered.connect(lambda _=False: self._on_links())
            self._link_actions[link] = action
        self.links.setMenu(menu)
        self.links.setPopupMode(DeskButton.ToolButtonPopupMode.InstantPopup)
        self.links.setToolTip(plain("Tie faders together (L)"))

    def _lay_out(self) -> None:
        gap = max(4, self.fontMetrics().height() // 3)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.setSpacing(gap)
        second.setSpacing(gap)
        view = QHBoxLayout()
        view.setSpacing(2)
        for button in self.faces.values():
            view.addWidget(button)
        first.addWidget(self._words[0])
        first.addLayout(view)
        first.addSpacing(2 * gap)
        first.addWidget(self._words[1])
        first.addWidget(self.grouping)
        first.addSpacing(2 * gap)
        first.addWidget(self.links)
        first.addStretch(1)
        second.addWidget(PlainLabel("Select"))
        second.addWidget(self.box, 2)
        second.addWidget(self.error, 3)
        second.addWidget(self.clear)
        second.addWidget(self.shapes)
        self.box.setMinimumWidth(self.fontMetrics().height() * 14)
        self.grouping.setMinimumWidth(self.fontMetrics().horizontalAdvance("Layers × kinds") + 12)
        self.error.hide()
        rows = QVBoxLayout(self)
        rows.setContentsMargins(gap, gap, gap, gap)
        rows.setSpacing(gap)
        rows.addLayout(first)
        rows.addLayout(second)

    def _words_width(self) -> int:
        gap = max(4, self.fontMetrics().height() // 3)
        return sum(word.sizeHint().width() + gap for word in self._words)

    def minimumSizeHint(self) -> QSize:
        """Room for the controls; the words beside them may go."""
        hint = super().minimumSizeHint()
        return hint if self._words[0].isHidden() else hint - QSize(self._words_width(), 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Without the words where there is no room for them."""
        fits = self.width() >= self.minimumSizeHint().width() + self._words_width()
        if fits == self._words[0].isHidden():
            for word in self._words:
                word.setVisible(fits)
            if (layout := self.layout()) is not None:
                layout.activate()  # at once: its old minimum is that of the other state
        super().resizeEvent(event)

    def setFace(self, face: Face) -> None:
        """Show which face is on."""
        self.faces[face].setChecked(True)

    def setGrouping(self, grouping: str) -> None:
        """Show a grouping."""
        with QSignalBlocker(self.grouping):
            self.grouping.setCurrentIndex(max(0, self.grouping.findData(grouping)))

    def setLinks(self, links: frozenset[str]) -> None:
        """Show which links are on."""
        for link, action in self._link_actions.items():
            action.setChecked(link in links)
        self._show_links(links)

    def _show_links(self, links: frozenset[str]) -> None:
        words = [_LINK_TEXTS[link][0] for link in LINKS if link in links]
        self.links.setText(f"Link: {len(words)} on" if words else "Link")
        self.links.setAccessibleName("Link faders: " + (", ".join(words) or "off"))
        self.links.updateGeometry()
        self.links.update()

    def setExpertCount(self, count: int) -> None:
        """Mirror needs exactly two experts."""
        self._link_actions["mirror"].setEnabled(count == 2)

    def links_on(self) -> frozenset[str]:
        """Links that are checked."""
        return frozenset(link for link, action in self._link_actions.items() if action.isChecked())

    def _on_links(self) -> None:
        self._show_links(self.links_on())
        self.linksWanted.emit(self.links_on())

    def open_links(self) -> None:
        """Open the menu of links."""
        self.links.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.links.showMenu()

    def setShapes(self, shapes: Sequence[tuple[str, str, str]]) -> None:
        """Fill the menu with (id, title, help)."""
        menu = self.shapes.menu()
        menu.clear()
        menu.setToolTipsVisible(True)
        for key, title, help_text in shapes:
            action = menu.addAction(button_text(title))
            action.setToolTip(plain(help_text))
            action.triggered.connect(lambda _=False, k=key: self.shapeWanted.emit(k))
        self.shapes.setEnabled(bool(shapes))

    def setOverrides(self, count: int) -> None:
        """Offer to clear overrides, if there are any; the same number again lays nothing out."""
        if count == self._overrides:
            return
        self._overrides = count
        self.clear.setText(f"Clear overrides ({count})")
        self.clear.setVisible(count > 0)
        self.clear.updateGeometry()

    # Selection box -------------------------------------------------------------------------------------------

    def setSelectionText(self, text: str) -> None:
        """Show a selection's text, unless the user is typing another."""
        if self.box.hasFocus() and self._edited:
            return
        self.box.setText(plain(text))
        self.setError("", "")

    def setError(self, message: str, suggestion: str) -> None:
        """Mark the text as wrong; an empty message clears the mark."""
        self.box.setWrong(bool(message))
        words = " ".join(t for t in (message, suggestion) if t)
        self.error.setText(f"✕ {words}" if message else "")
        self.error.setVisible(bool(message))
        self.box.setAccessibleDescription(plain(words))

    def _on_typed(self, text: str) -> None:
        self._edited = True
        self.typed.emit(text)

    def _on_committed(self) -> None:
        self._edited = False
        self.committed.emit(self.box.text())

    def _on_left(self) -> None:
        self._edited = False
        self.setError("", "")
        self.boxLeft.emit()
