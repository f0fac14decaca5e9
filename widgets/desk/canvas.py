"""The merge canvas: experts by layers as faders, curves, numbers or heat, with the merged model's rows below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QMetaMethod, QMimeData, QPoint, QRect, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDragMoveEvent,
    QDropEvent,
    QFocusEvent,
)
from PySide6.QtWidgets import QStackedLayout, QVBoxLayout, QWidget

from widgets.desk.board import DeskBoard
from widgets.desk.cell_menu import cell_menu
from widgets.desk.overlays import DropOverlay, EmptyState
from widgets.desk.state import GROUPINGS, LINKS, Cell, DeskState, Face
from widgets.desk.top_bar import TopBar
from widgets.desk.wording import cell_sentence, number, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from widgets.desk.table import DeskTable


class MergeCanvas(QWidget):
    """The merge canvas: values in, wishes out.

    Signals:
        coefficientsEdited: (cells: tuple[(expert_id, column)], values: tuple[float], text, gesture).
            Links (same ratio, keep sum, mirror) are already applied. gesture "" = one undo step of its own.
        gestureFinished: (gesture).
        gestureCancelled: (gesture): Esc; the owner takes the gesture's undo step back (store.abandon_gesture).
        selectionChanged: (cells: tuple[(expert_id, column)]) by mouse or keys (not by setSelectedCells).
        muteToggled: (expert_id, muted). soloToggled: (expert_id, soloed).
        gainEdited: (expert_id, gain, text, gesture).
        rowsReordered: (tuple of expert ids, the new order).
        rowMenuRequested: (expert_id, global QPoint). cellMenuRequested: (cells, global QPoint).
        columnExpandToggled: (layer). groupingChanged: (one of GROUPINGS). faceChanged: (Face).
        linkChanged: (frozenset of LINKS). shapeRequested: (shape id).
        selectionTyped: (text) while typing. selectionCommitted: (text) on Enter.
        clearOverridesRequested: (). openDemoRequested: (). openFilesRequested: ().
        filesDropped: (list of paths, "canvas" or "row:<expert id>").
        cellHovered: (expert_id or "", column or -1).
    """

    coefficientsEdited = Signal(object, object, str, str)
    gestureFinished = Signal(str)
    gestureCancelled = Signal(str)
    selectionChanged = Signal(object)
    muteToggled = Signal(str, bool)
    soloToggled = Signal(str, bool)
    gainEdited = Signal(str, float, str, str)
    rowsReordered = Signal(object)
    rowMenuRequested = Signal(str, QPoint)
    cellMenuRequested = Signal(object, QPoint)
    columnExpandToggled = Signal(str)
    groupingChanged = Signal(str)
    faceChanged = Signal(str)
    linkChanged = Signal(object)
    shapeRequested = Signal(str)
    selectionTyped = Signal(str)
    selectionCommitted = Signal(str)
    clearOverridesRequested = Signal()
    openDemoRequested = Signal()
    openFilesRequested = Signal()
    filesDropped = Signal(object, str)
    cellHovered = Signal(str, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bar, self._board, self._empty = TopBar(), DeskBoard(), EmptyState()
        self._overlay = DropOverlay(self)
        self._describe: Callable[[list[str], str], str] = _describe_drop
        self._shapes: tuple[tuple[str, str, str], ...] = ()
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._bar)
        column.addWidget(self._board, 1)
        self._pages = QStackedLayout(self)
        self._pages.addWidget(self._empty)
        self._pages.addWidget(full)
        self.setAcceptDrops(True)
        self.setAccessibleName("Merge canvas")
        self._connect_board()
        self._connect_bar()

    def _connect_board(self) -> None:
        board, wishes, heads, keys = self._board, self._board.wishes, self._board.heads, self._board.keys
        wishes.coefficientsEdited.connect(self.coefficientsEdited)
        wishes.gestureFinished.connect(self._on_finished)
        wishes.gestureCancelled.connect(self.gestureCancelled)
        board.table.chosenChanged.connect(self._on_chosen)
        board.table.hovered.connect(self._on_hovered)
        board.table.menuWanted.connect(self._on_menu)
        board.curve.menuWanted.connect(self._on_menu)
        board.table.heading.expandToggled.connect(self.columnExpandToggled)
        for source in (heads.muteClicked, board.commands.muteToggled):
            source.connect(self.muteToggled)
        for source in (heads.soloClicked, board.commands.soloToggled):
            source.connect(self.soloToggled)
        heads.gainEdited.connect(self._on_gain)
        heads.gainFinished.connect(self.gestureFinished)
        heads.gainCancelled.connect(self.gestureCancelled)
        heads.menuRequested.connect(self.rowMenuRequested)
        heads.rowsReordered.connect(self.rowsReordered)
        keys.boxWanted.connect(self.focusSelectionBox)
        keys.linksWanted.connect(self._bar.open_links)
        keys.groupingStepped.connect(self._step_grouping)
        keys.expandWanted.connect(self._expand)
        keys.menuWanted.connect(self._on_menu_key)

    def _connect_bar(self) -> None:
        bar = self._bar
        bar.faceWanted.connect(self._on_face)
        bar.groupingWanted.connect(self.groupingChanged)
        bar.linksWanted.connect(self._on_links)
        bar.shapeWanted.connect(self.shapeRequested)
        bar.typed.connect(self.selectionTyped)
        bar.committed.connect(self._on_committed)
        bar.clearWanted.connect(self.clearOverridesRequested)
        bar.boxLeft.connect(self._board.focus_cells)
        self._empty.openWanted.connect(self.openFilesRequested)
        self._empty.demoWanted.connect(self.openDemoRequested)

    # Shown ---------------------------------------------------------------------------------------------------

    def setState(self, state: DeskState) -> None:
        """Show a state; only what differs is painted again."""
        count = len(self._state.experts)
        self._board.setState(state)
        self._bar.setOverrides(state.override_count)
        if len(state.experts) != count:
            self._bar.setExpertCount(len(state.experts))
        page = 0 if state.is_empty else 1
        if self._pages.currentIndex() != page:
            self._pages.setCurrentIndex(page)

    @property
    def table(self) -> DeskTable:
        """The faders, for what is drawn on them."""
        return self._board.table

    @property
    def _state(self) -> DeskState:
        return self._board.model.state

    def setFace(self, face: Face) -> None:
        """Choose faders, curve, numbers or heat."""
        self._bar.setFace(face)
        self._board.setFace(face)

    def setGrouping(self, grouping: str) -> None:
        """Show a grouping in the combo without emitting `groupingChanged`."""
        self._bar.setGrouping(grouping)

    def setLinks(self, links: frozenset[str]) -> None:
        """Show which links are on without emitting `linkChanged`."""
        known = frozenset(links) & frozenset(LINKS)
        self._bar.setLinks(known)
        self._board.wishes.links = known

    def setShapes(self, shapes: Sequence[tuple[str, str, str]]) -> None:
        """Fill the shapes menu with (id, title, help)."""
        self._shapes = tuple(shapes)
        self._bar.setShapes(shapes)

    def setDropText(self, describe: Callable[[list[str], str], str]) -> None:
        """Set what the overlay says for (paths, target); an empty text refuses the drop."""
        self._describe = describe

    # Selection -----------------------------------------------------------------------------------------------

    def selectedCells(self) -> tuple[Cell, ...]:
        """Selected coefficients, row by row."""
        chosen, experts = self._board.table.chosen, self._state.experts
        places = (divmod(i, chosen.shape[1]) for i in np.flatnonzero(chosen).tolist())
        return tuple((experts[row].id, column) for row, column in places)

    def setSelectedCells(self, cells: Iterable[Cell]) -> None:
        """Select exactly these coefficients without emitting `selectionChanged`."""
        flags = np.zeros((len(self._state.experts), len(self._state.columns)), dtype=bool)
        rows = {e.id: i for i, e in enumerate(self._state.experts)}
        for expert, column in cells:
            if expert in rows and 0 <= column < flags.shape[1]:
                flags[rows[expert], column] = True
        found = np.argwhere(flags)
        self._board.table.choose(flags, (int(found[0][0]), int(found[0][1])) if len(found) else None, quiet=True)

    def setSelectionText(self, text: str) -> None:
        """Show the text of the mouse selection in the box, unless the user is typing there."""
        self._bar.setSelectionText(text)

    def setSelectionError(self, message: str, suggestion: str = "") -> None:
        """Mark the text in the box as wrong; an empty message clears the mark."""
        self._bar.setError(message, suggestion)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Pass the keyboard on to the cells: the canvas itself has no keys."""
        if not self._state.is_empty:
            self._board.focus_cells()

    def focusSelectionBox(self) -> None:
        """Put the cursor into the selection box ("/")."""
        self._bar.box.setFocus()
        self._bar.box.selectAll()

    def _on_chosen(self, by_user: bool) -> None:
        if by_user:
            self.selectionChanged.emit(self.selectedCells())
            if not self._board.table.chosen.any():
                self._bar.setSelectionText("")

    def _on_committed(self, text: str) -> None:
        self.selectionCommitted.emit(text)
        if not self._bar.box.wrong:
            self._board.focus_cells()

    # Coordinates ---------------------------------------------------------------------------------------------

    def cellRect(self, expert_id: str, column: int) -> QRect:
        """A coefficient's cell in global coordinates.

        Raises:
            KeyError: if there is no such cell.
        """
        return self._board.cell_rect(self._spot(expert_id, column))

    def faderPoint(self, expert_id: str, column: int, value: float) -> QPoint:
        """Where a fader's cap (or a curve's point) is at a value, in global coordinates.

        Raises:
            KeyError: if there is no such cell.
        """
        return self._board.fader_point(self._spot(expert_id, column), value)

    def mutePoint(self, expert_id: str) -> QPoint:
        """Centre of a row's mute button in global coordinates.

        Raises:
            KeyError: if there is no such row.
        """
        head = self._board.heads.head_of(expert_id)
        if head is None:
            raise KeyError(expert_id)
        return head.mute.mapToGlobal(head.mute.rect().center())

    def _spot(self, expert_id: str, column: int) -> tuple[int, int]:
        row = self._state.row_of(expert_id)
        if row < 0 or not 0 <= column < len(self._state.columns):
            raise KeyError((expert_id, column))
        return (row, column)

    # Wishes --------------------------------------------------------------------------------------------------

    def _on_finished(self, gesture: str) -> None:
        """Values are spoken at the end of a drag, not during it."""
        self.gestureFinished.emit(gesture)
        here = self._board.table.current
        if here is not None and QAccessible.isActive():
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, cell_sentence(self._state, *here)))

    def _on_gain(self, expert: str, gain: float, gesture: str) -> None:
        name = one_line(self._state.experts[self._state.row_of(expert)].name)
        self.gainEdited.emit(expert, gain, f"Set gain of {name} to {number(gain)}", gesture)

    def _on_face(self, face: Face) -> None:
        self._board.setFace(face)
        self.faceChanged.emit(face)

    def _on_links(self, links: frozenset[str]) -> None:
        self._board.wishes.links = links
        self.linkChanged.emit(links)

    def _step_grouping(self, step: int) -> None:
        """G goes coarser, Shift+G finer."""
        here = GROUPINGS.index(self._bar.grouping.currentData())
        there = min(max(here - step, 0), len(GROUPINGS) - 1)
        if there != here:
            self.groupingChanged.emit(GROUPINGS[there])

    def _expand(self, column: int) -> None:
        made = self._state.columns[column]
        if made.expandable or made.expanded:
            self.columnExpandToggled.emit(made.layer)

    def _on_hovered(self, row: int, column: int) -> None:
        self.cellHovered.emit(self._state.experts[row].id if row >= 0 else "", column)

    def _on_menu(self, at: QPoint) -> None:
        """The owner's menu of cells; the desk's own where nobody listens."""
        cells = self.selectedCells()
        if cells and self.isSignalConnected(QMetaMethod.fromSignal(self.cellMenuRequested)):
            self.cellMenuRequested.emit(cells, at)
        elif cells:
            cell_menu(self._board, self._shapes, self.shapeRequested.emit, self).popup(at)

    def _on_menu_key(self) -> None:
        here = self._board.table.current
        if here is not None:
            self._on_menu(self._board.cell_rect(here).center())

    # Drops ---------------------------------------------------------------------------------------------------

    def _target(self, pos: QPoint) -> str:
        """What a drop at a point is for."""
        heads = self._board.heads
        inside = heads.mapFrom(self, pos)
        row = heads.row_at(inside.y()) if heads.isVisible() and heads.rect().contains(inside) else -1
        return f"row:{self._state.experts[row].id}" if row >= 0 else "canvas"

    def _target_rect(self, target: str) -> QRect:
        head = self._board.heads.head_of(target.removeprefix("row:")) if target != "canvas" else None
        if head is None:
            return self.rect()
        return QRect(0, head.mapTo(self, QPoint(0, 0)).y(), self.width(), head.height())

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Files are welcome if the owner has a use for them."""
        self._offer(event)

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        """Say what a drop here would do."""
        self._offer(event)

    def _offer(self, event: QDragMoveEvent) -> None:
        paths, target = _paths(event.mimeData()), self._target(event.position().toPoint())
        text = self._describe(paths, target) if paths else ""
        if not text:
            self._overlay.hide()
            event.ignore()
            return
        self._overlay.show_for(text, self._target_rect(target))
        event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """The overlay goes."""
        self._overlay.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Hand the paths over."""
        self._overlay.hide()
        paths, target = _paths(event.mimeData()), self._target(event.position().toPoint())
        if paths and self._describe(paths, target):
            event.acceptProposedAction()
            self.filesDropped.emit(paths, target)
        else:
            event.ignore()


def _paths(mime: QMimeData) -> list[str]:
    """Local files and folders of a drop."""
    return [url.toLocalFile() for url in mime.urls() if url.isLocalFile()]


def _describe_drop(paths: list[str], target: str) -> str:
    """Words for a drop until the owner sets better ones."""
    what = "this model" if len(paths) == 1 else f"{len(paths)} models"
    return f"Replace this row with {what}" if target != "canvas" else f"Add {what}"
