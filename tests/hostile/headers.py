"""Hostile safetensors headers and values."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.case import Case, good, header_of, raw, tensors

NAME = "model.layers.0.self_attn.q_proj.weight"


def cases() -> Iterator[Case]:
    """All of them."""
    for name, header, data, length in _broken():
        yield Case(f"header-{name}", "model", _raw(header, data, length))
    for name, change in _changed():
        yield Case(f"entry-{name}", "model", _edited(change))
    for name, text in _names():
        yield Case(f"name-{name}", "model", _named(text), refused=len(text) > 512 or "\ud800" in text)
        if len(text) <= 4000 and "\ud800" not in text:
            yield Case(f"metadata-{name}", "model", _told(text), refused=False)
    for name, value in _values():
        yield Case(f"value-{name}", "model", _valued(value), refused=False)
    yield Case("header-many-empty-tensors", "model", _many)
    yield Case("header-large-metadata", "model", _large_metadata)
    yield Case("header-deep", "model", lambda d: raw(d / "m.safetensors", b"[" * 100_000))
    yield Case("header-deep-object", "model", lambda d: raw(d / "m.safetensors", b'{"a":' * 100_000))
    yield Case("header-sparse-huge", "model", _sparse, refused=False)
    yield Case("header-sparse-gap", "model", _sparse_gap)


def _raw(header: bytes, data: bytes, length: int | None) -> Any:
    return lambda d: raw(d / "m.safetensors", header, data, length)


def _broken() -> Iterator[tuple[str, bytes, bytes, int | None]]:
    table, data = header_of(tensors(1))
    text = json.dumps(table).encode()
    yield "empty-object", b"{", b"", None
    yield "length-2-63", text, data, 2**63
    yield "length-2-64", text, data, 2**64 - 1
    yield "length-99mb", text, data, 99_000_000
    yield "length-zero", text, data, 0
    yield "length-one", text, data, 1
    yield "length-short", text, data, len(text) - 7
    yield "length-long", text, data, len(text) + 7
    yield "truncated-data", text, data[:-5], None
    yield "no-data", text, b"", None
    yield "trailing", text, data + b"x" * 64, None
    yield "array", b"[1,2,3]", b"", None
    yield "text", b'"model"', b"", None
    yield "null", b"null", b"", None
    yield "not-json", b"{not json}", b"", None
    yield "latin1", '{"é": 1}'.encode("latin-1"), b"", None
    yield "utf16", text.decode().encode("utf-16"), data, None
    yield "bom", b"\xef\xbb\xbf" + text, data, None
    yield "nul-bytes", b"{\0\0\0\0}", b"", None
    yield "nan", text[:-1] + b', "x": NaN}', data, None
    yield "infinity", text[:-1] + b', "x": -Infinity}', data, None
    yield "1e999", text[:-1] + b', "x": 1e999}', data, None
    yield "digits", text[:-1] + b', "x": ' + b"9" * 5_000 + b"}", data, None
    yield "comment", text[:-1] + b"/*x*/}", data, None
    yield "two-values", text + text, data, None
    yield "duplicate-key", text[:-1] + b"," + text[1:], data, None
    yield "metadata-list", text[:-1] + b', "__metadata__": [1]}', data, None
    yield "metadata-number", text[:-1] + b', "__metadata__": {"a": 1}}', data, None
    yield "metadata-nested", text[:-1] + b', "__metadata__": {"a": {"b": "c"}}}', data, None
    yield "surrogate-metadata", text[:-1] + b', "__metadata__": {"a": "\\ud800"}}', data, None


def _edited(change: dict[str, Any]) -> Any:
    def make(folder: Path) -> Path:
        table, data = header_of(tensors(1))
        table[NAME] = {k: v for k, v in {**table[NAME], **change}.items() if v is not None}
        return raw(folder / "m.safetensors", json.dumps(table).encode(), data)

    return make


def _changed() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "no-dtype", {"dtype": None}
    yield "no-shape", {"shape": None}
    yield "no-offsets", {"data_offsets": None}
    yield "extra-field", {"stride": [0, 0]}
    yield "class-field", {"__class__": "os.system"}
    yield "dtype-unknown", {"dtype": "F3"}
    yield "dtype-object", {"dtype": {"__reduce__": 1}}
    yield "dtype-list", {"dtype": ["F32"]}
    yield "dtype-html", {"dtype": "<img src=x>"}
    yield "shape-negative", {"shape": [-4, -4]}
    yield "shape-overflow", {"shape": [2**63, 2]}
    yield "shape-2-64-zero", {"shape": [2**64 - 1, 0]}
    yield "shape-float", {"shape": [4.0, 4]}
    yield "shape-bool", {"shape": [True, 16]}
    yield "shape-text", {"shape": "44"}
    yield "shape-deep", {"shape": [[4], 4]}
    yield "shape-many", {"shape": [1] * 40 + [16]}
    yield "shape-product", {"shape": [2**40, 2**40]}
    yield "shape-null", {"shape": [4, "4"]}
    yield "offsets-swapped", {"data_offsets": [192, 128]}
    yield "offsets-overlap", {"data_offsets": [0, 64]}
    yield "offsets-gap", {"data_offsets": [512, 576]}
    yield "offsets-negative", {"data_offsets": [-64, 0]}
    yield "offsets-huge", {"data_offsets": [2**62, 2**62 + 64]}
    yield "offsets-overflow", {"data_offsets": [2**64, 2**64 + 64]}
    yield "offsets-three", {"data_offsets": [128, 160, 192]}
    yield "offsets-float", {"data_offsets": [128.0, 192.0]}
    yield "offsets-text", {"data_offsets": ["128", "192"]}


def _names() -> Iterator[tuple[str, str]]:
    yield "html", '<img src="http://127.0.0.1:9/x">'
    yield "html-link", '<a href="file:///etc/passwd">click</a>'
    yield "bidi", "model.\u202egnp.thgiew"
    yield "zero-width", "model\u200b.weight"
    yield "escape", "\x1b]0;pwn\x07\x1b[2J"
    yield "newline", "a\nb\r\nc"
    yield "nul", "a\0b"
    yield "empty", ""
    yield "dots", "../../../etc/passwd"
    yield "absolute", "/etc/passwd"
    yield "formula", '=cmd|"/c calc"!A1'
    yield "sql", "'; DROP TABLE runs; --"
    yield "format", "{0.__class__.__mro__} %s%n"
    yield "dunder", "__class__"
    yield "long", "x" * 5_000
    yield "surrogate", "a\ud800b"
    yield "combining", "e" + "\u0301" * 300
    yield "emoji", "👩‍👩‍👧" * 20
    yield "markdown", "](http://x) `rm` **b** | a |"
    yield "yaml", "a: !!python/object/apply:os.system [x]"


def _named(text: str) -> Any:
    def make(folder: Path) -> Path:
        table, data = header_of({**tensors(1), text: np.ones((2, 2), "<f4")})
        return raw(folder / "m.safetensors", json.dumps(table).encode(), data)

    return make


def _told(text: str) -> Any:
    return lambda d: good(d / "m.safetensors", 1, None, note=text, mixdown=text, base_model=text)


def _values() -> Iterator[tuple[str, float]]:
    yield "nan", float("nan")
    yield "inf", float("inf")
    yield "minus-inf", float("-inf")
    yield "denormal", 1e-42
    yield "largest", 3.4e38
    yield "minus-zero", -0.0


def _valued(value: float) -> Any:
    def make(folder: Path) -> Path:
        arrays = tensors(1)
        arrays[NAME][1, 2] = value
        table, data = header_of(arrays)
        return raw(folder / "m.safetensors", json.dumps(table).encode(), data)

    return make


def _many(folder: Path) -> Path:
    entry = '":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = "{" + ",".join(f'"{i}{entry}' for i in range(400_000)) + "}"
    return raw(folder / "m.safetensors", text.encode())


def _large_metadata(folder: Path) -> Path:
    text = json.dumps({"__metadata__": {"a": "x" * 30_000_000}})
    return raw(folder / "m.safetensors", text.encode())


def _sparse(folder: Path) -> Path:
    """A right file of 64 GB, nearly all of it a hole."""
    rows = 2**32
    table = {"big": {"dtype": "F32", "shape": [rows, 4], "data_offsets": [0, 16 * rows]}}
    path = raw(folder / "m.safetensors", json.dumps(table).encode())
    os.truncate(path, path.stat().st_size + 16 * rows)
    return path


def _sparse_gap(folder: Path) -> Path:
    table, data = header_of(tensors(1))
    path = raw(folder / "m.safetensors", json.dumps(table).encode(), data)
    os.truncate(path, 2**36)
    return path
