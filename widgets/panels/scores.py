"""Quick eval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QGridLayout,
    QHeaderView,
    QLayout,
    QMenu,
    QProgressBar,
    QPushButton,
    QTableView,
    QWidget,
)

from widgets.common.icons import icon
from widgets.common.text import PlainLabel, button_text, tip
from widgets.panels.panel_parts import EmptyHint, column, dim, icon_button, squeezed
from widgets.panels.scores_delegate import ScoreDelegate
from widgets.panels.scores_model import (
    BASE,
    DELTA,
    EXPERT,
    MIX,
    TASK,
    VERDICT,
    ScoresModel,
    shown_columns,
    summary_text,
)
from widgets.panels.state import ScoresState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QKeyEvent, QResizeEvent

_LETTERS = {BASE: 9, EXPERT: 10, DELTA: 8, VERDICT: 11}


class ScoresPanel(QWidget):
    """Quick eval: base, own expert and mix on every task, with intervals.

    Signals:
        evaluateRequested: Score now.
        stopRequested: Stop the evaluation that runs.
        autoToggled: Whether to evaluate by itself.
        addTaskRequested: Choose a task file.
        removeTaskRequested: Take a task away (name).
        taskChosen: The user went to a task (name), or to the average ("").
    """

    evaluateRequested = Signal()
    stopRequested = Signal()
    autoToggled = Signal(bool)
    addTaskRequested = Signal()
    removeTaskRequested = Signal(str)
    taskChosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("scores")
        self.state = ScoresState()
        self._shown: tuple[bool, str] | None = None
        self._model = ScoresModel(self)
        self._table = ScoresTable(self._model)
        self._table.deleted.connect(self._remove_current)
        self._table.customContextMenuRequested.connect(self._open_menu)
        self._table.chosen.connect(self.taskChosen)
        self._progress = QProgressBar()
        self._progress.setTextVisible(False)
        self._progress.setAccessibleName("Evaluation")
        policy = self._progress.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._progress.setSizePolicy(policy)
        self._summary, self._note = squeezed(PlainLabel(wrap=True)), squeezed(dim(PlainLabel(wrap=True)))
        self._live = squeezed(PlainLabel(wrap=True))
        self._live.setObjectName("live-note")
        self._empty = EmptyHint("evaluate", "No tasks yet", "Add a task file with the + above, or open the demo: "
                                "it brings tasks along.")  # fmt: skip
        layout = column(self, 6, 8)
        layout.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)
        self._bar, self._narrow = self._make_bar(), False
        layout.addLayout(self._bar)
        layout.addWidget(self._progress)
        layout.addWidget(self._table, 1)
        layout.addWidget(self._empty, 1)
        layout.addWidget(self._summary)
        layout.addWidget(self._live)
        layout.addWidget(self._note)
        self.set_state(self.state)

    def set_state(self, state: ScoresState) -> None:
        """Show other scores; what is the same as before is left alone, because a fader asks for this all the time."""
        before, self.state = (self.state.live, self.state.live_tip), state
        self._model.set_rows(state.rows)
        self._table.setVisible(bool(state.rows))
        self._empty.setVisible(not state.rows)
        self._auto.blockSignals(True)
        self._auto.setChecked(state.is_auto)
        self._auto.blockSignals(False)
        self._show_running()
        self._summary.setText(summary_text(state.rows))
        self._summary.setVisible(bool(self._summary.text()))
        self._note.setText(state.note)
        self._note.setVisible(bool(state.note))
        if (state.live, state.live_tip) != before:
            self._live.setText(state.live)
            self._live.setToolTip(tip(state.live_tip))
        self._live.setVisible(bool(state.live))

    def _make_bar(self) -> QGridLayout:
        self._evaluate = QPushButton(icon("evaluate", "on_accent"), "Evaluate now")
        self._evaluate.setObjectName("evaluate-now")
        self._evaluate.setProperty("primary", True)
        self._evaluate.clicked.connect(self.evaluateRequested)
        self._stop = icon_button("Stop evaluation", "stop")
        self._stop.setObjectName("evaluate-stop")
        self._stop.clicked.connect(self.stopRequested)
        self._auto = QCheckBox("Auto")
        self._auto.setObjectName("evaluate-auto")
        self._auto.setAccessibleName("Evaluate automatically")
        self._auto.setToolTip("Evaluate by itself when the recipe has rested for a moment.")
        self._auto.toggled.connect(self.autoToggled)
        self._add = icon_button("Add task", "add", "Add a task file (.task.json)")
        self._add.clicked.connect(self.addTaskRequested)
        bar = QGridLayout()
        bar.setHorizontalSpacing(6)
        bar.setVerticalSpacing(4)
        for at, widget in enumerate((self._evaluate, self._stop, self._auto)):
            bar.addWidget(widget, 0, at)
        bar.setColumnStretch(3, 1)
        bar.addWidget(self._add, 0, 4)
        return bar

    def minimumSizeHint(self) -> QSize:
        """As wide as the first line without the switch."""
        first = (self._evaluate, self._stop, self._add)
        return QSize(sum(w.sizeHint().width() + 6 for w in first) + 16, self.fontMetrics().height() * 9)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A narrow panel puts the switch into a second line."""
        super().resizeEvent(event)
        first = (self._evaluate, self._stop, self._auto, self._add)
        narrow = sum(w.sizeHint().width() + 6 for w in first) + 16 > self.width()
        if narrow != self._narrow:
            self._narrow = narrow
            self._bar.removeWidget(self._auto)
            self._bar.addWidget(self._auto, *((1, 0, 1, 5) if narrow else (0, 2)))

    def _show_running(self) -> None:
        state = self.state
        can = not state.reason and not state.is_running
        if not can and self._evaluate.hasFocus() and state.is_running:
            self._stop.setEnabled(True)
            self._stop.setFocus(Qt.FocusReason.OtherFocusReason)
        elif not state.is_running and self._stop.hasFocus() and can:
            self._evaluate.setEnabled(True)
            self._evaluate.setFocus(Qt.FocusReason.OtherFocusReason)
        self._evaluate.setEnabled(can)
        if (can, state.reason) != self._shown:
            self._shown = can, state.reason
            self._evaluate.setIcon(icon("evaluate", "on_accent" if can else "dim"))
            self._evaluate.setToolTip(tip(state.reason or "Score this mix on the tasks' validation rows."))
            self._evaluate.setAccessibleDescription(state.reason)
        self._stop.setEnabled(state.is_running)
        done = sum(not row.is_running for row in state.rows) if any(r.is_running for r in state.rows) else 0
        self._progress.setRange(0, len(state.rows) if done else 0)
        if done:
            self._progress.setValue(done)
        self._progress.setVisible(state.is_running)

    def _remove_current(self) -> None:
        task = self._model.task(self._table.currentIndex())
        if task:
            self.removeTaskRequested.emit(task)

    def _open_menu(self, at: QPoint) -> None:
        task = self._model.task(self._table.indexAt(at))
        if task:
            menu = QMenu(self)
            menu.addAction(icon("remove"), button_text(f"Remove {task}"), lambda: self.removeTaskRequested.emit(task))
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(self._table.viewport().mapToGlobal(at))


class ScoresTable(QTableView):
    """The table; narrow ones show fewer columns, the bars carry the rest.

    Signals:
        chosen: The user went to a task (name), or to the average ("").
        deleted: The Delete key.
    """

    chosen = Signal(str)
    deleted = Signal()

    def __init__(self, model: ScoresModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("scores-table")
        self.setAccessibleName("Scores by task")
        self.setModel(model)
        self.setItemDelegate(ScoreDelegate(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() * 2 + 14)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setMinimumSectionSize(30)
        head.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self._model = model
        self.clicked.connect(self._emit)
        self.activated.connect(self._emit)

    def dataChanged(
        self,
        first: QModelIndex | QPersistentModelIndex,
        last: QModelIndex | QPersistentModelIndex,
        roles: Sequence[int] = (),
    ) -> None:
        """Paint cells that look different; what is only spoken needs none."""
        if not roles or Qt.ItemDataRole.DisplayRole in roles:
            super().dataChanged(first, last, roles)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete asks to remove the task, arrows go to another."""
        if event.key() == Qt.Key.Key_Delete:
            self.deleted.emit()
            return
        before = self.currentIndex().row()
        super().keyPressEvent(event)
        if self.currentIndex().row() != before:
            self._emit(self.currentIndex())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show the columns that there is room for; the mix takes what is left."""
        super().resizeEvent(event)
        letter, room = self.fontMetrics().averageCharWidth(), self.viewport().width()
        shown = shown_columns(room / letter)
        widths = {c: letter * n for c, n in _LETTERS.items() if c in shown}
        left = room - sum(widths.values())
        widths[TASK] = min(letter * 24, max(left * 50 // 100, letter * 8))
        widths[MIX] = left - widths[TASK]
        for at in range(self._model.columnCount()):
            self.setColumnHidden(at, at not in shown)
            if at in shown:
                self.setColumnWidth(at, widths[at])
        self._model.set_compact(VERDICT not in shown)

    def _emit(self, index: QModelIndex) -> None:
        if index.isValid():
            self.chosen.emit(self._model.task(index))
