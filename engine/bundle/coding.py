"""Lossless coding of packed masks with what Python brings along.

A coded mask is a row of segments, each a 4-byte little-endian length and that many coded bytes. A mask that would
not become smaller is stored as it is: ceil(n / 8) bytes, first weight in the highest bit (numpy.packbits).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from engine.errors import NotSafetensors

Codec = Literal["raw", "huffman", "deflate", "bz2", "lzma"]
CODECS: tuple[str, ...] = get_args(Codec)

_LENGTH = 4
_FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0, "dict_size": 1 << 20}
]


def encode(packed: bytes, codec: str) -> bytes:
    """One segment, without its length."""
    if codec in ("huffman", "deflate"):
        strategy = zlib.Z_HUFFMAN_ONLY if codec == "huffman" else zlib.Z_DEFAULT_STRATEGY
        coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
        return coder.compress(packed) + coder.flush()
    if codec == "bz2":
        return bz2.compress(packed)
    if codec == "lzma":
        return lzma.compress(packed, lzma.FORMAT_RAW, filters=_FILTERS)
    return packed


def is_smaller(sizes: Sequence[int], codec: str, raw_size: int) -> bool:
    """Whether a mask's coded segments of these sizes take less room than the mask itself."""
    return codec != "raw" and sum(sizes) + _LENGTH * len(sizes) < raw_size


def framed(segment: bytes) -> bytes:
    """A segment with its length before it."""
    return len(segment).to_bytes(_LENGTH, "little") + segment


def decode(stored: NDArray[np.uint8], codec: str, raw_size: int, where: str) -> NDArray[np.uint8]:
    """The packed mask again, (raw_size,); never takes more memory than it should.

    Raises:
        NotSafetensors: if the bytes are not a mask of this size.
    """
    if len(stored) == raw_size:
        return stored
    data, made, size = memoryview(stored.tobytes()), [], 0
    try:
        while data:
            length = int.from_bytes(data[:_LENGTH], "little")
            segment = bytes(data[_LENGTH : _LENGTH + length])
            if len(segment) < length:
                raise ValueError("a segment ends too early")
            part = plain(segment, codec, raw_size - size)
            made.append(part)
            size += len(part)
            data = data[_LENGTH + length :]
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
        raise _damaged(where) from error
    if size != raw_size:
        raise _damaged(where)
    return np.frombuffer(b"".join(made), np.uint8)


def plain(data: bytes, codec: str, most: int) -> bytes:
    """A segment decoded; at most `most` + 1 bytes."""
    if codec in ("huffman", "deflate"):
        return zlib.decompressobj(-15).decompress(data, most + 1)
    if codec == "bz2":
        return bz2.BZ2Decompressor().decompress(data, most + 1)
    if codec == "lzma":
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS).decompress(data, most + 1)
    if codec == "raw":
        return data
    raise ValueError(codec)


def _damaged(where: str) -> NotSafetensors:
    return NotSafetensors("A mask is damaged.", where=where, hint="Get the bundle again or make it anew.")
