"""The example strip: eight examples of a task whose answers flip as faders move."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLayout, QWidget

from widgets.common.text import PlainLabel, plain, tip
from widgets.panels.examples_list import Card, ExamplesList, ExamplesModel
from widgets.panels.panel_parts import EmptyHint, bold, column, dim, squeezed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExamplesState:
    """What the strip shows.

    Attributes:
        tasks: (name, title) to choose from.
        task: Name of the chosen one.
        cards: Its examples; empty while there are none.
        note: One line about what is seen.
        hint: What to do when there are no examples.
    """

    tasks: tuple[tuple[str, str], ...] = ()
    task: str = ""
    cards: tuple[Card, ...] = ()
    note: str = ""
    hint: str = "Drop a base, experts and a task, or open the demo."


class ExamplesPanel(QWidget):
    """Eight cards and the task they are from.

    Signals:
        taskChosen: Another task (name).
    """

    taskChosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("examples")
        self._tasks = QComboBox()
        self._tasks.setAccessibleName("Task of the examples")
        self._tasks.activated.connect(lambda at: self.taskChosen.emit(str(self._tasks.itemData(at))))
        self._note = squeezed(dim(PlainLabel()))
        self._model = ExamplesModel(self)
        self.list = ExamplesList(self._model)
        self._empty = EmptyHint("search", "No examples yet", ExamplesState().hint)
        bar = QHBoxLayout()
        bar.setSpacing(8)
        title = bold(PlainLabel("Examples"))
        title.setBuddy(self._tasks)
        bar.addWidget(title)
        bar.addWidget(self._tasks)
        bar.addWidget(self._note, 1)
        layout = column(self, 4, 8)
        layout.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)
        layout.addLayout(bar)
        layout.addWidget(self.list, 1)
        layout.addWidget(self._empty, 1)
        self.set_state(ExamplesState())

    @property
    def cards(self) -> tuple[Card, ...]:
        """What is shown."""
        return self._model.cards

    def set_state(self, state: ExamplesState) -> None:
        """Show other examples, or the same ones as they stand now."""
        known = [(self._tasks.itemData(i), self._tasks.itemText(i)) for i in range(self._tasks.count())]
        wanted = [(name, plain(title, 60)) for name, title in state.tasks]
        if known != wanted:
            self._tasks.clear()
            for name, title in wanted:
                self._tasks.addItem(title, name)
        at = self._tasks.findData(state.task)
        if at >= 0 and at != self._tasks.currentIndex():
            self._tasks.setCurrentIndex(at)
        self._tasks.setVisible(bool(state.tasks))
        self._model.set_cards(state.cards)
        self.list.setVisible(bool(state.cards))
        self._empty.setVisible(not state.cards)
        if state.hint:
            self._empty.set_hint(state.hint)
        if self._note.text() != state.note:
            self._note.setText(state.note)
            self._note.setToolTip(tip(state.note))

    def minimumSizeHint(self) -> QSize:
        """The bar and one card."""
        line = self.fontMetrics().height()
        return QSize(line * 20, line * 13)
