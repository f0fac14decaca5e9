"""The header of a safetensors file, read strictly.

Layout of the file: 8 bytes little-endian header length N, N bytes of JSON, then the tensor data, which must
cover the rest of the file without gaps or overlaps (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.errors import FileProblem, NotSafetensors, Truncated, UnsafePickle
from engine.files import strict_json
from engine.files.model import ITEM_BYTES, FileStamp, TensorInfo
from engine.files.opening import open_regular
from engine.files.text import printable

MAX_HEADER = 25_000_000
MAX_TENSORS = 200_000
MAX_NAME = 512
_MAX_DIM, _MAX_NUMEL, _MAX_DIMS = 2**40, 2**45, 32
_MAX_JSON_ITEMS = 4_000_000  # separators in the JSON; bounds the memory that parsing can take
_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"})
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_AGAIN = "The file is damaged; download or export it again."


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says about itself.

    Attributes:
        tensors: All tensors by name, in name order.
        metadata: The free text that its maker stored.
        stamp: Identity of the file that was read.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    stamp: FileStamp


def read_header(path: Path) -> Header:
    """Read and check the header of one safetensors file; no tensor data is read.

    Raises:
        UnsafePickle: if it is a pickle by name or content.
        Truncated: if the file is shorter than its header promises.
        NotSafetensors: if anything else about it is wrong.
        FileProblem: if it cannot be opened or read.
    """
    try:
        return _read(path)
    except FileProblem as problem:
        problem.where = problem.where or printable(path, 400)
        raise


def _read(path: Path) -> Header:
    descriptor, stamp = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        try:
            first = file.read(9)
            _refuse_other_formats(path, first + file.read(32), stamp.size)
            length = _header_length(first, stamp.size)
            file.seek(8)
            data = file.read(length)
        except OSError as error:
            raise FileProblem(f"The file cannot be read: {error.strerror}.", hint="Check the disk.") from error
    if len(data) < length:
        raise Truncated("The file became shorter while it was read.", hint=_AGAIN)
    entries = _parse(data)
    metadata = _metadata(entries.pop("__metadata__", {}))
    return Header(_tensors(entries, path, 8 + length, stamp.size), MappingProxyType(metadata), stamp)


def _refuse_other_formats(path: Path, head: bytes, size: int) -> None:
    """Name the formats that people mistake for safetensors."""
    looks_right = head[8:9] == b"{"
    zipped = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    pickled = head[:1] == b"\x80" and head[1:2] <= b"\x05" and not looks_right
    if path.suffix.lower() in _PICKLE_SUFFIXES or zipped or pickled:
        raise UnsafePickle(
            f"{printable(path.name)} is a pickle file. Opening it could run code, so Mixdown does not.",
            hint="Get the .safetensors version of the model, or use Convert safely (main.py convert-pickle).",
        )
    if head.startswith((b"GGUF", b"GGML", b"ggml", b"lmgg")):
        raise NotSafetensors(
            "This is a GGUF file, which holds quantised weights.", hint="Merge the original .safetensors model instead."
        )
    if head.startswith(b"version https://git-lfs"):
        raise NotSafetensors(
            "This is only a Git LFS pointer; the weights were not downloaded.", hint="Run `git lfs pull` in the folder."
        )
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise NotSafetensors("This is a web page, not a model.", hint="The download failed; download the file again.")
    if size == 0:
        raise Truncated("The file is empty.", hint=_AGAIN)


def _header_length(first: bytes, size: int) -> int:
    if size < 10:
        raise Truncated(f"The file has only {size} bytes, which is no safetensors file.", hint=_AGAIN)
    length = int.from_bytes(first[:8], "little")
    if first[8:9] != b"{" or length < 2:
        raise NotSafetensors("This is not a safetensors file.", hint="Choose a file that ends in .safetensors.")
    if length > MAX_HEADER:
        raise NotSafetensors(f"The header claims {length:,} bytes; at most {MAX_HEADER:,} are accepted.", hint=_AGAIN)
    if length > size - 8:
        raise Truncated(f"The header needs {length:,} bytes but the file ends after {size:,}.", hint=_AGAIN)
    return length


def _parse(data: bytes) -> dict[str, Any]:
    if data.count(b"[") + data.count(b"{") + data.count(b",") > _MAX_JSON_ITEMS or data.count(b'"dtype"') > MAX_TENSORS:
        raise NotSafetensors(f"The header lists more than {MAX_TENSORS:,} tensors.", hint=_AGAIN)
    try:
        entries = strict_json.parse(data, depth=4)
    except strict_json.BadJson as error:
        raise NotSafetensors(f"The header cannot be used: {printable(error)}.", hint=_AGAIN) from error
    if not isinstance(entries, dict):
        raise NotSafetensors("The header is not a table of tensors.", hint=_AGAIN)
    return entries


def _metadata(entry: object) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(
        strict_json.is_text(key) and strict_json.is_text(value) for key, value in entry.items()
    ):
        raise NotSafetensors("The header's metadata is not plain text.", hint=_AGAIN)
    return entry


def _tensors(entries: dict[str, Any], path: Path, data_start: int, size: int) -> Mapping[str, TensorInfo]:
    if len(entries) > MAX_TENSORS:
        raise NotSafetensors(f"The header lists more than {MAX_TENSORS:,} tensors.", hint=_AGAIN)
    spans = []
    tensors = {}
    for name in sorted(entries):
        dtype, shape, begin, end = _entry(name, entries[name])
        spans.append((begin, end, name))
        tensors[name] = TensorInfo(name, dtype, shape, path, data_start + begin)
    _check_cover(spans, size - data_start)
    return MappingProxyType(tensors)


def _entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Check one tensor: (dtype, shape, first byte, byte after the last), relative to the data."""
    if len(name) > MAX_NAME or not strict_json.is_text(name):
        raise _bad(name, f"its name is not text of at most {MAX_NAME} characters")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise _bad(name, "it needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _bad(name, f"Mixdown does not read its type {printable(dtype, 40)}")
    if not isinstance(shape, list) or len(shape) > _MAX_DIMS or not all(_is_size(d, _MAX_DIM) for d in shape):
        raise _bad(name, f"its shape {printable(shape, 80)} is impossible")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(o, 2**62) for o in offsets):
        raise _bad(name, f"its place {printable(offsets, 80)} is impossible")
    expected = _numel(name, shape) * ITEM_BYTES[dtype]
    begin, end = offsets
    if end - begin != expected:
        raise _bad(name, f"{dtype} {printable(shape, 80)} needs {expected:,} bytes but it has {end - begin:,}")
    return dtype, tuple(shape), begin, end


def _is_size(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value <= limit


def _numel(name: str, shape: list[int]) -> int:
    numel = 1
    for dim in shape:
        numel *= dim
        if numel > _MAX_NUMEL:
            raise _bad(name, f"its shape {printable(shape, 80)} is too large")
    return numel


def _check_cover(spans: list[tuple[int, int, str]], size: int) -> None:
    """The tensors must follow each other without gap or overlap and end where the file ends."""
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            raise _bad(name, "its bytes overlap another tensor" if begin < position else "there is a gap before it")
        position = end
    if position > size:
        raise Truncated(f"The file holds {size:,} bytes of tensors but its header promises {position:,}.", hint=_AGAIN)
    if position < size:
        raise NotSafetensors(f"There are {size - position:,} bytes after the last tensor.", hint=_AGAIN)


def _bad(name: str, reason: str) -> NotSafetensors:
    return NotSafetensors(f"The header is wrong about tensor {printable(name, 120)}: {reason}.", hint=_AGAIN)
