"""The shape of a task file as JSON schema: format 1 (frozen linear heads), format 2 (every family and head)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMAT = 2
MAX_CLASSES = 10_000

_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_PATH = {"type": "string", "minLength": 1, "maxLength": 1024}
_KEY = {"type": "string", "minLength": 1, "maxLength": 512}
_NOTE = {"type": "string", "maxLength": 4096}
_NUMBER = {"type": "number", "minimum": -1e6, "maximum": 1e6}
_CHANNELS = {"type": "array", "minItems": 1, "maxItems": 64, "items": _NUMBER}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


_ROWS = {"file": _PATH, "val": _KEY, "val_labels": _KEY, "test": _KEY, "test_labels": _KEY}
_LENGTHS = {"val_lengths": _KEY, "test_lengths": _KEY, "pad": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}}
_EXTRA = {f"{split}_{what}": _KEY for split in ("val", "test") for what in ("groups", "starts", "sizes")}
_IMAGES = _object((*_ROWS, "kind"), **_ROWS, kind={"const": "image"})
_TOKENS = _object((*_ROWS, "kind", "val_lengths", "test_lengths"), **_ROWS, **_LENGTHS, kind={"const": "tokens"})
_TOKENS_2 = _object(
    (*_ROWS, "kind", "val_lengths", "test_lengths"), **_ROWS, **_LENGTHS, **_EXTRA, kind={"const": "tokens"}
)
_READOUT = {"pool": {"enum": ["cls", "mean"]}, "normalise": {"type": "boolean"}}
_LINEAR = {"file": _PATH, "weight": _KEY, "bias": {"anyOf": [_KEY, {"type": "null"}]}, **_READOUT}
_HEAD = _object(("file", "weight"), **_LINEAR)
_HEAD_2 = {"anyOf": [
    _object(("type", "file", "weight"), **{
        **_LINEAR, "type": {"const": "frozen"}, "pool": {"enum": ["cls", "mean", "pooler"]}, "projection": _KEY}),
    _object(("type",), type={"const": "model"}, file=_PATH),
    _object(("type",), type={"const": "none"}, **_READOUT),
]}  # fmt: skip
_INPUT = _object((), scale=_NUMBER, mean=_CHANNELS, std=_CHANNELS)
_COMMON = {
    "name": _NAME, "title": _NAME, "metric": _NAME, "expert": _NOTE, "licence": _NOTE, "source": _NOTE,
    "labels": {"type": "array", "minItems": 1, "maxItems": MAX_CLASSES, "items": {"type": "string", "maxLength": 400}},
}  # fmt: skip
_COMMON_1 = {**_COMMON, "format": {"const": 1}, "head": _HEAD}
_COMMON_2 = {
    **_COMMON, "format": {"const": 2}, "head": _HEAD_2,
    "labels": {**_COMMON["labels"], "minItems": 0}, "graph": _PATH,
    "family": {"enum": ["class", "value", "pair", "retrieve", "lm", "choice"]},
    "made": {"type": "object", "maxProperties": 64,
             "additionalProperties": {"anyOf": [{"type": "string", "maxLength": 4096}, {"type": "integer"}]}},
}  # fmt: skip
_REQUIRED = ("format", "name", "labels", "data", "head")
SCHEMA: Mapping[str, Mapping[str, Any]] = {
    "image": _object((*_REQUIRED, "input"), **_COMMON_1, data=_IMAGES, input=_INPUT),
    "tokens": _object(_REQUIRED, **_COMMON_1, data=_TOKENS, input={"anyOf": [_INPUT, {"type": "null"}]}),
}
"""JSON schema of a task file of format 1, by `data.kind`."""

SCHEMA_2: Mapping[str, Mapping[str, Any]] = {
    "image": _object((*_REQUIRED, "input"), **_COMMON_2, data=_IMAGES, input=_INPUT),
    "tokens": _object(_REQUIRED, **_COMMON_2, data=_TOKENS_2, input={"type": "null"}),
}
"""JSON schema of a task file of format 2, by `data.kind`."""
