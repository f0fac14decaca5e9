"""Mutated headers: whatever the bytes, the parser succeeds or says what is wrong."""

from __future__ import annotations

import json
import random
import resource
import time
from pathlib import Path

import pytest

from engine.errors import MixdownError
from engine.files.checkpoint import open_checkpoint
from tests.hostile.case import header_of, raw, tensors

TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"true", b"-1", b"1e400", b"NaN", b"\\ud800", b"\\u0000",
          b"9" * 30, b"\xff", b"\0", b"data_offsets", b"shape", b"dtype", b"__metadata__", b"F32", b"BF16", b"[[[[",
          b'{"a":', b"18446744073709551616", b"0", b" "]  # fmt: skip
SEED = 20_260_731


def mutated(rng: random.Random, seedling: bytes) -> bytes:
    """The bytes with one to eight changes: flips, cuts, copies, tokens, swaps."""
    data = bytearray(seedling)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data) or 1) if rng.random() < 0.8 else rng.randrange(min(8, len(data) or 1))
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place : place + rng.randint(1, 20)]
        elif kind == 2:
            data[place:place] = data[place : place + rng.randint(1, 60)]
        elif kind == 3:
            token = rng.choice(TOKENS)
            data[place : place + rng.choice((0, len(token)))] = token
        elif kind == 4:
            other = rng.randrange(len(data) or 1)
            data[place : place + 8], data[other : other + 8] = data[other : other + 8], data[place : place + 8]
        else:
            data[:8] = rng.choice((rng.randrange(2**64), max(0, len(data) - 8), rng.randrange(600))).to_bytes(
                8, "little"
            )
    return bytes(data)


def fuzz(count: int, folder: Path) -> tuple[int, float]:
    """Open mutated files; returns how many opened, and the longest time."""
    rng, path = random.Random(SEED), folder / "m.safetensors"
    table, data = header_of(tensors(1))
    seedling = raw(path, json.dumps({"__metadata__": {"format": "pt"}, **table}).encode(), data).read_bytes()
    opened, longest = 0, 0.0
    for number in range(count):
        path.write_bytes(mutated(rng, seedling))
        start = time.perf_counter()
        try:
            open_checkpoint(path)
            opened += 1
        except MixdownError as error:
            if not (error.message and error.where and error.hint):
                raise AssertionError(f"mutation {number} is not explained: {error}") from error
        except Exception as error:
            raise AssertionError(f"mutation {number}: {type(error).__name__}: {error}") from error
        longest = max(longest, time.perf_counter() - start)
    return opened, longest


def test_five_hundred_mutations(tmp_path: Path) -> None:
    opened, longest = fuzz(500, tmp_path)
    assert 0 < opened < 400 and longest < 1.0  # some changes only touch weights


@pytest.mark.soak
def test_twenty_thousand_mutations(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opened, longest = fuzz(20_000, tmp_path)
    assert opened > 0 and longest < 1.0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 100e6
