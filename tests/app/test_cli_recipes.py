"""Recipe files on the command line: mergekit YAML merges like a project, and one format turns into the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file

from app import cli
from engine.recipe.project import load_project
from tests.app.models import write_family

CONFIG = """
models:
  - model: models/chat
    parameters:
      weight:
        - {filter: mlp, value: [0, 1]}
        - {value: 0.5}
  - model: models/code
    parameters: {weight: 0.25}
merge_method: task_arithmetic
base_model: models/base
parameters: {lambda: 0.5}
tokenizer_source: union
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_family(tmp_path / "models")
    (tmp_path / "mix.yaml").write_text(CONFIG)
    return tmp_path


def test_yaml_merges_like_its_project_and_says_what_it_cannot(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["merge", str(folder / "mix.yaml"), "--out", str(folder / "one"), "--json"]) == 0
    said = capsys.readouterr()
    codes = [f["code"] for f in json.loads(said.out)["recipe_findings"]]
    assert codes == ["mergekit:tokenizer_source"] and "tokenizer_source is kept" in said.err
    assert cli.run(["convert", str(folder / "mix.yaml"), str(folder / "mix.mixdown")]) == 0
    assert cli.run(["merge", str(folder / "mix.mixdown"), "--out", str(folder / "two")]) == 0
    assert cli.run(["convert", str(folder / "mix.mixdown"), str(folder / "back.yml")]) == 0
    assert cli.run(["merge", str(folder / "back.yml"), "--out", str(folder / "three")]) == 0
    one, two, three = (folder / name / "model.safetensors" for name in ("one", "two", "three"))
    assert one.read_bytes() == two.read_bytes()
    again, first = load_file(three), load_file(one)
    assert all(again[name].tobytes() == first[name].tobytes() for name in first)
    written = yaml.safe_load((folder / "back.yml").read_text())
    assert written["tokenizer_source"] == "union"
    assert written["models"][0]["parameters"]["weight"] == [{"filter": "mlp", "value": [0.0, 1.0]}, {"value": 0.5}]


def test_what_would_be_another_merge_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tall.yaml").write_text(
        "slices: [{sources: [{model: models/chat, layer_range: [0, 4]}]},"
        " {sources: [{model: models/chat, layer_range: [2, 6]}]}]\nmerge_method: passthrough"
    )
    assert cli.run(["merge", str(folder / "tall.yaml"), "--out", str(folder / "out")]) == 1
    assert "Layer 5 is wanted, but models/chat has the layers 0 to 3" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_convert_never_overwrites_or_guesses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = str(folder / "mix.yaml"), folder / "mix.mixdown"
    target.write_text("mine")
    assert cli.run(["convert", source, str(target)]) == 1
    assert "--replace" in capsys.readouterr().err and target.read_text() == "mine"
    assert cli.run(["convert", source, str(target), "--replace", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"][0]["severity"] == "warning"
    assert load_project(target).method == "task_arithmetic"
    for wrong in ("other.yml", "other.txt"):
        assert cli.run(["convert", source, str(folder / wrong)]) == 1
    capsys.readouterr()
    assert cli.run(["convert", str(target), "-"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["merge_method"] == "task_arithmetic"
