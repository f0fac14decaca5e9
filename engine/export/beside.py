"""The small files beside the weights: configuration, tokenizer data and the card. Data only, never code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import FileProblem
from engine.export.card import card_text
from engine.export.existing import CARD_NAME
from engine.export.options import ExportOptions
from engine.files import strict_json
from engine.files.config import sanitised
from engine.files.folder import is_sidecar
from engine.files.model import Checkpoint
from engine.files.opening import read_small
from engine.merge.plan import Plan

MAX_SIDECAR = 200_000_000
_MAX_SETTINGS = 5_000_000
_DTYPE_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
                "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}  # fmt: skip
_SETTINGS = ("generation_config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json",
             "image_processor_config.json", "video_preprocessor_config.json", "special_tokens_map.json",
             "added_tokens.json", "chat_template.json")  # fmt: skip
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines"})


def small_files(
    plan: Plan, provenance: Mapping[str, Any], options: ExportOptions, carried: Mapping[str, bytes] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of everything beside the weights.

    Args:
        plan: Whose models have the files.
        provenance: What the card says about the origin.
        options: Which files are wanted.
        carried: Tokenizer and processor data by name, for models that have none of their own.

    Raises:
        FileProblem: if a file of the models is unreadable.
    """
    config = _config(plan)
    if options.sidecars:
        if config is not None:
            yield "config.json", _json(config)
        yield from _sidecars(plan, carried or {})
    if options.card:
        library = "transformers" if config and "model_type" in config else "safetensors"
        yield CARD_NAME, card_text(plan, provenance, library=library).encode()


def _models(plan: Plan) -> list[Checkpoint]:
    return [m for m in (plan.models.base, *plan.models.experts) if m is not None]


def _config(plan: Plan) -> dict[str, Any] | None:
    """The base's configuration (or the first there is) without code, and with the dtype that is written."""
    config = next((model.config for model in _models(plan) if model.config is not None), None)
    if config is None:
        return None
    sizes: dict[str, int] = {}
    for job in plan.jobs:
        if job.is_float:
            sizes[job.out_dtype] = sizes.get(job.out_dtype, 0) + job.bytes_out
    clean = sanitised(config)
    return _with_dtype(clean, _DTYPE_NAMES[max(sorted(sizes), key=sizes.__getitem__)]) if sizes else clean


def _with_dtype(table: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The configuration with its stated dtype, also of its parts (text_config, ...), replaced."""
    return {
        key: dtype
        if key in ("torch_dtype", "dtype") and isinstance(value, str)
        else _with_dtype(value, dtype)
        if isinstance(value, dict)
        else value
        for key, value in table.items()
    }


def _sidecars(plan: Plan, carried: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Tokenizer and processor data of the base, or of the first expert that has any, or what is carried."""
    files = next((model.sidecars for model in _models(plan) if model.sidecars), ())
    for file in files:
        if file.name != "config.json" and (data := _read(file)) is not None:
            yield file.name, data
    for name, raw in carried.items() if not files else ():
        if name != "config.json" and is_sidecar(name) and (data := harmless(name, raw)) is not None:
            yield name, data


def _read(file: Path) -> bytes | None:
    """A file's content, without references to code; None if it should have been settings but is not."""
    if file.name not in _SETTINGS:
        return read_small(file, MAX_SIDECAR)
    try:
        return harmless(file.name, read_small(file, _MAX_SETTINGS))
    except FileProblem:
        return None


def harmless(name: str, raw: bytes) -> bytes | None:
    """A sidecar as it is; settings that refer to code are rewritten; None for settings that are no plain JSON table."""
    if name not in _SETTINGS:
        return raw
    try:
        settings = strict_json.parse(raw)
    except strict_json.BadJson:
        return None
    if not isinstance(settings, dict):
        return None
    kept = {key: value for key, value in settings.items() if key not in _CODE_KEYS and not key.endswith("_internal")}
    return raw if kept == settings else _json(kept)


def _json(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode()
