"""Small real checkpoints for the application's tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYERS = 4
WIDTH = 16


def names(layers: int = LAYERS) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a small Llama-like model."""
    made: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (32, WIDTH))]
    for i in range(layers):
        made += [
            (f"model.layers.{i}.self_attn.q_proj.weight", (WIDTH, WIDTH)),
            (f"model.layers.{i}.mlp.up_proj.weight", (2 * WIDTH, WIDTH)),
            (f"model.layers.{i}.input_layernorm.weight", (WIDTH,)),
        ]
    return [*made, ("model.norm.weight", (WIDTH,)), ("lm_head.weight", (32, WIDTH))]


def base_tensors(seed: int = 0, layers: int = LAYERS) -> dict[str, np.ndarray]:
    """Weights of a base."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in names(layers)}


def expert_tensors(base: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Weights of a fine-tune: the base plus a small independent change."""
    rng = np.random.default_rng(seed)
    return {name: (w + rng.normal(0, 0.02, w.shape)).astype(np.float32) for name, w in base.items()}


def write_model(folder: Path, tensors: dict[str, np.ndarray], shards: int = 1) -> Path:
    """A model folder, in shards if wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": WIDTH}))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    where = {}
    for number, part in enumerate(np.array_split(np.array(sorted(tensors)), shards), 1):
        file = f"model-{number:05}-of-{shards:05}.safetensors"
        save_file({str(n): tensors[str(n)] for n in part}, folder / file)
        where.update({str(n): file for n in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


NAMES = ("chat", "code", "math", "safety", "law", "poem", "tune", "plan")


def write_family(
    root: Path, experts: int = 3, layers: int = LAYERS, called: Sequence[str] = NAMES
) -> tuple[Path, list[Path]]:
    """A base and its fine-tunes in folders of their own."""
    base = base_tensors(layers=layers)
    home = write_model(root / "base", base)
    return home, [write_model(root / called[i], expert_tensors(base, i + 1)) for i in range(experts)]
