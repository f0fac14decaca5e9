"""Content keys of what is scored and what it is scored on: equal keys mean equal scores.

Light: never imports torch, so that what is known already is answered at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import FileProblem
from engine.evaluate.task import Task, as_eval_problem
from engine.files.model import Checkpoint, FileStamp
from engine.files.opening import open_regular
from engine.merge.models import content_state
from engine.merge.plan import Plan
from engine.progress import Progress
from engine.recipe.per_expert import renamed

EVALUATOR = 2
"""Raised when the same model on the same task would get another score."""

_BLOCK = 1 << 20
_KEPT = 256
_hashes: dict[tuple[FileStamp, int], str] = {}
_lock = threading.Lock()


def model_key(model: Checkpoint, base: Checkpoint | None, config: Mapping[str, Any] | None) -> str:
    """Key of a checkpoint's score; the base counts if it lends tensors."""
    lends = base is not None and any(name not in model.tensors for name in base.tensors)
    parts = ("model", content_state(model), content_state(base) if lends and base is not None else "")
    return _digest((*parts, _plain(config)))


def recipe_key(plan: Plan, config: Mapping[str, Any] | None) -> str:
    """Key of a mix's score: every input, every resolved coefficient, the method with all its parameters.

    Neither names nor the order of the experts matter, nor rules that come to the same coefficients.
    """
    keys = dict(zip(plan.models.names, plan.keys, strict=True))
    experts = {param.name for param in plan.method.params if param.role == "expert"}
    own = dict(renamed(plan.params.items(), dict(keys)))
    params = {k: keys.get(str(v), v) if k in experts else v for k, v in sorted(own.items())}
    base = "" if plan.models.base is None else content_state(plan.models.base)
    models = repr([content_state(expert) for expert in plan.models.experts])
    head = ("mix", plan.method.id, repr(params), repr(plan.recipe.seed), base, models, _plain(config))
    jobs = (repr((j.name, j.shape, j.dtype, j.out_dtype, j.action, j.source, j.weights, j.used)) for j in plan.jobs)
    return _digest((*head, *jobs))


def task_key(task: Task, progress: Progress) -> str:
    """Key of a task: the content of its data and head files and how they are used; not its name.

    Raises:
        EvalProblem: if a file cannot be read.
        Cancelled: if the user stopped the job.
    """
    head = task.head
    use = (task.kind, len(task.labels), task.val, task.test, task.metric, task.scale, task.mean, task.std, task.pad,
           head.weight, head.bias, head.pool, head.normalise, task.family, head.type, head.projection,
           bool(task.graph.name))  # fmt: skip
    try:
        files = [file_hash(path, progress) for path in task.files]
    except FileProblem as problem:
        raise as_eval_problem(problem, task) from problem
    return _digest(("task", repr(use), *files))


def run_key(key: str, runner: str) -> str:
    """Key of a model's or mix's score by a runner ("torch", "onnxruntime"; "" for a task's own graph)."""
    return f"{key}-{runner}" if runner else key


def file_hash(path: Path, progress: Progress) -> str:
    """Hash of a file's content; computed once for as long as the file does not change.

    Raises:
        FileProblem: if it cannot be read.
    """
    descriptor, stamp = open_regular(path)
    state = (stamp, stamp.ctime_ns)  # a file that was written into may have got its old time again
    with os.fdopen(descriptor, "rb") as file:
        with _lock:
            known = _hashes.get(state)
        if known is not None:
            return known
        digest = hashlib.blake2b(digest_size=20)
        try:
            while block := file.read(_BLOCK):
                progress.check()
                digest.update(block)
        except OSError as error:
            raise FileProblem(f"The disk cannot be read ({error.strerror}).", where=str(path)) from error
    with _lock:
        if len(_hashes) >= _KEPT:
            _hashes.clear()
        _hashes[state] = digest.hexdigest()
        return _hashes[state]


def _plain(config: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(config) if config else None, sort_keys=True, default=repr)


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.blake2b(f"mixdown-score-{EVALUATOR}".encode(), digest_size=20)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()
