"""A tiny image family with three experts and two tasks, on a desk or in a project file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from engine.recipe.project import save_project
from engine.recipe.recipe import Recipe, TaskRef
from tests.engine.evaluate_kit import Project, random_vit, save_model

OTHER = "other <b>digits</b>"
"""A name that must nowhere be read as markup."""


def write_family(folder: Path) -> Recipe:
    """Base, three experts, tasks "digits" and `OTHER` (other right answers, the same images)."""
    project = Project(folder)
    noise = random_vit(4)
    save_model(folder / "three", {k: (v + 0.2 * noise[k]).to(torch.float16) for k, v in project.state.items()})
    project.task(project.raw)
    recipe, _ = project.mix("one", "two", "three")
    other = {**project.raw, "name": OTHER, "title": "Other digits"}
    other["labels"] = [f"kind {i}" for i in range(5)]
    other["head"] = {**other["head"], "pool": "mean"}
    path = folder / "tasks" / "other.task.json"
    path.write_text(json.dumps(other))
    tasks = (TaskRef(name="digits", path=str(folder / "tasks" / "digits.task.json")),
             TaskRef(name=OTHER, path=str(path)))  # fmt: skip
    return replace(recipe.with_param("scale", 0.5), tasks=tasks)


def write_project(folder: Path) -> Path:
    """The same as a project file."""
    path = folder / "mix.mixdown"
    save_project(write_family(folder), path)
    return path
