"""The heavy half of live scores on a small ViT: true scores, restarts, slopes, derivatives, tuning, sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import Cancelled, EvalProblem, NotEnoughMemory
from engine.evaluate.mix import score_recipe
from engine.evaluate.task import Task
from engine.merge.inputs import Inputs, make_inputs
from engine.preview import weights as weights_module
from engine.preview.basis import Basis, Cell, group_basis
from engine.preview.fill import fill, order_of
from engine.preview.frame import by_layer
from engine.preview.grid import Axis, Sweep
from engine.preview.session import Live, open_live
from engine.preview.surrogate import Surrogate, estimate, slopes_of, surrogate_bytes
from engine.preview.sweep import run_sweep
from engine.preview.tuning import tune
from engine.progress import Token
from engine.recipe.recipe import Recipe, Rule
from engine.store.cache import ScoreCache
from tests.engine.evaluate_kit import Project


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Inputs, list[Task]]:
    project = Project(tmp_path_factory.mktemp("live"))
    recipe, inputs = project.mix("one", "two")
    return recipe.with_param("scale", 0.5), inputs, [project.task(project.raw)]


@pytest.fixture(scope="module")
def live(kit: tuple[Recipe, Inputs, list[Task]]) -> Live:
    return open_live(*kit)


@pytest.fixture(scope="module")
def surrogate(live: Live, kit: tuple[Recipe, Inputs, list[Task]]) -> Surrogate:
    live.move(live.frame.point(kit[0]))
    made = live.surrogate()
    fill(live, made, second=True)
    return made


def flat(live: Live, point: np.ndarray) -> np.ndarray:
    return np.concatenate([part.reshape(-1) for part in live.at(point)])


def test_true_scores_are_those_of_quick_eval(live: Live, kit: tuple[Recipe, Inputs, list[Task]]) -> None:
    recipe, inputs, tasks = kit
    for moved in (recipe, recipe.with_rules([Rule(expert="e0", layer="1", value=1.7)]).with_muted("e1", True)):
        exact = live.truth(live.frame.point(moved))
        scored = score_recipe(replace(moved, dtype="F32"), inputs, tasks)
        assert [(s.correct, s.count) for s in exact] == [(s.correct, s.count) for s in scored.values()]
        assert exact[0].state == "exact" and exact[0].low == scored["digits"].low


def test_a_suffix_gives_the_logits_of_a_whole_evaluation(kit: tuple[Recipe, Inputs, list[Task]]) -> None:
    one, other = open_live(*kit), open_live(*kit)
    for g in range(one.reference.shape[1]):
        point = Cell((0,), (g,)).added(one.reference, 0.3)
        other.move(point)
        np.testing.assert_allclose(flat(one, point), np.concatenate([p.reshape(-1) for p in other.logits]), atol=2e-5)
    assert np.abs(flat(one, one.reference) - np.concatenate([p.reshape(-1) for p in one.logits])).max() == 0
    shares = one.restarts()
    assert shares["emb"] == 1 and shares["0"] > shares["1"] > 0


def test_weights_are_left_as_they_were(live: Live) -> None:
    before = {name: tensor.clone() for name, tensor in live.theta.items()}
    logits = [part.copy() for part in live.logits]
    live.at(live.reference + 0.1)
    live.slopes()
    for name, tensor in live.theta.items():
        assert torch.equal(tensor, before[name])
    live.move(live.reference)
    np.testing.assert_array_equal(live.logits[0], logits[0])


def test_slopes_are_those_of_finite_differences(live: Live) -> None:
    found = live.slopes()
    for t, g in ((0, 0), (1, 2), (0, live.reference.shape[1] - 2)):
        up, down = (live.judge(live.at(Cell((t,), (g,)).added(live.reference, h)))[0].loss for h in (5e-3, -5e-3))
        assert found.values[0, t, g] == pytest.approx(-(up - down) / 1e-2, rel=0.03, abs=2e-3)


def test_derivatives_agree_with_the_backward_pass(live: Live, surrogate: Surrogate) -> None:
    from_rows, from_gradient = slopes_of(surrogate).values, live.slopes().values
    np.testing.assert_allclose(from_rows, from_gradient, rtol=0.1, atol=0.1 * np.abs(from_gradient).max())


def test_estimates_track_the_truth(live: Live, surrogate: Surrogate) -> None:
    generator = np.random.default_rng(0)
    wrong, naive = [], []
    for _ in range(8):
        point = live.reference + generator.uniform(-0.1, 0.1, live.reference.shape)
        true = flat(live, point)
        wrong.append(np.abs(surrogate.at(point) - true).mean())
        naive.append(np.abs(surrogate.logits - true).mean())
    assert np.mean(wrong) < 0.25 * np.mean(naive)
    live.truth(Cell((0,), (1,)).added(live.reference, 0.1), surrogate)
    assert surrogate.errors.error("digits")[1] == 1


def test_a_curve_is_true_between_its_nodes(live: Live) -> None:
    cell = Cell((0,), (2,))
    curve = live.curve(cell, -0.5, 0.5)
    for amount in (-0.41, -0.1, 0.2, 0.33):
        true = live.judge(live.at(cell.added(live.reference, amount)))[0]
        guess = curve.scores(amount)[0]
        assert guess.loss == pytest.approx(true.loss, rel=0.01)
        assert abs(guess.value - true.value) <= 1 / 64 + 1e-9
    assert curve.scores(-0.5)[0].correct == live.judge(live.at(cell.added(live.reference, -0.5)))[0].correct


def test_filling_can_be_stopped_and_goes_on(live: Live) -> None:
    made, token, seen = live.surrogate(), Token(), list[int]()
    order = order_of(made, touched=[(1, 3)])
    mine = 1 * live.reference.shape[1] + 3
    assert order[0] == mine, "the touched fader comes first"

    def filled(entry: int) -> None:
        seen.append(entry)
        if len(seen) == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        fill(live, made, order, token, filled=filled)
    assert seen == order[:3] and made.has_first.sum() == 3
    point = Cell((1,), (3,)).added(live.reference, 0.1)
    assert estimate(made, point)[0].state == "estimate"
    assert estimate(made, Cell((0,), (3,)).added(live.reference, 0.1))[0].state == "waiting"
    kept = made.first[order[0]].copy()
    fill(live, made, order, second=True)
    assert made.filled == 1 and made.has_second.all()
    np.testing.assert_array_equal(made.first[order[0]], kept)


def test_the_order_follows_the_slopes(live: Live) -> None:
    made = Surrogate(**{name: getattr(live.surrogate(), name) for name in Surrogate.__slots__})
    found = live.slopes()
    order = order_of(made, slopes=found)
    sizes = np.abs(found.values).sum(0).reshape(-1)
    cells = [e for e in order if e < sizes.size]
    assert cells == sorted(cells, key=lambda e: -sizes[e])


@pytest.mark.parametrize(("method", "params"), [("ties", {"scale": 0.7}), ("linear", {}), ("consensus", {"k": 1})])
def test_other_methods_give_the_scores_of_quick_eval(
    kit: tuple[Recipe, Inputs, list[Task]], method: str, params: dict[str, Any]
) -> None:
    recipe, inputs, tasks = kit
    mix = recipe.with_method(method, params)
    found = open_live(mix, inputs, tasks)
    moved = mix.with_rules([Rule(expert="e0", layer="1", kind="mlp", value=1.6)])
    for at in (mix, moved):
        scored = score_recipe(replace(at, dtype="F32"), inputs, tasks)["digits"]
        assert found.truth(found.frame.point(at))[0].correct == scored.correct
    assert found.report.tier == ("linear" if method == "linear" else "engine")
    assert bool(found.report.notes) == (method != "linear")


def test_an_average_needs_no_base(kit: tuple[Recipe, Inputs, list[Task]]) -> None:
    recipe, inputs, tasks = kit
    without = make_inputs(None, inputs.experts, inputs.names)
    mix = recipe.with_base(None).with_method("linear").with_rules([Rule(expert="e0", layer="1", value=3.0)])
    found = open_live(mix, without, tasks)
    scored = score_recipe(replace(mix, dtype="F32"), without, tasks)["digits"]
    assert found.report.tier == "linear" and found.judge(found.logits)[0].correct == scored.correct


def test_a_method_that_is_merged_anew_has_slopes_and_derivatives(kit: tuple[Recipe, Inputs, list[Task]]) -> None:
    recipe, inputs, tasks = kit
    found = open_live(recipe.with_method("magnitude_prune", {"density": 0.5}), inputs, tasks)
    cell = Cell((0,), (1,))
    made = found.surrogate(Basis(found.reference.shape, (cell,)))
    fill(found, made)
    value = found.slopes().values[0, 0, 1]
    assert value != 0 and slopes_of(made).values[0, 0, 1] == pytest.approx(value, rel=0.15, abs=5e-3)


def test_rules_of_single_tensors_hold(kit: tuple[Recipe, Inputs, list[Task]]) -> None:
    recipe, inputs, tasks = kit
    name = next(n for n in inputs.layout.groups[3].tensors if n.endswith("weight"))
    ruled = recipe.with_rules([Rule(tensor=name, value=-2.0)])
    found = open_live(ruled, inputs, tasks)
    moved = ruled.with_rules([Rule(expert="e1", value=1.5)])
    for at in (ruled, moved):
        scored = score_recipe(replace(at, dtype="F32"), inputs, tasks)["digits"]
        assert found.truth(found.frame.point(at))[0].correct == scored.correct


def test_tuning_drives_free_faders_only_and_can_be_repeated(kit: tuple[Recipe, Inputs, list[Task]]) -> None:
    recipe, inputs, tasks = kit
    runs = []
    for _ in range(2):
        found = open_live(recipe, inputs, tasks)
        pinned = np.zeros(found.reference.shape, np.bool_)
        pinned[0] = True
        runs.append(list(tune(found, recipe, pinned=pinned, blocks=[*by_layer(inputs.layout).values()], high=1.4)))
    steps = [step for step in runs[0] if step.true is not None and step.accepted]
    assert steps[-1].value < steps[0].value
    assert np.array_equal(steps[-1].point[0], steps[0].point[0])
    tuned = open_live(recipe, inputs, tasks).frame.applied(recipe, steps[-1].point)
    assert all(rule.value <= 1.4 + 1e-9 for rule in tuned.rules)
    assert [s.value for s in runs[0]] == [s.value for s in runs[1]]
    exact = score_recipe(replace(tuned, dtype="F32"), inputs, tasks)["digits"]
    assert steps[-1].true is not None and abs(exact.correct - steps[-1].true[0].correct) <= 1


def test_tuning_refuses_test_rows_and_nothing_to_do(kit: tuple[Recipe, Inputs, list[Task]], live: Live) -> None:
    recipe, inputs, tasks = kit
    with pytest.raises(EvalProblem, match="validation"):
        next(tune(open_live(recipe, inputs, tasks, split="test"), recipe))
    with pytest.raises(EvalProblem, match="nothing to tune"):
        next(tune(live, recipe, pinned=np.ones(live.reference.shape, np.bool_)))
    token = Token()
    steps = tune(live, recipe, progress=token)
    next(steps)
    token.cancel()
    with pytest.raises(Cancelled):
        list(steps)


def test_tasks_that_cannot_take_part_say_why(kit: tuple[Recipe, Inputs, list[Task]]) -> None:
    recipe, inputs, tasks = kit
    odd = replace(tasks[0], name="odd", graph=Path("own.onnx"))
    found = open_live(recipe, inputs, [*tasks, odd])
    assert [t.name for t in found.tasks] == ["digits"] and "graph" in str(found.report.dropped["odd"])
    with pytest.raises(EvalProblem, match="not possible"):
        open_live(recipe, inputs, [odd])
    with pytest.raises(EvalProblem):
        open_live(recipe, inputs, [])


def test_memory_bounds_lead_to_fewer_rows_then_to_a_reason(
    kit: tuple[Recipe, Inputs, list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = open_live(*kit).report
    half = open_live(*kit, activations=full.activation_bytes // 2).report
    assert (half.rows, half.activation_bytes) == (32, full.activation_bytes // 2)
    assert any("32 rows" in note for note in half.notes)
    with pytest.raises(NotEnoughMemory, match="outputs"):
        open_live(*kit, activations=100)
    monkeypatch.setattr(weights_module, "available_memory", lambda: int(1.75 * full.weight_bytes))
    narrow = open_live(*kit)
    assert any("bfloat16" in note for note in narrow.report.notes)
    monkeypatch.setattr(weights_module, "available_memory", lambda: 1000)
    with pytest.raises(NotEnoughMemory, match="task vectors"):
        open_live(*kit)
    with pytest.raises(NotEnoughMemory):
        narrow.surrogate(budget=10)
    least = surrogate_bytes(narrow.tasks, group_basis(*narrow.reference.shape))
    small = narrow.surrogate(budget=least - 1)
    assert small.basis.size == 2 * len(by_layer(narrow.frame.layout))


def test_a_stopped_sweep_goes_on_from_the_cache(kit: tuple[Recipe, Inputs, list[Task]], tmp_path: Path) -> None:
    recipe, inputs, tasks = kit
    sweep = Sweep(Axis("param", "scale", (0.0, 0.5, 1.0)), Axis("gain", "e1", (0.5, 1.0)))
    cache, token, seen = ScoreCache(tmp_path / "scores.sqlite"), Token(), list[int]()

    def done(outcome: Any) -> None:
        seen.append(outcome.index)
        if len(seen) == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        run_sweep(sweep, recipe, inputs, tasks, cache=cache, progress=token, done=done)
    found = run_sweep(sweep, recipe, inputs, tasks, cache=cache)
    assert sorted(o.index for o in found) == list(range(6)) and all(o.scores["digits"].count == 64 for o in found)
    alone = score_recipe(sweep.recipe(recipe, 1, 1), inputs, tasks)["digits"]
    assert next(o for o in found if o.index == 4).scores["digits"].correct == alone.correct
    failing = run_sweep(Sweep(Axis("fader", "e0", (1.0, float("nan")))), recipe, inputs, tasks, cache=cache)
    assert [o.error is None for o in failing] == [True, False]
