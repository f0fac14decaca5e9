"""Merging an exported model again from its inputs and comparing every byte with what is on the disk."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.errors import MixdownError
from engine.export.locate import locate
from engine.export.verify import Integrity
from engine.files.checkpoint import open_checkpoint
from engine.files.hashing import HashCache
from engine.files.model import ITEM_BYTES, Checkpoint
from engine.files.reading import Reader
from engine.merge.inputs import open_inputs
from engine.merge.plan import Plan, make_plan
from engine.merge.run import merge, survey
from engine.merge.sink import Buffer
from engine.progress import Progress
from engine.recipe.provenance import to_recipe

SAMPLE = 8
"""Tensors that are merged again unless all are wanted."""


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What a second merge found.

    Attributes:
        outcome: "same" (every compared byte), "differs", "no inputs" or "not possible".
        tensors: Number of tensors that were merged again and compared.
        differing: Names of those with other bytes.
        absent: Names of inputs that were not found.
        reproducibility: Class of the method: "A" must be the same anywhere, "B" on the same device and build.
        reason: Why it was not possible.
    """

    outcome: Literal["same", "differs", "no inputs", "not possible"]
    tensors: int = 0
    differing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    reproducibility: str = ""
    reason: str = ""


def reproduce(
    found: Integrity,
    folders: Sequence[Path],
    *,
    sample: int = SAMPLE,
    progress: Progress | None = None,
    cache: HashCache | None = None,
    threads: int | None = None,
) -> Reproduced:
    """Look for a model's inputs by content, merge some of its tensors again and compare bitwise.

    Args:
        found: A model whose files were checked.
        folders: Where its inputs may be.
        sample: Number of tensors; 0 for all.
        progress: Told how far it is.
        cache: Hashes of files that are known.
        threads: Worker threads.

    Raises:
        FileProblem: if a file cannot be read.
        Cancelled: if the user stopped it.
    """
    grade = str(found.provenance.get("reproducibility", ""))
    try:
        recipe, absent = locate(to_recipe(found.provenance, str(found.path)), folders, progress, cache)
        if absent:
            return Reproduced("no inputs", absent=absent, reproducibility=grade)
        plan = make_plan(recipe, open_inputs(recipe))
    except MixdownError as error:
        if type(error).__name__ == "Cancelled":
            raise
        return Reproduced("not possible", reproducibility=grade, reason=str(error))
    model = open_checkpoint(found.path)
    reason = _misfit(plan, model)
    if reason:
        return Reproduced("not possible", reproducibility=grade, reason=reason)
    stats = survey(plan, progress=progress, threads=threads)
    chosen = replace(plan, jobs=_sampled(plan, sample, "".join(sorted(found.roots.values()))))
    with Reader(model) as reader:
        sink = _Comparing(chosen, model, reader)
        merge(chosen, sink, progress=progress, stats=stats, threads=threads)
    names = tuple(sorted(sink.differing))
    return Reproduced("differs" if names else "same", len(chosen.jobs), names, reproducibility=grade)


def _misfit(plan: Plan, model: Checkpoint) -> str:
    """Why a model cannot be what the plan makes; "" if it can."""
    made = {job.name: (job.shape, job.out_dtype) for job in plan.jobs}
    there = {info.name: (info.shape, info.dtype) for info in model.tensors.values()}
    return "" if made == there else "The recipe makes other tensors than the model has."


def _sampled(plan: Plan, count: int, seed: str) -> tuple[Any, ...]:
    """The largest tensor and others by chance, always the same ones for the same model."""
    if count <= 0 or count >= len(plan.jobs):
        return plan.jobs
    merged = [job for job in plan.jobs if job.action == "merge"] or list(plan.jobs)
    chosen = random.Random(seed).sample(merged, min(count, len(merged)))
    return tuple(job for job in plan.jobs if job in chosen)


class _Comparing:
    """A sink that compares what is merged with what a model has."""

    def __init__(self, plan: Plan, model: Checkpoint, reader: Reader) -> None:
        self._jobs, self._model, self._reader = plan.jobs, model, reader
        self._lock = threading.Lock()
        self.differing: set[str] = set()

    def write(self, job_index: int, byte_offset: int, buffer: Buffer) -> None:
        """Compare bytes of one tensor; called from several threads."""
        info = self._model.tensors[self._jobs[job_index].name]
        data, size = np.frombuffer(buffer, np.uint8), ITEM_BYTES[info.dtype]
        there = self._reader.read(info, byte_offset // size, data.size // size)
        if not np.array_equal(data, there):
            with self._lock:
                self.differing.add(info.name)
