"""The history list (the undo stack with scores) and the pins."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer

from app.commands import ReplaceRecipe
from app.workbench import unique_name
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.history.titles import title_of
from engine.recipe.recipe import Recipe
from widgets.panels.history import HistoryPanel
from widgets.panels.state import HistoryState, PinRow, Step


class HistoryController(QObject):
    """Connects the history panel with the undo stack and the pins."""

    def __init__(self, workspace: Workspace, panel: HistoryPanel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._panel = workspace, panel
        store = workspace.store
        panel.stepChosen.connect(store.undo_stack.setIndex)
        panel.pinRequested.connect(self.pin)
        panel.pinChosen.connect(self.use_pin)
        panel.pinRemoved.connect(store.unpin)
        panel.pinRenamed.connect(self.rename_pin)
        self._soon = QTimer(self, interval=200, singleShot=True)  # a drag changes the last step at every event
        self._soon.timeout.connect(self.refresh)
        for signal in (store.undo_stack.indexChanged, store.recipeChanged, store.pinsChanged, store.titleChanged,
                       workspace.scoring.scoresChanged):  # fmt: skip
            signal.connect(self._later)

    def _later(self, *_: object) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def refresh(self, *_: object) -> None:
        """Show steps and pins as they are now."""
        store = self._workspace.store
        recipes = self._recipes()
        texts = ["Start", *(store.undo_stack.text(i) for i in range(store.undo_stack.count()))]
        steps = tuple(
            Step(text=text, score=self._score(recipe), is_saved=store.path is not None and store.is_saved(recipe))
            for text, recipe in zip(texts, recipes, strict=True)
        )
        pins = tuple(
            PinRow(name=name, detail=models(recipe), score=self._score(recipe), is_current=recipe == store.recipe)
            for name, recipe in store.pins.items()
        )
        self._panel.set_state(HistoryState(steps=steps, current=store.undo_stack.index(), pins=pins))

    def _recipes(self) -> list[Recipe]:
        """The recipe of every step, the start first."""
        stack = self._workspace.store.undo_stack
        commands = [c for i in range(stack.count()) if isinstance(c := stack.command(i), ReplaceRecipe)]
        if not commands:
            return [self._workspace.recipe]
        return [commands[0].before, *(c.after for c in commands)]

    def _score(self, recipe: Recipe) -> float | None:
        return self._workspace.scoring.average(recipe)

    def pin(self) -> None:
        """Remember the present recipe, named by what it says that the pin before does not."""
        store = self._workspace.store
        try:
            store.pin(unique_name(title_of(store.recipe, store.pins.values()), store.pins))
        except MixdownError as error:
            self._workspace.problem.emit(error)

    def use_pin(self, name: str) -> None:
        """Put a pinned recipe on the desk, as an undoable step."""
        self._workspace.store.apply(self._workspace.store.pins[name], f"Use pin {name}")

    def rename_pin(self, name: str, fresh: str) -> None:
        """Give a pin another name."""
        self._workspace.store.rename_pin(name, fresh)


def models(recipe: Recipe) -> str:
    """ "code, chat on qwen": what a recipe merges, the second line of its pin."""
    experts = ", ".join(e.name for e in recipe.experts)
    return f"{experts} on {recipe.base.name}" if experts and recipe.base else experts
