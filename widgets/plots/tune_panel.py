"""The tuner panel: what to tune for, the faders' progress as a chart, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from widgets.common.pieces import (
    CalmComboBox,
    CalmSpinBox,
    TallArea,
    WrappedLabel,
    heading,
    icon_button,
    labelled,
    push,
    row,
)
from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.panels.method_fields import ParamField
from widgets.panels.panel_parts import squeezed
from widgets.panels.task_pick import TaskPick
from widgets.plots.frame import PlotFrame
from widgets.plots.lines_view import LinesView
from widgets.plots.tune_state import Row, TuneState, TuneWish

if TYPE_CHECKING:
    from engine.methods.spec import Value

_PROMISE = "Moves the faders so that your tasks score better on their validation rows. Test rows are not used."
_BLOCKS = (("layer", "layer by layer"), ("group", "kind by kind (finer)"))
_MOST_SEED = 2**31 - 1


class TunePanel(QWidget):
    """Shows a `TuneState`.

    Signals:
        startWanted: `TuneWish`.
        pauseWanted: Hold or go on.
        keepWanted: Stop and keep the best so far.
        revertWanted: Stop and go back to the start.
        testWanted: Look at the test rows.
        tunerChosen: Id of another tuner.
        paramEdited: (name, value) of a tuner's parameter.
        told: A sentence worth a notification.
        closeWanted: Put the panel away.
    """

    startWanted = Signal(object)
    pauseWanted = Signal()
    keepWanted = Signal()
    revertWanted = Signal()
    testWanted = Signal()
    tunerChosen = Signal(str)
    paramEdited = Signal(str, object)
    told = Signal(str)
    closeWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("tune")
        self.state = TuneState()
        self.tuner, self.blocks = CalmComboBox(), CalmComboBox()
        self.tasks, self.rows, self.seed = TaskPick(), CalmSpinBox(), CalmSpinBox()
        self.start = push("Start", name="tune-start", primary=True)
        self.pause = push("Pause", name="tune-pause")
        self.keep = push("Stop, keep best", name="tune-keep", hint="Stops; the faders show the best mix measured.")
        self.revert = push("Revert", name="tune-revert", hint="Stops; the faders go back to where they were.")
        self.test = push("Check on test rows", name="tune-test",
                         hint="Scores start and result once on rows that nothing was chosen with.")  # fmt: skip
        self.frame = PlotFrame(LinesView())
        self.table = QTableWidget(0, 4)
        self._summary, self._status, self._pinned, self._basis, self._test = (_note() for _ in range(5))
        self._fields: list[ParamField] = []
        self._form = QGridLayout()
        self._arrange()
        self._connect()

    def _arrange(self) -> None:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(10, 8, 10, 10)
        layout.setSpacing(8)
        close = icon_button("close", "Close the tuner panel", name="tune-close")
        close.clicked.connect(self.closeWanted)
        layout.addLayout(row(heading("Tune", larger=1.15), None, close))
        layout.addWidget(_note(_PROMISE))
        self._prepare_form()
        layout.addLayout(self._form)
        layout.addLayout(row(self.start, self.pause, None, spacing=6))
        layout.addLayout(row(self.keep, self.revert, None, spacing=6))
        for label in (self._status, self._pinned):
            layout.addWidget(label)
        self.frame.setMinimumHeight(280)
        layout.addWidget(squeezed(self.frame))
        self._prepare_table()
        layout.addWidget(squeezed(self.table))
        for widget in (self._basis, self.test, self._test):
            layout.addWidget(widget)
        self.test.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        layout.addStretch(1)
        area = TallArea()
        area.show_widget(inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    def _prepare_form(self) -> None:
        form = self._form
        form.setHorizontalSpacing(8)
        form.setVerticalSpacing(5)
        form.setColumnStretch(1, 1)
        self.rows.setRange(8, 100_000)
        self.rows.setValue(64)
        self.seed.setRange(0, _MOST_SEED)
        self.blocks.set_choices(_BLOCKS, "layer")
        self.blocks.setToolTip(tip("What moves together: an expert's layer (quicker, steadier), or each kind of it."))
        for combo in (self.tuner, self.blocks):
            combo.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(8)
        self.tasks.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        rows = (("T&uner", self.tuner), ("&For", self.tasks), ("Validation &rows each", self.rows),
                ("Fa&ders", self.blocks), ("&Seed", self.seed))  # fmt: skip
        for index, (text, field) in enumerate(rows):
            place = index if index == 0 else index + 1
            form.addWidget(labelled(text, field), place, 0)
            form.addWidget(field, place, 1)
        form.addWidget(self._summary, 1, 0, 1, 2)

    def _prepare_table(self) -> None:
        table = self.table
        table.setAccessibleName("Scores before and after")
        table.verticalHeader().hide()
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)
        table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        table.setWordWrap(True)
        table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def _connect(self) -> None:
        self.tuner.activated.connect(lambda _: self.tunerChosen.emit(str(self.tuner.currentData())))
        self.start.clicked.connect(lambda: self.startWanted.emit(self.wish()))
        for button, signal in ((self.pause, self.pauseWanted), (self.keep, self.keepWanted),
                               (self.revert, self.revertWanted), (self.test, self.testWanted)):  # fmt: skip
            button.clicked.connect(signal)
        self.frame.told.connect(self.told)

    def wish(self) -> TuneWish:
        """What the fields say."""
        return TuneWish(
            tuner=self.state.tuner, params=dict(self.state.values), tasks=self.tasks.chosen(), rows=self.rows.value(),
            seed=self.seed.value(), blocks="group" if self.blocks.currentData() == "group" else "layer",
        )  # fmt: skip

    # State ---------------------------------------------------------------------------------------------------

    def set_state(self, state: TuneState) -> None:
        """Show another state."""
        before, self.state = self.state, state
        self.tuner.set_choices(state.tuners, state.tuner)
        self._summary.setText(state.summary)
        self._summary.setToolTip(tip(state.paper))
        self.tasks.set_tasks(state.tasks)
        if state.params != before.params:
            self._rebuild(state)
        for field in self._fields:
            field.show_value(state.values.get(field.param.name, field.param.default))
        self._show_phase(state)
        if state.chart is not before.chart or not self.frame.isVisible():
            self.frame.set_state(state.chart)
        if state.rows != before.rows:
            self._fill(state.rows)
        self.table.setVisible(bool(state.rows))
        for label, text in ((self._status, state.status or state.reason), (self._pinned, state.pinned),
                            (self._basis, state.basis), (self._test, state.test)):  # fmt: skip
            label.setText(text)
            label.setVisible(bool(text))

    def _show_phase(self, state: TuneState) -> None:
        running = state.phase in ("running", "paused")
        self.start.setEnabled(not running and not state.reason)
        self.start.setToolTip(tip(state.reason))
        self.start.setText("Start again" if state.phase == "done" else "Start")
        self.pause.setEnabled(running)
        self.pause.setText("Go on" if state.phase == "paused" else "Pause")
        self.keep.setEnabled(running)
        self.revert.setEnabled(state.can_keep)
        self.test.setVisible(bool(state.rows))
        self.test.setEnabled(state.can_test)
        fields: tuple[QWidget, ...] = (self.tuner, self.tasks, self.rows, self.blocks, self.seed, *self._fields)
        for field in fields:
            field.setEnabled(not running)

    def _rebuild(self, state: TuneState) -> None:
        """A field for every parameter of the tuner."""
        first = 6
        for place in range(first, self._form.rowCount()):
            for side in (0, 1):
                item = self._form.itemAtPosition(place, side)
                widget = item.widget() if item is not None else None
                if widget is not None:
                    self._form.removeWidget(widget)
                    widget.hide()
                    widget.deleteLater()
        self._fields = []
        for index, param in enumerate(state.params):
            field = ParamField(param)
            field.control.setToolTip(tip(param.help))
            field.edited.connect(self._edited)
            label = labelled(param.label[:1].upper() + param.label[1:], field.control)
            label.setToolTip(tip(param.help))
            self._form.addWidget(label, first + index, 0)
            self._form.addWidget(field, first + index, 1)
            self._fields.append(field)

    def _edited(self, name: str, value: Value, gesture: str) -> None:
        self.paramEdited.emit(name, value)

    def _fill(self, rows: tuple[Row, ...]) -> None:
        """Before, after and change; the same on test rows once they were looked at."""
        tested = any(r.test_after for r in rows)
        head = ["Task", "Before", "After", "Change"]
        self.table.setColumnCount(4)
        self.table.setHorizontalHeaderLabels(head)
        lines: list[tuple[tuple[str, ...], str]] = []
        for r in rows:
            lines.append(((r.task, r.before, r.after, r.change), r.tone))
            if tested:
                lines.append((("  on test rows", r.test_before, r.test_after, r.test_change), r.test_tone))
        self.table.setRowCount(len(lines))
        for index, (cells, tone) in enumerate(lines):
            for side, text in enumerate(cells):
                self.table.setItem(index, side, self._item(text, side, tone))
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for side in (1, 2, 3):
            header.setSectionResizeMode(side, QHeaderView.ResizeMode.ResizeToContents)
        self.table.resizeRowsToContents()
        tall = sum(self.table.rowHeight(i) for i in range(len(lines))) + header.sizeHint().height() + 4
        self.table.setFixedHeight(tall)

    @staticmethod
    def _item(text: str, side: int, tone: str) -> QTableWidgetItem:
        lines: Any = text.split("\n")
        item = QTableWidgetItem("\n".join(plain(line, 60) for line in lines))
        item.setToolTip(plain(text, 200))
        if side:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if side == 3 and tone:
            item.setForeground(QColor(getattr(theme(), tone)))
        return item

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Escape puts the panel away."""
        if event.key() == Qt.Key.Key_Escape:
            self.closeWanted.emit()
        else:
            super().keyPressEvent(event)


def _note(text: str = "") -> WrappedLabel:
    """A quieter text of several lines."""
    return WrappedLabel(text, "dim", wrap=True)
