"""How the outputs here were made: `python make.py` in a venv with mergekit 0.1.5 (torch 2.15, CPU, one thread).

Writes inputs.safetensors (four tiny Llama-like models in float32) and, beside itself, outputs.safetensors (case/tensor)
from the configurations in cases.json and outputs_places.safetensors from those in cases_places.json, in which all
parameters differ between tensors. Not run by the tests.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 20,
}
SHAPES = {
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


def inputs() -> dict:
    """Tensors of all models, by model/tensor."""
    import numpy as np

    rng = np.random.default_rng(7)
    shapes = {f"model.layers.{i}.{part}.weight": shape for i in range(2) for part, shape in SHAPES.items()}
    shapes |= {"model.embed_tokens.weight": (20, 8), "model.norm.weight": (8,), "lm_head.weight": (20, 8)}
    base = {name: rng.normal(0, 1, shape) for name, shape in shapes.items()}
    made = {}
    for who in ("base", "a", "b", "c"):
        for name, values in base.items():
            change = rng.standard_t(4, values.shape) * 0.1 if who != "base" else 0.0
            made[f"{who}/{name}"] = (values + change).astype(np.float32)
    return made


def main() -> None:
    """Run mergekit on every case."""
    from safetensors.numpy import save_file

    tensors = inputs()
    save_file(tensors, HERE / "inputs.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for who in ("base", "a", "b", "c"):
            Path(who).mkdir()
            Path(who, "config.json").write_text(json.dumps(CONFIG))
            part = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{who}/")}
            save_file(part, f"{who}/model.safetensors", metadata={"format": "pt"})
        for kind in ("", "_places"):
            cases = json.loads((HERE / f"cases{kind}.json").read_text())
            save_file(outputs(cases, kind), HERE / f"outputs{kind}.safetensors")


def outputs(cases: dict, kind: str) -> dict:
    """Tensors of all merged models, by case/tensor."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge
    from safetensors.numpy import load_file

    found = {}
    for name, text in cases.items():
        config = MergeConfiguration.model_validate(yaml.safe_load(text))
        options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, num_threads=None)
        run_merge(config, f"out{kind}-{name}", options=options)
        for file in sorted(Path(f"out{kind}-{name}").glob("*.safetensors")):
            found |= {f"{name}/{key}": value for key, value in load_file(file).items()}
    return found


if __name__ == "__main__":
    main()
