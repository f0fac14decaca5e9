"""Where the memory that files are read into begins."""

from __future__ import annotations

import pytest

from engine.files.buffers import PAGE, page_aligned
from engine.merge.memory import HostMemory


@pytest.mark.parametrize("size", [1, 31, PAGE - 1, PAGE, 3 * PAGE + 5, 4 << 20])
def test_it_begins_at_a_page_and_is_as_large_as_asked(size: int) -> None:
    kept = [page_aligned(size) for _ in range(5)]
    for number, made in enumerate(kept):
        assert made.ctypes.data % PAGE == 0 and made.nbytes == size and made.flags.writeable
        made[:] = number
    assert [set(made.tolist()) for made in kept] == [{n} for n in range(5)]  # none shares memory


def test_chunks_begin_at_a_page() -> None:
    rows = HostMemory().floats(3, 1 << 17)
    assert all(row.ctypes.data % PAGE == 0 for row in rows) and HostMemory().room(99).ctypes.data % PAGE == 0
