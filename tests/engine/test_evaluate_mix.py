"""Scores of mixes: those of the exported model, remembered by content, the same as an independent benchmark's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.errors import Cancelled, EvalProblem, NotEnoughMemory
from engine.evaluate import mix as module
from engine.evaluate.mix import score_checkpoint, score_recipe
from engine.evaluate.task import Task, load_task
from engine.files.checkpoint import open_checkpoint
from engine.merge.inputs import Inputs, make_inputs
from engine.progress import Token
from engine.recipe.recipe import ModelRef, Recipe, Rule
from engine.store.cache import ScoreCache
from tests.engine.evaluate_kit import CONFIG, Project, logits, random_vit, save_model
from tests.engine.rewriting import rewrite_in_place

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(shared_project: Project) -> Project:
    return shared_project


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    return ScoreCache(tmp_path / "scores.sqlite")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every task that is really measured."""
    measured: list[str] = []
    measure = module._Subject.measured

    def counting(self: Any, tasks: Any, *rest: Any) -> Any:
        measured.extend(task.name for task in tasks)
        return measure(self, tasks, *rest)

    monkeypatch.setattr(module._Subject, "measured", counting)
    return measured


def states(project: Project) -> list[dict[str, torch.Tensor]]:
    return [load_file(project.folder / name / "model.safetensors") for name in ("base", "one", "two")]


@pytest.mark.parametrize("dtype", ["F16", "F32", "F8_E4M3"])
def test_a_mix_scores_as_its_export_would(project: Project, dtype: str) -> None:
    recipe, inputs = project.mix("one", "two")
    recipe = replace(recipe.with_method("task_arithmetic", {"scale": 0.4}), dtype=dtype)
    base, one, two = states(project)
    out = {"F16": torch.float16, "F32": torch.float32, "F8_E4M3": torch.float8_e4m3fn}[dtype]
    merged = {
        k: (b.float() + 0.4 * ((one[k].float() - b.float()) + (two[k].float() - b.float()))).to(out).float()
        for k, b in base.items()
    }
    task = project.task(project.raw)
    assert score_recipe(recipe, inputs, [task], split="test")[task.name].correct == project.correct(merged)


def test_the_laws_of_the_ends(project: Project) -> None:
    task = project.task(project.raw)
    recipe, inputs = project.mix("one", "two")
    silent = recipe.with_muted("e0", True).with_muted("e1", True)
    assert score_recipe(silent, inputs, [task], split="test")[task.name].correct == 48
    alone = recipe.with_method("linear").with_soloed("e1", True)
    expert = score_checkpoint(project.model("two"), project.model("base"), task, split="test")
    assert score_recipe(alone, inputs, [task], split="test")[task.name] == expert
    assert expert.correct == project.correct(states(project)[2])


def test_what_is_the_same_is_measured_once(project: Project, cache: ScoreCache, runs: list[str]) -> None:
    task = project.task(project.raw)
    recipe, inputs = project.mix("one", "two")

    def score(recipe: Recipe, inputs: Inputs) -> Any:
        return score_recipe(recipe, inputs, [task], limit=20, cache=cache)[task.name]

    first = score(recipe, inputs)
    swapped, swapped_inputs = project.mix("two", "one")
    ruled = recipe.with_rules([Rule(value=1.0, layer="0"), Rule(value=1.0, expert="e0")])
    renamed = replace(inputs, names=("x", "y"))
    same = [(recipe, inputs), (swapped, swapped_inputs), (ruled, inputs), (recipe.with_param("scale", 0.3), inputs),
            (recipe, renamed)]  # fmt: skip
    assert [score(*pair) for pair in same] == [first] * len(same)
    assert runs == [task.name]
    again = score_recipe(recipe, inputs, [replace(task, name="other name")], limit=20, cache=cache)
    assert again == {"other name": replace(first, task="other name")} and runs == [task.name]


def test_what_differs_is_measured_again(project: Project, cache: ScoreCache, runs: list[str]) -> None:
    task = project.task(project.raw)
    recipe, inputs = project.mix("one", "two")
    different: list[tuple[Recipe, dict[str, Any]]] = [
        (recipe, {"limit": 20}),
        (recipe, {"limit": 21}),
        (recipe, {}),
        (recipe, {"limit": 20, "split": "test"}),
        (recipe.with_rules([Rule(value=0.9, expert="e0", layer="1", kind="mlp")]), {"limit": 20}),
        (recipe.with_muted("e0", True), {"limit": 20}),
        (recipe.with_muted("e1", True), {"limit": 20}),
        (recipe.with_param("scale", 0.31), {"limit": 20}),
        (recipe.with_method("linear"), {"limit": 20}),
        (replace(recipe, dtype="BF16"), {"limit": 20}),
        (recipe.with_method("dare_linear"), {"limit": 20}),
        (replace(recipe.with_method("dare_linear"), seed=1), {"limit": 20}),
    ]
    for count, (asked, options) in enumerate(different, 1):
        for _ in range(2):
            score_recipe(asked, inputs, [task], cache=cache, **options)
        assert len(runs) == count


def test_changed_files_are_measured_again(tmp_path: Path, cache: ScoreCache, runs: list[str]) -> None:
    project = Project(tmp_path / "own")
    task = project.task(project.raw)

    def score() -> int:
        recipe, inputs = project.mix("one")
        asked = recipe.with_rules([Rule(value=0.0)]).with_rules([Rule(value=1e-4, expert="e0")])
        model = score_checkpoint(project.model("base"), None, task, split="test", cache=cache)
        mixed = score_recipe(asked, inputs, [task], split="test", cache=cache)[task.name]
        assert mixed.correct == model.correct  # so small a change makes no difference
        return model.correct

    assert (score(), score(), len(runs)) == (48, 48, 2)
    project.labels[1] = (project.labels[1] + 1) % 5  # data: one more row that the base gets wrong
    project.save()
    assert (score(), score(), len(runs)) == (47, 47, 4)
    project.head["bias"] = project.head["bias"] + torch.tensor([0.0, 0, 0, 0, 1e6])
    project.save()
    assert (score(), len(runs)) == (int((project.labels == 4).sum()), 6)
    save_model(project.folder / "base", random_vit(77))
    score()
    assert len(runs) == 8
    save_model(project.folder / "base", random_vit(77), {**CONFIG, "layer_norm_eps": 1e-3})
    score()
    assert len(runs) == 10


def test_a_model_that_was_rewritten_under_its_old_time_is_measured_again(
    tmp_path: Path, cache: ScoreCache, runs: list[str]
) -> None:
    project = Project(tmp_path / "own")
    task, (recipe, held) = project.task(project.raw), project.mix("one")
    model = project.model("base")

    def score(recipe: Recipe, inputs: Inputs, model: Any) -> int:
        score_recipe(recipe, inputs, [task], limit=8, cache=cache)
        score_checkpoint(model, None, task, limit=8, cache=cache)
        return len(runs)

    assert [score(recipe, held, model) for _ in range(2)] == [2, 2]
    rewrite_in_place(project.folder / "base" / "model.safetensors")
    assert score(recipe, held, model) == 4, "held open: not the old score"
    assert score(recipe, held, model) == 6, "and what was read of a file in that state is not remembered"
    recipe, again = project.mix("one")
    assert [score(recipe, again, project.model("base")) for _ in range(2)] == [8, 8]
    (project.folder / "base" / "model.safetensors").chmod(0o600)
    assert [score(recipe, again, project.model("base")) for _ in range(2)] == [10, 11]


def test_only_missing_tasks_are_measured(project: Project, cache: ScoreCache, runs: list[str]) -> None:
    task = project.task(project.raw)
    other = replace(task, name="pooled", head=replace(task.head, pool="mean"))
    recipe, inputs = project.mix("one", "two")
    one = score_recipe(recipe, inputs, [task], cache=cache)
    both = score_recipe(recipe, inputs, [other, task], cache=cache)
    assert runs == [task.name, "pooled"] and list(both) == ["pooled", task.name] and both[task.name] == one[task.name]
    assert both["pooled"].value != one[task.name].value
    assert score_recipe(recipe, inputs, [], cache=cache) == {}


def test_a_useless_cache_does_no_harm(project: Project, tmp_path: Path) -> None:
    task = project.task(project.raw)
    recipe, inputs = project.mix("one", "two")
    plain = score_recipe(recipe, inputs, [task])
    (tmp_path / "scores.sqlite").write_bytes(b"rubbish " * 1000)
    for path in (tmp_path / "scores.sqlite", tmp_path):
        assert score_recipe(recipe, inputs, [task], cache=ScoreCache(path)) == plain


def test_known_scores_are_answered_without_torch(project: Project, tmp_path: Path) -> None:
    task = project.task(project.raw)
    recipe, inputs = project.mix("one", "two")
    path = tmp_path / "scores.sqlite"
    scored = score_recipe(recipe, inputs, [task], cache=ScoreCache(path))
    program = f"""
import sys, time
from pathlib import Path
import engine.methods
from engine.evaluate.mix import score_recipe
from engine.evaluate.task import load_task
from engine.merge.inputs import open_inputs
from engine.recipe.recipe import ModelRef, Recipe
from engine.store.cache import ScoreCache
recipe = {recipe!r}
inputs, task, cache = open_inputs(recipe), load_task(Path({str(task.path)!r})), ScoreCache(Path({str(path)!r}))
started = time.process_time()
score = score_recipe(recipe, inputs, [task], cache=cache)[task.name]
print(score.correct, "torch" in sys.modules, time.process_time() - started < 1)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(scored[task.name].correct), "False", "True"], done.stderr


def test_problems_are_told_before_anything_is_merged(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.merge.run.merged_state", None)  # merging would fail
    task = project.task(project.raw)
    recipe, inputs = project.mix("one")
    assert inputs.base is not None
    bare = replace(inputs.base, config=None)
    with pytest.raises(EvalProblem, match=r"no config\.json"):
        score_recipe(recipe, replace(inputs, base=bare, experts=tuple(replace(e, config=None) for e in inputs.experts)),
                     [task])  # fmt: skip
    wide = replace(inputs.base, config={**CONFIG, "intermediate_size": 65})
    with pytest.raises(EvalProblem, match="65"):
        score_recipe(recipe, replace(inputs, base=wide), [task])


def test_a_mix_that_does_not_fit_into_memory_is_not_tried(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    task = project.task(project.raw)
    recipe, inputs = project.mix("one")
    count = sum(t.numel() for t in project.state.values())
    for available, fits in ((int(7.6 * count), True), (int(7.4 * count), False)):  # 2 + 4 bytes of 80 %
        monkeypatch.setattr("engine.evaluate.memory.available_memory", lambda free=available: free)
        if fits:
            assert score_recipe(recipe, inputs, [task])
        else:
            with pytest.raises(NotEnoughMemory):
                score_recipe(recipe, inputs, [task])


def test_memory_of_a_container(tmp_path: Path) -> None:
    from engine.evaluate.memory import _container_memory, available_memory

    for name, text in {"memory.max": "1000", "memory.current": "900", "memory.stat": "anon 1\nfile 300\n"}.items():
        (tmp_path / name).write_text(text)
    assert _container_memory(tmp_path) == [400]
    (tmp_path / "memory.max").write_text("max")
    assert _container_memory(tmp_path) == [] == _container_memory(tmp_path / "none")
    if sys.platform == "linux":
        assert (available_memory() or 0) > 1 << 26


def test_a_mask_method_is_scored_as_the_recipe_says(project: Project, cache: ScoreCache, runs: list[str]) -> None:
    task = project.task(project.raw)
    recipe, inputs = project.mix("one", "two")
    scores = {}
    for name in ("one", "two", ""):
        asked = recipe.with_method("tall_mask", {"task": name})
        scores[name] = score_recipe(asked, inputs, [task], split="test", cache=cache)[task.name]
    assert scores[""] == scores["one"] and runs == [task.name] * 2


def test_cancelling_stops_merging_and_scoring_at_once(project: Project, tmp_path: Path) -> None:
    task = project.task(project.raw)
    changes = {"hidden_size": 192, "num_hidden_layers": 10, "intermediate_size": 768, "patch_size": 4}
    config = {**CONFIG, **changes}
    base = open_checkpoint(save_model(tmp_path / "base", random_vit(1, **changes), config))
    expert = open_checkpoint(save_model(tmp_path / "expert", random_vit(2, **changes), config))
    inputs = make_inputs(base, [expert], ["e"])
    recipe = Recipe(base=ModelRef(id="b", name="b", path=""), experts=(ModelRef(id="e", name="e", path=""),))
    module.score_checkpoint(base, None, replace(task, head=_head(tmp_path, 192)), limit=1)  # imports, builds
    for delay in (0.0, 0.05, 0.2, 0.4):
        token, late = Token(), []
        timer = threading.Timer(delay, lambda t=token, late=late: (late.append(time.monotonic()), t.cancel()))
        timer.start()
        with pytest.raises(Cancelled):
            _score_until_cancelled(recipe, inputs, replace(task, head=_head(tmp_path, 192)), token)
        assert time.monotonic() - late[0] < 0.25
        timer.join()


def _score_until_cancelled(recipe: Recipe, inputs: Inputs, task: Task, token: Token) -> None:
    for _ in range(50):
        score_recipe(recipe, inputs, [task], progress=token)


def _head(folder: Path, width: int) -> Any:
    from safetensors.torch import save_file

    from engine.evaluate.task import Head

    if not (folder / "head.safetensors").exists():
        save_file({"weight": torch.randn(5, width)}, folder / "head.safetensors")
    return Head(file=folder / "head.safetensors", weight="weight")


DEMO = ROOT / "resources" / "demo"


@pytest.mark.parametrize("name", ["parity", "scans"])
def test_the_demo_scores_as_plain_transformers_says(name: str) -> None:
    path = DEMO / "tasks" / f"{name}.task.json"
    if not path.exists():
        pytest.skip("the demo is not built")
    raw, task = json.loads(path.read_text()), load_task(path)
    rows, head = load_file(task.data), load_file(task.head.file)
    for model in (DEMO / "base", DEMO / "experts" / name):
        config = json.loads((model / "config.json").read_text())
        plain = logits(load_file(model / "model.safetensors"), rows["test.images"][:300].numpy(), head, raw, **config)
        right = int((plain.argmax(1) == rows["test.labels"][:300]).sum())
        assert score_checkpoint(open_checkpoint(model), None, task, split="test", limit=300).correct == right


BENCH_TASKS = ("trec6", "clickbait")


@pytest.fixture(scope="module")
def bench8(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Task], Inputs, dict[str, Any]]:
    """Two cheap tasks of bench8-text, its base with all eight experts, and its published results."""
    source = shared / "data" / "bench8-text"
    if not (source / "results.json").exists():
        pytest.skip("bench8-text is not here")
    results = json.loads((source / "results.json").read_text())
    folder = tmp_path_factory.mktemp("bench8")
    (folder / "tasks").mkdir()
    shutil.copy(source / "eval" / "tokens.safetensors", folder)
    tasks = {}
    for name in BENCH_TASKS:
        shutil.copy(source / "heads" / f"{name}.safetensors", folder)
        fields = {"": "ids", "_lengths": "len", "_labels": "label"}
        rows = {f"{s}{k}": f"{name}.{s}.{v}" for s in ("val", "test") for k, v in fields.items()}
        raw = {
            "format": 1, "name": name, "labels": results["tasks"][name]["labels"],
            "data": {"kind": "tokens", "file": "../tokens.safetensors", **rows},
            "head": {"file": f"../{name}.safetensors", "weight": "weight", "pool": "mean", "normalise": True},
        }  # fmt: skip
        path = folder / "tasks" / f"{name}.task.json"
        path.write_text(json.dumps(raw))
        tasks[name] = load_task(path)
    names = list(results["tasks"])
    experts = [open_checkpoint(source / "experts" / name) for name in names]
    return tasks, make_inputs(open_checkpoint(source / "base"), experts, names), results["results"]


def published(results: dict[str, Any], row: str) -> dict[str, int]:
    return {name: round(results[row][name] * 300) for name in BENCH_TASKS}


def test_bench8_base_and_experts(bench8: Any) -> None:
    tasks, inputs, results = bench8
    options: dict[str, Any] = {"split": "test", "limit": 300}
    base = {name: score_checkpoint(inputs.base, None, task, **options).correct for name, task in tasks.items()}
    assert base == published(results, "zero_shot")
    own = {
        name: score_checkpoint(inputs.experts[inputs.names.index(name)], inputs.base, task, **options).correct
        for name, task in tasks.items()
    }
    assert own == published(results, "expert")


@pytest.mark.parametrize(
    ("row", "method", "params"),
    [("average", "linear", {}), ("task_arithmetic_0.4", "task_arithmetic", {"scale": 0.4})],
)
def test_bench8_mixes(bench8: Any, row: str, method: str, params: dict[str, Any]) -> None:
    tasks, inputs, results = bench8
    refs = tuple(ModelRef(id=name, name=name, path="") for name in inputs.names)
    recipe = Recipe(base=ModelRef(id="b", name="b", path=""), experts=refs).with_method(method, params)
    scores = score_recipe(recipe, inputs, list(tasks.values()), split="test", limit=300)
    assert {name: score.correct for name, score in scores.items()} == published(results, row)
