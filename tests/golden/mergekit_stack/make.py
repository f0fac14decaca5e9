"""How the outputs here were made: `python make.py` in a venv with mergekit 0.1.5 (torch 2.15, CPU, one thread).

Writes inputs.safetensors (tiny Llama-like models of 3 to 6 layers), outputs.safetensors (case/tensor) and layers.json
(num_hidden_layers of every output) beside itself, from the configurations in cases.json. Not run by the tests.
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
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 20,
}
LAYERS = {"base": 4, "a": 4, "b": 6, "c": 3, "half": 4}
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
    """Tensors of all models, by model/tensor; those of "half" in bfloat16."""
    import torch

    torch.manual_seed(7)
    made = {}
    for who, layers in LAYERS.items():
        shapes = {f"model.layers.{i}.{part}.weight": shape for i in range(layers) for part, shape in SHAPES.items()}
        shapes |= {"model.embed_tokens.weight": (20, 8), "model.norm.weight": (8,), "lm_head.weight": (20, 8)}
        for name, shape in shapes.items():
            made[f"{who}/{name}"] = torch.randn(shape, dtype=torch.bfloat16 if who == "half" else torch.float32)
    return made


def main() -> None:
    """Run mergekit on every case."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge
    from safetensors.torch import load_file, save_file

    tensors = inputs()
    save_file(tensors, HERE / "inputs.safetensors")
    found, layers = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for who, count in LAYERS.items():
            Path(who).mkdir()
            Path(who, "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": count}))
            part = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{who}/")}
            save_file(part, f"{who}/model.safetensors", metadata={"format": "pt"})
        for name, text in json.loads((HERE / "cases.json").read_text()).items():
            config = MergeConfiguration.model_validate(yaml.safe_load(text))
            options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, num_threads=None)
            run_merge(config, f"out-{name}", options=options)
            layers[name] = json.loads(Path(f"out-{name}", "config.json").read_text())["num_hidden_layers"]
            for file in sorted(Path(f"out-{name}").glob("*.safetensors")):
                found |= {f"{name}/{key}": value for key, value in load_file(file).items()}
    save_file(found, HERE / "outputs.safetensors")
    (HERE / "layers.json").write_text(json.dumps(layers, indent=1) + "\n")


if __name__ == "__main__":
    main()
