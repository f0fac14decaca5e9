"""Everything a task can be measured by: what each number means, its unit, which way is better, its interval.

Each measure is one function of the rows' results and of row weights; see `engine.evaluate.resample`.
Light: never imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.metrics import METRICS, Measured, f1_of, wilson
from engine.evaluate.resample import interval

TOP = 10
"""Ranks that are kept of every search."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model made of the rows of a task; N rows.

    Attributes:
        targets: (N,) what is right: class, number, right option, relevant documents of a query, or tokens
            predicted (lm).
        outputs: By family: "class" logits (N, C); "value" and "pair" numbers (N,); "retrieve" whether each
            of the first `TOP` documents found is relevant (N, TOP); "lm" negative log likelihood in nats (N,);
            "choice" log likelihood of every option (N, O), -inf where there is none.
        sizes: Bytes: "lm" (N,), "choice" (N, O); else empty.
    """

    targets: NDArray[Any]
    outputs: NDArray[Any]
    sizes: NDArray[Any] = field(default_factory=lambda: np.zeros(0))

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.targets)


def options_of(
    right: NDArray[Any], groups: NDArray[np.int64], sizes: NDArray[np.int64], likelihoods: NDArray[np.float64]
) -> Outcome:
    """Questions with the log likelihood of every option.

    Args:
        right: (N,) right option of each question.
        groups: (R,) question of each option, ascending.
        sizes: (R,) bytes of each option.
        likelihoods: (R,) in nats.
    """
    place = np.arange(len(groups)) - np.searchsorted(groups, groups)
    shape = (len(right), int(place.max()) + 1)
    options, lengths = np.full(shape, -np.inf), np.ones(shape, np.int64)
    options[groups, place] = likelihoods
    lengths[groups, place] = sizes
    return Outcome(right, options, lengths)


def hits_of(pairs: NDArray[np.int64], nearness: Iterable[NDArray[Any]], documents: int) -> Outcome:
    """Which of the `TOP` documents nearest to each query are relevant; of equal ones the earlier comes first.

    Args:
        pairs: (P, 2) query and relevant document.
        nearness: (D,) similarity of every document, query by query.
        documents: D.
    """
    counts = np.bincount(pairs[:, 0])
    hits = np.zeros((len(counts), TOP))
    key = pairs[:, 0] * np.int64(documents) + pairs[:, 1]
    for at, near in enumerate(nearness):
        nearest = np.argsort(-near, kind="stable")[:TOP]
        hits[at, : len(nearest)] = np.isin(at * np.int64(documents) + nearest, key)
    return Outcome(counts, hits)


Weighted = Callable[[Outcome, NDArray[np.float64]], NDArray[np.float64]]
"""(results, weights (B, N)) -> values (B,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric.

    Attributes:
        id: What task files call it.
        title: What the user sees.
        families: Kinds of tasks that can be measured by it.
        function: Its value for weighted rows.
        unit: "%" for shares (a value of 1 reads 100), "" for a plain number, else a unit to print.
        places: Digits after the point.
        higher_is_better: Which way is better.
        is_share_of_rows: Whether it is a proportion of rows, which gets a Wilson interval.
        about: One sentence that explains it.
    """

    id: str
    title: str
    families: tuple[str, ...]
    function: Weighted
    unit: str = "%"
    places: int = 1
    higher_is_better: bool = True
    is_share_of_rows: bool = False
    about: str = ""

    def text(self, value: float) -> str:
        """A value as it reads: "84.2%" for shares, else with the measure's digits and without its unit."""
        return f"{value:.1%}" if self.unit == "%" else f"{value:.{self.places}f}"

    def __call__(self, outcome: Outcome) -> Measured:
        """The value and its 95 % interval."""
        value = float(self.function(outcome, np.ones((1, outcome.count)))[0])
        if self.is_share_of_rows:
            return Measured(value, *wilson(round(value * outcome.count), outcome.count))
        if not math.isfinite(value):
            return Measured(value, value, value)
        return Measured(value, *interval(lambda weights: self.function(outcome, weights), outcome.count, value))


_MEASURES: dict[str, Measure] = {}
MEASURES: Mapping[str, Measure] = _MEASURES
"""All measures by id."""


def measure(name: str, title: str, *families: str, **more: Any) -> Callable[[Weighted], Weighted]:
    """Register the decorated function; its docstring's first line explains it."""

    def register(function: Weighted) -> Weighted:
        about = (function.__doc__ or "").split("\n")[0]
        _MEASURES[name] = Measure(id=name, title=title, families=families, function=function, about=about, **more)
        return function

    return register


def find_measure(name: str) -> Measure:
    """The measure of this id; metrics of plugins (`engine.evaluate.metrics`) count as shares of predictions.

    Raises:
        KeyError: if there is none.
    """
    if name not in MEASURES and name in METRICS:
        return Measure(id=name, title=name, families=("class",), function=_mean)
    return MEASURES[name]


def measures_for(family: str) -> tuple[Measure, ...]:
    """What tasks of a family can be measured by, the usual one first."""
    return tuple(m for m in MEASURES.values() if family in m.families)


def _average(values: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means (B,) of (N,) values."""
    means: NDArray[np.float64] = (weights @ values.astype(np.float64)) / weights.sum(1)
    return means


def _mean(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return _average(outcome.outputs.argmax(1) == outcome.targets, weights)


@measure("accuracy", "Accuracy", "class", is_share_of_rows=True)
def accuracy(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of rows whose largest logit is the right class."""
    return _mean(outcome, weights)


@measure("macro_f1", "Macro-F1", "class")
def macro_f1(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes of the harmonic mean of precision and recall; rare classes count as much as common."""
    return f1_of(outcome.targets, outcome.outputs.argmax(1), outcome.outputs.shape[1], weights)


@measure("auc", "AUC", "class")
def auc(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance that a random row of a class scores higher for it than one of another class; mean over classes."""
    logits = outcome.outputs.astype(np.float64)
    shown = np.exp(logits - logits.max(1, keepdims=True))
    shown /= shown.sum(1, keepdims=True)
    present = [c for c in range(shown.shape[1]) if 0 < (outcome.targets == c).sum() < outcome.count]
    if not present:
        return np.full(len(weights), math.nan)
    if shown.shape[1] == 2:
        present = [1]
        shown = np.stack([-logits[:, 1] + logits[:, 0], logits[:, 1] - logits[:, 0]], 1)  # probabilities saturate
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.stack([_auc(shown[:, c], outcome.targets == c, weights) for c in present])
        known = np.isfinite(each)
        means: NDArray[np.float64] = np.where(known, each, 0).sum(0) / known.sum(0)
    return means


def _auc(scores: NDArray[Any], is_positive: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mann-Whitney U of weighted rows, ties counting half, divided by its maximum."""
    order, starts = _ties(scores)
    ordered = weights[:, order]
    positive = np.add.reduceat(ordered * is_positive[order], starts, axis=1)
    negative = np.add.reduceat(ordered * ~is_positive[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    ratio: NDArray[np.float64] = (positive * (below + negative / 2)).sum(1) / (positive.sum(1) * negative.sum(1))
    return ratio


def _ties(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The order of the values, and where in it each group of equal ones starts."""
    order = np.argsort(values, kind="stable")
    new = np.diff(values[order]) != 0
    return order, np.concatenate([[0], np.flatnonzero(new) + 1])


@measure("spearman", "Spearman", "pair", "value", unit="ρ", places=3)
def spearman(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of the ranks of outputs and targets, ties sharing their mean rank."""
    first, second = (_ranks(v, weights) for v in (outcome.outputs, outcome.targets))
    total = weights.sum(1, keepdims=True)
    first = first - (weights * first).sum(1, keepdims=True) / total
    second = second - (weights * second).sum(1, keepdims=True) / total
    spread = (weights * first**2).sum(1) * (weights * second**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = np.where(spread > 0, (weights * first * second).sum(1) / np.sqrt(spread), math.nan)
    return np.clip(found, -1, 1)


def _ranks(values: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ranks (B, N) where row i occurs weights[b, i] times."""
    order, starts = _ties(values)
    groups = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(groups, axis=1) - groups / 2 + 0.5
    group_of = np.zeros(len(values), np.int64)
    group_of[order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(values)]))
    ranks: NDArray[np.float64] = middle[:, group_of]
    return ranks


@measure("mse", "Squared error", "value", "pair", unit="MSE", places=3, higher_is_better=False)
def mse(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared difference of output and target; lower is better."""
    return _average((outcome.outputs - outcome.targets) ** 2, weights)


@measure("ndcg_10", "nDCG@10", "retrieve")
def ndcg_10(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Discounted gain of the first ten documents found, as a share of the best possible order."""
    gains = 1 / np.log2(np.arange(2, TOP + 2))
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(outcome.targets, TOP)]
    return _average((outcome.outputs @ gains) / best, weights)


def _recall(outcome: Outcome, weights: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    return _average(outcome.outputs[:, :depth].sum(1) / outcome.targets, weights)


@measure("recall_1", "Recall@1", "retrieve")
def recall_1(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a query's relevant documents that comes first."""
    return _recall(outcome, weights, 1)


@measure("recall_10", "Recall@10", "retrieve")
def recall_10(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a query's relevant documents among the first ten."""
    return _recall(outcome, weights, 10)


@measure("perplexity", "Perplexity", "lm", unit="ppl", places=2, higher_is_better=False)
def perplexity(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential of the mean negative log likelihood of a token; depends on the tokenizer; lower is better."""
    with np.errstate(over="ignore"):
        values: NDArray[np.float64] = np.exp((weights @ outcome.outputs) / (weights @ outcome.targets))
    return values


@measure("bits_per_byte", "Bits per byte", "lm", unit="bit/B", places=3, higher_is_better=False)
def bits_per_byte(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits that the model needs for a byte of the text; comparable across tokenizers; lower is better."""
    values: NDArray[np.float64] = (weights @ outcome.outputs) / math.log(2) / (weights @ outcome.sizes)
    return values


@measure("choice_accuracy", "Multiple choice", "choice", is_share_of_rows=True)
def choice_accuracy(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of questions whose right option is the most likely one."""
    return _average(outcome.outputs.argmax(1) == outcome.targets, weights)


@measure("choice_accuracy_norm", "Multiple choice, by byte", "choice", is_share_of_rows=True)
def choice_accuracy_norm(outcome: Outcome, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of questions whose right option is the most likely one for its length in bytes."""
    each = outcome.outputs / np.maximum(outcome.sizes, 1)
    return _average(each.argmax(1) == outcome.targets, weights)


UNBOUNDED = frozenset(m.id for m in MEASURES.values() if m.unit != "%")
"""Measures that are not shares from 0 to 1."""
