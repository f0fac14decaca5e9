"""The demo's files: models and heads in half precision, rows as bytes, tasks and the listing as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from building.tasks import LICENCES, MEAN, STD, TASKS, Rows, Spec, hashes
from building.training import SIZES, State

CONFIG = {
    "model_type": "vit", "architectures": ["ViTModel"], "torch_dtype": "float16", **SIZES,
    "layer_norm_eps": 1e-12, "hidden_act": "gelu", "qkv_bias": True,
}  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Readable JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_model(folder: Path, state: State) -> None:
    """model.safetensors in float16 and config.json."""
    write_json(folder / "config.json", CONFIG)
    _save({k: v.half() for k, v in state.items()}, folder / "model.safetensors")


def write_task(out: Path, spec: Spec, head: Tensor, rows: Mapping[str, Rows]) -> None:
    """The head, the rows that are scored, hashes of those that were trained on, and the task file."""
    _save({"weight": head}, out / "heads" / f"{spec.name}.safetensors")
    data = {f"{split}.images": torch.from_numpy(rows[split].images) for split in ("val", "test")}
    data |= {f"{split}.labels": torch.from_numpy(rows[split].labels) for split in ("val", "test")}
    data["train.hashes"] = torch.from_numpy(hashes(rows["train"].images))
    _save(data, out / "data" / f"{spec.name}.safetensors")
    write_json(out / "tasks" / f"{spec.name}.task.json", _task(spec))


def write_listing(out: Path) -> None:
    """demo.json: what the app opens."""
    experts = [{"name": s.name, "path": f"experts/{s.name}", "task": s.name} for s in TASKS]
    tasks = [f"tasks/{s.name}.task.json" for s in TASKS]
    title = "Six ways of seeing"
    write_json(out / "demo.json", {"format": 1, "title": title, "base": "base", "experts": experts, "tasks": tasks})


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def _task(spec: Spec) -> dict[str, Any]:
    licence, source = LICENCES[spec.source]
    return {
        "format": 1, "name": spec.name, "title": spec.title, "labels": list(spec.labels), "metric": "accuracy",
        "data": {
            "kind": "image", "file": f"../data/{spec.name}.safetensors", "val": "val.images",
            "val_labels": "val.labels", "test": "test.images", "test_labels": "test.labels",
        },
        "input": {"scale": 1 / 255, "mean": [MEAN], "std": [STD]},
        "head": {"file": f"../heads/{spec.name}.safetensors", "weight": "weight", "pool": "mean", "normalise": True},
        "expert": spec.name, "licence": licence, "source": source,
    }  # fmt: skip
