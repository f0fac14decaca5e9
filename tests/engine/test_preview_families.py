"""Live scores of every kind of task: true ones are quick eval's, estimates follow the outputs, merits are smooth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import EvalProblem
from engine.evaluate.look import look
from engine.evaluate.make import make_task
from engine.evaluate.measures import MEASURES
from engine.evaluate.mix import score_recipe
from engine.evaluate.task import Task
from engine.files.checkpoint import open_checkpoint
from engine.merge.inputs import Inputs, make_inputs
from engine.preview import tower
from engine.preview.curvature import curvature
from engine.preview.fill import fill
from engine.preview.outcomes import TaskRows, measured, merit, pull
from engine.preview.session import Live, open_live
from engine.preview.surrogate import estimate, slopes_of
from engine.preview.tuning import tune
from engine.recipe.recipe import ModelRef, Recipe, Rule
from tests.engine import task_kit as kit

torch.set_num_threads(1)
Project = tuple[Recipe, Inputs, list[Task]]


def family(folder: Path, make: Any, **changes: Any) -> tuple[Recipe, Inputs]:
    """A base and two experts some way from it."""
    model = make(folder / "base", **changes)
    for number in (1, 2):
        torch.manual_seed(number)
        floats = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
        state = {k: v + 0.15 * v.std().nan_to_num() * torch.randn(v.shape) for k, v in floats.items()}
        model.load_state_dict(state, strict=False)
        model.tie_weights()
        kit.save_model(folder / f"e{number}", model)
        make(folder / "base", **changes)  # the same again: experts differ from the base, not from each other's
    refs = [ModelRef(id=name, name=name, path=str(folder / name)) for name in ("e1", "e2")]
    base = ModelRef(id="base", name="base", path=str(folder / "base"))
    recipe = Recipe(method="task_arithmetic", dtype="F32").with_base(base)
    for ref in refs:
        recipe = recipe.with_expert(ref)
    opened = [open_checkpoint(folder / name) for name in ("base", "e1", "e2")]
    return recipe.with_param("scale", 0.5), make_inputs(opened[0], opened[1:], ["e1", "e2"])


def task(folder: Path, name: str, columns: tuple[str, ...], rows: list[Any], **changes: Any) -> Task:
    data = (kit.write_jsonl(folder / f"{name}.jsonl", rows) if isinstance(rows[0], dict)
            else kit.write_csv(folder / f"{name}.csv", columns, rows))  # fmt: skip
    plan = replace(look(data).plan, model=folder / "base", name=name, **changes)
    return make_task(plan, folder / f"{name}.task.json").task


def sentences() -> list[str]:
    return [f"the {s} {v}" for s in kit.SUBJECTS for v in ("runs", "eats", "sleeps")]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """An encoder with its classifier: AUC, F1, numbers that two texts have in common, searches."""
    folder = tmp_path_factory.mktemp("bert")
    recipe, inputs = family(folder, kit.bert)
    kinds, said = ("sentence", "label"), sentences()
    pairs = [(a, said[(3 * i + 1) % 30], float(i % 6)) for i, a in enumerate(said)]
    search = [(a, said[(i + 1 + i % 3) % 30]) for i, a in enumerate(said)]
    tasks = [
        task(folder, "auc", kinds, kit.reviews(60), head="model", metric="auc"),
        task(folder, "f1", kinds, kit.reviews(60, 1), template="very {}", metric="macro_f1"),
        task(folder, "sts", ("sentence1", "sentence2", "score"), pairs),
        task(folder, "mse", ("sentence1", "sentence2", "score"), [(a, b, c / 5) for a, b, c in pairs], metric="mse"),
        task(folder, "search", ("query", "document"), search),
    ]  # fmt: skip
    return recipe, inputs, tasks


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A causal model: perplexity, bits per byte, multiple choice plain and by byte."""
    folder = tmp_path_factory.mktemp("gpt")
    recipe, inputs = family(folder, kit.gpt)
    quiz = [{"question": f"the {s} is{' very' * n}", "choices": ["very good", "bad", "a cat"], "answer": (i + n) % 3}
            for n in range(3) for i, s in enumerate(kit.SUBJECTS)]  # fmt: skip
    words = [(text,) for text, _ in kit.reviews(40)]
    return recipe, inputs, [
        task(folder, "ppl", ("text",), words), task(folder, "bits", ("text",), words, metric="bits_per_byte"),
        task(folder, "quiz", (), quiz), task(folder, "bytes", (), quiz, metric="choice_accuracy_norm"),
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["texts", "language"])
def heard(request: pytest.FixtureRequest) -> tuple[Live, Project]:
    project: Project = request.getfixturevalue(request.param)
    return open_live(*project, rows=12), project


def test_true_scores_of_every_metric_are_those_of_quick_eval(heard: tuple[Live, Project]) -> None:
    live, (recipe, inputs, tasks) = heard
    assert [t.name for t in live.tasks] == [t.name for t in tasks] and not live.report.dropped
    for moved in (recipe, recipe.with_rules([Rule(expert="e1", value=0.3), Rule(expert="e2", layer="1", value=1.6)])):
        scores = score_recipe(moved, inputs, tasks, limit=12)
        for found in live.truth(live.frame.point(moved)):
            wanted = scores[found.task]
            assert (found.metric, found.count) == (wanted.metric, wanted.count)
            told = found.value, found.low, found.high
            assert told == pytest.approx((wanted.value, wanted.low, wanted.high), rel=2e-5), found.task


def test_estimates_follow_every_metric(heard: tuple[Live, Project]) -> None:
    live, (recipe, _, _) = heard
    surrogate = live.surrogate()
    fill(live, surrogate)
    for layer, value in (("0", 0.85), ("1", 1.2)):
        point = live.frame.point(recipe.with_rules([Rule(expert="e1", layer=layer, value=value)]))
        three = estimate(surrogate, point), live.truth(point), live.judge(live.logits)
        for guess, true, still in zip(*three, strict=True):
            moved = abs(true.loss - still.loss)
            assert guess.state == "estimate" and abs(guess.loss - true.loss) <= 0.35 * moved + 2e-3, guess
            assert guess.low <= guess.value <= guess.high
            if guess.metric in ("perplexity", "bits_per_byte", "mse"):
                assert guess.value == pytest.approx(true.value, rel=0.05)
    slopes = slopes_of(surrogate)
    for t, g in ((0, 1), (1, 3)):
        ends = []
        for step in (-5e-3, 5e-3):
            point = live.reference.copy()
            point[t, g] += step
            ends.append([e.loss for e in live.judge(live.at(point))])
        wanted = (np.array(ends[0]) - np.array(ends[1])) / 1e-2
        np.testing.assert_allclose(slopes.values[:, t, g], wanted, rtol=0.1, atol=0.02)


def test_slopes_of_other_tasks_come_with_their_derivatives(texts: Project) -> None:
    live = open_live(*texts, rows=12)
    known = live.slopes()
    blank = np.isnan(known.values).all((1, 2))
    assert blank.tolist() == [t.family != "class" for t in live.tasks] and np.isfinite(known.mean).all()
    surrogate = live.surrogate()
    fill(live, surrogate)
    full = known.completed(slopes_of(surrogate))
    assert np.isfinite(full.values).all()
    np.testing.assert_array_equal(full.values[0], known.values[0])


def test_the_tuner_gets_every_metric_s_loss_down(heard: tuple[Live, Project]) -> None:
    live, (recipe, _, tasks) = heard
    for chosen in ([t.name] for t in tasks):
        *_, last = steps = list(tune(live, recipe, tasks=chosen, params={"rounds": 1, "ridge": 0.0}))
        assert len(steps[0].estimated) == len(tasks) and steps[0].true is not None and last.true is not None
        assert last.accepted and last.value < steps[0].value, chosen
        [k] = [k for k, task in enumerate(live.tasks) if task.name == chosen[0]]
        before, after = steps[0].true[k], last.true[k]
        assert after.loss < before.loss or live.tasks[k].family == "class", chosen  # those follow another loss
        if before.metric in ("perplexity", "bits_per_byte", "mse"):  # these follow the loss, others only mostly
            assert after.value < before.value
    with pytest.raises(EvalProblem, match="nothing to tune for"):
        next(tune(live, recipe, tasks=["else"]))


def test_a_task_that_cannot_be_heard_says_so_when_it_is_tuned_for(texts: Project) -> None:
    recipe, inputs, tasks = texts
    graph = replace(tasks[0], name="own", graph=Path("/x/model.onnx"))
    live = open_live(recipe, inputs, [graph, tasks[1]], rows=8)
    with pytest.raises(EvalProblem, match=r"own cannot be tuned for.*ONNX graph of its own"):
        next(tune(live, recipe, tasks=["own"]))


def test_what_has_no_estimates_says_why(texts: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, inputs, tasks = texts
    monkeypatch.setattr(tower, "MOST_OUTPUTS", 200)
    graph = replace(tasks[0], name="own", graph=Path("own.onnx"))
    live = open_live(recipe, inputs, [*tasks, graph], rows=12)
    told = {name: str(error) for name, error in live.report.dropped.items()}
    assert set(told) == {"search", "own"} and all("not possible" in text for text in told.values())
    assert "12 queries" in told["search"] and "graph" in told["own"]


def rows_for(name: str) -> tuple[TaskRows, np.ndarray]:
    """Made-up rows for a metric, and outputs."""
    noise = np.random.default_rng(len(name))
    kind = next(f for f in MEASURES[name].families if f != "value")
    numbers = noise.normal(size=9)
    about: dict[str, Any] = {"name": "t", "title": "t", "classes": (), "rows": np.arange(9), "family": kind,
                             "metric": name}  # fmt: skip
    if kind == "class":
        made = TaskRows(**{**about, "classes": ("a", "b", "c")}, labels=np.arange(9) % 3)
    elif kind == "pair":
        made = TaskRows(**about, labels=numbers)
    elif kind == "lm":
        made = TaskRows(**about, labels=np.arange(2, 11), sizes=np.arange(9) + 20)
    elif kind == "choice":
        groups = np.repeat(np.arange(9), [2, 3, 2, 4, 2, 3, 2, 2, 5])
        made = TaskRows(**about, labels=np.arange(9) % 2, groups=groups, sizes=np.arange(len(groups)) + 3)
    else:
        pairs = np.array([(q, (q * 5 + k) % 14) for q in range(9) for k in range(1 + q % 2)])
        made = TaskRows(**about, labels=pairs, documents=14)
    return made, noise.normal(size=made.shape).astype(np.float32)


@pytest.mark.parametrize("name", list(MEASURES))
def test_a_merit_has_the_slope_that_is_claimed(name: str) -> None:
    task, outputs = rows_for(name)
    slope, exact = pull(task, outputs), outputs.astype(np.float64)
    for at in range(0, task.size, 3):
        ends = []
        for step in (-1e-4, 1e-4):
            moved = exact.reshape(-1).copy()
            moved[at] += step
            ends.append(merit(task, moved.reshape(task.shape)))
        assert slope[at] == pytest.approx((ends[1] - ends[0]) / 2e-4, rel=1e-3, abs=2e-5)
    bend = curvature(task, outputs, np.eye(task.size, dtype=np.float32))
    ends = np.linalg.eigvalsh(bend)
    assert ends[0] > -1e-6 * ends[-1], "it never points away from the least loss"
    if task.family in ("class", "choice", "retrieve") or name == "mse":
        for at in range(0, task.size, 3):
            moved = outputs.reshape(-1).copy()
            moved[at] += 1e-2
            change = (slope - pull(task, moved.reshape(task.shape))) / 1e-2
            np.testing.assert_allclose(bend[at], change, rtol=0.15, atol=2e-3 * np.abs(bend).max())
    whole = measured(task, outputs)
    near = measured(task, outputs, (whole.value - whole.low, whole.high - whole.value))
    assert (near.value, near.low, near.high) == pytest.approx((whole.value, whole.low, whole.high))
