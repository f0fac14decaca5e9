"""Every measure against its textbook formula by brute force, its interval, and which way is better."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from engine.evaluate.measures import MEASURES, Outcome, measures_for
from engine.evaluate.metrics import METRICS, wilson
from engine.evaluate.resample import draws, interval
from engine.evaluate.score import Score, average, normalised

RNG = np.random.default_rng(3)


def _logits(count: int, classes: int) -> Outcome:
    return Outcome(RNG.integers(0, classes, count), np.round(RNG.normal(size=(count, classes)), 1))  # with ties


def _score(metric: str, value: float, task: str = "t") -> Score:
    return Score(task=task, split="val", metric=metric, value=value, low=value, high=value, correct=0, count=9)


def test_macro_f1_is_the_mean_of_each_class() -> None:
    outcome = _logits(80, 4)
    said, each = outcome.outputs.argmax(1), []
    for c in range(4):
        hits = sum(1 for t, p in zip(outcome.targets, said, strict=True) if t == p == c)
        wrong, missed = sum(said == c) - hits, sum(outcome.targets == c) - hits
        each.append(2 * hits / (2 * hits + wrong + missed))
    assert MEASURES["macro_f1"](outcome).value == pytest.approx(np.mean(each), abs=1e-12)
    assert METRICS["macro_f1"](outcome.targets, said, 4) == MEASURES["macro_f1"](outcome)


@pytest.mark.parametrize("classes", [2, 4])
def test_auc_counts_pairs(classes: int) -> None:
    outcome = _logits(60, classes)
    shares = np.exp(outcome.outputs) / np.exp(outcome.outputs).sum(1, keepdims=True)
    margins = outcome.outputs[:, [1]] - outcome.outputs[:, [0]] if classes == 2 else shares
    each = []
    for c in [1] if classes == 2 else range(classes):
        column = margins[:, 0] if classes == 2 else margins[:, c]
        yes, no = column[outcome.targets == c], column[outcome.targets != c]
        wins = sum((a > b) + (a == b) / 2 for a, b in itertools.product(yes, no))
        each.append(wins / (len(yes) * len(no)))
    assert MEASURES["auc"](outcome).value == pytest.approx(np.mean(each), abs=1e-9)


def test_spearman_is_pearson_of_mean_ranks() -> None:
    first, second = RNG.integers(0, 9, 50).astype(float), RNG.integers(0, 9, 50).astype(float)
    ranks = [[sum(b < a for b in v) + (sum(b == a for b in v) + 1) / 2 for a in v] for v in (first, second)]
    found = MEASURES["spearman"](Outcome(first, second))
    assert found.value == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)
    resampled = next(draws(50, 1))[0].astype(int)
    rows = np.repeat(np.arange(50), resampled)
    alone = MEASURES["spearman"](Outcome(first[rows], second[rows])).value
    weighted = MEASURES["spearman"].function(Outcome(first, second), resampled[None].astype(float))[0]
    assert weighted == pytest.approx(alone, abs=1e-12)  # counts mean the same as repeated rows


@pytest.mark.parametrize("name", [m for m in MEASURES if "class" in MEASURES[m].families])
def test_counts_mean_the_same_as_repeated_rows(name: str) -> None:
    outcome, drawn = _logits(40, 3), next(draws(40, 1, seed=8))[0].astype(int)
    rows = np.repeat(np.arange(40), drawn)
    function = MEASURES[name].function
    repeated = function(Outcome(outcome.targets[rows], outcome.outputs[rows]), np.ones((1, 40)))[0]
    assert function(outcome, drawn[None].astype(float))[0] == pytest.approx(repeated, abs=1e-12)


def test_searches_errors_and_likelihoods() -> None:
    hits = np.zeros((2, 10))
    hits[0, [0, 2]], hits[1, 4] = 1, 1
    found = Outcome(np.array([3, 1]), hits)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert MEASURES["ndcg_10"](found).value == pytest.approx(((1 + 1 / math.log2(4)) / best + 1 / math.log2(6)) / 2)
    assert MEASURES["recall_1"](found).value == pytest.approx((1 / 3 + 0) / 2)
    assert MEASURES["recall_10"](found).value == pytest.approx((2 / 3 + 1) / 2)
    assert MEASURES["mse"](Outcome(np.array([1.0, 2]), np.array([2.0, 4]))).value == 2.5
    text = Outcome(np.array([10, 30]), np.array([20.0, 40.0]), np.array([50, 100]))
    assert MEASURES["perplexity"](text).value == pytest.approx(math.exp(60 / 40))
    assert MEASURES["bits_per_byte"](text).value == pytest.approx(60 / math.log(2) / 150)
    quiz = Outcome(np.array([1, 0]), np.array([[-9.0, -4, -np.inf], [-8.0, -6, -7]]), np.array([[9, 2, 1], [8, 2, 2]]))
    assert MEASURES["choice_accuracy"](quiz).value == 0.5
    assert MEASURES["choice_accuracy_norm"](quiz).value == 0.5


def test_intervals_cover_the_truth_and_never_change() -> None:
    values = RNG.normal(5, 2, 400)

    def mean(weights: np.ndarray) -> np.ndarray:
        return (weights @ values) / weights.sum(1)

    low, high = interval(mean, 400, float(values.mean()))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.2)  # the normal theory's width
    assert interval(mean, 400, float(values.mean())) == (low, high)
    assert next(draws(7, 3, seed=1))[2].sum() == 7
    accuracy = MEASURES["accuracy"](Outcome(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]]))
    assert (accuracy.low, accuracy.high) == wilson(2, 3)


def test_lower_is_better_turns_the_share_around_and_units_are_not_mixed() -> None:
    assert normalised(_score("perplexity", 20.0), _score("perplexity", 10.0)) == 0.5
    assert normalised(_score("accuracy", 0.4), _score("accuracy", 0.8)) == 0.5
    assert _score("perplexity", 10.0).merit > _score("perplexity", 20.0).merit
    mean = average([_score("accuracy", 0.5, "a"), _score("auc", 0.7, "b"), _score("perplexity", 30.0, "c")])
    assert (mean.value, mean.left_out, mean.tasks) == (pytest.approx(0.6), 1, 3)
    assert {m.id for m in measures_for("lm")} == {"perplexity", "bits_per_byte"}
