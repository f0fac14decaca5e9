"""A desk to look at: the desk's own board with one recipe's values, which cannot be changed here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QScrollBar, QSizePolicy, QVBoxLayout, QWidget

from widgets.common.pieces import row
from widgets.common.text import ElidedLabel
from widgets.common.theme import theme
from widgets.desk.board import DeskBoard
from widgets.desk.state import DeskState, Face

if TYPE_CHECKING:
    from collections.abc import Iterable

    from widgets.desk.state import Cell


_SEEN_EXPERTS = 6
_TELLING = ("change", "share")
"""Rows of the merged model that stay where there is little room."""


class SideMark(QWidget):
    """The letter of a side on the accent colour; the second side's is outlined, so that colour is not all."""

    def __init__(self, letter: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._letter = letter
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(f"Mix {letter}")

    def show_letter(self, letter: str) -> None:
        """Another side is shown here for a moment."""
        self._letter = letter
        self.setAccessibleName(f"Mix {letter}")
        self.update()

    def sizeHint(self) -> QSize:
        """A square of one and a half lines."""
        side = self.fontMetrics().height() * 3 // 2
        return QSize(side, side)

    def paintEvent(self, event: QPaintEvent) -> None:
        """A rounded square with the letter."""
        painter, colours = QPainter(self), theme()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        is_first = self._letter == "A"
        painter.setPen(QColor(colours.accent))
        painter.setBrush(QColor(colours.accent if is_first else colours.panel))
        painter.drawRoundedRect(box, 4, 4)
        font = self.font()
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QColor(colours.on_accent if is_first else colours.accent))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self._letter)


class DeskTwin(QFrame):
    """One side of the comparison: its source, its recipe in words, its desk.

    Args:
        letter: "A" or "B".
        parent: Qt parent.

    Signals:
        selectionChanged: (cells: tuple[(expert id, column)]) by mouse or keys.
        columnExpandToggled: (layer).
        groupingStepped: (1 coarser, -1 finer).
    """

    selectionChanged = Signal(object)
    columnExpandToggled = Signal(str)
    groupingStepped = Signal(int)

    def __init__(self, letter: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(f"twin-{letter}")
        self.state = DeskState()
        self.letter, self.mark = letter, SideMark(letter)
        self.words = ElidedLabel("", "dim")
        self.board = DeskBoard()
        self.board.hint = ""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        head = row(self.mark, self.words)
        head.setContentsMargins(10, 2, 8, 0)
        layout.addLayout(head)
        layout.addWidget(self.board, 1)
        self._name(letter)
        board = self.board
        board.table.chosenChanged.connect(self._on_chosen)
        board.table.heading.expandToggled.connect(self.columnExpandToggled)
        board.keys.groupingStepped.connect(self.groupingStepped)
        board.keys.expandWanted.connect(self._expand)

    def _name(self, letter: str) -> None:
        self.board.table.setAccessibleName(f"Mix {letter}, coefficients: experts by layers")
        self.board.table.setAccessibleDescription("Read only. Arrows move, Shift extends; the selection is shared.")
        self.board.strip.setAccessibleName(f"Mix {letter}, merged model: measured rows by layers")

    def set_state(self, state: DeskState, words: str, letter: str = "") -> None:
        """Show a recipe's desk; `letter` says whose, if not this side's own."""
        self.state = state
        self.words.setText(words)
        self.mark.show_letter(letter or self.letter)
        self._name(letter or self.letter)
        self._show()

    def _show(self) -> None:
        """All rows of the merged model where there is room for them and four experts, else those that tell most."""
        state, line = self.state, self.fontMetrics().height()
        experts = min(len(state.experts), _SEEN_EXPERTS) * round(3.6 * line)
        if self.board.height() < experts + (2 * line + 2) * (len(state.pinned) + 1):
            state = replace(state, metrics=tuple(m for m in state.metrics if m.id in _TELLING))
        self.board.setState(state)
        for head in self.board.heads.heads():
            for control in (head.mute, head.solo, head.gain):
                control.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
                control.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show more or fewer rows of the merged model."""
        super().resizeEvent(event)
        if not self.state.is_empty:
            chosen = self.board.table.chosen
            self._show()
            self.board.table.choose(chosen, quiet=True)

    def set_face(self, face: Face) -> None:
        """Draw coefficients as the desk does."""
        if self.board.face != face:
            self.board.setFace(face)

    def set_cells(self, cells: Iterable[Cell]) -> None:
        """Select exactly these cells, quietly."""
        flags = flags_of(self.state, cells)
        if flags.shape == self.board.table.chosen.shape and not np.array_equal(flags, self.board.table.chosen):
            self.board.table.choose(flags, quiet=True)

    def cells(self) -> tuple[Cell, ...]:
        """The selected cells, row by row."""
        return tuple((self.state.experts[r].id, int(c)) for r, c in np.argwhere(self.board.table.chosen))

    def bars(self) -> tuple[QScrollBar, QScrollBar]:
        """The scroll bars of the faders, across and down."""
        return self.board.table.horizontalScrollBar(), self.board.table.verticalScrollBar()

    def _on_chosen(self, by_user: bool) -> None:
        if by_user:
            self.selectionChanged.emit(self.cells())

    def _expand(self, column: int) -> None:
        made = self.state.columns[column]
        if made.expandable or made.expanded:
            self.columnExpandToggled.emit(made.layer)

    def changeEvent(self, event: QEvent) -> None:
        """Repaint in another theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.board.table.viewport().update()
            self.board.strip.viewport().update()


def flags_of(state: DeskState, cells: Iterable[Cell]) -> np.ndarray:
    """(T, C) bool of cells by name; those that the state does not have are left out."""
    flags = np.zeros((len(state.experts), len(state.columns)), dtype=bool)
    rows = {e.id: i for i, e in enumerate(state.experts)}
    for expert, column in cells:
        if expert in rows and 0 <= column < flags.shape[1]:
            flags[rows[expert], column] = True
    return flags


def tie(one: QScrollBar, other: QScrollBar) -> None:
    """Let two scroll bars stay at the same share of their ways; equal ranges keep equal pixels."""

    def follow(source: QScrollBar, target: QScrollBar) -> None:
        way, room = source.maximum() - source.minimum(), target.maximum() - target.minimum()
        share = (source.value() - source.minimum()) / way if way else 0.0
        wanted = target.minimum() + round(share * room)
        if way and room and target.value() != wanted and not source.property("following"):
            target.setProperty("following", True)
            target.setValue(wanted)
            target.setProperty("following", False)

    one.valueChanged.connect(lambda _: follow(one, other))
    other.valueChanged.connect(lambda _: follow(other, one))
