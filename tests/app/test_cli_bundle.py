"""`compress` and `restore` from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.cli import run
from app.demo import demo_recipe
from engine.bundle.opening import open_bundle
from engine.files.checkpoint import open_checkpoint
from engine.recipe.project import save_project
from tests.engine.merge_cases import Family, family, loaded


@pytest.fixture
def trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setenv("MIXDOWN_HOME", str(tmp_path / "home"))
    return family(tmp_path / "models")


def models(made: Family) -> list[str]:
    assert made.recipe.base is not None
    return ["--base", made.recipe.base.path, *(f"--expert={ref.name}={ref.path}" for ref in made.recipe.experts)]


def test_compress_and_restore(trio: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "all.safetensors"
    flags = ["--lambda", "0.5", "--lambda", "expert 1=0.3", "--codec", "lzma", "--json"]
    assert run(["compress", *models(trio), "--out", str(out), *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {t["name"]: t["lambda"] for t in report["tasks"]} == {"expert 0": 0.5, "expert 1": 0.3, "expert 2": 0.5}
    assert report["storage"]["file_bytes"] == out.stat().st_size
    assert len(open_bundle(out).manifest.base_sha256) == 64
    assert run(["compress", *models(trio), "--out", str(out)]) == 1
    assert "already" in capsys.readouterr().err
    target = tmp_path / "one"
    assert run(["restore", str(out), "--task", "expert 1", "--out", str(target)]) == 1
    assert "needs its base" in capsys.readouterr().err and not target.exists()
    assert run(["restore", str(out), "--task", "expert 1", "--base", models(trio)[1], "--out", str(target)]) == 0
    assert loaded(target).keys() == trio.base.keys()
    assert json.loads(open_checkpoint(target).metadata["mixdown"])["task"]["lambda"] == 0.3
    assert run(["restore", str(out), "--task", "x", "--base", models(trio)[1], "--out", str(target)]) == 1
    assert "no task" in capsys.readouterr().err


def test_the_paper_s_form_is_one_flag(trio: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [("ours", []), ("paper", ["--paper"]), ("hand", ["--no-rescale", "--codec", "raw"])]
    for name, extra in flags:
        assert run(["compress", *models(trio), "--out", str(tmp_path / f"{name}.safetensors"), *extra]) == 0
    found = {name: open_bundle(tmp_path / f"{name}.safetensors").manifest for name, _ in flags}
    assert (found["ours"].rescale, found["ours"].codec) == (True, "huffman")
    assert (found["paper"].rescale, found["paper"].codec) == (False, "raw") and found["hand"] == found["paper"]
    assert run(["compress", "--out", str(tmp_path / "x.safetensors")]) == 1
    assert "--project" in capsys.readouterr().err
    assert run(["compress", *models(trio), "--out", str(tmp_path / "y.safetensors"), "--lambda", "nobody=1"]) == 1
    assert "no expert" in capsys.readouterr().err


def test_project_s_tasks_choose_lambda_and_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIXDOWN_HOME", str(tmp_path / "home"))
    recipe = demo_recipe()
    first, second = recipe.experts[:2]
    tasks = tuple(t for t in recipe.tasks if t.name in (first.name, second.name))
    save_project(replace(recipe, experts=(first, second), tasks=tasks), tmp_path / "demo.mixdown")
    out = tmp_path / "all.safetensors"
    flags = ["--limit", "40", "--lambda", f"{second.name}=0.5", "--bits", "8", "--json"]
    assert run(["compress", "--project", str(tmp_path / "demo.mixdown"), "--out", str(out), *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    told = {task["name"]: task for task in report["tasks"]}
    assert set(told[first.name]["validation"]) == {"0.2", "0.3", "0.4", "0.5", "0.6"}
    assert not told[second.name]["validation"] and told[second.name]["lambda"] == 0.5
    for task in told.values():
        scores = task["scores"]
        assert scores["split"] == "test" and scores["rows"] == 40
        assert scores["kept"] == pytest.approx(scores["restored"] / scores["expert"])
    assert report["sizes"]["mask"] == sum(task["bytes"] for task in told.values()) > 0
    assert run(["merge", "--base", str(recipe.base.path if recipe.base else ""), "--expert",
                str(out / first.name), "--out", str(tmp_path / "merged"), "--json"]) == 0  # fmt: skip
