"""Everything behind the window, without widgets: project, jobs, models, live numbers, scores, settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from app import places, quiet
from app.doctor import known_devices
from app.jobs import JobRunner
from app.library import Library
from app.live import LiveGram
from app.project import ProjectStore
from app.scoring import Scoring
from app.settings import load_settings, save_settings
from app.workbench import findings_of, remember_sketches
from engine.errors import MixdownError
from engine.files.model import Finding, Layout
from engine.merge.inputs import Inputs, make_inputs
from engine.methods import find
from engine.methods.spec import Method
from engine.recipe.recipe import Recipe


class Workspace(QObject):
    """Owns the parts and keeps them in step: a changed recipe asks the library, a read model asks for numbers.

    Signals:
        modelsChanged: Something became known about a model of the recipe.
        settingsChanged: The preferences, after each change.
        problem: An error that the user should see.
    """

    modelsChanged = Signal()
    settingsChanged = Signal(object)
    problem = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.settings = load_settings(places.settings_file())
        self._inputs: tuple[object, Inputs | None, object] | None = None
        self.unstackable: MixdownError | None = None
        self.runner = JobRunner(self)
        self.runner.hold(True)  # until `warm_up`, so that nothing loads torch before the window is painted
        self.store = ProjectStore(self)
        self.library = Library(self.runner, self)
        self.live = LiveGram(self.runner, self.library, self)
        self.scoring = Scoring(self.runner, self)
        self.devices: tuple[tuple[str, str], ...] = (("auto", "Automatic"), ("cpu", "CPU"))
        self.scoring.configure(self.settings.auto_eval, self.settings.eval_rows, self.settings.runner)
        self.store.recipeChanged.connect(self._on_recipe)
        self.library.contentChanged.connect(self.live.forget)
        self.library.contentChanged.connect(self.scoring.forget)
        self.library.entryChanged.connect(self._on_entry)

    @property
    def recipe(self) -> Recipe:
        """The recipe as it is now."""
        return self.store.recipe

    @property
    def method(self) -> Method:
        """The recipe's method."""
        return find(self.recipe.method)

    @property
    def layout(self) -> Layout | None:
        """Layers and kinds of the base (or of the first expert while there is no base); of a stack, those it makes."""
        if self.recipe.stack:
            inputs = self.inputs()
            return inputs.layout if inputs is not None else None
        ref = self.recipe.base or next(iter(self.recipe.experts), None)
        return self.library.entry(ref.path).layout if ref else None

    def findings(self) -> dict[str, tuple[Finding, ...]]:
        """What the checks say, by expert id."""
        if self.recipe.stack:
            inputs = self.inputs()
            found = findings_of(self.recipe, inputs) if inputs is not None else {}
            return {expert.id: found.get(expert.id, ()) for expert in self.recipe.experts}
        base = self.recipe.base.path if self.recipe.base else None
        return {e.id: self.library.findings(base, e.path) for e in self.recipe.experts}

    def inputs(self) -> Inputs | None:
        """The recipe's opened models, or None while one is being read or cannot be (see `unstackable`)."""
        recipe = self.recipe
        refs = [*([recipe.base] if recipe.base else []), *recipe.experts]
        entries = self.library.ready([r.path for r in refs])
        if not recipe.experts or entries is None:
            self.unstackable = None
            return None
        opened = [e.checkpoint for e in entries if e.checkpoint is not None]
        names = [e.name for e in recipe.experts]
        key = (recipe.base is not None, tuple(map(id, opened)), tuple(names), recipe.stack)
        if self._inputs is None or self._inputs[0] != key:  # ids are safe: the checkpoints are kept alive
            base = opened[0] if recipe.base else None
            self.unstackable = made = None
            try:
                made = make_inputs(base, opened[1:] if recipe.base else opened, names, recipe)
            except MixdownError as error:
                self.unstackable = error
            self._inputs = key, made, opened
        return self._inputs[1]

    def hashed_recipe(self) -> Recipe:
        """The recipe with the content hashes that are known by now."""
        recipe = self.recipe
        for ref in [*([recipe.base] if recipe.base else []), *recipe.experts]:
            known = self.library.entry(ref.path).sha256
            if known and known != ref.sha256:
                recipe = recipe.with_replaced(replace(ref, sha256=known))
        return recipe

    def change_settings(self, **changes: Any) -> None:
        """Change preferences; they apply at once and are saved."""
        settings = replace(self.settings, **changes)
        if settings == self.settings:
            return
        self.settings = settings
        trouble = save_settings(settings, places.settings_file())
        if trouble:
            self.problem.emit(MixdownError("The preferences could not be saved.", hint=trouble))
        self.scoring.configure(settings.auto_eval, settings.eval_rows, settings.runner)
        self.settingsChanged.emit(settings)

    def warm_up(self) -> None:
        """Load torch in the worker, once the window is painted, and learn which devices there are."""
        self.runner.hold(False)
        self.runner.submit("Loading the merge engine", lambda _: _loaded(), shown=False, done=self._warmed)

    def _warmed(self, devices: tuple[tuple[str, str], ...]) -> None:
        self.devices = devices
        self.settingsChanged.emit(self.settings)

    def remember(self, project: Path) -> None:
        """Put a project on top of the recent ones."""
        others = [p for p in self.settings.recent if p != str(project)]
        self.change_settings(recent=(str(project), *others)[:9])

    def _on_recipe(self, recipe: Recipe) -> None:
        for ref in [*([recipe.base] if recipe.base else []), *recipe.experts]:
            self.library.entry(ref.path)
        self.live.refresh(recipe)
        self.scoring.recipe_changed(recipe, self.inputs())

    def _on_entry(self, path: str) -> None:
        recipe = self.recipe
        if path in [r.path for r in (*([recipe.base] if recipe.base else []), *recipe.experts)]:
            self.live.refresh(recipe)
            self.scoring.recipe_changed(recipe, self.inputs())
            self.modelsChanged.emit()


def _loaded() -> tuple[tuple[str, str], ...]:
    """Load the heavy half of the engine, in a worker; returns the devices."""
    with quiet.loading("torch"):
        remember_sketches()
        return known_devices()
