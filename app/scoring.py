"""Quick eval: scores of base, experts and mix; newest wins, remembered by content, stale until measured again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from app import places
from app.jobs import JobRunner
from app.project import is_same, without_hashes
from engine.errors import MixdownError
from engine.evaluate.measures import find_measure
from engine.evaluate.score import Score, average
from engine.evaluate.task import Task, load_task, task_hash
from engine.files.model import Checkpoint
from engine.merge.inputs import Inputs
from engine.progress import Token
from engine.recipe.recipe import Recipe, TaskRef

if TYPE_CHECKING:
    from engine.evaluate.greedy import Soup
    from engine.store.cache import ScoreCache

_MOST_AVERAGES = 4096
"""Recipes whose score is looked up once only."""
AUTO_DELAY_MS = 600
"""Quiet time after the last change before quick eval starts by itself."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Scores of one recipe, by task name."""

    recipe: Recipe
    scores: Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class Board:
    """Everything known about scores.

    Attributes:
        tasks: The recipe's tasks that could be read, by path.
        problems: Why others could not, by task name.
        models: Scores of single models, by (checkpoint path, task name).
        mix: Latest scores of a mix.
    """

    tasks: Mapping[str, Task] = field(default_factory=dict)
    problems: Mapping[str, MixdownError] = field(default_factory=dict)
    models: Mapping[tuple[str, str], Score] = field(default_factory=dict)
    mix: Mix | None = None


class Scoring(QObject):
    """Runs quick evals in the background and keeps what they found.

    Signals:
        scoresChanged: New scores, or a run started or ended.
    """

    scoresChanged = Signal()

    def __init__(self, runner: JobRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self._recipe = Recipe()
        self._inputs: Inputs | None = None
        self._cache: ScoreCache | None = None
        self.board = Board()
        self.is_auto = True
        self.rows, self._by = 300, ""
        self.is_running = False
        self.history: dict[Recipe, float] = {}
        self._averages: dict[int, tuple[Recipe, float | None]] = {}
        self.changed_tasks: tuple[str, ...] = ()
        self._timer = QTimer(self, interval=AUTO_DELAY_MS, singleShot=True)
        self._timer.timeout.connect(self.evaluate)

    def configure(self, is_auto: bool, rows: int, runner: str = "") -> None:
        """Follow the preferences; scores on other rows or by another runner are not shown as these."""
        self.is_auto = is_auto
        if (rows, runner) != (self.rows, self._by):
            self.rows, self._by, self.history = rows, runner, {}
            self._averages.clear()
            self._runner.cancel_key("score mix")
            self._runner.cancel_key("score models")
            self.is_running = False
            self.board = Board(self.board.tasks, self.board.problems)
            self.scoresChanged.emit()

    @property
    def is_stale(self) -> bool:
        """Whether the mix's scores belong to another recipe."""
        mix = self.board.mix
        return mix is not None and not is_same(mix.recipe, self._recipe)

    def recipe_changed(self, recipe: Recipe, inputs: Inputs | None) -> None:
        """Note the recipe; start later by itself if the user wants that."""
        changed = not is_same(recipe, self._recipe) or (inputs is None) != (self._inputs is None)
        before = self._shown(), self._recipe.tasks, self._recipe.experts
        if recipe.tasks != self._recipe.tasks:
            self._load_tasks(recipe.tasks)
        self._recipe, self._inputs = recipe, inputs
        if self.is_auto and changed and self.can_run:
            self._timer.start()
        if (self._shown(), recipe.tasks, recipe.experts) != before:
            self.scoresChanged.emit()

    def _shown(self) -> tuple[bool, bool]:
        """What panels show of the recipe itself; most fader events do not change it."""
        return self.is_stale, self.can_run

    @property
    def can_run(self) -> bool:
        """Whether there is something to score and to score it on."""
        return self._inputs is not None and bool(self.board.tasks)

    def evaluate(self) -> None:
        """Score whatever is not known yet, the mix first."""
        self._timer.stop()
        if self._inputs is None or not self.board.tasks:
            return
        recipe, inputs, rows = self._recipe, self._inputs, self.rows
        tasks = tuple(self.board.tasks.values())
        self.is_running = True

        def work(token: Token) -> Mapping[str, Score]:
            from app.evaluator import score_recipe  # not while the window starts

            return score_recipe(recipe, inputs, tasks, limit=rows, cache=self._open_cache(), progress=token)

        self._runner.submit("Scoring the mix", work, key="score mix", done=lambda s: self._mixed(recipe, s),
                            failed=self._failed)  # fmt: skip
        self._score_models(inputs, tasks, rows)
        self.scoresChanged.emit()

    def soup(self, found: Callable[[Soup], None], failed: Callable[[MixdownError], None]) -> None:
        """Search the greedy soup of the recipe's experts on the validation rows, as a job of its own."""
        if self._inputs is None or not self.board.tasks:
            return
        recipe, inputs, rows, tasks = self._recipe, self._inputs, self.rows, tuple(self.board.tasks.values())

        def work(token: Token) -> Soup:
            from app.evaluator import score_recipe
            from engine.evaluate.greedy import greedy_soup

            return greedy_soup(
                recipe, inputs, tasks, limit=rows, cache=self._open_cache(), progress=token, score=score_recipe
            )

        self._runner.submit("Searching the greedy soup", work, key="soup", done=found, failed=failed)

    def stop(self) -> None:
        """Stop scoring; what is known stays."""
        self._timer.stop()
        self._runner.cancel_key("score mix")
        self._runner.cancel_key("score models")
        self.is_running = False
        self.scoresChanged.emit()

    def forget(self, path: str) -> None:
        """A model's files changed: its scores, and those of every mix with it, are not true any more."""
        board = self.board
        models = {key: score for key, score in board.models.items() if key[0] != path}
        mix = None if board.mix and path in _paths(board.mix.recipe) else board.mix
        self.history = {recipe: score for recipe, score in self.history.items() if path not in _paths(recipe)}
        self.board = Board(board.tasks, board.problems, models, mix)
        self.scoresChanged.emit()

    def _score_models(self, inputs: Inputs, tasks: tuple[Task, ...], rows: int) -> None:
        """Base and experts, once: their scores do not change while faders move."""
        models = [m for m in (inputs.base, *inputs.experts) if m is not None]
        recipe = self._recipe
        missing = [(m, t) for m in models for t in tasks if (str(m.path), t.name) not in self.board.models]
        if not missing:
            return

        def work(token: Token) -> Mapping[tuple[str, str], Score]:
            return self._measure_models(missing, recipe, inputs, rows, token)

        self._runner.submit("Scoring base and experts", work, key="score models", background=True,
                            done=self._models_scored, failed=self._failed)  # fmt: skip

    def _measure_models(
        self, missing: list[tuple[Checkpoint, Task]], recipe: Recipe, inputs: Inputs, rows: int, token: Token
    ) -> Mapping[tuple[str, str], Score]:
        from app.evaluator import score_checkpoint

        found: dict[tuple[str, str], Score] = {}
        for model, task in missing:
            token.check()
            found[str(model.path), task.name] = score_checkpoint(
                model, recipe, inputs, task, limit=rows, cache=self._open_cache(), progress=token
            )
        return found

    def _open_cache(self) -> ScoreCache:
        """The score cache, opened by the first worker that needs it."""
        from engine.store.cache import ScoreCache

        if self._cache is None:
            self._cache = ScoreCache(places.score_cache_file())
        return self._cache

    def _load_tasks(self, refs: tuple[TaskRef, ...]) -> None:
        tasks: dict[str, Task] = {}
        problems: dict[str, MixdownError] = {}
        changed: list[str] = []
        for ref in refs:
            try:
                tasks[ref.path] = load_task(Path(ref.path))
                if ref.sha256 and task_hash(Path(ref.path)) != ref.sha256:
                    changed.append(ref.name)
            except MixdownError as error:
                problems[ref.name] = error
        self.changed_tasks = tuple(changed)
        names = {t.name for t in tasks.values()}
        models = {k: v for k, v in self.board.models.items() if k[1] in names}
        self.board = Board(tasks, problems, models, self.board.mix)

    def _mixed(self, recipe: Recipe, scores: Mapping[str, Score]) -> None:
        self.is_running = False
        self.board = Board(self.board.tasks, {}, self.board.models, Mix(recipe, scores))
        if scores:
            mean = average(list(scores.values()))
            if find_measure(mean.metric).unit == "%":  # else there is no number that stands for all tasks
                self.history[without_hashes(recipe)] = mean.value
                self._averages.clear()
        self.scoresChanged.emit()

    def average(self, recipe: Recipe) -> float | None:
        """Mean score that was measured for a recipe, if it was; asked about every step again and again."""
        if not self.history:
            return None
        known = self._averages.get(id(recipe))
        if known is None or known[0] is not recipe:
            if len(self._averages) >= _MOST_AVERAGES:
                self._averages.clear()
            known = self._averages[id(recipe)] = recipe, self.history.get(without_hashes(recipe))
        return known[1]

    def _models_scored(self, scores: Mapping[tuple[str, str], Score]) -> None:
        self.board = Board(self.board.tasks, self.board.problems, {**self.board.models, **scores}, self.board.mix)
        self.scoresChanged.emit()

    def _failed(self, error: MixdownError) -> None:
        self.is_running = False
        self.board = Board(self.board.tasks, {t.name: error for t in self.board.tasks.values()}, self.board.models,
                           self.board.mix)  # fmt: skip
        self.scoresChanged.emit()


def _paths(recipe: Recipe) -> set[str]:
    """Files of all models of a recipe."""
    return {ref.path for ref in (recipe.base, *recipe.experts) if ref is not None}
