"""Gram matrices of the project's task vectors: measured once in the background, used at every fader event."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal

from app.jobs import JobRunner
from app.library import Library
from engine.live.gram import Gram
from engine.merge.inputs import make_inputs
from engine.progress import Token
from engine.recipe.recipe import Recipe

_KEY = "gram"
START_DELAY_MS = 150
"""Dropped models are painted first; then both cores may read."""


class LiveGram(QObject):
    """Keeps the Gram matrix that belongs to the recipe's models.

    Signals:
        gramChanged: A new matrix is there, or the old one no longer fits.
    """

    gramChanged = Signal()

    def __init__(self, runner: JobRunner, library: Library, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self._library = library
        self._gram: Gram | None = None
        self._paths: tuple[str, ...] = ()
        self._wanted: tuple[str, ...] = ()
        self._recipe = Recipe()
        self._soon = QTimer(self, interval=START_DELAY_MS, singleShot=True)
        self._soon.timeout.connect(self._measure)

    def gram(self, recipe: Recipe) -> Gram | None:
        """The matrix in the recipe's row order, or None while it is being measured."""
        paths = _paths(recipe)
        if self._gram is None or not paths or paths[0] != self._paths[0]:
            return None
        known = {path: index for index, path in enumerate(self._paths[1:])}
        if any(path not in known for path in paths[1:]):
            return None
        order = [known[path] for path in paths[1:]]
        return self._gram if order == list(range(len(self._paths) - 1)) else self._gram.reordered(order)

    def refresh(self, recipe: Recipe) -> None:
        """Measure in the background if the recipe has models that the matrix lacks, once the row is painted."""
        self._recipe = recipe
        if not self._soon.isActive():
            self._soon.start()

    def _measure(self) -> None:
        recipe = self._recipe
        paths = _paths(recipe)
        if recipe.base is None or not recipe.experts or self.gram(recipe) is not None or paths == self._wanted:
            return
        entries = self._library.ready(paths)
        if entries is None or any(_blocked(self._library, paths[0], path) for path in paths[1:]):
            return
        base, *experts = [entry.checkpoint for entry in entries if entry.checkpoint is not None]
        inputs = make_inputs(base, experts, [e.name for e in recipe.experts])
        self._wanted = paths

        def work(token: Token) -> Gram:
            from engine.analyse.gram import gram

            return gram(inputs, token)

        self._runner.submit(f"Comparing the task vectors of {len(experts)} experts", work, key=_KEY, background=True,
                            done=lambda made: self._arrived(made, paths), failed=lambda _: self._gave_up())  # fmt: skip

    def forget(self, path: str) -> None:
        """A file changed: its numbers are not true any more."""
        if path in self._paths or path in self._wanted:
            self._gram, self._paths, self._wanted = None, (), ()
            self.gramChanged.emit()

    def _arrived(self, gram: Gram, paths: tuple[str, ...]) -> None:
        self._gram, self._paths = gram, paths
        self.gramChanged.emit()

    def _gave_up(self) -> None:
        self._wanted = ()


def _paths(recipe: Recipe) -> tuple[str, ...]:
    return (recipe.base.path, *(e.path for e in recipe.experts)) if recipe.base and not recipe.stack else ()


def _blocked(library: Library, base: str, expert: str) -> bool:
    return any(f.severity == "error" for f in library.findings(base, expert))
