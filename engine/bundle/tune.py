"""Choosing the lambda of every task by the score of what is restored with it, on validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.bundle.compress import DEFAULT_STRICTNESS, BundleOptions, compress
from engine.bundle.opening import open_bundle
from engine.bundle.restore import restored_state
from engine.errors import BadRecipe
from engine.evaluate.task import Task
from engine.merge.inputs import Inputs
from engine.progress import Progress, Renamed, Silent

GRID = (0.2, 0.3, 0.4, 0.5, 0.6)
"""The paper's values."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The lambda of one task.

    Attributes:
        strictness: The chosen value.
        scores: Validation score of every value that was tried; empty if the task has no data.
    """

    strictness: float
    scores: Mapping[float, float]


def choose(scores: Mapping[float, float]) -> float:
    """The lambda with the best score; of equal ones the smallest (as the official code); 0.4 without scores.

    Each score counts together with half of its neighbours' in the grid: validation rows are few, and a single lambda
    that stands out among worse ones is luck.
    """
    if not scores:
        return DEFAULT_STRICTNESS
    levels = sorted(scores)

    def smooth(place: int) -> float:
        near = [(2 - abs(k - place), scores[levels[k]]) for k in range(place - 1, place + 2) if 0 <= k < len(levels)]
        return round(sum(share * score for share, score in near) / sum(share for share, _ in near), 12)

    return levels[max(range(len(levels)), key=smooth)]


def tune(
    inputs: Inputs,
    tasks: Mapping[str, Task],
    *,
    grid: Sequence[float] = GRID,
    limit: int | None = None,
    options: BundleOptions | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> dict[str, Tuned]:
    """Score every restored task on its validation rows for every lambda of the grid.

    For each lambda a bundle is made in the system's folder for temporary files, so that what is scored is what will be
    restored, with its rounding and scaling.

    Args:
        inputs: A base and T experts.
        tasks: Task by expert name; experts without one get `DEFAULT_STRICTNESS`.
        grid: Values to try.
        limit: Only the first validation rows.
        options: How the bundle will be made.
        progress: Told how far it is; pauses and cancels.
        threads: Worker threads; None for one a core.

    Returns:
        The choice for every expert, by name.

    Raises:
        BadRecipe: if a task is given for an unknown expert.
        EvalProblem: if a task cannot be evaluated.
        MixdownError: if the bundle cannot be made.
    """
    unknown = sorted(tasks.keys() - set(inputs.names))
    if unknown:
        raise BadRecipe(f"There is no expert {unknown[0]!r}.", hint=f"There are: {', '.join(inputs.names)}.")
    progress = progress or Silent()
    scores: dict[str, dict[float, float]] = {name: {} for name in inputs.names}
    for strictness in grid if tasks else ():
        told = Renamed(progress, f"Trying λ {strictness:g}")
        for name, value in _scored(inputs, tasks, strictness, limit, options, told, threads).items():
            scores[name][strictness] = value
    return {name: Tuned(choose(found), found) for name, found in scores.items()}


def _scored(
    inputs: Inputs,
    tasks: Mapping[str, Task],
    strictness: float,
    limit: int | None,
    options: BundleOptions | None,
    progress: Progress,
    threads: int | None,
) -> dict[str, float]:
    """Validation score of every task restored with one lambda."""
    from engine.evaluate.runner import evaluate_all

    plain = replace(options or BundleOptions(), codec="raw", include_base=False, sidecars=False, replace=False)
    config = next((ck.config for ck in (inputs.base, *inputs.experts) if ck is not None and ck.config), None)
    levels, found = dict.fromkeys(inputs.names, strictness), {}
    with TemporaryDirectory(prefix="mixdown-") as folder:
        path = Path(folder) / "try.safetensors"
        compress(inputs, path, strictness=levels, options=plain, progress=progress, threads=threads)
        bundle = open_bundle(path)
        for name, task in tasks.items():
            state = restored_state(bundle, name, inputs.base, progress=progress, threads=threads)
            score = evaluate_all(state, config, [task], split="val", limit=limit, progress=progress)[task.name]
            found[name] = score.value
    return found
