"""What every action of the table does: one method for each id, "file.open" -> `file_open`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from app.actions import Action
from app.demo import demo_recipe
from app.problems import as_problem
from app.shelf_controller import PROJECT
from app.side_docks import show_dock
from engine.errors import MixdownError
from engine.files.model import Finding
from engine.recipe.recipe import Recipe
from widgets.common.theme import Scheme, apply_theme, theme
from widgets.common.toast import Notice
from widgets.dialogs.state import Problem

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.evaluate.greedy import Soup

_MODELS = "Models and recipes (*.safetensors *.index.json *.mixdown *.yaml *.yml);;All files (*)"
_PROJECTS = f"Mixdown projects (*{PROJECT})"
_THEMES: tuple[Scheme, ...] = ("dark", "light", "contrast")


class Handlers(QObject):
    """The actions' methods, on the assembled desk."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def find(self, action: Action) -> Callable[..., None]:
        """The method of an action; looked up when it is called."""
        name = action.id.replace(".", "_", 1)
        if action.local:
            return lambda *_: self._local(action.id)
        if not hasattr(self, name):
            return lambda *args: self._desk.features[action.id](*args)
        return lambda *args: getattr(self, name)(*args)

    def _local(self, action_id: str) -> None:
        """Keys that belong to the desk, when they are chosen from a menu or the palette."""
        desk = self._desk
        cells = desk.window.canvas.selectedCells()
        row = cells[0][0] if cells else next((e.id for e in desk.workspace.recipe.experts), "")
        if action_id in ("desk.finer", "desk.coarser"):
            desk.desk.step_grouping(1 if action_id == "desk.finer" else -1)
        elif row:
            desk.desk.toggle(row, action_id.removeprefix("desk."))

    # File ----------------------------------------------------------------------------------------------------

    def file_new(self) -> None:
        """An empty desk, after asking about unsaved work."""
        if self.may_discard():
            self._desk.workspace.store.reset(Recipe(), None)

    def file_open(self) -> None:
        """Choose files: models or a project."""
        paths, _ = QFileDialog.getOpenFileNames(self._desk.window, "Open", "", _MODELS)
        if paths:
            self._desk.shelf.drop(paths, "canvas")

    def file_open_folder(self) -> None:
        """Choose a model folder."""
        path = QFileDialog.getExistingDirectory(self._desk.window, "Open a model folder")
        if path:
            self._desk.shelf.drop([path], "canvas")

    def choose_project(self) -> None:
        """Choose a project file."""
        path, _ = QFileDialog.getOpenFileName(self._desk.window, "Open a project", "", _PROJECTS)
        if path:
            self.open_project(path)

    def open_project(self, path: str) -> None:
        """Open a project file; on any error the present one stays."""
        if not self.may_discard():
            return
        try:
            self._desk.workspace.store.open(Path(path))
        except MixdownError as error:
            self._desk.show_problem(as_problem(error, f"{Path(path).name} cannot be opened"))
            return
        self._desk.workspace.remember(Path(path))

    def open_mergekit(self, path: str) -> None:
        """Open a mergekit configuration as an untitled project; what a recipe cannot say is listed."""
        from engine.recipe.mergekit import load_mergekit

        if not self.may_discard():
            return
        try:
            made = load_mergekit(Path(path))
            made.refuse_errors()
        except MixdownError as error:
            self._desk.show_problem(as_problem(error, f"{Path(path).name} cannot be opened"))
            return
        self._desk.workspace.store.reset(made.recipe, None)
        self._tell_findings(f"{Path(path).name} was read with remarks", made.findings)

    def file_mergekit(self) -> None:
        """Save the recipe as a mergekit configuration."""
        workspace = self._desk.workspace
        start = str((workspace.store.path or Path.home() / "mix").with_suffix(".yaml"))
        path = ask_where(self._desk.window, "Save for mergekit", start, "mergekit (*.yaml *.yml)")
        if path is not None:
            self.save_mergekit(str(path))

    def save_mergekit(self, path: str) -> None:
        """Write a mergekit configuration; what it cannot say is listed."""
        from engine.recipe.mergekit import save_mergekit

        try:
            findings = save_mergekit(self._desk.workspace.recipe, Path(path))
        except MixdownError as error:
            self._desk.show_problem(as_problem(error, f"{Path(path).name} could not be written"))
            return
        self._desk.tell(f"Saved {Path(path).name}.", "ok")
        self._tell_findings(f"{Path(path).name} does not say everything", findings)

    def _tell_findings(self, title: str, findings: Sequence[Finding]) -> None:
        """A card with what was lost in translation, if anything was."""
        if findings:
            lines = [f"{f.severity}: {f.message} {f.hint}".strip() for f in findings]
            self._desk.show_problem(Problem(title=title, why=lines[0], details="\n".join(lines), severity="warning"))

    def file_demo(self) -> None:
        """Put the demo on the desk."""
        if not self.may_discard():
            return
        try:
            self._desk.workspace.store.reset(demo_recipe(), None)
        except MixdownError as error:
            self._desk.show_problem(as_problem(error))

    def file_save(self) -> bool:
        """Save; asks for a name the first time. Returns whether it was saved."""
        path = self._desk.workspace.store.path
        return self._save(path) if path is not None else self.file_save_as()

    def file_save_as(self) -> bool:
        """Save under another name."""
        store = self._desk.workspace.store
        start = str(store.path or Path.home() / f"mix{PROJECT}")
        path = ask_where(self._desk.window, "Save project", start, _PROJECTS)
        return path is not None and self._save(path)

    def _save(self, path: Path) -> bool:
        workspace = self._desk.workspace
        workspace.store.replace_silently(workspace.hashed_recipe())
        try:
            workspace.store.save(path)
        except MixdownError as error:
            self._desk.show_problem(as_problem(error, f"{path.name} could not be saved"))
            return False
        workspace.remember(path)
        self._desk.tell(f"Saved {path.name}.", "ok")
        return True

    def file_export(self) -> None:
        """Open the export panel."""
        export = self._desk.export
        self._desk.window.show_panel("export")
        export.start()
        self._desk.window.export.focus_target()

    def file_quit(self) -> None:
        """Close the window, which asks."""
        self._desk.window.close()

    def may_discard(self) -> bool:
        """Whether the present recipe may go: unsaved work is offered to be saved. The demo needs no saving."""
        store = self._desk.workspace.store
        if not store.is_edited or not store.recipe.experts:
            return True
        button = QMessageBox.StandardButton
        box = QMessageBox(QMessageBox.Icon.Question, "Save the recipe?", f"Save the changes to {store.title}?",
                          button.Save | button.Discard | button.Cancel, self._desk.window)  # fmt: skip
        box.setInformativeText("Otherwise the recipe on the desk is gone.")
        answer = box.exec()
        return answer == button.Discard or (answer == button.Save and self.file_save())

    # Edit ----------------------------------------------------------------------------------------------------

    def edit_undo(self) -> None:
        """Undo."""
        self._desk.workspace.store.undo_stack.undo()

    def edit_redo(self) -> None:
        """Redo."""
        self._desk.workspace.store.undo_stack.redo()

    def edit_preferences(self) -> None:
        """Open the preferences."""
        self._desk.dialogs.preferences()

    # Mix -----------------------------------------------------------------------------------------------------

    def mix_eval(self) -> None:
        """Score now."""
        self._desk.window.show_panel("scores")
        self._desk.workspace.scoring.evaluate()

    def mix_auto_eval(self, checked: bool) -> None:
        """Score after every change."""
        self._desk.workspace.change_settings(auto_eval=checked)

    def mix_soup(self) -> None:
        """Search the greedy soup; its recipe arrives as one undoable step."""
        desk, asked = self._desk, self._desk.workspace.recipe

        def found(soup: Soup) -> None:
            if desk.workspace.recipe.experts != asked.experts:
                desk.tell("The experts changed meanwhile, so the soup was not used.", "warning")
                return
            desk.workspace.store.apply(soup.recipe, f"Greedy soup of {len(soup.members)} experts")
            names = ", ".join(asked.expert(e).name for e in soup.members)
            desk.tell(f"Greedy soup: {names}. Mean validation score {100 * soup.value:.1f}.", "ok")

        desk.workspace.scoring.soup(found, lambda error: desk.show_problem(as_problem(error, "No soup")))
        desk.window.show_panel("jobs")

    def mix_add_task(self) -> None:
        """Choose task files."""
        start = str(Path(__file__).resolve().parent.parent / "resources" / "demo" / "tasks")
        paths, _ = QFileDialog.getOpenFileNames(self._desk.window, "Add a task", start, "Tasks (*.task.json)")
        for path in paths:
            self._desk.scores.add_task(path)

    def mix_pin(self) -> None:
        """Pin the recipe."""
        self._desk.history.pin()
        self._desk.window.show_panel("history")

    def mix_copy_command(self) -> None:
        """Copy the command line."""
        command = self._desk.export.command()
        if command:
            QGuiApplication.clipboard().setText(command)
            self._desk.tell("Copied the command line of this recipe.", "ok")

    def mix_clear_overrides(self) -> None:
        """Remove finer coefficients in the selection."""
        self._desk.desk.clear_overrides()

    def mix_reset(self) -> None:
        """All faders back."""
        self._desk.desk.reset_all()

    # View ----------------------------------------------------------------------------------------------------

    def desk_faders(self) -> None:
        """Faders."""
        self._desk.set_face("faders")

    def desk_curve(self) -> None:
        """Curves."""
        self._desk.set_face("curve")

    def desk_numbers(self) -> None:
        """Numbers."""
        self._desk.set_face("numbers")

    def desk_heat(self) -> None:
        """Heat."""
        self._desk.set_face("heat")

    def desk_select_box(self) -> None:
        """To the selection box."""
        self._desk.window.canvas.focusSelectionBox()

    def view_models(self, checked: bool) -> None:
        """Show or hide the shelf."""
        self._desk.window.docks["models"].setVisible(checked)

    def view_details(self, checked: bool) -> None:
        """Show or hide the panels on the right."""
        for name, dock in self._desk.window.docks.items():
            if name not in ("models", "export", "overlap", "sweep", "tune", "runs"):
                dock.setVisible(checked)

    def view_overlap(self, checked: bool) -> None:
        """Show or hide the overlap views."""
        dock = self._desk.window.docks["overlap"]
        if checked:
            show_dock(self._desk, dock, "runs", "sweep")
        else:
            dock.hide()

    def view_layout(self) -> None:
        """Panels back to their places."""
        self._desk.window.reset_layout()

    def view_theme(self) -> None:
        """The next theme."""
        following = _THEMES[(_THEMES.index(theme().name) + 1) % len(_THEMES)]
        self._desk.workspace.change_settings(theme=following)

    def view_next_pane(self) -> None:
        """Move the keyboard to the next panel that can be seen."""
        window = self._desk.window
        panes = [p for p in window.panes() if not p.visibleRegion().isEmpty()]
        focused = window.focusWidget()
        at = next(
            (i for i, p in enumerate(panes) if focused is not None and (p is focused or p.isAncestorOf(focused))), -1
        )
        pane = panes[(at + 1) % len(panes)]
        (pane if pane is window.canvas else first_stop(pane)).setFocus(Qt.FocusReason.TabFocusReason)

    def view_notices(self) -> None:
        """To the newest notification on the screen; when there is none, a list of the earlier ones."""
        window = self._desk.window
        if not window.toasts.focus_newest():
            self._desk.dialogs.notices()

    def view_palette(self) -> None:
        """Find a command by its name."""
        self._desk.window.palette_box.open_with(self._desk.window.commands.entries())

    # Jobs and help -------------------------------------------------------------------------------------------

    def jobs_cancel(self) -> None:
        """Stop everything that runs."""
        for job in self._desk.workspace.runner.active():
            self._desk.workspace.runner.cancel(job)

    def jobs_show(self) -> None:
        """Show the jobs panel."""
        self._desk.window.show_panel("jobs")

    def help_contents(self) -> None:
        """Help on what has the focus."""
        self._desk.dialogs.help(self._desk.help_page())

    def help_shortcuts(self) -> None:
        """All keys."""
        self._desk.dialogs.shortcuts()

    def help_method(self) -> None:
        """What the method does."""
        self._desk.dialogs.help("methods", self._desk.workspace.method.title)

    def help_about(self) -> None:
        """Versions and licences."""
        self._desk.dialogs.about()


def ask_where(window: QWidget, title: str, start: str, kinds: str) -> Path | None:
    """Where to save; a name without an ending gets the one of `start` before replacing is asked about."""
    dialog = QFileDialog(window, title, start, kinds)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setDefaultSuffix(Path(start).suffix.removeprefix("."))
    chosen = dialog.exec() == QFileDialog.DialogCode.Accepted
    dialog.deleteLater()
    return Path(dialog.selectedFiles()[0]) if chosen else None


def first_stop(pane: QWidget) -> QWidget:
    """Where Tab would arrive in a pane: the pane itself, or the first of its controls."""
    at = pane
    while not (at.focusPolicy() & Qt.FocusPolicy.TabFocus and at.isVisible() and at.isEnabled()):
        following = at.nextInFocusChain()
        if following is None:
            return pane
        at = following
        if at is not pane and not pane.isAncestorOf(at):
            return pane
        if at is pane:
            break
    return at


def use_theme(app: QApplication, wanted: str) -> None:
    """Apply a theme of the settings; "system" asks the desktop."""
    from widgets.common.theme import system_scheme

    apply_theme(app, system_scheme(app) if wanted == "system" else wanted)  # type: ignore[arg-type]  # a scheme's name


def notice(text: str, severity: str = "info", actions: tuple[tuple[str, str], ...] = (), key: str = "") -> Notice:
    """A notification from plain words."""
    return Notice(text=text, severity=severity, actions=actions, key=key)  # type: ignore[arg-type]  # one of four
