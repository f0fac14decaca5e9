"""What the makers of mergekit's numbers share: tiny models in folders, and mergekit 0.1.5 run on configurations.

The makers run from the repository in a venv with mergekit 0.1.5 (torch 2.15, CPU, one thread), for example with
`python -m tests.golden.mergekit.make`; the tests run none of them, they only take `write_models` from here.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 20,
}
_PARTS = {
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (8, 8),
    "self_attn.v_proj": (8, 8),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (12, 8),
    "mlp.up_proj": (12, 8),
    "mlp.down_proj": (8, 12),
    "input_layernorm": (8,),
    "post_attention_layernorm": (8,),
}
Shapes = dict[str, tuple[int, ...]]


def llama_shapes(layers: int) -> Shapes:
    """Shapes of a tiny Llama-like model of so many layers."""
    made: Shapes = {f"model.layers.{i}.{part}.weight": shape for i in range(layers) for part, shape in _PARTS.items()}
    return made | {"model.embed_tokens.weight": (20, 8), "model.norm.weight": (8,), "lm_head.weight": (20, 8)}


def family(shapes: Shapes, seed: int) -> dict[str, np.ndarray]:
    """Tensors (float32) of a base and three fine-tunes, by model/tensor."""
    rng = np.random.default_rng(seed)
    base = {name: rng.normal(0, 1, shape) for name, shape in shapes.items()}
    made = {}
    for who in ("base", "a", "b", "c"):
        for name, values in base.items():
            change = rng.standard_t(4, values.shape) * 0.1 if who != "base" else 0.0
            made[f"{who}/{name}"] = (values + change).astype(np.float32)
    return made


def of(tensors: Mapping[str, Any], who: str) -> dict[str, Any]:
    """The tensors of one model or case, by their own names."""
    return {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{who}/")}


def write_models(folder: Path, tensors: Mapping[str, Any], configs: Mapping[str, Any] | None = None) -> Path:
    """Write every model into a folder of its name, with its config.json if there is one; returns the folder.

    Args:
        folder: Where to.
        tensors: All tensors by model/tensor, of numpy or of torch.
        configs: By model.
    """
    from safetensors import numpy, torch

    for who in dict.fromkeys(key.partition("/")[0] for key in tensors):
        (folder / who).mkdir()
        if configs:
            (folder / who / "config.json").write_text(json.dumps(configs[who]))
        part = of(tensors, who)
        save = numpy if all(isinstance(v, np.ndarray) for v in part.values()) else torch
        save.save_file(part, folder / who / "model.safetensors", metadata={"format": "pt"})
    return folder


@contextmanager
def beside(tensors: Mapping[str, Any], configs: Mapping[str, Any]) -> Iterator[None]:
    """Work in a folder of its own, where the models lie under their names."""
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder), tensors, configs)
        os.chdir(folder)
        yield


def merged(cases: Mapping[str, str], prefix: str = "out") -> Iterator[tuple[str, Path]]:
    """Run mergekit on every configuration; gives each case and the folder of its output."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, num_threads=None)
    for name, text in cases.items():
        run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), f"{prefix}-{name}", options=options)
        yield name, Path(f"{prefix}-{name}")


def read(case: str, folder: Path, load: Any) -> dict[str, Any]:
    """The tensors of an output, by case/tensor; `load` is the `load_file` of safetensors for numpy or torch."""
    files = sorted(folder.glob("*.safetensors"))
    return {f"{case}/{key}": value for file in files for key, value in load(file).items()}
