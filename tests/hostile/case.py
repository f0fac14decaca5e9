"""What a hostile file is called, how it is made and what must become of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

Kind = Literal["model", "project", "recipe", "task", "config", "graph"]
Make = Callable[[Path], Path]
CANARY = "canary"
"""Name of the folder beside a case that only code out of a file can make."""

SHAPES: Mapping[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (8, 4),
    "model.layers.0.self_attn.q_proj.weight": (4, 4),
    "model.layers.0.mlp.up_proj.weight": (8, 4),
    "model.layers.0.input_layernorm.weight": (4,),
}


@dataclass(frozen=True)
class Case:
    """One hostile thing.

    Attributes:
        name: Stable name; also the name of its folder.
        kind: What it pretends to be.
        make: Builds it in an empty folder and returns what the user would drop.
        refused: Whether opening must fail (False: it may also work, harmlessly).
    """

    name: str
    kind: Kind
    make: Make
    refused: bool = True


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that fit the good base of the runs."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, shape).astype("<f4") for name, shape in SHAPES.items()}


def header_of(arrays: Mapping[str, np.ndarray], begin: int = 0) -> tuple[dict[str, Any], bytes]:
    """A right header's table, and the data behind it (all F32)."""
    table: dict[str, Any] = {}
    data = b""
    for name, array in arrays.items():
        raw = array.astype("<f4").tobytes()
        place = [begin + len(data), begin + len(data) + len(raw)]
        table[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": place}
        data += raw
    return table, data


def raw(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A file with this header text, this data and (unless told otherwise) the right length in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def good(path: Path, seed: int = 1, extra: Mapping[str, np.ndarray] | None = None, **metadata: str) -> Path:
    """A right file."""
    table, data = header_of({**tensors(seed), **(extra or {})})
    head = {"__metadata__": metadata, **table} if metadata else table
    return raw(path, json.dumps(head).encode(), data)


def good_folder(folder: Path, seed: int = 1, config: object = None) -> Path:
    """A right model folder."""
    good(folder / "model.safetensors", seed)
    text = {"model_type": "llama", "hidden_size": 4} if config is None else config
    (folder / "config.json").write_text(text if isinstance(text, str) else json.dumps(text))
    return folder
