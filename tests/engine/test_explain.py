"""The difference of two merges against the merged weights themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.cli import run
from engine.analyse.gram import gram
from engine.live.explain import all_experts, explain
from engine.merge.inputs import make_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.recipe.project import save_project
from engine.recipe.recipe import Recipe, Rule
from tests.engine.merge_cases import SHAPES, Family, family


def merged(made: Family, recipe: Recipe) -> dict[str, np.ndarray]:
    wide = replace(recipe, dtype="F64")
    chosen = [t for t, e in enumerate(made.recipe.experts) if e.path in {x.path for x in recipe.experts}]
    inputs = make_inputs(made.inputs.base, [made.inputs.experts[t] for t in chosen], [e.name for e in recipe.experts])
    return {n: v.double().numpy() for n, v in merged_state(make_plan(wide, inputs)).items() if n in SHAPES}


def pair(made: Family) -> tuple[Recipe, Recipe]:
    first = made.with_method("task_arithmetic", scale=0.5).recipe
    second = first.with_param("scale", 0.7).with_rules([Rule(value=0.25, expert=first.experts[0].id, layer="1")])
    return first, second.with_muted(first.experts[2].id, True)


def test_distances_are_those_of_the_merged_weights(tmp_path: Path) -> None:
    made = family(tmp_path, experts=3)
    first, second = pair(made)
    layout = made.inputs.layout
    found = explain(first, second, layout, gram(made.inputs))
    before, after = merged(made, first), merged(made, second)
    for group, distance, relative in zip(found.groups, found.distance, found.relative, strict=True):
        names = [n for n in group.tensors if n in SHAPES]
        apart = np.sqrt(sum(np.square(after[n] - before[n]).sum() for n in names))
        base = np.sqrt(sum(np.square(made.base[n].double().numpy()).sum() for n in names))
        assert distance == pytest.approx(apart, rel=1e-4, abs=1e-9)
        assert relative == pytest.approx(apart / base if base else 0.0, rel=1e-4, abs=1e-9)
    assert found.is_exact and found.quality == "exact"
    said = {c.what: (c.before, c.after) for c in found.changes}
    assert said["scale"] == ("0.5", "0.7") and said["silent"] == ("", first.experts[2].name)
    layer = [g.place.layer == "1" for g in found.groups]
    assert found.coefficients[0, layer].tolist() == [-0.75] * sum(layer) and (found.coefficients[2] == -1).all()


def test_experts_may_differ_and_other_methods_are_estimates(tmp_path: Path) -> None:
    made = family(tmp_path, experts=3)
    first = made.with_method("task_arithmetic").recipe
    second = replace(first, experts=first.experts[1:])
    assert [e.path for e in all_experts(second, first)] == [e.path for e in (*first.experts[1:], first.experts[0])]
    found = explain(first, second, made.inputs.layout, gram(made.inputs))
    before, after = merged(made, first), merged(made, second)
    total = np.sqrt(sum(np.square(after[n] - before[n]).sum() for n in SHAPES))
    assert np.sqrt(np.square(found.distance).sum()) == pytest.approx(total, rel=1e-4)
    for other in (first.with_method("ties"), first.with_param("drop_nobody", True)):
        assert not explain(first, other, made.inputs.layout, gram(made.inputs)).is_exact
    assert not explain(first, first, made.inputs.layout, gram(made.inputs)).changes


def test_the_command_compares_a_project_with_its_pin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = family(tmp_path, experts=3)
    first, second = pair(made)
    file = tmp_path / "mix.mixdown"
    save_project(second, file, pins={"before": first})
    assert run(["explain", f"{file}#before", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = explain(first, second, made.inputs.layout, gram(made.inputs))
    assert told["quality"] == "exact" and told["relative"] == pytest.approx(expected.overall)
    assert [g["distance"] for g in told["groups"]] == pytest.approx(expected.distance.tolist())
    assert run(["explain", f"{file}#after", str(file)]) == 1 and "no pin 'after'" in capsys.readouterr().err
    assert run(["explain", f"{file}#before", str(file)]) == 0 and "scale" in capsys.readouterr().out
