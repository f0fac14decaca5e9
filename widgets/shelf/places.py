"""The fixed places of the shelf: the base's well, the zone for more models, the proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from widgets.common.format import plural
from widgets.common.icons import icon
from widgets.common.text import PlainLabel
from widgets.common.theme import theme
from widgets.panels.panel_parts import Mark, bold, column, dim, squeezed
from widgets.shelf.card import Card
from widgets.shelf.drops import FileDrop

if TYPE_CHECKING:
    from widgets.shelf.state import BaseProposal, ModelCard


class BaseWell(FileDrop):
    """Where the base lies, or a dashed well that says so."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("base-well")
        self.card = Card(is_base=True)
        self.is_target = False
        self._empty = dim(PlainLabel(wrap=True))
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setMinimumHeight(self.fontMetrics().height() * 3)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(3, 3, 3, 3)
        self._layout.addWidget(self.card)
        self._layout.addWidget(squeezed(self._empty))
        self.hotChanged.connect(self._say)
        self.card.hide()
        self._say()

    def show_base(self, base: ModelCard | None, is_current: bool) -> None:
        """Show the base, or the empty well."""
        self.card.setVisible(base is not None)
        self._empty.setVisible(base is None)
        if base is not None:
            self.card.show_card(base, is_current)
        self.setAccessibleName("Base" if base is not None else "Base: empty, drop the base model here")

    def set_target(self, is_target: bool) -> None:
        """Whether an expert's card is being dragged over the well."""
        if is_target != self.is_target:
            self.is_target = is_target
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A dashed outline while it is empty or something hovers."""
        lit = bool(self.hot) or self.is_target
        if lit or self.card.isHidden():
            _outline(self, lit)

    def _say(self) -> None:
        self._empty.setText("Use as base" if self.hot else "Drop the base model here: the ancestor of the experts")


class DropZone(FileDrop):
    """Where more models go; opens the file dialog and the demo as well.

    Signals:
        openRequested: The user wants a file dialog.
        demoRequested: The user wants the demo.
    """

    openRequested = Signal()
    demoRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("drop-zone")
        self._is_empty = True
        self._text = squeezed(bold(PlainLabel(wrap=True)))
        self._hint = squeezed(dim(PlainLabel("Files, model folders or several at once", wrap=True)))
        self._open = QPushButton(icon("open"), "Open…")
        self._open.setObjectName("open-models")
        self._open.setAccessibleName("Open models")
        self._open.setToolTip("Choose model files or folders (Ctrl+O)")
        self._open.clicked.connect(self.openRequested)
        self._demo = QPushButton(icon("demo"), "Demo")
        self._demo.setObjectName("open-demo")
        self._demo.setAccessibleName("Open the demo")
        self._demo.setToolTip("A tiny base with its experts and tasks, ready to mix")
        self._demo.clicked.connect(self.demoRequested)
        layout = column(self, 4, 10)
        for label in (self._text, self._hint):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            layout.addWidget(label)
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        buttons.addStretch(1)
        buttons.addWidget(self._open)
        buttons.addWidget(self._demo)
        buttons.addStretch(1)
        layout.addSpacing(2)
        layout.addLayout(buttons)
        self.hotChanged.connect(self.set_count)
        self.set_count(0)

    def set_shelf(self, is_empty: bool, has_demo: bool) -> None:
        """Whether there are models, and whether the demo can be opened."""
        self._is_empty = is_empty
        self._demo.setVisible(has_demo)
        self._hint.setVisible(is_empty)
        self.set_count(self.hot)

    def set_count(self, count: int) -> None:
        """Say what a drop of `count` files or folders would do; 0 when nothing hovers."""
        calm = "Drop a base and its fine-tunes here" if self._is_empty else "Drop more models"
        self._text.setText(f"Add {plural(count, 'item')}" if count else calm)
        self.setAccessibleName(self._text.text())
        self.is_lit = bool(count)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A dashed outline."""
        _outline(self, self.is_lit)


class ProposalBanner(QWidget):
    """Says "tiny-base looks like the base", with two answers.

    Signals:
        accepted: id of the proposed model.
        dismissed: The proposal was turned down.
    """

    accepted = Signal(str)
    dismissed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("base-proposal")
        self._id = ""
        self._text = squeezed(PlainLabel(wrap=True))
        self._accept, self._dismiss = QPushButton("Use as base"), QPushButton("Dismiss")
        self._accept.setObjectName("base-proposal-accept")
        self._accept.setProperty("primary", True)
        self._dismiss.setObjectName("base-proposal-dismiss")
        self._accept.clicked.connect(lambda: self.accepted.emit(self._id))
        self._dismiss.clicked.connect(self.dismissed)
        words = QHBoxLayout()
        words.setSpacing(6)
        words.addWidget(Mark("info", "accent"), 0, Qt.AlignmentFlag.AlignTop)
        words.addWidget(self._text, 1)
        answers = QHBoxLayout()
        answers.setSpacing(6)
        answers.addWidget(self._accept)
        answers.addWidget(self._dismiss)
        answers.addStretch(1)
        layout = column(self, 6, 9)
        layout.addLayout(words)
        layout.addLayout(answers)
        self.hide()

    def show_proposal(self, proposal: BaseProposal | None) -> None:
        """Show a proposal, or nothing."""
        if proposal is not None:
            self._id = proposal.id
            self._text.setText(proposal.text)
            self.setAccessibleName(self._text.text())
        self.setVisible(proposal is not None)

    def paintEvent(self, event: QPaintEvent) -> None:
        """A frame in the accent colour."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(theme().accent), 1))
        painter.setBrush(QColor(theme().raised))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 5, 5)
        painter.end()


def _outline(widget: QWidget, is_lit: bool) -> None:
    colours, painter = theme(), QPainter(widget)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(colours.accent if is_lit else colours.dim), 2 if is_lit else 1, Qt.PenStyle.DashLine))
    painter.setBrush(QColor(colours.hover) if is_lit else Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(QRectF(widget.rect()).adjusted(1, 1, -1, -1), 6, 6)
    painter.end()
