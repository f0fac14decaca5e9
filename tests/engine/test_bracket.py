"""Ranks by a sample's brackets: equal to a full sort, whatever the numbers; no sketch where the tensor is in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.steps import bracket, order, select
from engine.steps.reduce import pick_deltas
from tests.engine.memory_view import MemoryView


def view_of(experts: list[torch.Tensor], chunk: int = 4096) -> MemoryView:
    names = [str(t) for t in range(len(experts))]
    zeros = torch.zeros_like(experts[0])
    return MemoryView({"w": zeros}, [{"w": x} for x in experts], {"w": (1.0,) * len(experts)}, "delta",
                      names, names, 0, chunk, resident=True)  # fmt: skip


def numbers(kind: str, n: int) -> torch.Tensor:
    random = np.random.default_rng(n)
    plain = random.standard_normal(n).astype(np.float32)
    made = {
        "normal": plain,
        "heavy": plain**5,
        "bf16": torch.from_numpy(plain).bfloat16().float().numpy(),
        "zeros": np.where(random.random(n) < 0.6, 0, plain).astype(np.float32),
        "nearly all zero": np.where(random.random(n) < 0.999, 0, plain).astype(np.float32),
        "constant": np.full(n, -0.25, np.float32),
        "zero": np.zeros(n, np.float32),
        "two": np.where(random.random(n) < 0.5, 1.0, -2.0).astype(np.float32),
        "tiny": (plain * 1e-42).astype(np.float32),
        "rising": np.arange(n, dtype=np.float32),
    }
    return torch.from_numpy(made[kind])


KINDS = ["normal", "heavy", "bf16", "zeros", "nearly all zero", "constant", "zero", "two", "tiny", "rising"]


@pytest.mark.parametrize("n", [1, 2, 100, 70_001])
@pytest.mark.parametrize("kind", KINDS)
def test_every_rank_is_that_of_a_sort(kind: str, n: int) -> None:
    experts = [numbers(kind, n), numbers("normal", n) * 3]
    ranks = sorted({1, 2, n, *(max(1, int(n * q)) for q in (0.001, 0.2, 0.5, 0.6, 0.8, 0.999))} & set(range(1, n + 1)))
    ordered = [np.sort(np.abs(x.numpy())) for x in experts]
    assert select.ranked_magnitudes(view_of(experts), ranks) == [tuple(float(o[r - 1]) for o in ordered) for r in ranks]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.data())
def test_few_numbers(values: list[float], data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, len(values)))
    wanted = float(np.sort(np.abs(np.array(values, np.float32)))[rank - 1])
    assert bracket.ranked(view_of([torch.tensor(values)]), [rank], pick_deltas) == [(wanted,)]


def test_an_unlucky_sample_is_noticed_and_everything_counted() -> None:
    n = 400_000
    stride = max(1, n // bracket.SAMPLE) | 1
    x = torch.rand(n) + 5
    for start in range(0, n, 4096):  # what the sample sees is small, everything else is large
        x[start : min(n, start + 4096) : stride] *= 1e-6
    assert bracket.ranked(view_of([x]), [n // 2], pick_deltas) is None
    assert select.kth_magnitudes(view_of([x]), n // 2) == (float(x.sort().values[n // 2 - 1]),)


def test_only_where_another_pass_is_cheap() -> None:
    x = numbers("normal", 50_000)
    resident, streamed = view_of([x]), replace(view_of([x]), resident=False, passes=[0])
    assert select.kth_magnitudes(resident, 40_000) == select.kth_magnitudes(streamed, 40_000)
    assert resident.passes[0] == 2


def test_wider_numbers_are_left_to_counting() -> None:
    x = numbers("normal", 5000).double() / 3
    assert bracket.ranked(view_of([x]), [2500], pick_deltas) is None
    assert select.kth_magnitudes(view_of([x]), 2500) == (float(x.abs().sort().values[2499]),)


def test_the_chunk_size_does_not_matter() -> None:
    x = numbers("bf16", 60_000)
    found = {select.kth_magnitudes(view_of([x], chunk), 47_000) for chunk in (4096, 8192, 65536)}
    assert len(found) == 1


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_share_of_what_is_there(kind: str, share: float) -> None:
    x = numbers(kind, 50_000).abs()
    there = np.sort(x.numpy()[x.numpy() > 0])
    wanted = int(share * len(there))
    expected = float(there[-wanted]) if wanted else float("inf")
    view = view_of([x])
    found = bracket.largest_share(view, share, lambda chunk: chunk.deltas[0])
    assert found == expected
    streamed = replace(view, resident=False)
    assert order.largest_share(streamed, share, lambda chunk: chunk.deltas[0]) == expected
