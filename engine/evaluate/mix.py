"""Scores of a mix and of single models, as an export of them would score; remembered by content.

What is in the cache is answered without torch. What is not is merged in memory by the code that exports,
rounded to the output dtype as an export would be, and run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engine.evaluate.keying import model_key, recipe_key, run_key, task_key
from engine.evaluate.measures import Outcome
from engine.evaluate.memory import check_memory
from engine.evaluate.score import Score
from engine.evaluate.state import DiskState, completed
from engine.evaluate.task import Split, Task
from engine.files.hashing import touched
from engine.files.model import Checkpoint
from engine.graphs.policy import RUNNERS
from engine.merge.inputs import Inputs
from engine.merge.plan import make_plan
from engine.progress import Progress, Silent
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from engine.store.cache import ScoreCache

State = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What is known of one recipe, by task name.

    Attributes:
        scores: Its scores.
        outcomes: What it made of every row, to be compared with another recipe's (`engine.evaluate.paired`); empty
            where only the scores are known.
    """

    scores: Mapping[str, Score] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)


def score_recipe(
    recipe: Recipe,
    inputs: Inputs,
    tasks: Sequence[Task],
    *,
    split: Split = "val",
    limit: int | None = None,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
) -> dict[str, Score]:
    """Score the model that an export of the recipe would give.

    A method that restores one task (a parameter names its expert) is scored as the recipe says: one mix.

    Args:
        recipe: What to merge.
        inputs: Its models.
        tasks: What to score on.
        split: "val" to choose with, "test" for the final figure.
        limit: Only the first rows of each task; None for all.
        cache: Scores that are known already.
        progress: Told the bytes merged, then the rows done.

    Returns:
        A score for each task's name, in the order given.

    Raises:
        MixdownError: if the recipe cannot be merged, or a task or the model cannot be evaluated.
    """
    progress = progress or Silent()
    return _subject(recipe, inputs, progress).scores(tasks, split, limit, cache, progress) if tasks else {}


def measure_recipe(
    recipe: Recipe,
    inputs: Inputs,
    tasks: Sequence[Task],
    *,
    split: Split = "val",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Measured:
    """The scores of `score_recipe` with the rows behind them; neither looked up nor remembered.

    Raises:
        MixdownError: as `score_recipe`.
    """
    progress = progress or Silent()
    return _subject(recipe, inputs, progress).measured(tasks, split, limit, progress) if tasks else Measured()


def _subject(recipe: Recipe, inputs: Inputs, progress: Progress) -> _Subject:
    plan = make_plan(recipe, inputs)
    config = _config(inputs.base, *inputs.experts)

    def merged() -> AbstractContextManager[State]:
        from engine.merge.fallback import merged_state

        return nullcontext(merged_state(plan, progress))

    shapes = {job.name: job.shape for job in plan.jobs}
    models = tuple(model for model in (inputs.base, *inputs.experts) if model is not None)
    return _Subject(lambda: recipe_key(plan, config), models, config, shapes, merged, plan.bytes_out)


def score_checkpoint(
    model: Checkpoint,
    base: Checkpoint | None,
    task: Task,
    *,
    split: Split = "val",
    limit: int | None = None,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
) -> Score:
    """Score one model as it is on disk.

    Args:
        model: A base or an expert.
        base: Where tensors and the configuration come from that the model does not have.
        task: What to score on.
        split: "val" to choose with, "test" for the final figure.
        limit: Only the first rows; None for all.
        cache: Scores that are known already.
        progress: Told the rows done.

    Raises:
        MixdownError: if the files cannot be read, or the task or the model cannot be evaluated.
    """
    progress = progress or Silent()
    config = _config(model, base)
    shapes = {name: info.shape for name, info in completed(model, base).items()}
    models = (model,) if base is None else (model, base)
    subject = _Subject(
        lambda: model_key(model, base, config), models, config, shapes, lambda: DiskState(model, base, progress)
    )
    return subject.scores((task,), split, limit, cache, progress)[task.name]


class _Subject:
    """What is scored.

    Args:
        key: Gives its content key; reads weights, so it is asked only with a cache.
        models: Whose files it is made of.
        config: Its config.json.
        shapes: Shape of every tensor.
        state: Gives its weights.
        held: Bytes that the state keeps in memory.
    """

    def __init__(
        self,
        key: Callable[[], str],
        models: Sequence[Checkpoint],
        config: Mapping[str, Any] | None,
        shapes: Mapping[str, tuple[int, ...]],
        state: Callable[[], AbstractContextManager[State]],
        held: int = 0,
    ) -> None:
        self._key, self._models, self._config, self._shapes = key, models, config, shapes
        self._state, self._held = state, held

    def scores(
        self, tasks: Sequence[Task], split: Split, limit: int | None, cache: ScoreCache | None, progress: Progress
    ) -> dict[str, Score]:
        """Look up what is known, measure the rest, remember it."""
        if cache is None:
            return dict(self.measured(tasks, split, limit, progress).scores)
        key, keys = self._key(), {task.name: task_key(task, progress) for task in tasks}
        known = {task.name: self._known(task, key, keys[task.name], split, limit, cache) for task in tasks}
        missing = [task for task in tasks if known[task.name] is None]
        measured = self.measured(missing, split, limit, progress).scores if missing else {}
        for task in missing:
            settled = not any(touched(model) for model in self._models)
            if settled and task_key(task, progress) == keys[task.name]:  # else files were changed meanwhile
                cache.put(run_key(key, self._runner(task)), keys[task.name], split, limit, measured[task.name])
        found = {name: score for name, score in known.items() if score is not None}
        return {task.name: replace({**found, **measured}[task.name], task=task.name) for task in tasks}

    def _known(
        self, task: Task, key: str, named: str, split: Split, limit: int | None, cache: ScoreCache
    ) -> Score | None:
        """A score that was measured by a runner that may be taken now."""
        for runner in ("",) if task.graph.name else RUNNERS.allowed():
            score = cache.get(run_key(key, runner), named, split, limit)
            if score is not None:
                RUNNERS.note(str((self._config or {}).get("model_type", "")), runner or "onnxruntime")
                return score
        return None

    def _runner(self, task: Task) -> str:
        """Which runner has just measured a task."""
        from engine.evaluate.readout import network_for

        return "" if task.graph.name else RUNNERS.took(network_for(self._config, task))

    def measured(self, tasks: Sequence[Task], split: Split, limit: int | None, progress: Progress) -> Measured:
        """Run the model and judge its rows."""
        from engine.evaluate.runner import judged

        found = self._outcomes(tasks, split, limit, progress)
        return Measured({task.name: judged(task, split, found[task.name]) for task in tasks}, found)

    def _outcomes(
        self, tasks: Sequence[Task], split: Split, limit: int | None, progress: Progress
    ) -> dict[str, Outcome]:
        """Run the model over the rows of the tasks."""
        from engine.evaluate.readout import head_shapes, network_for
        from engine.evaluate.runner import outcomes

        for task in {(t.kind, t.family, t.head.type, len(t.labels), t.graph): t for t in tasks}.values():
            shapes = {**self._shapes, **head_shapes(task)}
            matched = network_for(self._config, task, self._shapes).check(shapes)
            check_memory(self._held, (shapes[name] for name in matched.values()))
        with self._state() as state:
            return outcomes(state, self._config, tasks, split=split, limit=limit, progress=progress)


def _config(*models: Checkpoint | None) -> Mapping[str, Any] | None:
    """The first config.json that is there."""
    return next((model.config for model in models if model is not None and model.config), None)
