"""How the outputs here were made: `python make.py` in a venv with mergekit 0.1.5 (torch 2.15, CPU, 1 thread).

Writes inputs.safetensors (four tiny T5 models in float32, encoder and decoder of different depth) and
outputs.safetensors (case/tensor) beside itself, from the configurations in cases.json. Not run by the tests.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONFIG = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "num_layers": 2,
    "num_decoder_layers": 3,
    "d_model": 8,
    "d_ff": 12,
    "d_kv": 4,
    "num_heads": 2,
    "vocab_size": 20,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}
ENCODER = {
    "0.SelfAttention.q": (8, 8),
    "0.SelfAttention.k": (8, 8),
    "0.SelfAttention.v": (8, 8),
    "0.SelfAttention.o": (8, 8),
    "0.layer_norm": (8,),
    "1.DenseReluDense.wi_0": (12, 8),
    "1.DenseReluDense.wi_1": (12, 8),
    "1.DenseReluDense.wo": (8, 12),
    "1.layer_norm": (8,),
}
DECODER = {k.replace("1.", "2.", 1): v for k, v in ENCODER.items()} | {
    "1.EncDecAttention.q": (8, 8),
    "1.EncDecAttention.k": (8, 8),
    "1.EncDecAttention.v": (8, 8),
    "1.EncDecAttention.o": (8, 8),
    "1.layer_norm": (8,),
}


def inputs() -> dict:
    """Tensors of all models, by model/tensor."""
    import numpy as np

    rng = np.random.default_rng(11)
    shapes = {f"encoder.block.{i}.layer.{part}.weight": shape for i in range(2) for part, shape in ENCODER.items()}
    shapes |= {f"decoder.block.{i}.layer.{part}.weight": shape for i in range(3) for part, shape in DECODER.items()}
    for side in ("encoder", "decoder"):
        shapes[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, 2)
        shapes[f"{side}.final_layer_norm.weight"] = (8,)
    shapes |= {"shared.weight": (20, 8), "lm_head.weight": (20, 8)}
    base = {name: rng.normal(0, 1, shape) for name, shape in shapes.items()}
    made = {}
    for who in ("base", "a", "b", "c"):
        for name, values in base.items():
            change = rng.standard_t(4, values.shape) * 0.1 if who != "base" else 0.0
            made[f"{who}/{name}"] = (values + change).astype(np.float32)
    return made


def main() -> None:
    """Run mergekit on every case."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge
    from safetensors.numpy import load_file, save_file

    tensors = inputs()
    save_file(tensors, HERE / "inputs.safetensors")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for who in ("base", "a", "b", "c"):
            Path(who).mkdir()
            Path(who, "config.json").write_text(json.dumps(CONFIG))
            part = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{who}/")}
            save_file(part, f"{who}/model.safetensors", metadata={"format": "pt"})
        for name, text in json.loads((HERE / "cases.json").read_text()).items():
            config = MergeConfiguration.model_validate(yaml.safe_load(text))
            options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, num_threads=None)
            run_merge(config, f"out-{name}", options=options)
            for file in sorted(Path(f"out-{name}").glob("*.safetensors")):
                found |= {f"{name}/{key}": value for key, value in load_file(file).items()}
    save_file(found, HERE / "outputs.safetensors")


if __name__ == "__main__":
    main()
