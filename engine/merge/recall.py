"""What statistics found in the models, remembered for as long as the files do not change.

A sketch of all magnitudes of a task vector answers every density, so that another density (or another
method that trims) reads nothing again. Sketches are kept in memory and, if the program names a folder, on
disk. What a method's whole survey found is kept in memory only.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np

from engine.files.model import Checkpoint
from engine.merge.plan import Plan, TensorJob
from engine.steps.select import Sketch

MEMORY_BYTES = 64 << 20
"""Sketches kept in memory."""

DISK_BYTES = 256 << 20
"""Sketches kept on disk."""

SURVEYS = 64
"""Results of surveys kept in memory."""

_SUFFIX = ".sketch.npz"


class Recall:
    """A store of sketches and surveys; thread-safe.

    Args:
        folder: Where sketches of whole models are kept; None for memory alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._sketches: OrderedDict[str, Sketch] = OrderedDict()
        self._surveys: OrderedDict[str, object] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def sketch(self, key: str) -> Sketch | None:
        """The sketch of this key, or None."""
        with self._lock:
            if key in self._sketches:
                self._sketches.move_to_end(key)
                return self._sketches[key]
        found = None if self.folder is None else _read(self.folder / (key + _SUFFIX))
        if found is not None:
            self._remember(key, found)
        return found

    def keep_sketch(self, key: str, sketch: Sketch, *, on_disk: bool) -> None:
        """Remember a sketch; a disk that is full or read-only is no reason to fail."""
        self._remember(key, sketch)
        if on_disk and self.folder is not None:
            with suppress(OSError):
                _write(self.folder, key, sketch)
                _prune(self.folder)

    def _remember(self, key: str, sketch: Sketch) -> None:
        with self._lock:
            if key in self._sketches:
                return
            self._sketches[key] = sketch
            self._bytes += sketch.bytes
            while self._bytes > MEMORY_BYTES:
                _, oldest = self._sketches.popitem(last=False)
                self._bytes -= oldest.bytes

    def survey(self, key: str) -> tuple[bool, object]:
        """Whether a survey is known, and what it found."""
        with self._lock:
            return key in self._surveys, self._surveys.get(key)

    def keep_survey(self, key: str, found: object) -> None:
        """Remember what a survey found."""
        with self._lock:
            self._surveys[key] = found
            if len(self._surveys) > SURVEYS:
                self._surveys.popitem(last=False)

    def clear(self) -> None:
        """Forget everything that is in memory."""
        with self._lock:
            self._sketches.clear()
            self._surveys.clear()
            self._bytes = 0


SHARED = Recall()
"""What all merges of this process remember; the program may set its `folder`."""


def sketch_keys(plan: Plan, jobs: Sequence[TensorJob]) -> tuple[str, ...] | None:
    """One key for the sketch of each expert over these tensors; None if not all experts are in all of them."""
    everyone = tuple(range(len(plan.models.experts)))
    if any(job.used != everyone for job in jobs):
        return None
    common = ("magnitudes", plan.method.space, _identity(plan.models.base), *(job.name for job in jobs))
    return tuple(_digest(*common, key, _identity(e)) for key, e in zip(plan.keys, plan.models.experts, strict=True))


def survey_key(plan: Plan, params: Sequence[tuple[str, object]]) -> str:
    """A key for what a method's survey finds: models, coefficients, parameters and seed."""
    models = [_identity(model) for model in (plan.models.base, *plan.models.experts)]
    rows = [(job.name, job.action, job.used, job.weights) for job in plan.jobs if job.is_float]
    who = (plan.method.id, *plan.models.names, *plan.keys, *models)
    return _digest("survey", *who, repr(sorted(params)), repr(rows), str(plan.recipe.seed))


def _identity(model: Checkpoint | None) -> str:
    """The files a model consists of and their state, which changes when anybody writes to them."""
    return "" if model is None else repr(model.stamps) + model.view


def _digest(*parts: str) -> str:
    whole = blake2b(digest_size=20)
    for part in parts:
        whole.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return whole.hexdigest()


def _read(path: Path) -> Sketch | None:
    """A sketch from disk; None if there is none or it is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return Sketch(stored["bits"], stored["counts"], bool(stored["exact"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(folder: Path, key: str, sketch: Sketch) -> None:
    """Write a sketch so that it is there as a whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(suffix=".partial", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, bits=sketch.bits, counts=sketch.counts, exact=np.array(sketch.exact))
        Path(partial).replace(folder / (key + _SUFFIX))
    finally:
        Path(partial).unlink(missing_ok=True)


def _prune(folder: Path) -> None:
    """Delete the oldest sketches until the others fit."""
    kept = 0
    newest = sorted(((p.stat(), p) for p in folder.glob("*" + _SUFFIX)), key=lambda pair: -pair[0].st_mtime_ns)
    for status, path in newest:
        kept += status.st_size
        if kept > DISK_BYTES:
            path.unlink(missing_ok=True)
