"""How the outputs here were made: `python -m tests.golden.mergekit_modules.make` (see `tests.golden.mergekit_runs`).

Writes inputs.safetensors (four tiny T5 models in float32, encoder and decoder of different depth) and
outputs.safetensors (case/tensor) beside itself, from the configurations in cases.json. Not run by the tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from tests.golden.mergekit_runs import Shapes, beside, family, merged, read

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


def t5_shapes() -> Shapes:
    """Shapes of every tensor."""
    shapes: Shapes = {f"encoder.block.{i}.layer.{part}.weight": s for i in range(2) for part, s in ENCODER.items()}
    shapes |= {f"decoder.block.{i}.layer.{part}.weight": s for i in range(3) for part, s in DECODER.items()}
    for side in ("encoder", "decoder"):
        shapes[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, 2)
        shapes[f"{side}.final_layer_norm.weight"] = (8,)
    return shapes | {"shared.weight": (20, 8), "lm_head.weight": (20, 8)}


def main() -> None:
    """Run mergekit on every case."""
    tensors = family(t5_shapes(), seed=11)
    save_file(tensors, HERE / "inputs.safetensors")
    found: dict[str, Any] = {}
    with beside(tensors, dict.fromkeys(("base", "a", "b", "c"), CONFIG)):
        for name, folder in merged(json.loads((HERE / "cases.json").read_text())):
            found |= read(name, folder, load_file)
    save_file(found, HERE / "outputs.safetensors")


if __name__ == "__main__":
    main()
