"""Messages between the window and the process that evaluates: JSON with arrays behind it. Never pickles, never Qt."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.evaluate.score import Score
from engine.evaluate.task import Head, Rows, Task
from engine.preview.outcomes import TaskRows

_HEAD = struct.Struct("<QQ")
_ARRAY = "\0array"
_MOST = 1 << 34
"""Bytes of a message; more means that the pipe carries something else."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes: lengths, JSON, then the bytes of its arrays one after the other."""
    blobs: list[bytes] = []
    size = 0

    def plain(value: Any) -> Any:
        nonlocal size
        if isinstance(value, np.ndarray):
            raw = np.ascontiguousarray(value).tobytes()
            blobs.append(raw)
            size += len(raw)
            return {_ARRAY: [size - len(raw), value.dtype.str, list(value.shape)]}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Path):
            return str(value)
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        raise TypeError(f"{type(value).__name__} cannot be sent")

    text = json.dumps(message, default=plain).encode("ascii")
    return b"".join([_HEAD.pack(len(text), size), text, *blobs])


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next message, or None when the other side is gone.

    Raises:
        ValueError: if what comes is no message.
    """
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    text_size, size = _HEAD.unpack(head)
    if text_size + size > _MOST:
        raise ValueError("the pipe carries something else")
    text, raw = stream.read(text_size), stream.read(size)
    if len(text) < text_size or len(raw) < size:
        return None

    def restored(value: dict[str, Any]) -> Any:
        if _ARRAY not in value:
            return value
        start, dtype, shape = value[_ARRAY]
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(raw, np.dtype(dtype), count, start).reshape(shape).copy()

    made: dict[str, Any] = json.loads(text, object_hook=restored)
    return made


def task_to_plain(task: Task) -> dict[str, Any]:
    """A task as it was read from its file, which may have changed since."""
    return asdict(task)


def task_from_plain(data: Mapping[str, Any]) -> Task:
    """The task that `task_to_plain` took apart."""
    head = {**data["head"], "file": Path(data["head"]["file"])}
    return Task(**{
        **data, "labels": tuple(data["labels"]), "mean": tuple(data["mean"]), "std": tuple(data["std"]),
        "data": Path(data["data"]), "path": Path(data["path"]), "graph": Path(data["graph"]),
        "val": Rows(**data["val"]), "test": Rows(**data["test"]), "head": Head(**head),
        "made": tuple((str(k), v) for k, v in data["made"]),
    })  # fmt: skip


def rows_from_plain(data: Mapping[str, Any]) -> TaskRows:
    """A task's rows from their fields."""
    return TaskRows(**{**data, "classes": tuple(data["classes"])})


def scores_from_plain(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Score]:
    """Scores by task name from their fields."""
    return {name: Score(**fields) for name, fields in data.items()}
