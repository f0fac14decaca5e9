"""Rows of tasks that are not plain classification: numbers, pairs, searches, texts, choices. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, FileProblem
from engine.evaluate.data import (
    MAX_ROWS,
    MAX_TOKENS,
    Examples,
    check_size,
    open_data,
    read_examples,
    tensor,
    whole_numbers,
    wrong,
)
from engine.evaluate.task import Rows, Split, Task, as_eval_problem
from engine.files.reading import Reader

_EMPTY = np.zeros(0, np.int64)
MAX_DOCUMENTS = 200_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The first items of one split, N of them on R network rows.

    Attributes:
        rows: The network's inputs; its labels are the classes of "class", else zeros.
        targets: (N,) classes, numbers, right options; (P, 2) query and document of "retrieve".
        groups: (R,) question of each option ("choice").
        starts: (R,) tokens that are not scored.
        sizes: (R,) bytes that are scored.
        documents: Rows that are documents, before the queries ("retrieve").
    """

    rows: Examples
    targets: NDArray[Any]
    groups: NDArray[np.int64] = field(default_factory=lambda: _EMPTY)
    starts: NDArray[np.int64] = field(default_factory=lambda: _EMPTY)
    sizes: NDArray[np.int64] = field(default_factory=lambda: _EMPTY)
    documents: int = 0

    @property
    def count(self) -> int:
        """Items: rows, pairs, queries, texts or questions."""
        return self.rows.count - self.documents if self.documents else len(self.targets)


def read_sample(task: Task, split: Split, limit: int | None = None) -> Sample:
    """The first `limit` items of a split (rows, pairs, queries, texts or questions); None for all.

    Raises:
        EvalProblem: if a file is missing or damaged, or its tensors do not fit together.
    """
    if task.family == "class":
        rows = read_examples(task, split, limit)
        return Sample(rows, rows.labels)
    try:
        with Reader(open_data(task.data)) as reader:
            return _READ[task.family](_Source(reader, task, task.rows(split)), limit)
    except FileProblem as problem:
        raise as_eval_problem(problem, task) from problem


@dataclass(frozen=True, slots=True)
class _Source:
    reader: Reader
    task: Task
    names: Rows

    def whole(self, name: str, count: int | None = None) -> NDArray[np.int64]:
        """The first values of an integer tensor, all non-negative."""
        stored = tensor(self.reader, name)
        if not 0 < stored.numel <= 4 * MAX_ROWS or (count is not None and count > stored.numel):
            raise wrong(self.task, f"{name} has {stored.numel} values; {count or 'more'} are needed")
        values = whole_numbers(self.reader, name, stored.numel if count is None else count)
        if values.min() < 0:
            raise wrong(self.task, f"{name} has negative values")
        return values

    def numbers(self, count: int) -> NDArray[np.float64]:
        """The first values of the labels, any finite numbers."""
        stored = tensor(self.reader, self.names.labels)
        if not stored.is_float:
            return whole_numbers(self.reader, self.names.labels, count).astype(np.float64)
        values = self.reader.read_float32(stored, 0, count).astype(np.float64)
        if not np.isfinite(values).all():
            raise wrong(self.task, f"{self.names.labels} has values that are not finite")
        return values

    def stored(self, name: str) -> int:
        """Elements of a tensor, at least one and not absurdly many."""
        count = tensor(self.reader, name).numel
        if not 0 < count <= 4 * MAX_ROWS:
            raise wrong(self.task, f"{name} has {count:,} values")
        return count

    def tokens(self, count: int) -> Examples:
        """The first rows."""
        if count > self.stored(self.names.lengths):
            raise wrong(self.task, f"{self.names.lengths} has too few values for {count} rows")
        lengths = self.whole(self.names.lengths, count)
        if lengths.min() < 1 or lengths.max() > MAX_TOKENS:
            raise wrong(self.task, f"{self.names.lengths} has lengths outside 1 to {MAX_TOKENS:,}")
        total = int(lengths.sum())
        check_size(self.task, total * 8)
        if total > tensor(self.reader, self.names.inputs).numel:
            raise wrong(self.task, f"{self.names.inputs} has fewer tokens than its lengths add up to")
        ids = whole_numbers(self.reader, self.names.inputs, total)
        return Examples(ids, lengths, np.zeros(count, np.int64))


def _value(source: _Source, limit: int | None) -> Sample:
    count = _fewer(source.stored(source.names.labels), limit)
    return Sample(source.tokens(count), source.numbers(count))


def _pair(source: _Source, limit: int | None) -> Sample:
    count = _fewer(source.stored(source.names.labels), limit)
    return Sample(source.tokens(2 * count), source.numbers(count))


def _retrieve(source: _Source, limit: int | None) -> Sample:
    flat = source.whole(source.names.labels)
    if len(flat) % 2 or np.any(np.diff(flat[::2]) < 0):
        raise wrong(source.task, f"{source.names.labels} are not pairs of query and document in order")
    pairs, rows = flat.reshape(-1, 2), source.stored(source.names.lengths)
    queries = int(pairs[:, 0].max()) + 1
    documents = rows - queries
    if documents < 1 or documents > MAX_DOCUMENTS or pairs[:, 1].max() >= documents:
        raise wrong(source.task, f"{source.names.labels} names documents that are not there")
    if len(np.unique(pairs[:, 0])) != queries:
        raise wrong(source.task, f"{source.names.labels} has queries without a document")
    kept = _fewer(queries, limit)
    return Sample(source.tokens(documents + kept), pairs[pairs[:, 0] < kept], documents=documents)


def _lm(source: _Source, limit: int | None) -> Sample:
    count = _fewer(source.stored(source.names.lengths), limit)
    rows, sizes = source.tokens(count), source.whole(source.names.sizes, count)
    if rows.lengths.min() < 2:
        raise wrong(source.task, "it has texts of one token, in which nothing can be predicted")
    return Sample(rows, rows.lengths - 1, starts=np.ones(count, np.int64), sizes=sizes)


def _choice(source: _Source, limit: int | None) -> Sample:
    count = _fewer(source.stored(source.names.labels), limit)
    groups, right = source.whole(source.names.groups), source.whole(source.names.labels, count)
    if np.any(np.diff(groups) < 0) or groups[-1] + 1 != source.stored(source.names.labels):
        raise wrong(source.task, f"{source.names.groups} does not number the questions in order")
    groups = groups[groups < count]
    options = np.bincount(groups, minlength=count)
    if options.min() < 2 or np.any(right >= options):
        raise wrong(source.task, "it has questions with fewer options than its answers need")
    rows = source.tokens(len(groups))
    starts, sizes = (source.whole(name, len(groups)) for name in (source.names.starts, source.names.sizes))
    if starts.min() < 1 or np.any(starts >= rows.lengths):
        raise wrong(source.task, f"{source.names.starts} leaves nothing of an option to score")
    return Sample(rows, right, groups, starts, sizes)


_READ = {"value": _value, "pair": _pair, "retrieve": _retrieve, "lm": _lm, "choice": _choice}


def _fewer(count: int, limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise EvalProblem("At least one row is needed.", hint="Evaluate more rows.")
    return count if limit is None else min(limit, count)
