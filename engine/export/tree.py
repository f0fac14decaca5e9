"""The hash tree of an export: SHA-256 of every 1 MiB block of every tensor, taken while the blocks are written.

leaf   SHA-256 of the stored bytes of one block (the last one is shorter; a tensor without elements has none)
root   SHA-256 of the canonical JSON of everything else that the file's header says, leaves included

So the root of a file stands for its tensors, their names, types, shapes and places, and for the recipe. Leaves and
root are in the header, under `tree` in the one metadata key. A second read of the file is never needed to make them.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import WriteProblem

BLOCK = 1 << 20
"""Bytes of a leaf."""
ALGORITHM = "sha256"
HEX = 64
"""Characters of a hash in a header."""


def block_count(size: int) -> int:
    """Number of leaves of a tensor of so many bytes."""
    return -(-size // BLOCK)


def block_size(size: int, block: int) -> int:
    """Bytes of one block of a tensor of so many bytes."""
    return min(BLOCK, size - block * BLOCK)


@dataclass(slots=True)
class _Open:
    """A block of which some bytes have come.

    Attributes:
        position: Bytes that are hashed.
        is_busy: Whether a thread hashes more of it right now.
        waiting: Bytes that came too early, by their start in the block.
    """

    digest: Any = field(default_factory=hashlib.sha256)
    position: int = 0
    is_busy: bool = False
    waiting: dict[int, bytes] = field(default_factory=dict)


class Leaves:
    """Hashes the blocks of tensors whose bytes come in any order and from several threads.

    Bytes that come in order within a block are hashed where they are; others are copied and wait (at most as many
    chunks as there are threads, as merges hand them out in order).

    Args:
        sizes: Bytes of every tensor, by job index.
    """

    def __init__(self, sizes: Mapping[int, int]) -> None:
        self._sizes = dict(sizes)
        self._done = {job: bytearray(32 * block_count(size)) for job, size in sizes.items()}
        self._left = {job: block_count(size) for job, size in sizes.items()}
        self._open: dict[tuple[int, int], _Open] = {}
        self._lock = threading.Lock()

    def size(self, job: int) -> int:
        """Bytes of one tensor."""
        return self._sizes[job]

    def add(self, job: int, offset: int, data: memoryview) -> None:
        """Take bytes of one tensor, starting at `offset`."""
        while len(data):
            block, start = divmod(offset, BLOCK)
            size = block_size(self._sizes[job], block)
            piece = data[: size - start]
            if len(piece) == size:
                self._finish(job, block, hashlib.sha256(piece).digest())
            else:
                self._add_part(job, block, start, piece, size)
            data, offset = data[len(piece) :], offset + len(piece)

    def text(self, job: int) -> str:
        """All leaves of one tensor in hexadecimal digits, one after the other.

        Raises:
            WriteProblem: if a part of the tensor was never written.
        """
        if self._left[job]:
            raise WriteProblem("A part of the model was not written.", hint="This is a bug; please report it.")
        return self._done[job].hex()

    def _finish(self, job: int, block: int, digest: bytes) -> None:
        self._done[job][32 * block : 32 * block + 32] = digest
        with self._lock:
            self._left[job] -= 1

    def _add_part(self, job: int, block: int, start: int, piece: memoryview, size: int) -> None:
        with self._lock:
            state = self._open.setdefault((job, block), _Open())
            if state.is_busy or state.position != start:
                state.waiting[start] = bytes(piece)
                return
            state.is_busy = True
        part: memoryview | bytes | None = piece
        while part is not None:
            state.digest.update(part)
            with self._lock:
                state.position += len(part)
                part = state.waiting.pop(state.position, None)
                state.is_busy = part is not None
                complete = state.position == size
                if complete:
                    del self._open[job, block]
            if complete:
                self._finish(job, block, state.digest.digest())
