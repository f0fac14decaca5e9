"""A whole bundle: lambda of every task chosen where there is data, the file written, what is restored scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle.compress import BundleOptions, Compressed, compress, recheck_models
from engine.bundle.opening import describe_sizes, open_bundle
from engine.bundle.restore import restored_state
from engine.bundle.tune import Tuned, tune
from engine.errors import Changed
from engine.evaluate.mix import score_checkpoint
from engine.evaluate.runner import evaluate_all
from engine.evaluate.score import Score, normalised
from engine.evaluate.task import Task
from engine.merge.inputs import Inputs
from engine.progress import Progress, Renamed, Silent
from engine.store.cache import ScoreCache


@dataclass(frozen=True, slots=True)
class Kept:
    """What a restored task is worth beside its expert, on the same rows.

    Attributes:
        restored: Score of what the bundle gives back.
        expert: Score of the expert itself.
    """

    restored: Score
    expert: Score

    @property
    def share(self) -> float | None:
        """Restored over expert; None if the expert scores 0."""
        return normalised(self.restored, self.expert)


@dataclass(frozen=True, slots=True)
class Made:
    """A finished bundle and what it keeps.

    Attributes:
        done: The file and its sizes.
        tuned: How the lambda of every chosen task came about, by name.
        kept: Test scores by name, of tasks with data.
        sizes: Bytes by kind of content; see `describe_sizes`.
        task_bytes: Bytes of each task's masks, by name.
    """

    done: Compressed
    tuned: Mapping[str, Tuned]
    kept: Mapping[str, Kept]
    sizes: Mapping[str, int] = field(default_factory=dict)
    task_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def mean_share(self) -> float | None:
        """Mean of the restored over the experts' scores; None without data."""
        shares = [kept.share for kept in self.kept.values()]
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if known else None


def make_bundle(
    inputs: Inputs,
    out: Path,
    *,
    tasks: Mapping[str, Task] | None = None,
    fixed: Mapping[str, float] | None = None,
    masks: Mapping[str, NDArray[np.uint8]] | None = None,
    options: BundleOptions | None = None,
    limit: int | None = None,
    measure: bool = True,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Made:
    """Choose lambda on validation rows, write the bundle, score what it restores on test rows.

    Args:
        inputs: A base and T experts.
        out: The .safetensors file to make.
        tasks: Task with data by expert name.
        fixed: lambda by expert name where it is given; the others with data are tuned, the rest get
            0.4.
        masks: Ready masks; see `compress`. Nothing is tuned then.
        options: How to make it.
        limit: Only the first rows of each split; None for all.
        measure: Whether to score what was written.
        cache: Scores of experts that are known.
        progress: Told how far it is; pauses and cancels.
        threads: Worker threads; None for one a core.

    Raises:
        MixdownError: as `tune`, `compress` and `evaluate_all` do.
        Cancelled: if the user stopped it; before the file has its name nothing is left behind.
    """
    tasks, fixed, options, progress = tasks or {}, fixed or {}, options or BundleOptions(), progress or Silent()
    open_tasks = {name: task for name, task in tasks.items() if name not in fixed and masks is None}
    tuned = tune(inputs, open_tasks, limit=limit, options=options, progress=progress, threads=threads)
    levels = {name: fixed.get(name, choice.strictness) for name, choice in tuned.items()}
    done = compress(inputs, out, strictness=levels, masks=masks, options=options, progress=progress, threads=threads)
    try:
        kept = _measured(inputs, done, tasks if measure else {}, limit, cache, progress, threads)
        if kept:
            recheck_models(inputs, options, progress)
    except Changed as problem:
        raise Changed(f"{problem.message} The bundle is complete, but what it keeps could not be scored.",
                      where=problem.where, hint=problem.hint) from problem  # fmt: skip
    bundle = open_bundle(done.path)
    sizes = dict.fromkeys(inputs.names, 0)
    for name, info in bundle.checkpoint.tensors.items():
        if name.startswith("mask/"):
            sizes[done.manifest.tasks[int(name.split("/", 2)[1])].name] += info.size_bytes
    return Made(done, {n: t for n, t in tuned.items() if t.scores}, kept, describe_sizes(bundle), sizes)


def report(made: Made) -> dict[str, Any]:
    """Everything about a finished bundle as plain JSON."""
    done = made.done
    return {
        "path": str(done.path),
        "seconds": round(done.seconds, 3),
        "tasks": [
            {
                "name": task.name,
                "lambda": task.strictness,
                "density": done.density[task.name],
                "bytes": made.task_bytes.get(task.name, 0),
                "validation": {str(k): v for k, v in _tried(made, task.name).items()},
                "scores": _scores(made.kept.get(task.name)),
            }
            for task in done.manifest.in_order
        ],
        "kept": made.mean_share,
        "sizes": dict(made.sizes),
        "storage": done.storage.as_dict(),
    }


def _measured(
    inputs: Inputs,
    done: Compressed,
    tasks: Mapping[str, Task],
    limit: int | None,
    cache: ScoreCache | None,
    progress: Progress,
    threads: int | None,
) -> dict[str, Kept]:
    """Test scores of every task with data, from the file that was written."""
    config = next((ck.config for ck in (inputs.base, *inputs.experts) if ck is not None and ck.config), None)
    bundle, found = open_bundle(done.path), {}
    for name, task in tasks.items():
        expert = inputs.experts[list(inputs.names).index(name)]
        told = Renamed(progress, f"Scoring {name}")
        own = score_checkpoint(expert, inputs.base, task, split="test", limit=limit, cache=cache, progress=told)
        state = restored_state(bundle, name, inputs.base, progress=told, threads=threads)
        scores = evaluate_all(state, config, [task], split="test", limit=limit, progress=told)
        found[name] = Kept(scores[task.name], own)
    return found


def _tried(made: Made, name: str) -> Mapping[float, float]:
    return made.tuned[name].scores if name in made.tuned else {}


def _scores(kept: Kept | None) -> dict[str, Any] | None:
    if kept is None:
        return None
    return {"metric": kept.restored.metric, "split": kept.restored.split, "rows": kept.restored.count,
            "restored": kept.restored.value, "expert": kept.expert.value, "kept": kept.share}  # fmt: skip
