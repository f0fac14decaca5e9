"""Where models are run: in a process of its own, so that the window stays smooth and survives it, or in this thread.

The same functions as the engine's, with the same results; never imports Qt or torch itself.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from app.export_job import error_from_json, stamps_of
from app.preview_host import HOST, EvalHost, Evaluating
from app.preview_wire import rows_from_plain, scores_from_plain, task_to_plain
from engine.evaluate.score import Score
from engine.evaluate.task import Split, Task
from engine.files.model import Checkpoint
from engine.graphs.policy import RUNNERS
from engine.graphs.values import Spec
from engine.merge.inputs import Inputs
from engine.preview.basis import Cell, Floats
from engine.preview.frame import Frame, make_frame
from engine.preview.hearing import Logits, Report, Session
from engine.preview.surrogate import Slopes
from engine.progress import Progress, Silent
from engine.recipe.project import to_json
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from engine.store.cache import ScoreCache

T = TypeVar("T")
VARIABLE = "MIXDOWN_EVAL"
""" "process" or "thread": where models run, whatever the program would choose."""
_window: list[bool] = []


def serve_window() -> None:
    """From now on models run in a process of their own: there is a window to keep smooth."""
    _window.append(True)


def is_apart() -> bool:
    """Whether models run in a process of their own: for a window they do, for a command they do not."""
    wish = os.environ.get(VARIABLE, "")
    return wish == "process" or (wish != "thread" and bool(_window))


class Remote(Session):
    """A live preview whose network runs in the evaluating process.

    Args:
        host: Follows the requests.
        process: Where it was opened; it cannot be asked elsewhere.
        number: Its number there.
        frame: What its points mean.
        opened: What the process told about it.
    """

    def __init__(
        self, host: EvalHost, process: Evaluating, number: int, frame: Frame, opened: Mapping[str, Any]
    ) -> None:
        dropped = {name: error_from_json(error) for name, error in opened["dropped"].items()}
        told = {**opened["report"], "notes": tuple(opened["report"]["notes"]), "dropped": dropped}
        rows = [rows_from_plain(task) for task in opened["rows"]]
        super().__init__(frame, rows, Report(**told), opened["split"])
        self.reference, self._logits = opened["reference"], opened["logits"]
        self._host, self._process, self._number = host, process, number
        self._names = frozenset(opened["names"])
        weakref.finalize(self, host.forget, process, number)

    def _ask(self, op: str, progress: Progress | None, **args: Any) -> dict[str, Any]:
        return self._host.ask(self._process, op, progress or Silent(), session=self._number, **args)

    def _record(self, point: Floats, overrides: Mapping[str, Floats], progress: Progress) -> Logits:
        named = {name: np.asarray(values) for name, values in overrides.items()}
        made: Logits = self._ask("record", progress, point=point, overrides=named)["logits"]
        return made

    def _evaluate(self, point: Floats, progress: Progress) -> Logits:
        made: Logits = self._ask("at", progress, point=np.asarray(point))["logits"]
        return made

    def slopes(self, progress: Progress | None = None) -> Slopes:
        """The slope of every fader at the reference."""
        found = self._ask("slopes", progress)
        return Slopes(tuple(found["tasks"]), found["values"])

    def matters(self, cell: Cell) -> bool:
        """Whether any network uses a tensor of a cell."""
        return any(name in self._names for g in cell.groups for name in self.frame.layout.groups[g].tensors)


def open_live(
    recipe: Recipe, inputs: Inputs, tasks: Sequence[Task], *, rows: int, progress: Progress | None = None
) -> Session:
    """Open a live preview; see `engine.preview.session.open_live`.

    Raises:
        EvaluatorDied: if the process dies of it twice.
        MixdownError: as the engine does.
    """
    progress = progress or Silent()

    def here() -> Session:
        from engine.preview.session import open_live as opened_here

        return opened_here(recipe, inputs, tasks, rows=rows, progress=progress)

    def apart() -> Session:
        number, about = HOST.number(), _about(recipe, inputs, tasks)
        process, opened = HOST.call("open", progress, session=number, rows=rows, **about)
        return Remote(HOST, process, number, make_frame(recipe, inputs.layout), opened)

    return _either(apart, here)


def score_recipe(
    recipe: Recipe, inputs: Inputs, tasks: Sequence[Task], *, split: Split = "val", limit: int | None = None,
    cache: ScoreCache | None = None, progress: Progress | None = None,
) -> dict[str, Score]:  # fmt: skip
    """Score a mix; see `engine.evaluate.mix.score_recipe`.

    Args:
        recipe: What to merge.
        inputs: Its models.
        tasks: What to score on.
        split: Which rows.
        limit: How many of them.
        cache: Used in this process; the other one opens the same file if there is one here.
        progress: Told how far it is.
    """
    progress = progress or Silent()

    def here() -> dict[str, Score]:
        from engine.evaluate.mix import score_recipe as scored_here

        return scored_here(recipe, inputs, tasks, split=split, limit=limit, cache=cache, progress=progress)

    def apart() -> dict[str, Score]:
        about = _about(recipe, inputs, tasks)
        return _scored("score recipe", cache, progress, split=split, limit=limit, **about)

    return _either(apart, here)


def score_checkpoint(
    model: Checkpoint, recipe: Recipe, inputs: Inputs, task: Task, *, limit: int | None, cache: ScoreCache | None,
    progress: Progress,
) -> Score:  # fmt: skip
    """Score one of a recipe's models as it is on disk; see `engine.evaluate.mix.score_checkpoint`."""

    def here() -> Score:
        from engine.evaluate.mix import score_checkpoint as scored_here

        return scored_here(model, inputs.base, task, limit=limit, cache=cache, progress=progress)

    def apart() -> Score:
        about = _about(recipe, inputs, ())
        found = _scored("score checkpoint", cache, progress, model=str(model.path), limit=limit,
                        task=task_to_plain(task), **about)  # fmt: skip
        return found[task.name]

    return _either(apart, here)


def _either(apart: Callable[[], T], here: Callable[[], T]) -> T:
    """In the other process, or here where that is not wanted or none can be started."""
    if not is_apart():
        return here()
    try:
        return apart()
    except OSError:
        return here()


def _about(recipe: Recipe, inputs: Inputs, tasks: Sequence[Task]) -> dict[str, Any]:
    """What both ends must agree on."""
    return {"recipe": to_json(recipe), "stamps": [list(stamp) for stamp in stamps_of(inputs)],
            "tasks": [task_to_plain(task) for task in tasks]}  # fmt: skip


def _scored(op: str, cache: ScoreCache | None, progress: Progress, **args: Any) -> dict[str, Score]:
    """Scores from the other process, by the runner that the user wants here."""
    folder = RUNNERS.folder
    _, found = HOST.call(op, progress, runner=RUNNERS.wanted, graphs=str(folder or Path()) if folder else "",
                      remember=cache is not None, **args)  # fmt: skip
    RUNNERS.used.update(found["used"])
    for spec in found["unmeasured"]:
        RUNNERS.tell(Spec(**spec))
    return scores_from_plain(found["scores"])
