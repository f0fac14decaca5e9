"""The compare layout: two desks, A − B between them, scores and differences below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from widgets.common.pieces import CalmComboBox, dimmed, icon_button, labelled, push, row, tab_chain
from widgets.common.text import plain
from widgets.compare.desk_twin import DeskTwin, flags_of, tie
from widgets.compare.state import EMPTY, CompareState
from widgets.compare.tables import ScoreTable, TextTable
from widgets.compare.tray import RecipeTray
from widgets.panels.panel_parts import EmptyHint, NoteLine
from widgets.plots.frame import PlotFrame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from widgets.desk.state import Cell, Face


class ComparePage(QWidget):
    """Shows a `CompareState`; whoever owns it answers its wishes.

    Args:
        heat: The view of A − B, a plot with `set_state`, `set_chosen`, `cellChosen`.
        parent: Qt parent.

    Signals:
        chosen: (index of A, index of B).
        placed: (0 for A or 1 for B, name).
        dragging: A recipe is being dragged from the tray, or no more.
        swapWanted, adoptWanted, scoreWanted, closeWanted: A button or key.
        selectionChanged: (cells) on either desk or the heat.
        columnExpandToggled: (layer). groupingStepped: (1 coarser, -1 finer).
        told: A sentence worth a notification.
    """

    chosen = Signal(int, int)
    placed = Signal(int, str)
    dragging = Signal(bool)
    swapWanted = Signal()
    adoptWanted = Signal()
    scoreWanted = Signal()
    closeWanted = Signal()
    selectionChanged = Signal(object)
    columnExpandToggled = Signal(str)
    groupingStepped = Signal(int)
    told = Signal(str)

    def __init__(self, heat: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("compare")
        self.setAccessibleName("Compare two recipes")
        self.state = CompareState()
        self._is_held = False
        self._heat: Any = heat
        self.sources = CalmComboBox(), CalmComboBox()
        self.tray = RecipeTray()
        self.left, self.right = DeskTwin("A"), DeskTwin("B")
        self.heat = PlotFrame(heat)
        self.scores, self.changes = PlotFrame(ScoreTable()), PlotFrame(TextTable("Differences"))
        self._make_buttons()
        self._problem = NoteLine()
        self._problem.setContentsMargins(12, 2, 12, 6)
        self._arrange()
        self._connect()
        self.set_state(self.state)

    def _make_buttons(self) -> None:
        self.swap = icon_button("swap", "Swap A and B (Alt+W)", name="compare-swap")
        self.hold = push("Hold for B", name="compare-hold", icon_name="ab",
                         hint="While held, the left desk shows B in place of A (hold \\)")  # fmt: skip
        self.adopt = push("", name="compare-adopt", hint="Put B on the desk, as one undoable step (Alt+D)")
        self.score = push("", name="compare-score", icon_name="evaluate")
        self.leave = icon_button("close", "Leave the comparison (Ctrl+K)", name="compare-close")
        self.adopt.setText("A&dopt B")
        self.swap.setShortcut("Alt+W")

    def _bar(self) -> QHBoxLayout:
        parts: list[QWidget | int | None] = []
        for letter, combo in zip("AB", self.sources, strict=True):
            combo.setMinimumContentsLength(14)
            combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            combo.setMaximumWidth(26 * self.fontMetrics().height())
            combo.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            parts += [labelled(f"Mix &{letter}", combo), combo, *([self.swap] if letter == "A" else [])]
        bar = row(*parts, None, self.hold, self.adopt, self.score, 8, self.leave)
        bar.setContentsMargins(10, 6, 8, 6)
        for combo in self.sources:
            bar.setStretchFactor(combo, 8)
        return bar

    def _arrange(self) -> None:
        twins = _split(Qt.Orientation.Horizontal, (self.left, 1), (self.right, 1))
        below = _split(Qt.Orientation.Horizontal, (self.scores, 5), (self.changes, 3))
        whole = _split(Qt.Orientation.Vertical, (twins, 10), (self.heat, 5), (below, 4))
        below.setSizes([660, 340])
        whole.setSizes([385, 165, 180])
        self._twins = twins
        self._pages = QStackedWidget()
        self._pages.addWidget(EmptyHint("ab", "Nothing to compare yet", EMPTY))
        self._pages.addWidget(whole)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(self._bar())
        self._tray_words = dimmed("Drag onto A or B:", wrap=False)
        tray = row(self._tray_words, self.tray)
        tray.setContentsMargins(10, 0, 8, 0)
        layout.addLayout(tray)
        layout.addWidget(self._problem)
        layout.addWidget(self._pages, 1)
        self._chain()

    def _chain(self) -> None:
        """Tab goes through the bar, the desks, what is between them, the tables."""
        first, second = self.sources
        tables = self.scores.view.table, self.changes.view.table
        desks = self.left.board.table, self.right.board.table
        tab_chain(
            first,
            self.swap,
            second,
            self.hold,
            self.adopt,
            self.score,
            self.leave,
            self.tray,
            *desks,
            self._heat,
            *tables,
        )

    def _connect(self) -> None:
        for button, signal in ((self.swap, self.swapWanted), (self.adopt, self.adoptWanted),
                               (self.score, self.scoreWanted), (self.leave, self.closeWanted)):  # fmt: skip
            button.clicked.connect(signal)
        for combo in self.sources:
            combo.activated.connect(lambda _: self.chosen.emit(*(c.currentIndex() for c in self.sources)))
        self.tray.placed.connect(lambda side, at: self.placed.emit(side, self.state.names[at]))
        self.tray.dragging.connect(self.dragging)
        for twin in (self.left, self.right):
            twin.selectionChanged.connect(self.selectionChanged)
            twin.columnExpandToggled.connect(self.columnExpandToggled)
            twin.groupingStepped.connect(self.groupingStepped)
        for one, other in zip(self.left.bars(), self.right.bars(), strict=True):
            tie(one, other)
        self._heat.cellChosen.connect(self._on_heat)
        for frame in (self.heat, self.scores, self.changes):
            frame.told.connect(self.told)
        self.hold.pressed.connect(lambda: self.show_held(True))
        self.hold.released.connect(lambda: self.show_held(False))
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self.closeWanted)

    # Shown ---------------------------------------------------------------------------------------------------

    def set_state(self, state: CompareState) -> None:
        """Show another comparison."""
        fresh_names = state.names != self.state.names
        self.state = state
        for combo, index in zip(self.sources, (state.first, state.second), strict=True):
            if fresh_names:
                combo.clear()
                combo.addItems([plain(name, 60) for name in state.names])
            combo.setCurrentIndex(index if state.names else -1)
            combo.setToolTip(plain(state.names[index], 120) if state.names else "")
        self.tray.set_names(state.names, state.first, state.second)
        for line in (self.tray, self._tray_words):
            line.setVisible(len(state.names) > 1)
        self._show_left()
        self.right.set_state(state.right, state.right_words)
        self.heat.set_state(state.heat)
        self.scores.set_state(state.scores)
        self.changes.set_state(state.changes)
        self._problem.show_note("info", state.problem)
        self._problem.setVisible(bool(state.problem) and state.is_pair)
        self._pages.setCurrentIndex(1 if state.is_pair else 0)
        for part in (self._twins, self.heat):
            part.setVisible(not state.left.is_empty)
        self.score.setEnabled(state.can_score and state.is_pair and not state.is_scoring)
        self.score.setText("Scoring…" if state.is_scoring else "Sc&ore both")
        self.score.setToolTip(plain(state.score_hint, 200))
        self.adopt.setEnabled(state.can_adopt)
        for button in (self.swap, self.hold):
            button.setEnabled(state.is_pair)

    def _show_left(self) -> None:
        state = self.state
        if self._is_held:
            self.left.set_state(state.right, state.right_words, "B")
        else:
            self.left.set_state(state.left, state.left_words)

    def show_held(self, held: bool) -> None:
        """Show B in A's place, or A again."""
        if held != self._is_held:
            self._is_held = held
            chosen = self.right.cells()
            self._show_left()
            self.left.set_cells(chosen)

    @property
    def is_held(self) -> bool:
        """Whether B is shown in A's place."""
        return self._is_held

    def set_face(self, face: Face) -> None:
        """Draw both desks in this way."""
        for twin in (self.left, self.right):
            twin.set_face(face)

    def set_cells(self, cells: Iterable[Cell]) -> None:
        """Show the selection on both desks and in the heat, quietly."""
        wanted = tuple(cells)
        for twin in (self.left, self.right):
            twin.set_cells(wanted)
        self._heat.set_chosen(flags_of(self.state.left, wanted))

    def _on_heat(self, at: int, column: int) -> None:
        experts = self.state.left.experts
        if 0 <= at < len(experts):
            self.selectionChanged.emit(((experts[at].id, column),))

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Pass the keyboard on to the first desk, or to the choice of A."""
        target: QWidget = self.sources[0] if self.state.left.is_empty else self.left.board.table
        target.setFocus(event.reason())

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.update()


def _split(direction: Qt.Orientation, *parts: tuple[QWidget, int]) -> QSplitter:
    """Parts with their shares of the room; none can be closed."""
    made = QSplitter(direction)
    made.setChildrenCollapsible(False)
    for at, (part, share) in enumerate(parts):
        made.addWidget(part)
        made.setStretchFactor(at, share)
    return made
