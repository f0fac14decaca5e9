"""The left side of the sweep panel: which numbers, from where to where, on which rows of which tasks."""

from __future__ import annotations

from PySide6.QtCore import QLocale, Qt, Signal
from PySide6.QtWidgets import QGridLayout, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from widgets.common.pieces import CalmComboBox, CalmDoubleSpinBox, CalmSpinBox, Mark, WrappedLabel, labelled, push, row
from widgets.common.text import PlainLabel, plain
from widgets.panels.task_pick import TaskPick
from widgets.plots.sweep_state import Pairs, Quantity, Span, SweepState, SweepWish

_NONE = ""
_MOST_STEPS = 32
_LETTERS = 34
"""Of a name in a list: what there is room for, so that its end is seen, too."""


class NumberBox(CalmDoubleSpinBox):
    """A number with as many decimals as it needs."""

    def __init__(self, spoken: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setLocale(QLocale(QLocale.Language.C))
        self.setDecimals(4)
        self.setRange(-1000, 1000)
        self.setSingleStep(0.05)
        self.setAccessibleName(spoken)
        self.setMinimumWidth(64)

    def textFromValue(self, value: float) -> str:
        """Like "0.3", "12"."""
        return f"{value:.4f}".rstrip("0").rstrip(".")


class SpanFields(QWidget):
    """A quantity with its range.

    Args:
        title: "Columns" or "Rows".
        optional: Whether there may be none.

    Signals:
        changed: The user changed something.
    """

    changed = Signal()

    def __init__(self, title: str, *, optional: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._optional, self._known = optional, dict[str, Quantity]()
        self.combo = CalmComboBox()
        self.combo.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setMinimumContentsLength(14)
        self.low, self.high = NumberBox(f"{title} from"), NumberBox(f"{title} to")
        self.count = CalmSpinBox()
        self.count.setRange(2, _MOST_STEPS)
        self.count.setAccessibleName(f"{title}: number of values")
        self.count.setSuffix(" values")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row(labelled(f"&{title}", self.combo), self.combo))
        self.combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout.addLayout(row(PlainLabel("from", "dim"), self.low, PlainLabel("to", "dim"), self.high,
                             self.count, spacing=5))  # fmt: skip
        self.combo.activated.connect(lambda _: self._offer())
        for box in (self.low, self.high, self.count):
            box.valueChanged.connect(lambda _: self.changed.emit())

    def set_quantities(self, quantities: tuple[Quantity, ...], chosen: str) -> None:
        """Offer these; the present one stays if it can."""
        known = {q.id: q for q in quantities}
        if known == self._known:
            return
        now = str(self.combo.currentData() or "")
        before, self._known = self._known.get(now), known
        none = [(_NONE, "nothing: one number only")] if self._optional else []
        keep = now if now in known or (self._optional and self.combo.count() and not now) else chosen
        self.combo.set_choices([*none, *((q.id, plain(q.label, _LETTERS)) for q in quantities)], keep)
        if before is None or known.get(keep) != before:
            self._offer()

    def _offer(self) -> None:
        """The range that goes with the quantity."""
        quantity = self._known.get(str(self.combo.currentData() or ""))
        for box in (self.low, self.high, self.count):
            box.setEnabled(quantity is not None)
        if quantity is not None:
            for box in (self.low, self.high):
                box.setDecimals(0 if quantity.whole else 4)
                box.setRange(quantity.least, quantity.most)
            self.low.setValue(quantity.low)
            self.high.setValue(quantity.high)
            self.count.setValue(quantity.count)
        self.changed.emit()

    def span(self) -> Span | None:
        """What is chosen, None for nothing."""
        chosen = str(self.combo.currentData() or "")
        return Span(chosen, self.low.value(), self.high.value(), self.count.value()) if chosen else None

    def show_span(self, span: Span | None) -> None:
        """Show what was chosen before."""
        if span is not None and span.id not in self._known:
            return
        self.combo.setCurrentIndex(self.combo.findData(span.id if span else _NONE))
        self._offer()
        if span is not None:
            self.low.setValue(span.low)
            self.high.setValue(span.high)
            self.count.setValue(span.count)


class SweepForm(QWidget):
    """Everything that a sweep is made of.

    Signals:
        runWanted: `SweepWish`.
        pauseWanted: Hold or go on.
        stopWanted: Stop; what was measured stays.
    """

    runWanted = Signal(object)
    pauseWanted = Signal()
    stopWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = CalmComboBox()
        self.form.set_choices([("grid", "Grid over one or two numbers"), ("triangle", "Triangle of three experts")],
                              "grid")  # fmt: skip
        self.across, self.down = SpanFields("Columns"), SpanFields("Rows", optional=True)
        self.corners = [CalmComboBox() for _ in range(3)]
        self.total, self.steps = NumberBox("Sum of the three gains"), CalmSpinBox()
        self.tasks, self.rows = TaskPick(), CalmSpinBox()
        self.run = push("Run", name="sweep-run", primary=True)
        self.pause, self.stop = push("Pause", name="sweep-pause"), push("Stop", name="sweep-stop")
        self.status, self.mark = WrappedLabel("", "dim", wrap=True), Mark("error", "")
        self.steps.setRange(2, 12)
        self.steps.setValue(4)
        self.total.setValue(3.0)
        self.rows.setRange(4, 1_000_000)
        self._size = PlainLabel("", "dim")
        self._arrange()
        self._connect()

    def _arrange(self) -> None:
        grid = QWidget()
        two = QVBoxLayout(grid)
        two.setContentsMargins(0, 0, 0, 0)
        two.addWidget(self.across)
        two.addWidget(self.down)
        triangle = QWidget()
        three = QGridLayout(triangle)
        three.setContentsMargins(0, 0, 0, 0)
        for index, (name, combo) in enumerate(zip(("Left", "Right", "Top"), self.corners, strict=True)):
            combo.setMinimumContentsLength(10)
            three.addWidget(labelled(name, combo), index, 0)
            three.addWidget(combo, index, 1)
        three.addLayout(row(labelled("Gains add up to", self.total), self.total, labelled("steps", self.steps),
                            self.steps), 3, 0, 1, 2)  # fmt: skip
        three.setColumnStretch(1, 1)
        self.pages = QStackedWidget()
        self.pages.addWidget(grid)
        self.pages.addWidget(triangle)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 6, 8)
        layout.setSpacing(7)
        layout.addWidget(self.form)
        layout.addWidget(self.pages)
        self.tasks.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout.addLayout(row(labelled("&On", self.tasks), self.tasks, self.rows, PlainLabel("rows each", "dim")))
        self.rows.setAccessibleName("Validation rows of each task")
        layout.addLayout(row(self.run, self.pause, self.stop, None, self._size))
        self.mark.hide()
        line = row(self.mark, self.status)
        line.setStretch(1, 1)
        line.setAlignment(self.mark, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(line)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.form.activated.connect(lambda _: self._turn())
        for fields in (self.across, self.down):
            fields.changed.connect(self._count)
        self.steps.valueChanged.connect(lambda _: self._count())
        self.run.clicked.connect(lambda: self.runWanted.emit(self.wish()))
        self.pause.clicked.connect(self.pauseWanted)
        self.stop.clicked.connect(self.stopWanted)

    def _turn(self) -> None:
        self.pages.setCurrentIndex(1 if self.form.currentData() == "triangle" else 0)
        self._count()

    def _count(self) -> None:
        """Say how many mixes that is."""
        wish = self.wish()
        cells = (wish.steps + 1) * (wish.steps + 2) // 2
        if wish.form == "grid":
            cells = wish.x.count * (wish.y.count if wish.y else 1)
        self._size.setText(f"{cells} mixes")

    def wish(self) -> SweepWish:
        """What the fields say."""
        experts = tuple(str(combo.currentData() or "") for combo in self.corners)
        return SweepWish(
            form="triangle" if self.form.currentData() == "triangle" else "grid",
            x=self.across.span() or Span("", 0, 1, 2), y=self.down.span(), experts=experts, steps=self.steps.value(),
            total=self.total.value(), tasks=self.tasks.chosen(), rows=self.rows.value(),
        )  # fmt: skip

    def set_state(self, state: SweepState, before: SweepState) -> None:
        """Follow the desk; what the user chose stays."""
        ids = [q.id for q in state.quantities]
        self.across.set_quantities(state.quantities, ids[0] if ids else "")
        self.down.set_quantities(state.quantities, ids[1] if len(ids) > 1 else _NONE)
        self.tasks.set_tasks(state.tasks)
        if state.experts != before.experts:
            self._offer_experts(state.experts)
        if state.rows != before.rows or not before.quantities:
            self.rows.setValue(state.rows)
        if state.wish is not None and state.wish is not before.wish:
            self._show_wish(state.wish)
        running = state.phase != "idle"
        self.run.setEnabled(not running and not state.reason)
        self.run.setToolTip(state.reason)
        self.pause.setEnabled(running)
        self.pause.setText("Go on" if state.phase == "paused" else "Pause")
        self.stop.setEnabled(running)
        self.status.setText(state.status or state.reason)
        self.mark.setVisible(state.is_wrong)
        for field in (self.form, self.pages, self.tasks, self.rows):
            field.setEnabled(not running)
        self._count()

    def _offer_experts(self, experts: Pairs) -> None:
        ids = [key for key, _ in experts]
        for index, combo in enumerate(self.corners):
            now = str(combo.currentData() or "")
            combo.set_choices([(key, plain(name, _LETTERS)) for key, name in experts],
                              now if now in ids else (ids[index] if index < len(ids) else ""))  # fmt: skip

    def _show_wish(self, wish: SweepWish) -> None:
        """Show what was asked for before."""
        self.form.setCurrentIndex(self.form.findData(wish.form))
        self._turn()
        self.across.show_span(wish.x)
        self.down.show_span(wish.y)
        for combo, key in zip(self.corners, wish.experts, strict=False):
            if combo.findData(key) >= 0:
                combo.setCurrentIndex(combo.findData(key))
        self.steps.setValue(wish.steps)
        self.total.setValue(wish.total)
        self.rows.setValue(wish.rows)
        self.tasks.choose(wish.tasks)

    def focus_first(self) -> None:
        """The keyboard to the first field."""
        self.form.setFocus(Qt.FocusReason.TabFocusReason)
