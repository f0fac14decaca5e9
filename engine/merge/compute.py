"""One chunk of the merged model: call the kernel, check, round once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine.errors import BadRecipe, NotFinite
from engine.files.model import ITEM_BYTES
from engine.merge.load import Loader
from engine.merge.memory import OVERFLOW, fits
from engine.merge.plan import TensorJob
from engine.merge.view import ModelView, shaped, spans
from engine.methods.roles import lost
from engine.methods.spec import Kernel
from engine.progress import Progress
from engine.steps import ops
from engine.steps.ops import Array
from engine.steps.view import Chunk

Bytes = np.ndarray[Any, Any]


class Computer:
    """Computes chunks of a plan; thread-safe. Returned bytes are valid until the thread's next call.

    Args:
        loader: Reads the models.
        stats: What the method's `survey` found, or None.
    """

    def __init__(self, loader: Loader, stats: object = None) -> None:
        self._loader = loader
        self._plan = loader.plan
        self._stats = stats

    def measure(self, job: TensorJob, progress: Progress) -> object:
        """The statistics for the kernel: of this tensor if the method measures tensors, else the survey's."""
        measure = self._plan.method.measure
        if measure is None or job.action != "merge":
            return self._stats
        extra = {"stats": self._stats} if self._plan.method.survey is not None else {}
        return call_statistic(measure, ModelView(self._loader, [job], progress), self._plan.params, extra)

    def chunk(self, job: TensorJob, start: int, stop: int, stats: object) -> Bytes:
        """The bytes of elements `start` to `stop` of the merged tensor, as they are written.

        Raises:
            NotFinite: if a NaN or infinity would be written that was not copied.
        """
        if job.action == "copy":
            return self._copied(job, start, stop)
        chunk = self._loader.load(job, start, stop)
        if self._plan.is_calibrated(job):
            merged = self._calibrated(job, chunk, stats)
        else:
            merged = self._merged(chunk, stats)
        if self._plan.dropped.is_active:
            gone = lost(chunk.deltas, chunk.weights, chunk.span.names, self._plan.dropped)
            merged = ops.fill_where(ops.copied(merged), gone, -0.0)  # added to any number, -0.0 keeps its bits
        if self._plan.method.space == "delta":
            merged = ops.add(chunk.base, merged, out=chunk.base)
        if not fits(merged, OVERFLOW[job.out_dtype]):
            raise self._loader.blame(job, start, stop)
        return self._rounded(merged, job.out_dtype)

    def _merged(self, chunk: Chunk, stats: object) -> Array:
        """What the kernel makes of a chunk, (n,)."""
        method, shape = self._plan.method, chunk.span.shape
        base, *deltas = (shaped(x, shape, method.scope) for x in (chunk.base, *chunk.deltas))
        extra = {"base": base, "span": chunk.span, "stats": stats}
        asked = {key: value for key, value in extra.items() if key in method.wants}
        merged: Array = method.merge(tuple(deltas), chunk.weights, **self._plan.params, **asked)
        if merged.shape != base.shape:
            raise BadRecipe(
                f"{method.title} turns shape {list(base.shape)} into {list(merged.shape)}.",
                where=chunk.span.tensor,
                hint="This is a fault of the method; tell its author, or choose another one.",
            )
        return merged.reshape(-1)

    def _calibrated(self, job: TensorJob, chunk: Chunk, stats: object) -> Array:
        """The same for a whole matrix, piece by piece, and then post-processed: (n,)."""
        pieces = [
            self._merged(part_of(chunk, start, stop), stats)
            for _, start, stop in spans(job, self._loader.chunk, self._plan.method.scope)
        ]
        merged = self._loader.memory.joined(pieces) if pieces else ops.zeros_like(chunk.base)
        return post_processed(chunk, merged, self._plan.params)

    def _copied(self, job: TensorJob, start: int, stop: int) -> Bytes:
        """Copied bytes; converted when the output dtype differs."""
        if job.dtype == job.out_dtype:
            return self._loader.read_bytes(job, start, stop)
        values = self._loader.values(job.source, job.name, start, stop, wide=job.dtype == "F64")
        finite = values[(values - values) == 0]  # neither NaN nor infinite
        if not fits(finite, OVERFLOW[job.out_dtype]):
            raise NotFinite(
                f"Values of {self._plan.models.name(job.source)} are too large for {job.out_dtype}.",
                where=job.name,
                hint="Export in a wider dtype (F32 or BF16).",
            )
        return self._rounded(values, job.out_dtype)

    def _rounded(self, values: Array, dtype: str) -> Bytes:
        """The one rounding, to host bytes."""
        memory, count = self._loader.memory, len(values)
        direct = memory.direct(values, dtype)
        if direct is not None:
            return direct
        size = count * ITEM_BYTES[dtype]
        raw = self._loader.scratch.raw("out", size) if count <= self._loader.chunk else memory.room(size)
        memory.narrow(values, dtype, raw)
        return raw


def part_of(chunk: Chunk, start: int, stop: int) -> Chunk:
    """Elements `start` to `stop` of a chunk that holds a whole tensor: views of its memory, (stop - start,) each."""
    deltas = tuple(x[start:stop] for x in chunk.deltas)
    return Chunk(replace(chunk.span, start=start, stop=stop), chunk.base[start:stop], deltas, chunk.weights)


def post_processed(chunk: Chunk, merged: Array, params: Mapping[str, Any]) -> Array:
    """The merged task vector of a matrix after the processor that the parameters name: (n,).

    Args:
        chunk: The whole matrix of all models, (n,) each.
        merged: What the kernel made of it, (n,).
        params: With "post" and what begins with "post_".
    """
    from engine.methods.post import calibrate

    base, total, *deltas = (shaped(x, chunk.span.shape, "tensor") for x in (chunk.base, merged, *chunk.deltas))
    if not len(merged) or params["post"] == "none":
        return merged
    given = {name.removeprefix("post_"): value for name, value in params.items() if name.startswith("post_")}
    processed: Array = calibrate(base, tuple(deltas), chunk.weights, total, name=chunk.span.tensor, **given)
    return processed.reshape(-1)


def call_statistic(statistic: Kernel, view: ModelView, params: Mapping[str, Any], extra: Mapping[str, Any]) -> object:
    """Call a method's `survey` or `measure` with those of its arguments that it declares.

    Args:
        statistic: The function.
        view: What it may see.
        params: The recipe's complete parameters.
        extra: What else is known, for instance the survey's result as "stats".
    """
    accepted = inspect.signature(statistic).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    given = {**params, **extra}
    return statistic(view, **{key: value for key, value in given.items() if anything or key in accepted})
