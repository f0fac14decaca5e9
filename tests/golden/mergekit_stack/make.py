"""How the outputs here were made: `python -m tests.golden.mergekit_stack.make` (see `tests.golden.mergekit_runs`).

Writes inputs.safetensors (tiny Llama-like models of 3 to 6 layers), outputs.safetensors (case/tensor) and layers.json
(num_hidden_layers of every output) beside itself, from the configurations in cases.json. Not run by the tests.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.golden.mergekit_runs import LLAMA, beside, llama_shapes, merged, read

HERE = Path(__file__).resolve().parent
LAYERS = {"base": 4, "a": 4, "b": 6, "c": 3, "half": 4}


def inputs() -> dict[str, Tensor]:
    """Tensors of all models, by model/tensor; those of "half" in bfloat16."""
    torch.manual_seed(7)
    made = {}
    for who, layers in LAYERS.items():
        for name, shape in llama_shapes(layers).items():
            made[f"{who}/{name}"] = torch.randn(shape, dtype=torch.bfloat16 if who == "half" else torch.float32)
    return made


def main() -> None:
    """Run mergekit on every case."""
    tensors = inputs()
    save_file(tensors, HERE / "inputs.safetensors")
    found, layers = {}, {}
    with beside(tensors, {who: {**LLAMA, "num_hidden_layers": count} for who, count in LAYERS.items()}):
        for name, folder in merged(json.loads((HERE / "cases.json").read_text())):
            layers[name] = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
            found |= read(name, folder, load_file)
    save_file(found, HERE / "outputs.safetensors")
    (HERE / "layers.json").write_text(json.dumps(layers, indent=1) + "\n")


if __name__ == "__main__":
    main()
