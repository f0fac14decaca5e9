"""The assembled desk: workspace, window and controllers, wired once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QFileDialog

from app import collector, quiet
from app.adding import Adding, plural
from app.demo import demo_recipe
from app.desk_controller import DeskController
from app.desk_parts import DeskParts
from app.features import Features
from app.handlers import Handlers, notice, use_theme
from app.history_controller import HistoryController
from app.inspector_controller import InspectorController
from app.jobs_controller import JobsController
from app.lateness import Lateness
from app.mix_controller import MixController
from app.scores_controller import ScoresController
from app.session import Session, reopen
from app.shelf_controller import ShelfController
from app.trust import unopened
from app.window import MainWindow
from app.workspace import Workspace
from engine.errors import MixdownError
from widgets.desk.state import Face
from widgets.dialogs.state import Problem, RecentProject

Severity = Literal["ok", "info", "warning", "error"]
_HELP_PAGES = {"models": "models", "scores": "quick-eval", "export": "export", "method": "methods",
               "sweep": "sweeps", "runs": "runs", "tune": "tuning"}  # fmt: skip


class Desk(DeskParts):
    """Everything behind one window.

    Args:
        app: The application.
    """

    def __init__(self, app: QApplication) -> None:
        super().__init__()
        self.app = app
        collector.install(app)
        self.workspace = Workspace(self)
        self._theme = self.workspace.settings.theme
        use_theme(app, self._theme)
        self.handlers = Handlers(self)
        window = self.window = MainWindow(self.workspace, self.handlers.find)
        self.adding = Adding(self.workspace, self)
        self.shelf = ShelfController(self.workspace, self.adding, window.shelf, self)
        self.desk = DeskController(self.workspace, window.canvas, self)
        self.mix = MixController(self.workspace, window.sentence, window.method, self)
        self.scores = ScoresController(self.workspace, window.scores, self)
        self.history = HistoryController(self.workspace, window.history, self)
        self.jobs = JobsController(self.workspace, window.jobs, self)
        self.inspector = InspectorController(self.workspace, self.desk, window.inspector, self)
        self.session = Session(self.workspace.store, self)
        self.lateness = Lateness(self) if os.environ.get("MIXDOWN_PROBE") else None
        self._problems: list[Problem] = []
        self._connect()
        self.features = Features(self)
        self._refresh_all()

    def _connect(self) -> None:
        window, workspace, store = self.window, self.workspace, self.workspace.store
        window.allow_close = self.may_close
        window.firstPaint.connect(workspace.warm_up)
        window.pathsDropped.connect(self.shelf.drop)
        window.canvas.filesDropped.connect(self.shelf.drop)
        window.canvas.setDropText(self._drop_text)
        window.canvas.openDemoRequested.connect(self.handlers.file_demo)
        window.canvas.openFilesRequested.connect(self.handlers.file_open)
        window.canvas.faceChanged.connect(lambda face: workspace.change_settings(view=str(face)))
        window.canvas.rowMenuRequested.connect(lambda expert, point: self.dialogs.row_menu(expert, point))
        window.shelf.openRequested.connect(self.handlers.file_open)
        window.shelf.demoRequested.connect(self.handlers.file_demo)
        window.sentence.baseClicked.connect(lambda: window.show_panel("models"))
        window.sentence.expertsClicked.connect(lambda: window.show_panel("models"))
        window.sentence.methodHelpRequested.connect(lambda: window.show_panel("method"))
        window.palette_box.set_recent(list(workspace.settings.commands))
        window.palette_box.chosen.connect(self._run_command)
        self._connect_welcome()
        self._connect_problems()
        self._frame = QTimer(self, interval=100, singleShot=True)  # a drag changes the undo text at every event
        self._frame.timeout.connect(self._refresh_frame)
        store.recipeChanged.connect(self._later)
        store.titleChanged.connect(self._refresh_frame)
        store.undo_stack.indexChanged.connect(self._later)
        store.undo_stack.canUndoChanged.connect(lambda can: window.commands.refresh({"undo": can}))  # at once: keys
        store.undo_stack.canRedoChanged.connect(lambda can: window.commands.refresh({"redo": can}))
        for signal in (workspace.modelsChanged, workspace.live.gramChanged, workspace.scoring.scoresChanged):
            signal.connect(self._later)
        window.canvas.selectionChanged.connect(self._later)
        workspace.settingsChanged.connect(self._on_settings)
        self.jobs.countChanged.connect(self._on_jobs)
        window.docks["jobs"].visibilityChanged.connect(self.jobs.refresh_soon)
        window.docks["method"].visibilityChanged.connect(lambda is_seen: self.mix.fill() if is_seen else None)
        for name, action in (("models", "view.models"), ("scores", "view.details"), ("overlap", "view.overlap")):
            window.docks[name].visibilityChanged.connect(
                lambda _, n=name, a=action: window.commands.check(a, not window.docks[n].isHidden())
            )

    def _run_command(self, action_id: str) -> None:
        """Run what was chosen in the palette, and remember it."""
        self.workspace.change_settings(commands=tuple(self.window.palette_box.recent()))
        self.window.commands.trigger(action_id)

    def _connect_welcome(self) -> None:
        welcome = self.window.welcome
        welcome.filesDropped.connect(lambda paths: self.shelf.drop(paths, "canvas"))
        welcome.openRequested.connect(self.handlers.file_open)
        welcome.demoRequested.connect(self.handlers.file_demo)
        welcome.projectRequested.connect(self.handlers.choose_project)
        welcome.recentChosen.connect(self.handlers.open_project)
        welcome.recentRemoved.connect(self._forget_recent)
        welcome.helpRequested.connect(self.handlers.help_contents)

    def _connect_problems(self) -> None:
        workspace = self.workspace
        self.adding.failed.connect(lambda path, error: self.show_problem(
            unopened(Path(path), error)))  # fmt: skip
        self.adding.told.connect(self._told)
        for source in (workspace.problem, self.desk.problem, self.mix.problem, self.scores.problem):
            source.connect(self.window.show_error)
        self.jobs.actionTriggered.connect(lambda number, action: self.export.act_on(number, action))
        self.shelf.problem.connect(self.show_problem)
        self.shelf.projectDropped.connect(self.handlers.open_project)
        self.shelf.mergekitDropped.connect(self.handlers.open_mergekit)
        self.shelf.taskDropped.connect(self.scores.add_task)
        self.shelf.replaceWanted.connect(self._choose_replacement)
        self.shelf.cardChosen.connect(self._select_row)
        self.scores.taskWanted.connect(self.handlers.mix_add_task)
        self.window.toasts.actionTriggered.connect(self._on_notice)
        self.window.card.dismissed.connect(self._next_problem)
        self.window.card.actionTriggered.connect(self._on_card)

    # Start and end -------------------------------------------------------------------------------------------

    def start(self, paths: list[str]) -> None:
        """Show the window with the given paths, the last session, or (the first time) the demo."""
        workspace = self.workspace
        last = None if paths else self.session.restore()
        kept = self.session.set_aside() if paths else None
        if last is not None:
            if self.session.restored is not None:
                self.session.restored(last)
            reopen(workspace.store, last)
        elif not paths and not workspace.settings.welcomed:
            self._open_demo()
        self.window.canvas.setFace(face_of(workspace.settings.view))
        self.window.show()
        (self.window.canvas if workspace.recipe.experts else self.window.welcome).setFocus()
        QTimer.singleShot(300, self._after_start)
        if paths:
            self.features.when_complete(lambda: self.shelf.drop([str(Path(p).absolute()) for p in paths], "canvas"))
        if kept is not None:
            workspace.remember(kept)
            self.window.toasts.show_notice(notice(
                f"The last session was not saved; it is kept in {kept.name!r}.", "info", (("open", "Open it"),),
                f"kept {kept}"))  # fmt: skip

    def _after_start(self) -> None:
        """What can wait until the window is there."""
        self.features.when_complete(_settle)
        self.workspace.change_settings(welcomed=True)
        self.features.when_complete(lambda: self.export.tidy())

    def _open_demo(self) -> None:
        try:
            self.workspace.store.reset(demo_recipe(), None)
        except MixdownError:
            return  # not shipped: the welcome page is a good start too

    def may_close(self) -> bool:
        """Ask about running exports and unsaved work, then end the workers. The session is always kept."""
        exports = [job for job in self.workspace.runner.active() if job.key.startswith("export ")]
        if exports and not self.app.property("forced") and not self.dialogs.may_stop(exports, self.window.close):
            return False
        self.session.write()
        self.session.release()
        self.window.remember_layout()
        self.workspace.runner.stop()
        for source in (self.workspace.store.undo_stack, self.workspace.runner, *self.window.docks.values()):
            source.blockSignals(True)  # what still happens would be told to widgets that are gone
        return True

    # The frame -----------------------------------------------------------------------------------------------

    def _refresh_all(self) -> None:
        for controller in (self.shelf, self.desk, self.mix, self.scores, self.history, self.jobs, self.inspector):
            controller.refresh()
        self._refresh_frame()
        self._on_settings()

    def _later(self, *_: object) -> None:
        if not self._frame.isActive():
            self._frame.start()

    def _refresh_frame(self, *_: object) -> None:
        """Title, pages, enabled actions and the status bar."""
        window, store = self.window, self.workspace.store
        recipe = store.recipe
        edited = " • edited" if store.is_edited and store.path else ""
        window.setWindowTitle(f"{store.title}{edited} – Mixdown")
        window.show_page(recipe.base is None and not recipe.experts)
        undo = store.undo_stack
        window.commands.refresh({
            "base": recipe.base is not None, "experts": bool(recipe.experts),
            "mix": recipe.base is not None and bool(recipe.experts), "tasks": self.workspace.scoring.can_run,
            "cells": bool(window.canvas.selectedCells()), "undo": undo.canUndo(), "redo": undo.canRedo(),
            "jobs": bool(self.workspace.runner.active()), "pins": bool(store.pins),
        })  # fmt: skip
        for action, text in (("edit.undo", f"&Undo {undo.undoText()}"), ("edit.redo", f"&Redo {undo.redoText()}")):
            if window.commands[action].text() != text.rstrip():  # a new text lays the toolbar out again
                window.commands[action].setText(text.rstrip())
        window.status_left.setText(self._status())

    def _status(self) -> str:
        workspace, recipe = self.workspace, self.workspace.recipe
        if not recipe.experts:
            return "Drop a base and its fine-tunes, or open the demo."
        if recipe.stack:
            return "Live numbers: none for restacked layers"
        if recipe.base is None:
            return f"{plural(len(recipe.experts), 'model')} · no base yet: drop it on the base well"
        if workspace.live.gram(recipe) is None:
            unfit = next((recipe.expert(e).name for e, found in workspace.findings().items()
                          if any(f.severity == "error" for f in found)), "")  # fmt: skip
            return f"Live numbers: none while {unfit} does not fit the base" if unfit else "Live numbers: measuring…"
        if workspace.method.is_linear(dict(recipe.params)):
            return "Live numbers: exact"
        why = "what follows the merge" if workspace.method.live == "linear" else workspace.method.title
        return f"Live numbers: estimate ({why} is not linear in the faders)"

    def _on_settings(self, *_: object) -> None:
        settings, window = self.workspace.settings, self.window
        if settings.theme != self._theme:
            self._theme = settings.theme
            use_theme(self.app, settings.theme)
        window.commands.check("mix.auto_eval", settings.auto_eval)
        window.welcome.set_recent([RecentProject(path=p, name=Path(p).stem, detail=p) for p in settings.recent])

    def _on_jobs(self, count: int) -> None:
        self.window.status_jobs.setText(plural(count, "job") if count else "")
        self.window.docks["jobs"].setWindowTitle(f"Jobs ({count})" if count else "Jobs")
        self.window.commands.refresh({"jobs": count > 0})

    def set_face(self, face: Face) -> None:
        """Faders, curve, numbers or heat."""
        self.window.canvas.setFace(face)
        self.workspace.change_settings(view=face)

    # Problems and notices ------------------------------------------------------------------------------------

    def tell(self, text: str, severity: Severity = "info", key: str = "") -> None:
        """A notification."""
        self.window.toasts.show_notice(notice(text, severity, (), key))

    def show_problem(self, problem: Problem) -> None:
        """A card above the desk; several wait for each other."""
        self._problems.append(problem)
        if len(self._problems) == 1:
            self._show_card()

    def _show_card(self) -> None:
        self.window.card.set_state(self._problems[0])
        self.window.card.show()

    def _next_problem(self) -> None:
        self._problems = self._problems[1:]
        self.window.card.hide()
        if self._problems:
            self._show_card()

    def _on_card(self, action: str) -> None:
        verb, _, target = action.partition(":")
        run: dict[str, Callable[[str], None]] = {"remove": self.shelf.remove, "replace": self._choose_replacement}
        if verb in run:
            run[verb](target)
        self._next_problem()

    def _told(self, text: str, action: str) -> None:
        actions = (("undo", "Undo"),) if action == "undo" else ()
        self.window.toasts.show_notice(notice(text, "info", actions, "adding"))

    def _on_notice(self, key: str, action: str) -> None:
        if key == "adding" and action == "undo":
            self.workspace.store.undo_stack.undo()
        elif key.startswith("kept "):
            self.handlers.open_project(key.removeprefix("kept "))
        elif key == "exported":
            self.export.act(action)

    def problem_text(self) -> str:
        """The problem that is shown now, for tests; "" for none."""
        return " | ".join([self._problems[0].title, self._problems[0].why]) if self._problems else ""

    def board_values(self) -> list[list[float]] | None:
        """Fader positions as shown, for tests: one list a row."""
        return self.desk.board.cells.values.tolist() if self.desk.board else None

    # Small wishes --------------------------------------------------------------------------------------------

    def _drop_text(self, paths: list[str], target: str) -> str:
        """What the overlay promises for a drop."""
        row = target.removeprefix("row:")
        if row != target:
            return f"Replace {self.workspace.recipe.expert(row).name}"
        return f"Add {plural(len(paths), 'model')} as experts" if self.workspace.recipe.base else "Add to the desk"

    def row_actions(self) -> dict[str, Callable[[str], None]]:
        """The row menu's entries, by label."""
        window, shelf = self.window, self.shelf
        return {
            "Mute or unmute": lambda e: self.desk.toggle(e, "mute"),
            "Solo or end solo": lambda e: self.desk.toggle(e, "solo"),
            "Move up": lambda e: shelf.move(e, -1),
            "Move down": lambda e: shelf.move(e, 1),
            "Duplicate row": shelf.duplicate,
            "Use as base": self.adding.accept,
            "Choose another file…": self._choose_replacement,
            "Checks…": shelf.show_checks,
            "Show in file manager": lambda e: window.shelf.revealRequested.emit(e),
            "Remove": shelf.remove,
        }

    def _select_row(self, expert: str) -> None:
        cells = [(expert, c) for c in range(len(self.desk.columns))]
        if expert in {e.id for e in self.workspace.recipe.experts}:
            self.window.canvas.setSelectedCells(cells)
            self.window.canvas.selectionChanged.emit(tuple(cells))

    def _choose_replacement(self, model_id: str) -> None:
        path, _ = QFileDialog.getOpenFileName(self.window, "Choose another file", "", "Models (*.safetensors)")
        base = self.workspace.recipe.base
        if path:
            self.adding.add([path], "base" if base is not None and base.id == model_id else model_id)

    def _forget_recent(self, path: str) -> None:
        self.workspace.change_settings(recent=tuple(p for p in self.workspace.settings.recent if p != path))

    def help_page(self) -> str:
        """The help page of the panel that has the focus."""
        focused = QApplication.focusWidget()
        for name, dock in self.window.docks.items():
            if focused is not None and dock.isAncestorOf(focused):
                return _HELP_PAGES.get(name, "desk")
        pages = {"compare": "compare", self.window.canvas.objectName(): "desk"}
        page = self.window.pages.currentWidget()
        return pages.get(page.objectName(), "index") if page is not None else "index"


def _settle() -> None:
    """From now on what has become garbage is collected."""
    quiet.settle("window")
    quiet.release(quiet.STARTING)


def face_of(text: str) -> Face:
    """The face that the settings name; faders when they name none."""
    faces: tuple[Face, ...] = ("faders", "curve", "numbers", "heat")
    return next((face for face in faces if face == text), "faders")
