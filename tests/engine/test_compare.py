"""Two recipes: rows that belong together, differences with honest intervals, the command line."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app import recording
from app.cli import run
from app.demo import demo_recipe
from app.workbench import open_recipe
from engine.compare.rows import aligned, apart, coefficients, largest, union
from engine.compare.table import mean_difference, score_table
from engine.evaluate.measures import Outcome, find_measure
from engine.evaluate.metrics import wilson
from engine.evaluate.mix import measure_recipe, score_recipe
from engine.evaluate.paired import compared, mcnemar, newcombe
from engine.evaluate.score import Score, difference
from engine.evaluate.task import load_task
from engine.files.text import printable
from engine.history.recipes import canonical
from engine.recipe.recipe import ModelRef, Recipe, Rule
from engine.recipe.resolve import group_spots
from tests.app.models import write_family
from tests.engine.history_kills import facts
from tests.engine.merge_cases import family


def outcome(correct: np.ndarray) -> Outcome:
    """Rows of class 0, right where flagged."""
    return Outcome(np.zeros(len(correct), np.int64), np.stack([correct, ~correct], 1).astype(np.uint8))


def accuracy(correct: np.ndarray, task: str = "t") -> Score:
    k, n = int(correct.sum()), len(correct)
    low, high = wilson(k, n)
    return Score(task=task, split="val", metric="accuracy", value=k / n, low=low, high=high, correct=k, count=n)


def test_the_paired_interval_is_the_published_one() -> None:
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)  # Newcombe 1998, table II
    low, high = newcombe(2, 12, 36, 0)
    assert (low + high) / 2 < 0 and newcombe(36, 2, 12, 0) == pytest.approx((-0.3404, -0.0569), abs=5e-5)
    assert newcombe(0, 5, 0, 0) == pytest.approx((newcombe(0, 5, 0, 0)[0], 1.0)), "never beyond 1"


@pytest.mark.parametrize(("b", "c"), [(12, 2), (0, 1), (3, 3), (0, 0), (40, 25), (400, 500)])
def test_mcnemar_is_the_exact_sum(b: int, c: int) -> None:
    n, k = b + c, min(b, c)
    each = [Fraction(math.comb(n, i), 2**n) for i in range(k + 1)]
    exact = Fraction(1) if b == c else 2 * sum(each) - each[-1]
    assert mcnemar(b, c) == pytest.approx(float(exact), rel=1e-9)


def test_paired_intervals_cover_and_are_narrower_than_separate_ones() -> None:
    rng, hits, narrower, count = np.random.default_rng(3), 0, 0, 120
    for _ in range(400):
        easy, luck = rng.random(count), rng.random((2, count))
        mine, yours = easy + 0.1 * luck[0] < 0.75, easy + 0.1 * luck[1] < 0.70
        a, b = accuracy(mine), accuracy(yours)
        found = compared(a, b, outcome(mine), outcome(yours))
        low, high = difference(b, a)
        hits += found.low <= 0.05 <= found.high
        narrower += found.high - found.low < high - low
        assert found.way == "paired proportions" and found.low <= found.value <= found.high
    assert 0.92 <= hits / 400 <= 0.99 and narrower == 400


def test_other_measures_are_bootstrapped_on_the_same_rows() -> None:
    rng = np.random.default_rng(1)
    targets = rng.normal(size=200)
    mine, yours = (Outcome(targets, targets + rng.normal(0, s, 200)) for s in (0.5, 0.55))
    shared = rng.normal(0, 2.0, 200)  # both fail on the same rows
    mine, yours = (Outcome(targets, o.outputs + shared) for o in (mine, yours))

    def score(o: Outcome) -> Score:
        made = find_measure("mse")(o)
        return Score(task="t", split="val", metric="mse", value=made.value, low=made.low, high=made.high, correct=0,
                     count=200)  # fmt: skip

    a, b = score(mine), score(yours)
    found, separate = compared(a, b, mine, yours), compared(a, b)
    assert (found.way, separate.way) == ("paired bootstrap", "separate samples")
    assert found.high - found.low < 0.7 * (separate.high - separate.low) and found.low <= found.value <= found.high
    assert compared(a, b, mine, yours) == found, "the same every time"
    same = compared(a, a, mine, mine)
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0) and not same.is_clear
    worse = compared(score(Outcome(targets, targets + 9.0)), a, Outcome(targets, targets + 9.0), mine)
    assert worse.better == "second", "lower is better"


def test_rows_that_are_not_the_same_are_never_paired() -> None:
    mine, yours = np.arange(50) < 40, np.arange(50) < 30
    a, b = accuracy(mine), accuracy(yours)
    other = Outcome(np.ones(50, np.int64), outcome(yours).outputs)
    assert compared(a, b, outcome(mine), other).way == "separate samples"
    assert compared(a, b, outcome(mine), None).way == "separate samples"
    found = compared(a, b)
    assert (found.low, found.high) == pytest.approx(tuple(-x for x in reversed(difference(a, b)))) and found.p is None


def test_the_table_never_tells_a_difference_without_its_interval() -> None:
    mine, yours = np.arange(80) < 60, np.arange(80) < 40
    scores = {"t": accuracy(mine), "u": accuracy(mine, "u"), "only": accuracy(mine, "only")}
    theirs = {"t": accuracy(yours), "u": replace(accuracy(yours, "u"), metric="macro_f1")}
    rows = score_table(scores, theirs, {"t": outcome(mine)}, {"t": outcome(yours)})
    assert [(r.task, r.difference is not None, bool(r.problem)) for r in rows] == [
        ("t", True, False), ("u", False, True), ("only", False, True)]  # fmt: skip
    assert rows[0].difference is not None and rows[0].difference.only_first == 20 and rows[0].difference.better
    assert mean_difference(rows) is None, "one task has no mean"
    both = score_table({"t": scores["t"], "u": scores["u"]}, {"t": theirs["t"], "u": accuracy(yours, "u")},
                       {"t": outcome(mine)}, {"t": outcome(yours)})  # fmt: skip
    mean = mean_difference(both)
    assert mean is not None and mean.low < 0.25 < mean.high and mean.value == 0.25 and not mean.is_paired


def test_the_same_file_is_the_same_row_whatever_it_is_called(tmp_path: Path) -> None:
    made = family(tmp_path, experts=3)
    first, layout = made.with_method("task_arithmetic").recipe, made.inputs.layout
    one, two, three = first.experts
    second = replace(  # handles point at other files, one file is there twice
        first, experts=(replace(three, id=one.id), replace(one, id="z"), replace(one, id="y", name="again")),
        rules=(Rule(value=0.25, expert=one.id, layer="1"), Rule(value=0.5, expert="z")), muted=("y",),
        gains=(("z", 2.0),),
    )  # fmt: skip
    rows = union(first, second, first)
    assert [(r.id, r.first, r.second) for r in rows[:3]] == [(one.id, 0, 1), (two.id, 1, None), (three.id, 2, 0)]
    assert len(rows) == 4 and rows[3].second == 2 and len({r.id for r in rows}) == 4
    spots = group_spots(layout)
    values = coefficients(second, rows, spots, second=True)
    layer = np.array([s[0] == "1" for s in spots])
    assert (values[0] == 1.0).all() and (values[1] == 0).all() and (values[3] == 0).all()
    assert (values[2, layer] == 0.25).all() and (values[2, ~layer] == 1).all()
    own = aligned(second, rows, second=True)
    assert [e.id for e in own.experts] == [three.id, one.id, rows[3].id] and own.gain(one.id) == 2.0
    assert np.array_equal(coefficients(own, rows, spots, second=True), values), "renaming handles changes nothing"
    apart_by_tensor = apart(first, second, rows, layout)
    groups = [[n for n, p in enumerate(layout.places.values()) if p.layer == la] for la in layout.layers]
    assert largest(apart_by_tensor, [*groups, []])[2].tolist() == pytest.approx(
        [0.75 if la == "1" else 0.0 for la in layout.layers] + [math.nan], nan_ok=True)  # fmt: skip


def test_the_largest_difference_of_a_column_keeps_its_sign() -> None:
    assert largest(np.array([[0.2, -0.5, 0.1], [0.0, 0.0, 0.3]]), [[0, 1, 2], [0]]).tolist() == [
        [-0.5, 0.2],
        [0.3, 0.0],
    ]


def test_measured_rows_give_the_scores_of_an_export() -> None:
    recipe = demo_recipe()
    tasks = [load_task(Path(t.path)) for t in recipe.tasks[:2]]
    inputs = open_recipe(recipe).inputs
    found = measure_recipe(recipe, inputs, tasks, limit=24)
    assert found.scores == score_recipe(recipe, inputs, tasks, limit=24)
    assert {name: o.count for name, o in found.outcomes.items()} == {t.name: 24 for t in tasks}
    (row, *_) = score_table(found.scores, found.scores, found.outcomes, found.outcomes)
    assert row.difference is not None and row.difference.way == "paired proportions" and row.difference.p == 1.0


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Recipe, Recipe]:
    """Two recorded runs of small models."""
    base, (chat, code, _) = write_family(tmp_path)
    experts = tuple(ModelRef(id=f"e{n}", name=p.name, path=str(p)) for n, p in enumerate((chat, code)))
    first = Recipe(base=ModelRef(id="base", name="base", path=str(base)), experts=experts, method="task_arithmetic")
    second = first.with_rules([Rule(value=0.25, expert="e1", layer="2")]).with_param("scale", 0.5)
    second = replace(second, experts=tuple(reversed(experts)))
    history = recording.open_history()
    assert history is not None
    for number, recipe in ((10, first), (40, second)):
        history.record(facts(number, recipe=canonical(recipe)))
    history.close()
    return first, second


def test_the_command_line_compares_runs(
    runs: tuple[Recipe, Recipe], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["history", "compare", "1", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["changes"] == [{"what": "scale", "first": "0.3", "second": "0.5"}], "the order of rows is no difference"
    moved = {(g["layer"], name): v for g in told["groups"] for name, v in g["difference"].items() if v}
    assert moved == {("2", "code"): 0.75}
    (score,) = told["scores"]
    made = score["difference"]
    assert made["value"] == pytest.approx(-0.3) and made["low"] < -0.3 < made["high"] and made["better"] == "second"
    assert "separate samples" in made["interval"] and made["p"] is None and told["mean"] is None
    assert run(["history", "compare", "1", "2", "--csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert float(row["low"]) == pytest.approx(made["low"]) and row["better"] == "second"
    assert run(["history", "compare", "1", "2"]) == 0
    out = capsys.readouterr().out
    assert "A - B +0.750" in out and "B better" in out and "intervals:" in out and printable(out, len(out) + 1)
    assert run(["history", "compare", "1"]) == 1 and "Which two runs" in capsys.readouterr().err
    (tmp_path / "base" / "model.safetensors").unlink()
    assert run(["history", "compare", "1", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["groups"] == [] and told["groups_problem"] and told["scores"], "what is recorded can still be told"
