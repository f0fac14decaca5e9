"""History: the undo steps and the pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPoint, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QStyledItemDelegate,
    QTreeView,
    QWidget,
)

from widgets.common.icons import icon
from widgets.common.recipe_drag import told
from widgets.common.text import PlainLabel
from widgets.panels.history_delegate import PinDelegate, StepDelegate
from widgets.panels.history_models import PinModel, StepModel
from widgets.panels.panel_parts import EmptyHint, bold, column
from widgets.panels.state import HistoryState

if TYPE_CHECKING:
    from PySide6.QtGui import QFocusEvent, QKeyEvent


class HistoryPanel(QWidget):
    """Undo steps, oldest first, and pinned recipes below them.

    Signals:
        stepChosen: index of the step to go to.
        pinRequested: Pin the recipe as it is.
        pinChosen: Go to a pinned recipe (name).
        pinRemoved: Forget a pin (name).
        pinRenamed: Old and new name.
        pinExplained: Explain the difference between a pin (name) and now.
        pinCompared: Show a pin (name) and now side by side.
        pinPlaced: Compare a pin (name) as A (0) or as B (1).
        pinDragging: A pin is being dragged, or no more.
    """

    stepChosen = Signal(int)
    pinRequested = Signal()
    pinChosen = Signal(str)
    pinRemoved = Signal(str)
    pinRenamed = Signal(str, str)
    pinExplained = Signal(str)
    pinCompared = Signal(str)
    pinPlaced = Signal(int, str)
    pinDragging = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("history")
        self.state = HistoryState()
        self._step_model, self._pin_model = StepModel(self), PinModel(self)
        self._steps = PlainList("history-steps", "Steps, oldest first", StepDelegate(self))
        self._pins = PlainList("history-pins", "Pinned recipes", PinDelegate(self))
        self._steps.setModel(self._step_model)
        self._pins.setModel(self._pin_model)
        self._steps.chosen.connect(self._go)
        self._pins.chosen.connect(lambda index: self.pinChosen.emit(self._pin_model.name(index)))
        self._pins.deleted.connect(lambda index: self.pinRemoved.emit(self._pin_model.name(index)))
        self._pins.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        self._pins.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._pins.customContextMenuRequested.connect(self._open_menu)
        self._pins.setDragEnabled(True)
        self._pins.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self._pins.dragging.connect(self.pinDragging)
        self._pin_model.renamed.connect(self.pinRenamed)
        self._pin = QPushButton(icon("pin"), "Pin")
        self._pin.setObjectName("pin")
        self._pin.setAccessibleName("Pin this recipe")
        self._pin.setToolTip("Remember the recipe as it is now (Ctrl+P)")
        self._pin.clicked.connect(self.pinRequested)
        self._no_steps = EmptyHint("history", "Nothing done yet", "Each change appears here; click to go back.")
        self._no_pins = EmptyHint("pin", "No pins", "Pin a recipe to come back to it or to compare with it.")
        layout = column(self, 4, 8)
        layout.addWidget(self._steps, 3)
        layout.addWidget(self._no_steps, 3)
        layout.addLayout(self._make_head())
        layout.addWidget(self._pins, 2)
        layout.addWidget(self._no_pins, 2)
        self.set_state(self.state)

    def set_state(self, state: HistoryState) -> None:
        """Show other steps and pins."""
        moved = state.current != self.state.current
        self.state = state
        grown = self._step_model.set_steps(state.steps, state.current)
        self._pin_model.set_pins(state.pins)
        has_steps, has_pins = len(state.steps) > 1, bool(state.pins)
        self._steps.setVisible(has_steps)
        self._no_steps.setVisible(not has_steps)
        self._pins.setVisible(has_pins)
        self._no_pins.setVisible(not has_pins)
        if (moved or grown) and has_steps:
            here = self._step_model.index(state.current, 0)
            self._steps.setCurrentIndex(here)
            self._steps.scrollTo(here)

    def _make_head(self) -> QHBoxLayout:
        head = QHBoxLayout()
        head.setContentsMargins(2, 6, 0, 2)
        head.addWidget(bold(PlainLabel("Pins")))
        head.addStretch(1)
        head.addWidget(self._pin)
        return head

    def _go(self, index: QModelIndex) -> None:
        if index.row() != self.state.current:
            self.stepChosen.emit(index.row())

    def _open_menu(self, at: QPoint) -> None:
        index = self._pins.indexAt(at)
        if not index.isValid():
            return
        name = self._pin_model.name(index)
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Use this recipe", lambda: self.pinChosen.emit(name))
        menu.addAction("Explain difference to now…", lambda: self.pinExplained.emit(name))
        menu.addAction(icon("ab"), "Compare with now, side by side", lambda: self.pinCompared.emit(name))
        menu.addAction("Compare as &A", lambda: self.pinPlaced.emit(0, name))
        menu.addAction("Compare as &B", lambda: self.pinPlaced.emit(1, name))
        menu.addAction(icon("rename"), "Rename", lambda: self._pins.edit(index))
        menu.addAction(icon("remove"), "Remove", lambda: self.pinRemoved.emit(name))
        menu.popup(self._pins.viewport().mapToGlobal(at))


class PlainList(QTreeView):
    """A flat list where a click or Enter chooses and Delete removes.

    A QTreeView with equal rows: a QListView lays out all rows anew whenever one of them changes.

    Signals:
        chosen: index.
        deleted: index.
        dragging: A line is being dragged, or no more.
    """

    chosen = Signal(QModelIndex)
    deleted = Signal(QModelIndex)
    dragging = Signal(bool)

    def __init__(self, name: str, title: str, delegate: QStyledItemDelegate) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.setItemDelegate(delegate)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setUniformRowHeights(True)
        self.setHeaderHidden(True)
        self.setRootIsDecorated(False)
        self.setIndentation(0)
        self.setItemsExpandable(False)
        self.setMouseTracking(True)
        self.clicked.connect(self.chosen)

    def sizeHint(self) -> QSize:
        """A few lines."""
        return QSize(240, self.fontMetrics().height() * 6)

    def minimumSizeHint(self) -> QSize:
        """Two lines."""
        return QSize(80, self.fontMetrics().height() * 4)

    def startDrag(self, supported: Qt.DropAction) -> None:
        """Say when it starts and when it is over."""
        with told(self.dragging):
            super().startDrag(Qt.DropAction.CopyAction)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter and space choose, Delete removes, arrows only move."""
        index = self.currentIndex()
        editing = self.state() == QAbstractItemView.State.EditingState
        if index.isValid() and not editing and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.chosen.emit(index)
        elif index.isValid() and not editing and event.key() == Qt.Key.Key_Delete:
            self.deleted.emit(index)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """The keyboard's focus needs a line to stand on."""
        super().focusInEvent(event)
        if not self.currentIndex().isValid() and self.model().rowCount():
            self.setCurrentIndex(self.model().index(0, 0))
