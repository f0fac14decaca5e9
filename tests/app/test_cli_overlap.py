"""`overlap` from the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from app.cli import run
from tests.engine.merge_cases import Family, family


@pytest.fixture
def trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setenv("MIXDOWN_HOME", str(tmp_path / "home"))
    return family(tmp_path / "models")


def models(made: Family) -> list[str]:
    assert made.recipe.base is not None
    return ["--base", made.recipe.base.path, *(f"--expert={ref.name}={ref.path}" for ref in made.recipe.experts)]


def test_overlap_in_three_forms(trio: Family, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["overlap", *models(trio)]) == 0
    assert "catastrophic" in capsys.readouterr().out
    assert run(["overlap", *models(trio), "--json", "--lambda", "0.5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["experts"] == ["expert 0", "expert 1", "expert 2"] and report["masks"]["strictness"] == [0.5]
    assert run(["overlap", *models(trio), "--csv", "--by", "layer", "--vector", "ties"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["where"] for row in table} >= {"emb", "0", "1", "head"} and {row["lambda"] for row in table} > {"0.2"}
    assert run(["overlap", *models(trio), "--lambda", "much"]) == 1
    assert "not a number" in capsys.readouterr().err


def test_magnitudes_with_the_thresholds_of_a_method(trio: Family, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--method", "ties", "--param", "density=0.3", "--param", "density@expert 1=0.6"]
    assert run(["overlap", *models(trio), *chosen]) == 0
    text = capsys.readouterr().out
    assert "threshold" in text and "30.00%" in text and "60.00%" in text
    assert run(["overlap", *models(trio), "--json", *chosen]) == 0
    known = json.loads(capsys.readouterr().out)["magnitudes"]
    assert known["density"] == [0.3, 0.6, 0.3] and known["threshold"][1] < known["threshold"][0]
    assert all(d <= kept < d + 0.06 for d, kept in zip(known["density"], known["kept"], strict=True))  # equal ones
    assert run(["overlap", *models(trio), "--csv", "--magnitudes"]) == 0
    table = [row for row in csv.DictReader(io.StringIO(capsys.readouterr().out)) if row["part"] == "magnitudes"]
    counted = sum(float(row["value"]) for row in table if row["experts"] == "expert 2")
    assert counted == sum(known["counts"][2]) + known["zeros"][2] and not any(r["measure"] == "kept" for r in table)


def test_one_matrix_and_its_weights(trio: Family, capsys: pytest.CaptureFixture[str]) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    assert run(["overlap", *models(trio), "--csv", "--tensor", name, "--at", "1,2"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    owned = [float(row["value"]) for row in table if row["part"] == "tensor" and row["measure"].startswith("owned")]
    assert len(owned) == 4 and sum(owned) == pytest.approx(1.0)
    [tau] = [
        float(r["value"]) for r in table if (r["part"], r["measure"], r["experts"]) == ("weight", "tau", "expert 0")
    ]
    assert tau == float(trio.experts[0][name][1, 2]) - float(trio.base[name][1, 2])
    assert run(["overlap", *models(trio), "--tensor", name, "--at", "1,2"]) == 0
    assert "row 1, column 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--param", "density=0.2"], "without --method"),
        (["--method", "linear"], "no density"),
        (["--method", "ties", "--param", "density"], "has no value"),
        (["--at", "1,2"], "without --tensor"),
        (["--tensor", "model.norm.weight", "--at", "x"], "no row and column"),
        (["--tensor", "model.layers.1.self_attn.q_proj.weight", "--at", "1,99999"], "no weight at row 1"),
        (["--tensor", "nothing.like.it"], "nothing.like.it"),
    ],
)
def test_flags_that_say_nothing(trio: Family, capsys: pytest.CaptureFixture[str], flags: list[str], said: str) -> None:
    assert run(["overlap", *models(trio), *flags]) == 1
    assert said in capsys.readouterr().err
