"""How the outputs here were made: `python -m tests.golden.mergekit.make` (see `tests.golden.mergekit_runs`).

Writes inputs.safetensors (four tiny Llama-like models in float32) and, beside itself, outputs.safetensors (case/tensor)
from the configurations in cases.json and outputs_places.safetensors from those in cases_places.json, in which all
parameters differ between tensors. Not run by the tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from tests.golden.mergekit_runs import LLAMA, beside, family, llama_shapes, merged, read

HERE = Path(__file__).resolve().parent
LAYERS = 2


def main() -> None:
    """Run mergekit on every case."""
    tensors = family(llama_shapes(LAYERS), seed=7)
    save_file(tensors, HERE / "inputs.safetensors")
    config = {**LLAMA, "num_hidden_layers": LAYERS}
    with beside(tensors, dict.fromkeys(("base", "a", "b", "c"), config)):
        for kind in ("", "_places"):
            found: dict[str, Any] = {}
            for name, folder in merged(json.loads((HERE / f"cases{kind}.json").read_text()), f"out{kind}"):
                found |= read(name, folder, load_file)
            save_file(found, HERE / f"outputs{kind}.safetensors")


if __name__ == "__main__":
    main()
