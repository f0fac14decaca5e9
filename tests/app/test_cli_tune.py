"""`tune` and `sweep` from the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from app.cli import run
from engine.evaluate.mix import score_recipe
from engine.evaluate.task import load_task
from engine.recipe.project import load_project
from tests.app.tune_kit import OTHER, write_project


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("family"))


def test_tune_writes_a_better_mix_and_the_same_seed_gives_the_same(
    mix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["tune", str(mix), "--seed", "3", "--param", "rounds=1", "--json"]
    assert run([*common, "--test", "--out", str(tmp_path / "a.mixdown")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seed"] == 3 and report["loss"]["after"] < report["loss"]["before"]
    assert run([*common, "--out", str(tmp_path / "b.mixdown")]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["loss"] == report["loss"]
    tuned = load_project(tmp_path / "a.mixdown")
    assert tuned.rules == load_project(tmp_path / "b.mixdown").rules and tuned.rules

    from app.workbench import open_recipe

    scores = score_recipe(tuned, open_recipe(tuned).inputs, [load_task(Path(t.path)) for t in tuned.tasks],
                          split="test")  # fmt: skip
    assert [row["test"]["after"]["value"] for row in report["tasks"]] == [s.value for s in scores.values()]
    assert all(row["val"]["before"]["low"] < row["val"]["before"]["high"] for row in report["tasks"])


def test_tune_refuses_what_it_cannot_do(mix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.mixdown")
    for extra, words in (
        (["--tuner", "nobody"], "levenberg_marquardt"), (["--param", "rounds=99"], "1 to 20"),
        (["--for", "nothing"], f"digits, {OTHER}"), (["--rows", "2"], "at least 8"),
    ):  # fmt: skip
        assert run(["tune", str(mix), "--out", out, *extra]) == 1
        assert words in capsys.readouterr().err and not Path(out).exists()
    Path(out).write_text("mine")
    assert run(["tune", str(mix), "--out", out]) == 1 and Path(out).read_text() == "mine"


def test_sweep_prints_what_eval_would(mix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", str(mix), "--axis", "scale=0.2:0.6:3", "--axis", "gain:two=0,1", "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(table) == 3 * 2 * 3 and {row["task"] for row in table} == {"digits", OTHER, "average"}
    cell = next(r for r in table if (r["scale"], r["gain:two"], r["task"]) == ("0.4", "0.0", "digits"))

    from app.workbench import open_recipe

    recipe = load_project(mix).with_param("scale", 0.4).with_gain("e1", 0.0)
    scores = score_recipe(recipe, open_recipe(recipe).inputs, [load_task(Path(t.path)) for t in recipe.tasks])
    assert float(cell["value"]) == scores["digits"].value and float(cell["low"]) == scores["digits"].low
    assert run(["sweep", str(mix), "--axis", "scale=0.2:0.6:3", "--rows", "16"]) == 0
    assert capsys.readouterr().out.count("*") >= 1
    for axis, words in (("speed=0:1:3", "scale"), ("scale=9:10:2", "from -5 to 5"), ("scale=fast", "LOW:HIGH:COUNT")):
        assert run(["sweep", str(mix), "--axis", axis]) == 1
        assert words in capsys.readouterr().err
