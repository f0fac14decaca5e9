"""The process that reads a pickle: checks it without running it, loads it with `weights_only`, writes safetensors.

It is given two open files (the pickle, the result) and says on stdout, one JSON a line, how far it is and what failed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO

from engine.errors import MixdownError
from engine.pickles.container import read_structure
from engine.pickles.machine import Tensor, refused
from engine.pickles.sandbox import ban, isolate, limit

_SPARE_MEMORY, _SPARE_FILE = 1 << 30, 64 << 20
_MOST_GROWTH = 4
"""A state dict whose tensors share storages may grow so much when they are written one by one."""
_CHUNK = 16 << 20
_ORIGIN = '{"format":1,"kind":"converted pickle"}'
"""What `engine.recipe.origin` looks for; not imported, as this process needs little else of the engine."""


def main() -> None:
    """Convert and say so; the exit code is 0 or 1."""
    source, target, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    try:
        size = os.fstat(source).st_size
        with os.fdopen(source, "rb") as file, os.fdopen(target, "wb") as out:
            limit(0, seconds, _MOST_GROWTH * size + _SPARE_FILE, files=256)
            structure = read_structure(file, size)  # most bad files end here, before torch is loaded
            _shut(size, seconds)
            _tell(**_convert(file, size, structure, out))
    except MixdownError as error:
        _tell(error=error.message, hint=error.hint)
        sys.exit(1)
    except MemoryError:
        _tell(error="It needs more memory than a model of its size may.", hint="Get the .safetensors version.")
        sys.exit(1)
    except Exception as error:
        _tell(error=f"It cannot be read as a state dict ({type(error).__name__}).",
              hint="Get the .safetensors version of the model.")  # fmt: skip
        sys.exit(1)


def _shut(size: int, seconds: int) -> None:
    """Load what is needed, then give everything else up."""
    import torch

    torch.set_num_threads(1)
    limit(4 * size + _SPARE_MEMORY, seconds, _MOST_GROWTH * size + _SPARE_FILE)
    walls = isolate()
    ban()
    _tell(walls=list(walls))


def _tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _convert(file: BinaryIO, size: int, structure: dict[str, Tensor], out: BinaryIO) -> dict[str, Any]:
    import torch

    file.seek(0)
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    left_out = 0
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            left_out += len(loaded) - 1
            loaded = loaded[key]
    state = {name: _checked(name, loaded.get(name), told) for name, told in structure.items()}
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if total > _MOST_GROWTH * size:
        raise refused("its tensors share storages so often that it would grow manifold")
    _write(state, total, out)
    return {"tensors": len(state), "bytes": total, "left_out": left_out + len(loaded) - len(state)}


def _checked(name: str, tensor: Any, told: Tensor) -> Any:
    """A loaded tensor that is what the static check saw."""
    import torch

    plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tuple(tensor.shape) != told.shape or _dtype(tensor) == "":
        raise refused(f"{name!r} is of a kind that safetensors cannot hold")
    return tensor.detach()


def _dtype(tensor: Any) -> str:
    """The safetensors name of a tensor's type; "" for none."""
    return {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
            "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"}.get(
                str(tensor.dtype).removeprefix("torch."), "")  # fmt: skip


def _write(state: dict[str, Any], total: int, out: BinaryIO) -> None:
    """safetensors, wide types first so that everything is aligned."""
    import torch

    table: dict[str, Any] = {"__metadata__": {"format": "pt", "mixdown": _ORIGIN}}
    ordered = sorted(state, key=lambda name: (-state[name].element_size(), name))
    position = 0
    for name in ordered:
        end = position + state[name].numel() * state[name].element_size()
        table[name] = {"dtype": _dtype(state[name]), "shape": list(state[name].shape), "data_offsets": [position, end]}
        position = end
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    out.write(len(header).to_bytes(8, "little") + header)
    done = 0
    for name in ordered:
        raw = state[name].contiguous().reshape(-1).view(torch.uint8).numpy().data if state[name].numel() else b""
        for start in range(0, len(raw), _CHUNK):
            done += out.write(raw[start : start + _CHUNK])
            _tell(done=done, total=total)
    out.flush()
