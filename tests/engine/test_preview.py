"""The light half of live scores: estimates, curves, strips, frames, sweeps and the tuner's contract."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from engine.errors import BadRecipe, EvalProblem
from engine.files.model import TensorInfo
from engine.preview.basis import Basis, Cell, block_basis, group_basis
from engine.preview.curve import Curve, chebyshev
from engine.preview.frame import bounds_of, make_frame
from engine.preview.grid import Axis, Sweep, linspace, pareto, simplex, simplex_recipe
from engine.preview.outcomes import TaskRows
from engine.preview.strip import choose, strip
from engine.preview.surrogate import PRIOR, ErrorLog, Surrogate, estimate, make_surrogate, slopes_of
from engine.recipe.recipe import ModelRef, Recipe, Rule
from engine.tuners import Step, find_tuner, tuners

T, G = 3, 4


def rows_of(name: str, count: int, classes: int, generator: np.random.Generator) -> TaskRows:
    labels = generator.integers(0, classes, count)
    return TaskRows(name, name.title(), labels, tuple(f"c{i}" for i in range(classes)), np.arange(count))


def synthetic(
    second: bool = True, sizes: tuple[tuple[int, int], ...] = ((40, 3), (30, 5)), shape: tuple[int, int] = (T, G)
) -> tuple[Surrogate, np.ndarray, np.ndarray]:
    """A filled surrogate of logits that are quadratic in every coefficient, and its slopes and bends."""
    generator = np.random.default_rng(3)
    tasks = [rows_of(f"task{i}", n, c, generator) for i, (n, c) in enumerate(sizes)]
    logits = [generator.normal(size=(n, c)).astype(np.float32) for n, c in sizes]
    basis = Basis(shape, group_basis(*shape).cells)
    made = make_surrogate(tasks, basis, np.full(shape, 0.3), logits)
    assert made.second is not None
    made.first[:] = generator.normal(size=made.first.shape)
    made.second[:] = generator.normal(size=made.first.shape) * second
    made.has_first[:], made.has_second[:] = True, second
    return made, made.first.copy(), made.second.copy()


def test_an_estimate_is_the_taylor_series_of_the_logits() -> None:
    surrogate, first, second = synthetic()
    point = surrogate.reference.copy()
    point[0, 1] += 0.2
    point[2, 3] -= 0.1
    expected = surrogate.logits + 0.2 * first[1] + 0.02 * second[1] - 0.1 * first[11] + 0.005 * second[11]
    np.testing.assert_allclose(surrogate.at(point), expected, rtol=1e-5, atol=1e-5)
    for score, logits, task in zip(estimate(surrogate, point), surrogate.split(expected), surrogate.tasks, strict=True):
        assert score.correct == int((logits.argmax(1) == task.labels).sum())
        assert score.low <= score.value <= score.high and score.state == "estimate"
        assert (score.error, score.compared) == (0.01, 0), "an error is claimed before anything was compared"


def test_states_say_exact_waiting_estimate_and_stale() -> None:
    surrogate, _, _ = synthetic()
    assert {s.state for s in estimate(surrogate, surrogate.reference)} == {"exact"}
    point = Cell((1,), (2,)).added(surrogate.reference, 0.1)
    assert surrogate.state(point) == "estimate"
    surrogate.has_first[6] = False
    assert surrogate.state(point) == "waiting"
    np.testing.assert_array_equal(surrogate.at(point), surrogate.logits)
    assert surrogate.state(surrogate.reference + 0.21) == "waiting"
    surrogate.has_first[6] = True
    assert surrogate.state(surrogate.reference + 0.21) == "stale"
    for _ in range(8):
        surrogate.errors.add("task0", 0.5, 0.55)
    assert surrogate.state(point) == "stale"
    assert estimate(surrogate, point)[0].error == pytest.approx(0.05)
    assert estimate(surrogate, point)[1].compared == 0


def test_a_row_is_followed_along_its_own_direction() -> None:
    basis = group_basis(T, G)
    move = np.zeros((T, G))
    move[1] = 0.2
    move[1, 3] = 0.5
    along = basis.coordinates(move)
    whole = basis.directions.index(Cell((1,), (0, 1, 2, 3)))
    assert along[whole] == pytest.approx(0.2) and along[7] == pytest.approx(0.3)
    assert np.count_nonzero(along) == 2
    unusable = np.ones(basis.size, np.bool_)
    unusable[whole] = False
    assert np.count_nonzero(basis.coordinates(move, unusable)) == 4
    assert np.count_nonzero(basis.coordinates(np.full((T, G), 0.1))) == 1


def test_memory_is_bounded_by_narrower_numbers_then_fewer() -> None:
    surrogate, _, _ = synthetic()
    logits = surrogate.split(surrogate.logits)
    elements = surrogate.basis.size * len(surrogate.logits)
    for budget, kind, second in ((8 * elements, "float32", True), (4 * elements, "float16", True),
                                 (2 * elements, "float16", False)):  # fmt: skip
        made = make_surrogate(surrogate.tasks, surrogate.basis, surrogate.reference, logits, None, budget)
        assert (made.first.dtype.name, made.second is not None) == (kind, second)
        assert made.bytes - made.logits.nbytes <= budget


def test_an_estimate_of_eight_tasks_is_fast() -> None:
    surrogate, _, _ = synthetic(sizes=((64, 33),) * 8, shape=(8, 8))
    generator, times = np.random.default_rng(0), []
    for _ in range(40):
        point = surrogate.reference + generator.uniform(-0.2, 0.2, (8, 8))
        started = time.thread_time()
        estimate(surrogate, point)
        times.append(time.thread_time() - started)
    assert sorted(times)[20] < 0.01


def test_errors_are_compared_as_shares_of_their_scale() -> None:
    log = ErrorLog()
    assert log.error("a") == log.mean == (PRIOR, 0)
    log.add("a", 10.0, 12.0, scale=100.0)
    log.add("b", 0.5, 0.54)
    assert log.error("a") == (2.0, 1) and log.mean == (pytest.approx(0.03), 2)


def test_slopes_are_those_of_the_loss() -> None:
    surrogate, _, _ = synthetic(second=False)
    slopes = slopes_of(surrogate)
    cell = Cell((2,), (1,))
    up, down = (estimate(surrogate, cell.added(surrogate.reference, h)) for h in (1e-3, -1e-3))
    for k, (a, b) in enumerate(zip(up, down, strict=True)):
        assert slopes.values[k, 2, 1] == pytest.approx(-(a.loss - b.loss) / 2e-3, abs=1e-3)
    words = slopes.words([(2, 1)])
    best = max(slopes.of([(2, 1)]).items(), key=lambda item: abs(item[1]))
    assert words.startswith("up ") and best[0] in words and ("helps" if best[1] > 0 else "hurts") in words
    surrogate.has_first[0] = False
    assert np.isnan(slopes_of(surrogate).values[:, 0, 0]).all()


def test_a_curve_of_five_nodes_is_exact_for_quartic_logits() -> None:
    generator = np.random.default_rng(1)
    tasks = (rows_of("a", 50, 4, generator),)
    powers = generator.normal(size=(5, 200)).astype(np.float32)

    def true(x: float) -> np.ndarray:
        return sum(p * x**i for i, p in enumerate(powers))

    amounts = chebyshev(-1.0, 0.5)
    assert (amounts[0], amounts[-1]) == (-1.0, 0.5)
    cell, origin = Cell((0,), (1,)), np.zeros((T, G))
    curve = Curve(tasks, cell, origin, amounts, np.stack([true(a) for a in amounts]).astype(np.float32))
    for x in (-0.77, 0.1, 0.499):
        np.testing.assert_allclose(curve.at(x), true(x), rtol=1e-3, atol=1e-3)
    table = curve.table(np.linspace(-1, 0.5, 9))
    assert table.shape == (1, 9) and table[0, 8] == curve.scores(0.5)[0].value
    assert curve.scores(0.5)[0].state == "exact" and curve.scores(0.1)[0].state == "estimate"
    assert curve.amount(cell.added(origin, 0.25)) == pytest.approx(0.25)
    assert curve.amount(cell.added(origin, 0.7)) is None
    assert curve.amount(Cell((1,), (1,)).added(origin, 0.1)) is None


def test_the_strip_shows_rows_that_flip() -> None:
    surrogate, _, _ = synthetic()
    chosen = choose(surrogate, "task1")
    assert len(set(chosen.tolist())) == 8
    shown = strip(surrogate, "task1", surrogate.reference, chosen)
    assert not any(e.flipped for e in shown)
    assert {e.change for e in shown} == {"right", "wrong"}
    flips = np.zeros((2, 2))
    for cell in surrogate.basis.cells:
        point = cell.added(surrogate.reference, 0.2)
        for i, rows in enumerate((chosen, np.setdiff1d(np.arange(30), chosen))):
            flips[i] += sum(e.flipped for e in strip(surrogate, "task1", point, rows)), len(rows)
    assert flips[0, 0] / flips[0, 1] > 1.5 * flips[1, 0] / flips[1, 1]
    for e in strip(surrogate, "task1", Cell((0, 1, 2), (0, 1, 2, 3)).added(surrogate.reference, 0.3), chosen):
        assert (e.change == "right") == (e.predicted == e.label) and 0 < e.probability <= 1
        assert (e.change == "changed") == (e.predicted not in (e.label, e.before) and e.before != e.label)


@pytest.mark.parametrize("count", [3, 5, 7, 8, 9])
def test_the_strip_has_the_rows_whose_answer_changes_first(count: int) -> None:
    surrogate, _, _ = synthetic()
    logits = surrogate.split(surrogate.logits)[1]
    labels = np.where(np.arange(len(logits)) % 3, logits.argmax(1), logits.argmin(1))  # two of three rows are right
    rows = replace(surrogate.tasks[1], labels=labels)
    surrogate.tasks = (surrogate.tasks[0], rows, *surrogate.tasks[2:])
    slopes = [surrogate.split(row)[1] for row in surrogate.first]
    ways: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
    for row, label in enumerate(rows.labels):
        best, second = np.argsort(-logits[row])[:2]
        rival = second if best == label else label  # what a right row may become, and what a wrong one should
        speed = max(abs(float(slope[row, best] - slope[row, rival])) for slope in slopes)
        ways[bool(best == label)].append((float(logits[row, best] - logits[row, rival]) / speed, row))
    wanted = [row for right, many in ((True, count // 2), (False, count - count // 2))
              for _, row in sorted(ways[right])[:many]]  # fmt: skip
    assert sorted(choose(surrogate, "task1", count).tolist()) == sorted(wanted)


def layout_of(layers: int = 2) -> object:
    from pathlib import Path

    from engine.files.layout import describe

    names = ["embeddings.word_embeddings.weight"]
    for i in range(layers):
        at = f"encoder.layer.{i}"
        names += [f"{at}.attention.self.query.weight", f"{at}.intermediate.dense.weight"]
    return describe({n: TensorInfo(n, "F32", (2, 2), Path("m"), 0) for n in names})


def recipe_of(**changes: object) -> Recipe:
    experts = tuple(ModelRef(id=f"e{i}", name=f"n{i}", path=f"/{i}") for i in range(3))
    return replace(Recipe(base=ModelRef(id="b", name="b", path="/b"), experts=experts), **changes)


def test_a_frame_turns_faders_into_factors_and_back() -> None:
    layout = layout_of()
    recipe = recipe_of(rules=(Rule(value=0.5), Rule(expert="e1", layer="0", value=2.0)), gains=(("e1", 0.5),),
                       muted=("e2",))  # fmt: skip
    frame = make_frame(recipe, layout)
    point = frame.point(recipe)
    assert frame.tier == "linear" and point.shape == (3, 5)
    np.testing.assert_allclose(point[0], 0.15)
    np.testing.assert_allclose(point[1], [0.075, 0.3, 0.3, 0.075, 0.075])
    np.testing.assert_allclose(point[2], 0)
    wanted = point.copy()
    wanted[0, 2] += 0.09
    wanted[1] *= 2
    applied = frame.applied(recipe, wanted)
    np.testing.assert_allclose(frame.point(applied), wanted, atol=1e-4)
    assert applied.muted == recipe.muted and len(applied.rules) <= 8
    assert frame.key(recipe) == frame.key(applied) == frame.key(recipe.with_param("scale", 0.7))
    assert frame.key(recipe) != frame.key(recipe.with_method("ties"))


def test_a_frame_says_why_it_is_not_linear() -> None:
    layout = layout_of()
    for recipe in (recipe_of(method="ties"), recipe_of(params=(("post", "svc"),))):
        frame = make_frame(recipe, layout)
        assert frame.tier == "engine" and "anew" in frame.reason
        np.testing.assert_allclose(frame.point(recipe), 1.0)
    average = recipe_of(method="linear")
    frame = make_frame(average, layout)
    assert frame.tier == "linear" and bounds_of(average) == (0.0, 1.0)
    np.testing.assert_allclose(frame.point(average), 1 / 3)
    with pytest.raises(EvalProblem, match="depend on each other"):
        frame.gain(average)


def test_tensor_rules_are_overrides_of_their_group() -> None:
    recipe = recipe_of(rules=(Rule(tensor="encoder.layer.1.intermediate.dense.weight", value=0.0),))
    frame = make_frame(recipe, layout_of())
    found = frame.overrides(recipe)
    assert list(found) == ["encoder.layer.1.intermediate.dense.weight"] and not found.popitem()[1].any()


def test_a_sweep_goes_from_coarse_to_fine_over_recipes() -> None:
    sweep = Sweep(Axis("param", "scale", linspace(0, 1, 5)), Axis("gain", "e1", (0.5, 1.0, 2.0)))
    order = sweep.order()
    assert sorted(order) == [(r, c) for r in range(3) for c in range(5)]
    assert set(order[:4]) == {(0, 0), (0, 4), (2, 0), (2, 4)}
    cell = sweep.recipe(recipe_of(), 2, 1)
    assert dict(cell.params)["scale"] == 0.25 and cell.gain("e1") == 2.0
    fader = Axis("fader", "e0", (0.1, 0.7)).applied(
        recipe_of(rules=(Rule(expert="e0", layer="0", value=9.0), Rule(kind="attn", value=8.0))), 0.7
    )
    np.testing.assert_allclose(make_frame(fader, layout_of()).point(fader)[0], 0.21)
    assert Axis("gain", "e1", ()).label(recipe_of()) == "gain of n1"
    with pytest.raises(BadRecipe):
        Sweep(Axis("param", "nothing", (1.0,))).recipe(recipe_of(), 0, 0)
    with pytest.raises(BadRecipe, match="too large"):
        Sweep(Axis("param", "scale", linspace(0, 1, 40)), Axis("gain", "e1", linspace(0, 1, 40))).order()


def test_the_pareto_front_and_the_triangle() -> None:
    assert pareto([1, 2, 3, 2, float("nan")], [3, 2, 1, 2, 9]) == [0, 1, 2]
    assert pareto([1, 2], [1, 2]) == [1] and pareto([], []) == []
    points = simplex(4)
    assert len(points) == 15 and all(sum(p) == pytest.approx(1) for p in points) and (0, 0, 1) in points
    mixed = simplex_recipe(recipe_of(), ["e2", "e0", "e1"], (0.5, 0.25, 0.25))
    assert [mixed.gain(i) for i in ("e0", "e1", "e2")] == [0.25, 0.25, 0.5]


class LinearBench:
    """A tuner's bench whose logits are exactly linear."""

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.surrogate, _, _ = synthetic(second=False)
        self.surrogate.first *= 0.5
        better = self.surrogate.split(
            self.surrogate.at(self.surrogate.reference + np.repeat([[0.3], [-0.1], [0.2]], G, 1))
        )
        self.surrogate.tasks = tuple(
            replace(task, labels=logits.argmax(1)) for task, logits in zip(self.surrogate.tasks, better, strict=True)
        )
        self.tasks, self.chosen, self.start = self.surrogate.tasks, (0, 1), self.surrogate.reference
        self.cells = block_basis(T, [(0, 1), (2, 3)]).cells
        self.low, self.high, self.seed = np.full(6, low), np.full(6, high), 0

    def point(self, moves: np.ndarray) -> np.ndarray:
        made = self.start.copy()
        for cell, amount in zip(self.cells, moves, strict=True):
            made[np.ix_(cell.experts, cell.groups)] += amount
        return made

    def logits(self, point: np.ndarray) -> list[np.ndarray]:
        return self.surrogate.split(self.surrogate.at(point))

    def derivatives(self, point: np.ndarray) -> Surrogate:
        basis = Basis((T, G), self.cells)
        made = make_surrogate(self.tasks, basis, point, self.logits(point))
        for e, cell in enumerate(self.cells):
            made.first[e] = sum(self.surrogate.first[t * G + g] for t in cell.experts for g in cell.groups)
        made.has_first[:] = True
        return made

    def check(self) -> None:
        pass


def tuned(bench: LinearBench, **params: object) -> list[Step]:
    found = find_tuner("levenberg_marquardt")
    return list(found.run(bench, **found.complete(params)))


def test_levenberg_marquardt_finds_a_better_point_within_its_bounds() -> None:
    bench = LinearBench(low=-0.1, high=0.4)
    steps = tuned(bench, rounds=4, ridge=0.0)
    truths = [s for s in steps if s.true is not None and s.accepted]
    assert truths[-1].value < truths[0].value - 0.01
    assert all(b.value < a.value for a, b in pairwise(truths))
    assert any(s.true is None for s in steps), "nothing to animate"
    moves = truths[-1].point - bench.start
    assert moves.min() >= -0.1 - 1e-9 and moves.max() <= 0.4 + 1e-9
    assert (moves[:, 0] == moves[:, 1]).all()
    again = tuned(LinearBench(low=-0.1, high=0.4), rounds=4, ridge=0.0)
    assert [s.value for s in again] == [s.value for s in steps]


def test_linearised_steps_are_what_is_then_measured_when_logits_are_linear() -> None:
    steps = tuned(LinearBench(), rounds=1)
    guess, measured = steps[-2], steps[-1]
    assert guess.value == pytest.approx(measured.value, abs=1e-5)
    assert [g.correct for g in guess.estimated] == [m.correct for m in measured.estimated]


def test_tuners_declare_themselves_and_check_parameters() -> None:
    tuner = tuners()["levenberg_marquardt"]
    assert tuner.title and tuner.summary and tuner.paper
    with pytest.raises(BadRecipe):
        tuner.complete({"speed": 1})
    with pytest.raises(BadRecipe):
        find_tuner("magic")


def test_the_light_half_loads_without_torch() -> None:
    code = ("import sys; import engine.preview.surrogate, engine.preview.curve, engine.preview.strip, engine.tuners;"
            "import engine.preview.frame, engine.preview.grid; assert 'torch' not in sys.modules")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)
