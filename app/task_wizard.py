"""New task from data: the wizard's answers become a plan, looked at and tried out in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from app import task_wizard_words as words
from engine.errors import MixdownError
from engine.evaluate.look import Look, guess_columns
from engine.evaluate.make import NewTask, check_plan
from engine.evaluate.measures import measures_for
from engine.evaluate.plan import COLUMNS, HEADS, TaskPlan
from engine.progress import Token

if TYPE_CHECKING:
    from app.desk import Desk
    from widgets.dialogs.task_wizard import TaskWizard

TRY_DELAY_MS = 250
"""Quiet time after the last change before the first rows are tried out."""


class TaskWizardController(QObject):
    """Opens the wizard, keeps its plan, makes the task and adds it to the recipe.

    Args:
        desk: The assembled desk.

    Signals:
        made: A task was made and added (`engine.evaluate.make.NewTask`).
    """

    made = Signal(object)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk, self._workspace = desk, desk.workspace
        self._dialog: TaskWizard | None = None
        self.plan = TaskPlan(data=Path())
        self._look: Look | None = None
        self._out = self._busy = ""
        self._tried: tuple[str, ...] = ()
        self._trouble = {"path": "", "input": "", "make": ""}
        self._trial = QTimer(self, interval=TRY_DELAY_MS, singleShot=True)
        self._trial.timeout.connect(self._try)

    def open(self, path: str = "") -> None:
        """Show the wizard, for a data file that was dropped or with nothing chosen yet."""
        if self._dialog is None:
            from widgets.dialogs.task_wizard import TaskWizard

            self._dialog = TaskWizard(self._desk.window)
            self._dialog.changed.connect(self.change)
            self._dialog.createRequested.connect(self.create)
            self._dialog.closed.connect(self._stop)
        self._look, self._tried, self._out, self._busy = None, (), "", ""
        self._trouble = dict.fromkeys(self._trouble, "")
        self.plan = TaskPlan(data=Path(), model=self._own_model())
        self._show()
        self._dialog.go(0)
        self._dialog.open()
        if path:
            self.change("path", path)

    def _own_model(self) -> Path | None:
        """The base's folder, whose tokenizer and image settings the experts share."""
        base = self._workspace.recipe.base
        path = Path(base.path) if base else None
        return path if path is None or path.is_dir() else path.parent

    def change(self, name: str, value: Any) -> None:
        """The user changed a field."""
        self._trouble["make"] = ""
        if name == "path":
            self._read(str(value))
            return
        if name == "family":
            self.plan = self._with_family(str(value))
        elif name in ("model", "head_file"):
            given: dict[str, Any] = {name: Path(value) if value else None}
            self.plan = replace(self.plan, **given)
        elif name == "options":
            self.plan = replace(self.plan, options=tuple(str(value).split(", ")) if value else ())
        elif name == "out":
            self._out = str(value)
        elif name == "name":
            before = words.default_out(self.plan)
            self.plan = replace(self.plan, name=str(value))
            if self._out in ("", before):
                self._out = words.default_out(self.plan)
        else:
            self.plan = replace(self.plan, **{name: value})
        if name in ("family", "model", "text", "max_tokens", "size", "second", "options"):
            self._trial.start()
        self._show()

    def _with_family(self, family: str) -> TaskPlan:
        """The plan for another kind of task, with columns guessed for it."""
        if self._look is None:
            return self.plan
        return guess_columns(replace(self.plan, metric=""), self._look, family)

    def _read(self, path: str) -> None:
        """Look at another file in the background."""
        self._look, self._tried = None, ()
        self.plan = replace(self.plan, data=Path(path))
        self._trouble["path"] = "" if path.strip() else "Choose a data file or a folder of images."
        if self._trouble["path"]:
            self._show()
            return

        model = self.plan.model

        def work(token: Token) -> Look:
            from engine.evaluate.look import look
            from engine.evaluate.trial import suggested

            return suggested(look(Path(path), token), model)

        self._run("Reading the data", work, self._looked, "path")

    def _looked(self, found: Look) -> None:
        self._look = found
        kept: dict[str, Any] = {name: getattr(self.plan, name) for name in ("model", "rows", "max_tokens", "seed")}
        self.plan = replace(found.plan, **kept, expert=self._expert_named(found.plan.name))
        self._out = words.default_out(self.plan)
        self._trial.start(0)
        self._show()

    def _expert_named(self, name: str) -> str:
        return next((e.name for e in self._workspace.recipe.experts if e.name == name), "")

    def _try(self) -> None:
        """Tokenise or decode the first rows."""
        found, plan = self._look, self.plan
        if found is None or (found.kind == "table" and plan.model is None):
            return

        def work(token: Token) -> tuple[str, ...]:
            from engine.evaluate.trial import try_input

            return try_input(plan, found, token)

        self._run("Trying the first rows", work, self._said, "input")

    def _said(self, sentences: tuple[str, ...]) -> None:
        self._tried = sentences
        self._show()

    def create(self) -> None:
        """Make the task in the background; the wizard closes when it is there."""
        plan, out = self.plan, Path(self._out)

        def work(token: Token) -> NewTask:
            from engine.evaluate.make import make_task

            return make_task(plan, out, token)

        self._run("Making the task", work, self._created, "make")

    def _created(self, done: NewTask) -> None:
        self._show()
        if self._dialog is not None:
            self._dialog.accept()
        self._desk.scores.add_task(str(done.task.path))
        rows = f"{done.rows['val']:,} validation and {done.rows['test']:,} test rows"
        self._desk.tell(" ".join((f"Task {done.task.title}: {rows}.", *done.notes)), "ok")
        self.made.emit(done)

    def _run(self, title: str, work: Callable[[Token], Any], done: Callable[[Any], None], place: str) -> None:
        self._busy, self._trouble[place] = f"{title}…", ""

        def finished(result: Any) -> None:
            self._busy = ""
            done(result)

        def failed(error: MixdownError) -> None:
            self._busy, self._trouble[place] = "", words.why(error)
            self._show()

        self._workspace.runner.submit(title, work, key="task wizard", done=finished, failed=failed,
                                      shown=place == "make")  # fmt: skip
        self._show()

    def _stop(self) -> None:
        self._trial.stop()
        self._busy = ""
        self._workspace.runner.cancel_key("task wizard")

    def _show(self) -> None:
        if self._dialog is None:
            return
        experts = tuple((e.name, e.name) for e in self._workspace.recipe.experts)
        state = words.state_of(self.plan, self._look, self._out, experts)
        self._dialog.set_state(replace(
            state, busy=self._busy, tried=self._tried, problems=self._problems(), expert=self.plan.expert,
        ))  # fmt: skip

    def _problems(self) -> tuple[str, ...]:
        """Why each step cannot be left yet."""
        plan, found = self.plan, self._look
        first = self._trouble["path"]
        if found is None:
            return (first or "Choose a data file or a folder of images.", "", "", "", "")
        is_table = found.kind == "table"
        columns = COLUMNS[plan.family] if is_table else ()
        whole = replace(plan, head=HEADS[plan.family][0], head_file=None, name="x", template="{}")
        needs = "" if not is_table and plan.model is None else check_plan(replace(whole, model=plan.model or Path()))
        if is_table and plan.model is None:
            needs = needs or "Choose the model folder that the tokenizer lies in."
        unfit = next((c for c in columns if not getattr(plan, c)), "")
        input_trouble = needs or self._trouble["input"] if unfit or needs or self._trouble["input"] else ""
        head = check_plan(replace(plan, name="x", model=plan.model or (None if plan.head == "phrases" else Path())))
        metric = "" if measures_for(plan.family) else "There is no metric for this task."
        return (first, input_trouble, head, metric, self._trouble["make"] or words.place_problem(plan, self._out))


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the wizard: its action, and data files that are dropped anywhere."""
    controller = TaskWizardController(desk)
    desk.shelf.dataDropped.connect(controller.open)
    return {"mix.new_task": lambda *_: controller.open()}
