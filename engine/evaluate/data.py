"""The rows and the head of a task, read with positioned reads into numpy arrays of bounded size.

Light: never imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, FileProblem
from engine.evaluate.task import MAX_CLASSES, Split, Task, as_eval_problem
from engine.files.header import read_header
from engine.files.model import Checkpoint, TensorInfo
from engine.files.reading import Reader
from engine.files.text import printable

MAX_ROWS = 1_000_000
MAX_DATA_BYTES = 1 << 30
MAX_TOKENS = 100_000
_NUMPY = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"}


@dataclass(frozen=True, slots=True)
class Examples:
    """The first rows of one split.

    Attributes:
        inputs: Images (N, C, H, W), uint8 or float32, as stored; or int64 token ids, flat, row after row.
        lengths: (N,) tokens of each row; empty for images.
        labels: (N,) int64 class indices.
    """

    inputs: NDArray[Any]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Classifier:
    """The head of a task: weight (classes, hidden) and bias (classes,) in float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def open_data(path: Path) -> Checkpoint:
    """A data or head file as a checkpoint, from its header."""
    header = read_header(path)
    return Checkpoint(path, "file", header.tensors, (header.stamp,), header.metadata)


def read_examples(task: Task, split: Split, limit: int | None = None) -> Examples:
    """The first `limit` rows of a split (None: all of them).

    Raises:
        EvalProblem: if a file is missing or damaged, or if sizes, dtypes or labels do not fit together.
    """
    rows = task.rows(split)
    try:
        with Reader(open_data(task.data)) as reader:
            stored = tensor(reader, rows.labels)
            count = stored.numel if limit is None else min(limit, stored.numel)
            if len(stored.shape) != 1 or not 0 < count <= MAX_ROWS:
                raise wrong(task, f"{rows.labels} has shape {list(stored.shape)}; 1 to {MAX_ROWS:,} labels are needed")
            labels = whole_numbers(reader, rows.labels, count)
            if labels.min() < 0 or labels.max() >= len(task.labels):
                raise wrong(task, f"{rows.labels} has labels outside 0 to {len(task.labels) - 1}")
            if task.kind == "image":
                inputs, lengths = _images(reader, task, rows.inputs, stored.numel, count), np.zeros(0, np.int64)
            else:
                inputs, lengths = _tokens(reader, task, split, count)
    except FileProblem as problem:
        raise as_eval_problem(problem, task) from problem
    return Examples(inputs, lengths, labels)


def read_classifier(task: Task) -> Classifier:
    """The head of a task.

    Raises:
        EvalProblem: if the file is missing or damaged or does not have one row for each class.
    """
    try:
        with Reader(open_data(task.head.file)) as reader:
            info = tensor(reader, task.head.weight)
            classes = len(task.labels)
            if len(info.shape) != 2 or info.shape[0] != classes or not info.is_float or classes > MAX_CLASSES:
                raise wrong(task, f"the head has shape {list(info.shape)} ({info.dtype}) for {classes} classes")
            check_size(task, info.size_bytes)
            weight = reader.read_float32(info).reshape(info.shape)
            bias = np.zeros(classes, np.float32)
            if task.head.bias:
                stored = tensor(reader, task.head.bias)
                if stored.shape != (classes,) or not stored.is_float:
                    raise wrong(task, f"the head's bias has shape {list(stored.shape)} for {classes} classes")
                bias = reader.read_float32(stored)
    except FileProblem as problem:
        raise as_eval_problem(problem, task) from problem
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise wrong(task, "the head has values that are not finite")
    return Classifier(weight, bias)


def _images(reader: Reader, task: Task, name: str, rows: int, count: int) -> NDArray[Any]:
    """(count, C, H, W) as stored: uint8 or float32."""
    info = tensor(reader, name)
    if len(info.shape) not in (3, 4) or info.shape[0] != rows or 0 in info.shape:
        raise wrong(task, f"{name} has shape {list(info.shape)} for {rows} labels")
    size = info.numel // rows
    check_size(task, count * size * 4)
    channels, height, width = (1, *info.shape[1:])[-3:]
    if info.is_float:
        pixels: NDArray[Any] = reader.read_float32(info, 0, count * size)
        if not np.isfinite(pixels).all():
            raise wrong(task, f"{name} has values that are not finite")
    elif info.dtype == "U8":
        pixels = reader.read(info, 0, count * size)
    else:
        raise wrong(task, f"{name} is {info.dtype}; images are U8 or floating point")
    if len(task.mean) != channels:
        raise wrong(task, f"input.mean has {len(task.mean)} values for images of {channels} channels")
    return pixels.reshape(count, channels, height, width)


def _tokens(reader: Reader, task: Task, split: Split, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat token ids of the first rows, and the rows' lengths."""
    rows = task.rows(split)
    stored = tensor(reader, rows.labels).numel
    if tensor(reader, rows.lengths).shape != (stored,):
        raise wrong(task, f"{rows.lengths} does not have one length for each of {stored} labels")
    lengths = whole_numbers(reader, rows.lengths, count)
    if lengths.min() < 1 or lengths.max() > MAX_TOKENS:
        raise wrong(task, f"{rows.lengths} has lengths outside 1 to {MAX_TOKENS:,}")
    total, info = int(lengths.sum()), tensor(reader, rows.inputs)
    if len(info.shape) != 1 or total > info.numel:
        raise wrong(task, f"{rows.inputs} has {info.numel} tokens; its lengths add up to {total}")
    check_size(task, total * 8)
    return whole_numbers(reader, rows.inputs, total), lengths


def whole_numbers(reader: Reader, name: str, count: int) -> NDArray[np.int64]:
    """The first `count` values of an integer tensor."""
    info = tensor(reader, name)
    if info.dtype not in _NUMPY:
        raise EvalProblem(f"{printable(name)} is {info.dtype}; whole numbers are needed.", where=str(info.file))
    return reader.read(info, 0, count).view(_NUMPY[info.dtype]).astype(np.int64)


def tensor(reader: Reader, name: str) -> TensorInfo:
    """The description of a tensor that must be there.

    Raises:
        EvalProblem: if it is not.
    """
    info = reader.checkpoint.tensors.get(name)
    if info is None:
        raise EvalProblem(
            f"The task needs a tensor {printable(name)!r} that is not in its file.",
            where=printable(reader.checkpoint.path, 400),
            hint="The task file and its data do not belong together; get both again.",
        )
    return info


def check_size(task: Task, size: int) -> None:
    """Refuse more bytes than any task needs.

    Raises:
        EvalProblem: if there are more.
    """
    if size > MAX_DATA_BYTES:
        raise wrong(task, f"its data would take {size / 2**30:.1f} GiB")


def wrong(task: Task, what: str) -> EvalProblem:
    """The error for a task whose files do not fit together."""
    hint = "Get the task again, or evaluate fewer rows."
    return EvalProblem(f"Task {printable(task.title, 80)} cannot be used: {what}.", where=str(task.path), hint=hint)
