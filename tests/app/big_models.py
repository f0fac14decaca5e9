"""Models whose export takes a moment: a few large float32 tensors of noise."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from engine.recipe.recipe import ModelRef, Recipe


def big_models(folder: Path, *, experts: int, tensors: int, side: int = 1024) -> Recipe:
    """A base and experts of `tensors` square matrices, and the recipe that merges them with TIES."""
    refs = []
    for number in range(experts + 1):
        name = f"e{number}" if number else "base"
        path = folder / f"{name}.safetensors"
        _write(path, number, tensors, side)
        refs.append(ModelRef(id=name, name=name, path=str(path)))
    return Recipe(base=refs[0], experts=tuple(refs[1:]), method="ties")


def _write(path: Path, seed: int, tensors: int, side: int) -> None:
    size = side * side * 4
    header = {
        f"model.layers.{i}.mlp.up_proj.weight": {
            "dtype": "F32",
            "shape": [side, side],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(tensors)
    }
    text = json.dumps(header).encode()
    noise = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(tensors):
            file.write(noise.standard_normal(side * side, dtype=np.float32).tobytes())
