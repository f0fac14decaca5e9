"""The steps that methods are made of, against sorting, brute force and exact arithmetic."""

from __future__ import annotations

import struct
from fractions import Fraction
from hashlib import blake2b
from math import fsum

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import steps
from engine.steps.trim import KEEP_ALL, KEEP_NONE, Cut
from engine.steps.view import BLOCK, Span
from tests.engine.memory_view import MemoryView

TINY = 1.401298464324817e-45
"""The smallest float32."""

magnitudes = st.one_of(
    st.sampled_from([0.0, -0.0, TINY, -TINY, 3 * TINY, 1.1754943508222875e-38, 0.5, -0.5, 1.0, -1.0, 3.4e38]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
columns = st.lists(magnitudes, min_size=1, max_size=60)
quick = settings(max_examples=60, deadline=None)


def view_over(*models: dict[str, Tensor], chunk: int = BLOCK) -> MemoryView:
    """A view whose deltas are these tensors."""
    base = {name: torch.zeros_like(x) for name, x in models[0].items()}
    return MemoryView(base, models, {name: (1.0,) * len(models) for name in base}, chunk=chunk)


def span_of(start: int, stop: int, *, seed: int = 7, key: str = "k", tensor: str = "w") -> Span:
    return Span(tensor, start, stop, (stop,), (key,), ("e",), seed)


# -- selection -------------------------------------------------------------------------------------------


@quick
@given(columns, st.integers(1, 1 << 30), st.sampled_from([torch.float32, torch.float64]), st.integers(1, 70))
@example([TINY, 0.0, -TINY, 3 * TINY, 0.0], 3, torch.float32, 2)
def test_kth_magnitude_is_what_sorting_gives(values: list[float], rank: int, dtype: torch.dtype, chunk: int) -> None:
    x = torch.tensor(values, dtype=dtype)
    rank = rank % len(values) + 1
    found = steps.select.kth_magnitudes(view_over({"w": x}, {"w": x.flip(0) * 0.5}, chunk=chunk), rank)
    for got, tensor in zip(found, (x, x.flip(0) * 0.5), strict=True):
        wanted = float(tensor.abs().sort().values[rank - 1])
        assert struct.pack("d", got) == struct.pack("d", wanted)


@quick
@given(columns, columns, st.integers(1, 1 << 30))
def test_kth_magnitude_of_float32_and_float64_together(small: list[float], wide: list[float], rank: int) -> None:
    a, b = torch.tensor(small), torch.tensor(wide, dtype=torch.float64) / 3
    rank = rank % (len(small) + len(wide)) + 1
    (limit,) = steps.select.kth_magnitudes(view_over({"a": a, "b": b}), rank)
    together = torch.cat([a.double(), b])
    assert limit == float(together.abs().sort().values[rank - 1])
    for x in (a, b):  # a threshold that float32 cannot hold still cuts float32 tensors where it says
        kept = steps.trim.trim(x, Cut(limit, inclusive=True))
        assert torch.equal(kept, torch.where(x.double().abs() >= limit, x, 0.0))


def test_kth_magnitude_over_many_tensors_and_chunks() -> None:
    rng = np.random.default_rng(1)
    state = {f"t{i}": torch.from_numpy(rng.standard_t(2, n).astype(np.float32)) for i, n in enumerate((9000, 1, 4097))}
    ranked = torch.cat(list(state.values())).abs().sort().values
    for rank in (1, 2, 6000, len(ranked)):
        assert steps.select.kth_magnitudes(view_over(state), rank) == (float(ranked[rank - 1]),)
    with pytest.raises(ValueError, match="rank"):
        steps.select.kth_magnitudes(view_over(state), len(ranked) + 1)
    assert steps.select.kth_magnitudes(view_over({"w": torch.zeros(0)}), 1) == (0.0,)


@quick
@given(columns, st.sampled_from([0.05, 0.3, 0.5, 0.9, 0.999]))
def test_energy_is_reached_by_the_shortest_prefix(values: list[float], fraction: float) -> None:
    x = torch.tensor([v for v in values if v == 0 or 1e-18 < abs(v) < 1e18] or [0.0])
    (limit,) = steps.select.energy_magnitudes(view_over({"w": x}, chunk=7), fraction)
    squares = [Fraction(float(v)) ** 2 for v in x]
    goal, slack = Fraction(fraction) * sum(squares), Fraction(1, 10**5) * sum(squares)
    at_least = sum(s for s, v in zip(squares, x, strict=True) if abs(float(v)) >= limit)
    above = sum(s for s, v in zip(squares, x, strict=True) if abs(float(v)) > limit)
    assert at_least >= goal - slack
    assert above <= goal + slack
    assert limit in x.abs().tolist() or limit == 0


# -- trimming --------------------------------------------------------------------------------------------


def test_a_limit_between_two_float32_numbers() -> None:
    just_above_one = Cut(1 + 2.0**-40, inclusive=True)
    assert steps.trim.trim(torch.tensor([1.0, 1 + 2.0**-23, -1.0]), just_above_one).tolist() == [0.0, 1 + 2.0**-23, 0.0]
    just_below_one = Cut(1 - 2.0**-40, inclusive=True)
    assert steps.trim.trim(torch.tensor([1.0, 1 - 2.0**-24]), just_below_one).tolist() == [1.0, 0.0]


@quick
@given(columns, st.floats(0.001, 0.999), st.sampled_from(["topk", "count"]))
def test_trim_keeps_the_largest_and_all_that_tie(values: list[float], density: float, rule: str) -> None:
    x = torch.tensor(values)
    (cut,) = steps.trim.cuts(view_over({"w": x}, chunk=5), rule, density)
    kept = steps.trim.trim(x, cut)
    number = int(len(values) * density) + 1 if rule == "topk" else max(1, int(len(values) * density))
    smallest = x.abs().sort(descending=True).values[number - 1]
    assert torch.equal(kept, torch.where(x.abs() >= smallest, x, 0.0))


@quick
@given(columns)
def test_trim_ends(values: list[float]) -> None:
    x = torch.tensor(values)
    for rule in (*steps.trim.RULES[:2], "normfrac"):
        assert steps.trim.cuts(view_over({"w": x}), rule, 1.0) == (KEEP_ALL,)
        assert steps.trim.cuts(view_over({"w": x}), rule, 0.0) == (KEEP_NONE,)
    assert torch.equal(steps.trim.trim(x, KEEP_ALL), x)
    assert not steps.trim.trim(x, KEEP_NONE).any()


def test_trim_by_standard_deviations() -> None:
    x = torch.from_numpy(np.random.default_rng(2).normal(0.3, 2.0, 5000).astype(np.float32))
    (cut,) = steps.trim.cuts(view_over({"w": x}), "std", 0.2, deviations=1.5)
    assert cut.centre == pytest.approx(float(x.double().mean()), rel=1e-9)
    assert cut.limit == pytest.approx(1.5 * float(x.double().std()), rel=1e-6)
    assert torch.equal(steps.trim.trim(x, cut) != 0, (x - x.mean()).abs() > cut.limit)
    assert steps.trim.cuts(view_over({"w": x[:1]}), "std", 0.2) == (KEEP_NONE,)


# -- sums ------------------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 3 * BLOCK), st.integers(0, 100))
def test_block_sums_do_not_depend_on_chunks(count: int, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=count).astype(np.float32))
    whole = steps.reduce.squared_norms(view_over({"w": x}, chunk=1 << 20))
    assert whole == steps.reduce.squared_norms(view_over({"w": x}, chunk=BLOCK))
    assert whole[0] == pytest.approx(fsum(float(v) ** 2 for v in x), rel=1e-14)


def test_sums_change_no_input_and_skip_the_silent() -> None:
    for dtype in (torch.float32, torch.float64):
        ones = torch.ones(2 * BLOCK, dtype=dtype)
        assert steps.reduce.block_sums(ones) == steps.reduce.dot_blocks(ones, ones) == [BLOCK, BLOCK]
        assert (ones == 1).all()
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([float("inf"), 3.0])
    assert steps.reduce.weighted_sum([a, b], [2.0, 0.0]).tolist() == [2.0, 4.0]
    assert steps.reduce.weighted_sum([a, b], [0.0, 0.0]).tolist() == [0.0, 0.0]
    one = steps.reduce.weighted_sum([a], [1.0])
    one.add_(1)
    assert a.tolist() == [1.0, 2.0]


# -- elections and disjoint merges -------------------------------------------------------------------------


SMALL = st.lists(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=6, max_size=6), min_size=2, max_size=4)


@quick
@given(SMALL, st.sampled_from(steps.disjoint.MERGES[:4]), st.sampled_from([-1, 0, 1]))
def test_disjoint_merge_by_hand(rows: list[list[float]], how: str, fallback: int) -> None:
    kept, weights = [torch.tensor(r) for r in rows], [0.5 + t for t in range(len(rows))]
    sign = steps.elect.signs(kept, "mass", steps.elect.Ballot((), (), fallback))
    merged = steps.disjoint.merge(kept, sign, how, weights)
    for j in range(6):
        column = [r[j] for r in rows]
        elected = np.sign(sum(column)) or fallback
        agree = [(v, w) for v, w in zip(column, weights, strict=True) if v != 0 and (v > 0) == (elected > 0)]
        added = sum(v for v, _ in agree)
        wanted = {"mean": added / max(len(agree), 1), "weighted": added / (sum(w for _, w in agree) or 1),
                  "sum": added, "max": max((abs(v) for v, _ in agree), default=0) * elected}[how]  # fmt: skip
        assert float(merged[j]) == pytest.approx(wanted)


def test_majority_decides_where_votes_cancel() -> None:
    x = {"w": torch.tensor([1.0, -1.0, -2.0, 0.0])}
    y = {"w": torch.tensor([-1.0, -1.0, -2.0, 0.0])}
    ask = {"trim": "topk", "density": 1.0, "elect": "mass"}
    assert steps.elect.prepare(view_over(x, y), **ask).fallback == -1
    assert steps.elect.prepare(view_over(x, y), **ask, zero_sum="positive").fallback == 1
    assert steps.elect.prepare(view_over({"w": -x["w"]}, {"w": -y["w"]}), **ask).fallback == 1
    assert steps.elect.prepare(view_over({"w": x["w"][:1]}, {"w": y["w"][:1]}), **ask).fallback == 0


def test_an_unchanged_expert_has_no_share_of_a_norm() -> None:
    still, moved = {"w": torch.zeros(3)}, {"w": torch.tensor([1.0, -2.0, 0.0])}
    for elect in ("normmass", "normfrac"):
        ballot = steps.elect.prepare(view_over(still, moved), trim="topk", density=1.0, elect=elect)
        sign = steps.elect.votes([still["w"], moved["w"]], elect, ballot.squares)
        assert sign.tolist() == [1.0, -1.0, 0.0]


# -- random masks -----------------------------------------------------------------------------------------


def pcg64dxsm(state: int, increment: int, count: int) -> list[int]:
    """The generator as O'Neill published it (PCG 64 DXSM with the cheap multiplier): 32-bit words, low half first."""
    full, half, factor, words = (1 << 128) - 1, (1 << 64) - 1, 0xDA942042E4DD58B5, []
    for _ in range(-(-count // 2)):
        high, low = state >> 64, (state & half) | 1
        high ^= high >> 32
        high = high * factor & half
        high ^= high >> 48
        high = high * low & half
        words += [high & 0xFFFFFFFF, high >> 32]
        state = (state * factor + increment) & full
    return words[:count]


def test_masks_are_words_of_a_published_stream() -> None:
    """An independent reading of the description: 16-bit word i of a stream that starts from a hash, then 16 more."""
    name = "\0".join(("7", "k", "w"))
    digest = blake2b(name.encode(), digest_size=32).digest()
    start, increment = int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little") | 1
    halves = [h for word in pcg64dxsm(start, increment, 100_000) for h in (word & 0xFFFF, word >> 16)]
    signed = np.array(halves, np.uint16).view(np.int16).astype(np.int64) + 2**15  # the sign bit counts as the lowest
    undecided = 0
    for density in (0.1, 0.3, 0.5, 0.7, 0.999):
        found = steps.drop.bernoulli(span_of(0, 200_000), 0, density)
        edge, finer = divmod(round(density * 2**32), 2**16)
        open_ = signed == edge
        assert np.array_equal(found[~open_], signed[~open_] < edge)
        undecided += int(open_.sum())
        for place in np.flatnonzero(open_):
            more = blake2b(f"{name}\0{place}".encode(), digest_size=2).digest()
            assert found[place] == (int.from_bytes(more, "little") < finer)
    assert undecided  # else the second half of the rule was not tried


@pytest.mark.parametrize("count", [1, BLOCK, BLOCK + 1, 5 * BLOCK - 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_are_added_in_the_stated_order(count: int, dtype: torch.dtype) -> None:
    x = torch.from_numpy(np.random.default_rng(count).normal(size=count)).to(dtype)
    products = np.zeros(-(-count // BLOCK) * BLOCK)
    products[:count] = x.double().numpy() ** 2
    wanted = []
    for block in products.reshape(-1, 16, 16, 16):
        rows = block[0].copy()
        for piece in block[1:]:
            rows = rows + piece  # (16, 16)
        left = rows[0].copy()
        for row in rows[1:]:
            left = left + row  # (16,)
        while len(left) > 1:
            left = left[: len(left) // 2] + left[len(left) // 2 :]
        wanted.append(float(left[0]))
    assert steps.reduce.dot_blocks(x, x) == steps.reduce.product_blocks([x])[0] == wanted


@quick
@given(st.integers(0, 5), st.integers(1, 2 * BLOCK))
def test_masks_do_not_depend_on_chunks(block: int, count: int) -> None:
    start = block * BLOCK
    whole = steps.drop.bernoulli(span_of(0, start + count), 0, 0.3)
    assert np.array_equal(steps.drop.bernoulli(span_of(start, start + count), 0, 0.3), whole[start:])


def test_masks_differ_where_they_should_and_have_the_right_share() -> None:
    n = 200_000
    one = steps.drop.bernoulli(span_of(0, n), 0, 0.3)
    assert float(one.mean()) == pytest.approx(0.3, abs=0.004)
    for other in (span_of(0, n, seed=8), span_of(0, n, key="j"), span_of(0, n, tensor="v")):
        both = float((one * steps.drop.bernoulli(other, 0, 0.3)).mean())
        assert both == pytest.approx(0.09, abs=0.003)
    assert steps.drop.bernoulli(span_of(0, 9), 0, 1.0).tolist() == [1.0] * 9
    assert not steps.drop.bernoulli(span_of(0, 9), 0, 0.0).any()


def test_dropping_keeps_the_expected_value() -> None:
    x = torch.ones(200_000)
    span = span_of(0, len(x))
    assert float(steps.drop.drop_all([x], span, 0.2, rescale=True)[0].mean()) == pytest.approx(1.0, abs=0.02)
    assert float(steps.drop.drop_all([x], span, 0.2, rescale=False)[0].mean()) == pytest.approx(0.2, abs=0.004)
    assert not steps.drop.drop_all([x], span, 0.0, rescale=True)[0].any()


# -- masks of tasks ------------------------------------------------------------------------------------------


def test_frozen_weights_are_in_no_mask() -> None:
    delta, merged = torch.tensor([0.0, 1.0, 1.0, 0.1]), torch.tensor([0.0, 1.0, 3.0, 3.0])
    assert steps.masks.tall_mask(delta, merged, 0.4).tolist() == [0.0, 1.0, 1.0, 0.0]
    assert steps.masks.tall_mask(delta, merged, 0.5).tolist() == [0.0, 1.0, 0.0, 0.0]  # 1 > 0.5 * 2 is strict
    counts = steps.masks.agreement([delta, merged - delta], merged, 0.4)
    assert counts.tolist() == [0.0, 1.0, 2.0, 1.0]
    assert steps.masks.shared(counts, 2).tolist() == [0.0, 0.0, 1.0, 0.0]


def test_facade_names_its_steps() -> None:
    assert all(hasattr(steps, name) for name in steps.__all__)
    with pytest.raises(AttributeError, match="no attribute 'blend'"):
        _ = steps.blend
