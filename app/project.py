"""The project: one recipe, its undo stack, its file. The only place where the recipe is swapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoStack

from app.commands import ReplaceRecipe
from engine.errors import OutOfRange
from engine.recipe.project import SCHEMA, load_with_pins, save_project
from engine.recipe.recipe import ModelRef, Recipe, TaskRef

MOST_PINS: int = SCHEMA["properties"]["pins"]["maxProperties"]
"""A project file with more pins could not be opened again."""


class ProjectStore(QObject):
    """Holds the recipe; everyone else asks for changes through `apply`.

    Signals:
        recipeChanged: The new recipe, after every change, undo and redo.
        titleChanged: File name or "edited" state changed.
        pinsChanged: A named recipe was added or removed.
    """

    recipeChanged = Signal(object)
    titleChanged = Signal()
    pinsChanged = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.undo_stack = QUndoStack(self)
        self.undo_stack.setUndoLimit(1000)
        self.path: Path | None = None
        self.pins: dict[str, Recipe] = {}
        self._saved_pins = self.pins
        self._recipe = Recipe()
        self._saved = self._recipe
        self._was_edited = False

    @property
    def recipe(self) -> Recipe:
        """The recipe as it is now."""
        return self._recipe

    @property
    def is_edited(self) -> bool:
        """Whether the recipe or the pins differ from the saved ones."""
        return not self.is_saved(self._recipe) or self.pins != self._saved_pins

    @property
    def title(self) -> str:
        """Name for the window title."""
        return self.path.stem if self.path else "Untitled"

    def apply(self, recipe: Recipe, text: str, gesture: str = "") -> None:
        """Change the recipe as one undoable step; steps of one gesture merge into one."""
        if recipe != self._recipe:
            self.undo_stack.push(ReplaceRecipe(self._show, self._recipe, recipe, text, gesture))

    def abandon_gesture(self, gesture: str) -> None:
        """Take back the running drag, leaving no trace in the undo stack."""
        index = self.undo_stack.index() - 1
        command = self.undo_stack.command(index) if index >= 0 else None
        if isinstance(command, ReplaceRecipe) and command.gesture == gesture:
            self._show(command.before)
            command.setObsolete(True)  # an obsolete command is deleted instead of undone
            self.undo_stack.undo()

    def reset(
        self, recipe: Recipe, path: Path | None, pins: Mapping[str, Recipe] | None = None, *, is_saved: bool = True
    ) -> None:
        """Start anew from a loaded or empty recipe; the undo stack is emptied.

        Args:
            recipe: The recipe to show.
            path: Its project file.
            pins: Named recipes.
            is_saved: False for work that lies in no project file yet, so that it is not thrown away unasked.
        """
        self.undo_stack.clear()
        self.path, self._saved = path, recipe if is_saved else Recipe()
        self.pins = dict(pins or {})
        self._saved_pins = self.pins if is_saved else {}
        self._show(recipe)
        self.titleChanged.emit()
        self.pinsChanged.emit()

    def open(self, path: Path) -> None:
        """Load a project file; on any error the present project stays.

        Raises:
            BadProject: if the file is damaged or unsafe.
        """
        recipe, pins = load_with_pins(path)
        self.reset(recipe, path, pins)

    def save(self, path: Path) -> None:
        """Write the project file.

        Raises:
            WriteProblem: if it cannot be written; the file is the old one, or whole and new if its message says so.
        """
        save_project(self._recipe, path, pins=self.pins)
        self.path, self._saved, self._saved_pins = path, self._recipe, self.pins
        self._was_edited = False
        self.titleChanged.emit()

    def pin(self, name: str) -> None:
        """Remember the recipe under a name.

        Raises:
            OutOfRange: if there are as many pins as a project file can hold.
        """
        self.keep_pin(name, self._recipe)

    def keep_pin(self, name: str, recipe: Recipe) -> None:
        """Remember any recipe under a name; see `pin`."""
        if len(self.pins) >= MOST_PINS and name not in self.pins:
            raise OutOfRange(f"A project holds at most {MOST_PINS} pins.", hint="Remove one that you need no longer.")
        self.pins = {**self.pins, name: recipe}
        self.pinsChanged.emit()

    def unpin(self, name: str) -> None:
        """Forget a pin."""
        self.pins = {k: v for k, v in self.pins.items() if k != name}
        self.pinsChanged.emit()

    def rename_pin(self, name: str, fresh: str) -> None:
        """Give a pin another name; nothing happens when the name is empty or taken."""
        if name in self.pins and fresh and fresh not in self.pins:
            self.pins = {fresh if k == name else k: v for k, v in self.pins.items()}
            self.pinsChanged.emit()

    def is_saved(self, recipe: Recipe) -> bool:
        """Whether the project file holds this recipe; content hashes only say what is known already."""
        return is_same(recipe, self._saved)

    def change_tasks(self, tasks: tuple[TaskRef, ...], text: str) -> None:
        """Change the recipe's tasks as an undoable step."""
        self.apply(replace(self._recipe, tasks=tasks), text)

    def replace_silently(self, recipe: Recipe) -> None:
        """Add what was learnt about the models (hashes) without an undo step or an "edited" mark."""
        if not self.is_edited:
            self._saved = recipe
        self._show(recipe)

    def _show(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.recipeChanged.emit(recipe)
        is_edited = self.is_edited
        if is_edited != self._was_edited:
            self._was_edited = is_edited
            self.titleChanged.emit()


def is_same(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes differ in nothing but content hashes; made to be asked at every fader event."""
    if one is other:
        return True
    return one.rules == other.rules and without_hashes(one) == without_hashes(other)


def without_hashes(recipe: Recipe) -> Recipe:
    """The recipe without content hashes: what the user decided, apart from what was learnt about the files."""
    base, experts = _unhashed(recipe.base), _unhashed_experts(recipe.experts)
    if base is recipe.base and experts is recipe.experts:
        return recipe
    return replace(recipe, base=base, experts=experts)


def _unhashed(ref: ModelRef | None) -> ModelRef | None:
    return replace(ref, sha256="") if ref is not None and ref.sha256 else ref


_known: tuple[tuple[ModelRef, ...], tuple[ModelRef, ...]] = ((), ())


def _unhashed_experts(experts: tuple[ModelRef, ...]) -> tuple[ModelRef, ...]:
    """The experts without hashes; a fader asks for the same ones at every event."""
    global _known
    if not any(ref.sha256 for ref in experts):
        return experts
    if _known[0] is not experts:
        _known = experts, tuple(replace(ref, sha256="") for ref in experts)
    return _known[1]
