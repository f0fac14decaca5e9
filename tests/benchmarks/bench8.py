"""The shared benchmark `bench8-text` as a recipe and tasks, when the folder is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.evaluate.task import Head, Rows, Task
from engine.recipe.recipe import ModelRef, Recipe

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "bench8-text"


def published() -> dict[str, Any]:
    """The figures that come with the benchmark."""
    found: dict[str, Any] = json.loads((FOLDER / "results.json").read_text("utf-8"))
    return found


def bench_tasks() -> list[Task]:
    """Its eight tasks."""
    return [
        Task(
            name=name, title=name, kind="tokens", labels=tuple(about["labels"]),
            data=FOLDER / "eval" / "tokens.safetensors", val=_rows(name, "val"), test=_rows(name, "test"),
            head=Head(file=FOLDER / "heads" / f"{name}.safetensors", weight="weight", pool="mean", normalise=True),
            expert=name, path=FOLDER / "eval" / f"{name}.task.json",
        )
        for name, about in published()["tasks"].items()
    ]  # fmt: skip


def bench_recipe() -> Recipe:
    """Base and eight experts, by task arithmetic."""
    experts = tuple(
        ModelRef(id=f"e{i}", name=name, path=str(FOLDER / "experts" / name))
        for i, name in enumerate(published()["tasks"], 1)
    )
    return Recipe(base=ModelRef(id="base", name="base", path=str(FOLDER / "base")), experts=experts)


def _rows(name: str, split: str) -> Rows:
    return Rows(inputs=f"{name}.{split}.ids", labels=f"{name}.{split}.label", lengths=f"{name}.{split}.len")
