"""What an export may be told, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Format = Literal["safetensors", "onnx", "both"]

SHARD_BYTES = 5_000_000_000
"""Default size of a shard."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to write a merged model.

    Attributes:
        shard_bytes: Largest size of a weight file of a folder; one tensor is never split.
        verify: Whether to read headers and samples back before the target gets its name.
        replace: Whether an existing Mixdown export may be replaced.
        card: Whether to write a model card (README.md).
        sidecars: Whether to carry over configuration and tokenizer data.
        format: "safetensors", "onnx" (one graph with its weights, instead of safetensors) or "both" (a graph that
            reads the safetensors beside it). ONNX needs a folder as the target.
    """

    shard_bytes: int = SHARD_BYTES
    verify: bool = True
    replace: bool = False
    card: bool = True
    sidecars: bool = True
    format: Format = "safetensors"


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export.

    Attributes:
        path: The file or folder.
        bytes: Size of all its files.
        seconds: Wall time.
        files: All its files, weights first.
        notes: How many tensors each note of the method was about ("lerp": 12).
    """

    path: Path
    bytes: int
    seconds: float
    files: tuple[Path, ...]
    notes: Mapping[str, int] = field(default_factory=dict)
