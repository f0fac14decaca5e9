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
