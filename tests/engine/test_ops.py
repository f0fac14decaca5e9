"""The words for numpy arrays say what those for tensors say, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.steps import disjoint, ops, order, pointwise

VALUES = np.array([0.0, -0.0, 1e-45, -1e-45, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 3e38, -3e38])
KINDS = (np.float32, np.float64)


def same(host: np.ndarray, tensor: torch.Tensor) -> bool:
    return host.dtype == tensor.numpy().dtype and host.tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.5, 1.0), (0.1, 0.3), (0.0, np.inf), (np.inf, np.inf),
                                           (0.7, 1.5)])  # fmt: skip
def test_within_keeps_what_lies_between(kind: type, low: float, high: float) -> None:
    x = VALUES.astype(kind)
    kept = ops.within(x, low, high)
    wanted = np.where((abs(x) >= low) & (abs(x) <= high), x, 0)
    assert kept.tobytes() == wanted.astype(kind).tobytes()
    assert same(kept, ops.within(torch.from_numpy(x), low, high))


@pytest.mark.parametrize("kind", KINDS)
def test_choosing_keeps_the_bits_of_zeros(kind: type) -> None:
    x, y = VALUES.astype(kind), -VALUES[::-1].astype(kind)
    less = x < y
    assert ops.where(less, x, y).tobytes() == np.where(less, x, y).tobytes()
    for value in (0.0, -0.0, 1.0):
        filled = ops.fill_where(x.copy(), less, value)
        assert same(filled, torch.from_numpy(x.copy()).masked_fill_(torch.from_numpy(less), value))


@pytest.mark.parametrize("kind", KINDS)
def test_sortable_bits_sort_like_the_numbers(kind: type) -> None:
    x = np.sort(VALUES.astype(kind))
    keys = order.sortable_bits(x)
    assert same(keys, order.sortable_bits(torch.from_numpy(x)))
    assert (np.diff(keys[x != 0]) > 0).all()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.2, 0.5, 0.4), (3.0, 1.0, 1.0)])
def test_choices_among_experts(weights: tuple[float, ...]) -> None:
    drawn = np.random.default_rng(3).integers(-2, 3, (3, 500)).astype(np.float32)  # with many ties
    tensors = [torch.from_numpy(x.copy()) for x in drawn]
    assert same(pointwise.lower_median(list(drawn), weights), pointwise.lower_median(tensors, weights))
    assert same(pointwise.loudest(list(drawn), weights), pointwise.loudest(tensors, weights))
    assert same(pointwise.near_share(drawn[0], 0.3, 1e-6), pointwise.near_share(tensors[0], 0.3, 1e-6))


@pytest.mark.parametrize("kind", KINDS)
def test_the_positive_part_has_no_negative_zero(kind: type) -> None:
    x = np.concatenate([VALUES, [np.inf, -np.inf]]).astype(kind)
    found = ops.positive_part(x, out=np.empty_like(x))
    assert same(found, ops.positive_part(torch.from_numpy(x), out=torch.empty(len(x), dtype=torch.from_numpy(x).dtype)))
    assert not np.signbit(found).any() and found[-2] == np.inf


def test_dividing_by_a_count_gives_the_bits_of_adding_coefficients_up() -> None:
    """Equal coefficients are counted where that is the same; by hand: one after the other, as for unequal ones."""
    rng, counted = np.random.default_rng(5), 0
    for kind, factor in [
        (k, f) for k in KINDS for f in (0.3, 0.1, 1.0, 1 / 3, 0.7, 2.5, 1e-8, 1e-9, -0.5, *rng.random(20).tolist())
    ]:
        for experts in (1, 2, 3, 5, 9):
            chosen = [np.abs(rng.normal(size=400)).astype(kind) * (rng.random(400) < 0.5) for _ in range(experts)]
            chosen = [x.astype(kind) for x in chosen]
            divisor = np.zeros(400, kind)
            for x in chosen:
                divisor += (x != 0).astype(kind) * kind(factor)
            divisor = (
                np.maximum(divisor, kind(1e-8)) if factor >= 1e-8 else np.where(abs(divisor) < 1e-8, kind(1), divisor)
            )
            total = chosen[0].copy()
            for x in chosen[1:]:
                total += x
            ones, weights = np.ones(400, kind), [factor] * experts
            found = disjoint.merge([x.copy() for x in chosen], ones, "weighted", weights, decided=True)
            assert found.tobytes() == (total / divisor).tobytes(), (kind, factor, experts)
            tensors = [torch.from_numpy(x) for x in chosen]
            assert same(found, disjoint.merge(tensors, torch.from_numpy(ones), "weighted", weights, decided=True))
            counted += disjoint._can_be_counted(tuple(weights), wide=kind is np.float64)
    assert counted > 100  # the shorter way was gone
