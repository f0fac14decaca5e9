"""From a task's outputs to its metric, by the metric's own code; and a smooth merit that moves where the metric jumps.

Outputs are what depends smoothly on the weights: logits of classes, numbers, similarities of pairs, of queries and
documents, log likelihoods. They are extrapolated; whatever is counted or ranked comes after. Light: numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.measures import MEASURES, Measure, Outcome, find_measure, hits_of, options_of
from engine.evaluate.metrics import METRICS, Measured, wilson
from engine.evaluate.task import Family

Outputs = NDArray[np.float32]
_NONE = np.zeros(0, np.int64)
_SHARP = 20.0
"""How sharply a search's merit prefers the nearest document."""


@dataclass(frozen=True, slots=True)
class TaskRows:
    """The evaluation rows of one task.

    Attributes:
        name: Name of the task.
        title: What the user sees.
        labels: (N,) right classes or options, numbers, tokens predicted (lm); (P, 2) query and document (retrieve).
        classes: Name of every class.
        rows: (N,) position of every row in the task's split.
        family: What is asked.
        metric: How it is measured.
        groups: "choice": (R,) question of each option; else empty.
        sizes: "lm" (N,), "choice" (R,): bytes; else empty.
        documents: "retrieve": how many documents are searched.
    """

    name: str
    title: str
    labels: NDArray[Any]
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    family: Family = "class"
    metric: str = "accuracy"
    groups: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    sizes: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    documents: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Of its outputs: (N, classes), (N, 1), (R, 1) of options, or (queries, documents)."""
        if self.family == "class":
            return len(self.labels), len(self.classes)
        if self.family == "retrieve":
            return len(self.rows), self.documents
        return (len(self.groups) if self.family == "choice" else len(self.labels)), 1

    @property
    def size(self) -> int:
        """Number of outputs."""
        return self.shape[0] * self.shape[1]

    @property
    def count(self) -> int:
        """Rows, pairs, queries, texts or questions."""
        return len(self.rows)

    @property
    def measure(self) -> Measure:
        """What its score means."""
        return find_measure(self.metric)


def outcome(task: TaskRows, outputs: Outputs) -> Outcome:
    """Outputs in the form in which metrics take them."""
    if task.family == "class":
        return Outcome(task.labels, outputs)
    flat = outputs.reshape(-1).astype(np.float64)
    if task.family == "lm":
        return Outcome(task.labels, -flat, task.sizes)
    if task.family == "choice":
        return options_of(task.labels, task.groups, task.sizes, flat)
    if task.family == "retrieve":
        return hits_of(task.labels, outputs, task.documents)
    return Outcome(task.labels, flat)


def measured(task: TaskRows, outputs: Outputs, span: tuple[float, float] | None = None) -> Measured:
    """The task's metric with its 95 % interval.

    Args:
        task: The rows.
        outputs: Of them, in the task's shape.
        span: How far the interval reaches below and above, from a point nearby; None draws it anew, which takes
            some milliseconds for metrics that are no share of rows.
    """
    if task.metric == "accuracy":  # at every fader event
        correct = int((outputs.argmax(1) == task.labels).sum())
        return Measured(correct / task.count, *wilson(correct, task.count))
    if task.metric not in MEASURES:  # a plugin's, of predictions
        return METRICS[task.metric](task.labels, outputs.argmax(1), len(task.classes))
    measure, made = task.measure, outcome(task, outputs)
    if span is None:
        return measure(made)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = float(measure.function(made, np.ones((1, made.count)))[0])
    if measure.is_share_of_rows:
        return Measured(value, *wilson(round(value * made.count), made.count))
    low, high = value - span[0], value + span[1]
    return Measured(value, max(low, 0.0), min(high, 1.0)) if measure.unit == "%" else Measured(value, low, high)


def scale_of(task: TaskRows, value: float) -> float:
    """What an error of a score is a share of: 1 for shares and correlations, else the score itself."""
    return 1.0 if task.measure.unit in ("%", "ρ") else max(abs(value), 1e-9)


def merit(task: TaskRows, outputs: Outputs) -> float:
    """A smooth number of which more is better.

    The mean log likelihood of what is right; minus half the squared error as a share of the targets' variance; or the
    correlation.
    """
    if task.family == "class":
        return -cross_entropy(outputs, task.labels)
    flat = outputs.reshape(-1).astype(np.float64)
    if task.family == "lm":
        return float(flat.sum() / task.labels.sum())
    if task.family == "choice":
        return float(np.mean(flat[_right(task)] - _totals(task, flat)))
    if task.family == "retrieve":
        sharp = _SHARP * outputs.astype(np.float64)
        total = np.log(np.exp(sharp - sharp.max(1, keepdims=True)).sum(1)) + sharp.max(1)
        each = sharp[task.labels[:, 0], task.labels[:, 1]] - total[task.labels[:, 0]]
        return float((each * _shares(task)).sum())
    if task.metric == "spearman":
        ours, theirs = centred(flat), centred(task.labels)
        return float(ours @ theirs)
    return -0.5 * float(np.mean((flat - task.labels) ** 2)) / variance(task)


def pull(task: TaskRows, outputs: Outputs) -> NDArray[np.float64]:
    """(size,) derivative of the merit with respect to every output."""
    if task.family == "class":
        made = -softmax(outputs).astype(np.float64)
        made[np.arange(len(task.labels)), task.labels] += 1
        return made.reshape(-1) / len(task.labels)
    flat = outputs.reshape(-1).astype(np.float64)
    if task.family == "lm":
        return np.full(len(flat), 1.0 / float(task.labels.sum()))
    if task.family == "choice":
        made = -option_chances(task, outputs)
        made[_right(task)] += 1
        return made / task.count
    if task.family == "retrieve":
        made = np.zeros(outputs.shape)
        np.add.at(made, (task.labels[:, 0], task.labels[:, 1]), _shares(task))
        chance, asked, sharp = query_pull(task, outputs)
        made -= chance * asked[:, None]
        return sharp * made.reshape(-1)
    if task.metric == "spearman":
        ours, theirs = centred(flat), centred(task.labels)
        length = max(float(np.linalg.norm(flat - flat.mean())), 1e-12)
        correlated: NDArray[np.float64] = (theirs - ours * float(ours @ theirs)) / length
        return correlated
    squared: NDArray[np.float64] = -(flat - task.labels) / (len(flat) * variance(task))
    return squared


def option_chances(task: TaskRows, outputs: Outputs) -> NDArray[np.float64]:
    """(R,) share of each option in the summed likelihoods of its question ("choice")."""
    flat = outputs.reshape(-1).astype(np.float64)
    made: NDArray[np.float64] = np.exp(flat - _totals(task, flat)[task.groups])
    return made


def query_pull(task: TaskRows, outputs: Outputs) -> tuple[Outputs, NDArray[np.float64], float]:
    """("retrieve") (queries, documents) chances of the documents, (queries,) share of each query, and the sharpness."""
    asked: NDArray[np.float64] = np.bincount(task.labels[:, 0], _shares(task), len(outputs)).astype(np.float64)
    return softmax(np.float32(_SHARP) * outputs), asked, _SHARP


def softmax(logits: Outputs) -> Outputs:
    """(N, C) probabilities."""
    raised = np.exp(logits - logits.max(1, keepdims=True))
    made: Outputs = raised / raised.sum(1, keepdims=True)
    return made


def cross_entropy(logits: Outputs, labels: NDArray[np.int64]) -> float:
    """Mean cross-entropy in nats of (N, C) logits."""
    top = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return float((total - logits[np.arange(len(labels)), labels]).mean())


def _right(task: TaskRows) -> NDArray[np.int64]:
    """(N,) place of the right option of each question among all options."""
    made: NDArray[np.int64] = np.searchsorted(task.groups, np.arange(task.count)) + task.labels
    return made


def _totals(task: TaskRows, flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) log of the summed likelihoods of each question's options."""
    starts = np.searchsorted(task.groups, np.arange(task.count))
    top = np.maximum.reduceat(flat, starts)
    made: NDArray[np.float64] = np.log(np.add.reduceat(np.exp(flat - top[task.groups]), starts)) + top
    return made


def _shares(task: TaskRows) -> NDArray[np.float64]:
    """(P,) how much each relevant document counts: every query the same."""
    queries = task.labels[:, 0]
    made: NDArray[np.float64] = 1.0 / (np.bincount(queries)[queries] * task.count)
    return made


def centred(values: NDArray[Any]) -> NDArray[np.float64]:
    """(N,) values without their mean, of length 1."""
    away = values.astype(np.float64) - values.mean()
    made: NDArray[np.float64] = away / max(float(np.linalg.norm(away)), 1e-12)
    return made


def variance(task: TaskRows) -> float:
    """Of a task's target numbers; never 0."""
    return max(float(np.var(task.labels)), 1e-9)
