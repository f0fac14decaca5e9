"""The task wizard: from a data file to a task in five steps; Alt+Left and Alt+Right (or Enter) go back and on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QLabel, QStackedWidget, QVBoxLayout, QWidget

from widgets.common.pieces import Mark, TallArea, column, push, row, rule
from widgets.common.text import PlainLabel, plain
from widgets.common.theme import theme
from widgets.dialogs.task_wizard_pages import PAGES, Page
from widgets.dialogs.task_wizard_state import STEPS, TaskWizardState

if TYPE_CHECKING:
    from PySide6.QtGui import QCloseEvent


class TaskWizard(QDialog):
    """Shows the steps and reports what the user wants.

    Signals:
        changed: Name of a field of the state, and its new value.
        createRequested: Make the task.
        closed: The user is done with it.
    """

    changed = Signal(str, object)
    createRequested = Signal()
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("task-wizard")
        self.setWindowTitle("New task from data")
        self.state, self.step = TaskWizardState(), 0
        self._marks = [self._mark(at) for at in range(len(STEPS))]
        self._stack, self._pages = QStackedWidget(), list[Page]()
        for make in PAGES:
            page = make()
            page.changed.connect(self.changed)
            self._pages.append(page)
            area = TallArea()
            area.show_widget(page)
            self._stack.addWidget(area)
        self._problem_mark, self._problem = Mark("warning", ""), PlainLabel(wrap=True)
        self._problem.setObjectName("task-problem")
        self._cancel = push("Cancel", name="task-cancel")
        self._cancel.clicked.connect(self.reject)
        self._back = push("Back", name="task-back", hint="To the step before (Alt+Left)")
        self._back.clicked.connect(lambda: self.go(self.step - 1))
        self._next = push("Next", name="task-next", primary=True, hint="To the next step (Alt+Right)")
        self._next.clicked.connect(self._forward)
        self._next.setDefault(True)
        self._arrange()
        for keys, run in (("Alt+Left", self._back.click), ("Alt+Right", self._next.click)):
            QShortcut(QKeySequence(keys), self).activated.connect(run)
        self.resize(780, 640)
        self.setMinimumSize(560, 420)
        self.set_state(self.state)

    def _arrange(self) -> None:
        steps = QVBoxLayout()
        steps.setSpacing(10)
        for mark in self._marks:
            steps.addWidget(mark)
        steps.addStretch(1)
        main = row(steps, 10, spacing=8)
        main.addWidget(self._stack, 1)
        said = row(self._problem_mark, spacing=6)
        said.addWidget(self._problem, 1)
        body = column(spacing=10)
        body.addLayout(main, 1)
        body.addLayout(said)
        body.addWidget(rule())
        body.addLayout(row(self._cancel, None, self._back, self._next))
        body.setContentsMargins(18, 16, 18, 14)
        self.setLayout(body)

    @staticmethod
    def _mark(at: int) -> QLabel:
        mark = QLabel(f"{at + 1}  {STEPS[at]}")
        mark.setTextFormat(Qt.TextFormat.PlainText)
        mark.setMinimumWidth(96)
        return mark

    def set_state(self, state: TaskWizardState) -> None:
        """Show other values."""
        self.state = state
        for page in self._pages:
            page.set_state(state)
        self._refresh()

    def go(self, step: int) -> None:
        """Show a step; forward only past steps that are complete."""
        step = max(0, min(step, len(STEPS) - 1))
        blocked = next((at for at in range(step) if self.state.problems[at]), step)
        self.step = blocked
        self._stack.setCurrentIndex(self.step)
        self._refresh()
        first = next((w for w in self._pages[self.step].findChildren(QWidget)
                      if w.isVisibleTo(self) and w.focusPolicy() & Qt.FocusPolicy.TabFocus), None)  # fmt: skip
        if first is not None:
            first.setFocus(Qt.FocusReason.TabFocusReason)

    def _forward(self) -> None:
        if self.step == len(STEPS) - 1:
            self.createRequested.emit()
        else:
            self.go(self.step + 1)

    def _refresh(self) -> None:
        state, is_last = self.state, self.step == len(STEPS) - 1
        trouble = state.problems[self.step]
        if is_last and not trouble:
            trouble = next((p for p in state.problems if p), "")
        said = state.busy or trouble
        self._problem.setText(plain(said, 400))
        self._problem_mark.setVisible(bool(said))
        self._problem_mark.show_severity("info" if state.busy else "warning", "")
        self._back.setEnabled(self.step > 0)
        self._next.setText("Create task" if is_last else "Next")
        self._next.setEnabled(not trouble and not state.busy)
        self._next.setAccessibleDescription(said)
        colours = theme()
        for at, mark in enumerate(self._marks):
            font = mark.font()
            font.setBold(at == self.step)
            mark.setFont(font)
            mark.setStyleSheet(f"color: {colours.text if at <= self.step else colours.dim};")
            mark.setAccessibleName(f"Step {at + 1} of {len(STEPS)}: {STEPS[at]}{', current' * (at == self.step)}")

    def reject(self) -> None:
        """Esc and Cancel leave nothing behind."""
        super().reject()
        self.closed.emit()

    def closeEvent(self, event: QCloseEvent) -> None:
        """The window's own cross."""
        super().closeEvent(event)
        self.closed.emit()
