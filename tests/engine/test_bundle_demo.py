"""Task bundles of the shipped demo: what restored tasks keep, and how their lambda is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.bundle.compress import BundleOptions, compress
from engine.bundle.opening import open_bundle
from engine.bundle.restore import restored_state
from engine.bundle.tune import tune
from engine.errors import BadRecipe
from engine.evaluate.mix import score_checkpoint
from engine.evaluate.runner import evaluate_all
from engine.evaluate.task import Task, load_task
from engine.files.checkpoint import open_checkpoint
from engine.merge.inputs import Inputs, make_inputs

DEMO = Path(__file__).resolve().parent.parent.parent / "resources" / "demo"
ROWS = 300


@pytest.fixture(scope="module")
def demo() -> tuple[Inputs, dict[str, Task]]:
    listing = json.loads((DEMO / "demo.json").read_text("utf-8"))["experts"]
    experts = [open_checkpoint(DEMO / e["path"]) for e in listing]
    tasks = {e["name"]: load_task(DEMO / "tasks" / f"{e['task']}.task.json") for e in listing}
    return make_inputs(open_checkpoint(DEMO / "base"), experts, list(tasks)), tasks


@pytest.mark.parametrize(("rescale", "strictness", "least"), [(False, 0.4, 0.97), (True, 0.5, 0.99)])
def test_restored_tasks_keep_their_scores(
    demo: tuple[Inputs, dict[str, Task]], tmp_path: Path, rescale: bool, strictness: float, least: float
) -> None:
    inputs, tasks = demo
    assert inputs.base is not None
    options, kept = BundleOptions(codec="huffman", bits=8, rescale=rescale), []
    levels = dict.fromkeys(tasks, strictness)
    made = compress(inputs, tmp_path / "all.safetensors", strictness=levels, options=options)
    bundle = open_bundle(made.path)
    for expert, (name, task) in zip(inputs.experts, tasks.items(), strict=True):
        own = score_checkpoint(expert, inputs.base, task, split="test", limit=ROWS).value
        state = restored_state(bundle, name, inputs.base)
        kept.append(evaluate_all(state, inputs.base.config, [task], split="test", limit=ROWS)[name].value / own)
    assert sum(kept) / len(kept) >= least
    assert made.storage.file_bytes < made.storage.experts_bytes / 5


def test_lambda_is_that_of_the_best_restored_task(demo: tuple[Inputs, dict[str, Task]]) -> None:
    inputs, tasks = demo
    found = tune(inputs, {"digits": tasks["digits"]}, grid=(0.0, 0.4), limit=100)
    assert found["digits"].strictness == 0.4 and found["digits"].scores[0.4] > found["digits"].scores[0.0]
    assert found["parity"].strictness == 0.4 and not found["parity"].scores
    with pytest.raises(BadRecipe, match="no expert"):
        tune(inputs, {"nobody": tasks["digits"]})
