"""The command line: parity with the window's functions, exit codes, no Qt."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import main
from app import cli, workbench
from app.command_line import command_for
from engine.recipe.project import save_project
from engine.recipe.recipe import Recipe, Rule
from tests.app.models import base_tensors, expert_tensors, write_family, write_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def family(tmp_path: Path) -> tuple[Path, list[Path]]:
    return write_family(tmp_path / "models")


def merge_flags(family: tuple[Path, list[Path]]) -> list[str]:
    return ["merge", "--base", str(family[0]), *(f for e in family[1] for f in ("--expert", str(e)))]


def test_merge_by_flags_gives_the_formula(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--param", "scale=0.5", "--set", "chat = 0.8", "--set", "* : mlp : 1-2 = 0", "--out", str(out), "--json"]
    assert cli.run([*merge_flags(family), *flags]) == 0
    merged, base = load_file(out / "model.safetensors"), base_tensors()
    experts = [expert_tensors(base, i + 1) for i in range(3)]
    for name, weight in base.items():
        silent = any(f"layers.{i}.mlp" in name for i in (1, 2))
        factors = [0.0] * 3 if silent else [0.8, 1.0, 1.0]
        want = weight + 0.5 * sum(f * (e[name] - weight) for f, e in zip(factors, experts, strict=True))
        np.testing.assert_allclose(merged[name], want, atol=1e-6)
        if silent:
            assert merged[name].tobytes() == weight.tobytes()


def test_json_report_and_existing_target(
    family: tuple[Path, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*merge_flags(family), "--out", str(tmp_path / "out"), "--json"]
    assert cli.run(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] > 0 and Path(report["path"]) == tmp_path / "out"
    first = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert cli.run(command) == 1
    assert "--replace" in capsys.readouterr().err
    assert cli.run([*command, "--replace", "--param", "scale=0.1"]) == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != first


def test_several_recipes_in_one_call(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    recipe = workbench.build_recipe(family[0], family[1], method="ties", params={}, seed=0, dtype="")
    for name in ("one", "two"):
        save_project(replace(recipe, rules=(Rule(value=0.4 if name == "one" else 0.9),)), tmp_path / f"{name}.mixdown")
    files = [str(tmp_path / f"{n}.mixdown") for n in ("one", "two")]
    assert cli.run(["merge", *files, "--out", str(tmp_path / "all")]) == 0
    one, two = (load_file(tmp_path / "all" / n / "model.safetensors") for n in ("one", "two"))
    assert any((one[k] != two[k]).any() for k in one)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["merge", "--out", "x"], 1, "recipe"),
        (["merge", "--expert", "nowhere", "--out", "x"], 1, "nowhere"),
        (["frobnicate"], 2, "frobnicate"),
        (["inspect", "nowhere"], 1, "nowhere"),
        (["merge", "--expert", ".", "--method", "tise", "--out", "x"], 1, "ties"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == code
    assert said in capsys.readouterr().err


def test_copied_command_gives_the_same_bytes(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    recipe = workbench.build_recipe(family[0], family[1], method="ties", params={"density": 0.3}, seed=7, dtype="F16")
    a, b, c = (e.id for e in recipe.experts)
    rules = [Rule(expert=a, value=0.3), Rule(layer="2", value=0.25),
             Rule(expert=b, kind="attn", layer="1", value=0.125),
             Rule(expert=c, tensor="lm_head.weight", value=-0.1)]  # fmt: skip
    recipe = replace(recipe.with_rules(rules), muted=()).with_gain(b, 0.7).with_muted(a, True)
    layout = workbench.open_recipe(recipe).inputs.layout
    options = ["--dtype", "F16"]
    words = shlex.split(command_for(recipe, layout, str(tmp_path / "by-flags"), options))
    assert words[:2] == ["python", "main.py"] and "project.mixdown" not in words
    assert cli.run(words[2:]) == 0
    save_project(recipe, tmp_path / "mix.mixdown")
    words = shlex.split(command_for(recipe, layout, str(tmp_path / "by-file"), options, tmp_path / "mix.mixdown"))
    assert cli.run(words[2:]) == 0
    first, second = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("by-flags", "by-file"))
    assert first == second


def test_command_for_a_name_that_flags_cannot_say(family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    recipe = workbench.build_recipe(family[0], family[1], method="linear", params={}, seed=0, dtype="")
    odd = replace(recipe.experts[0], name='a="b"')
    recipe = recipe.with_replaced(odd)
    assert "project.mixdown" in command_for(recipe, workbench.open_recipe(recipe).inputs.layout, str(tmp_path / "x"))


def test_inspect_finds_the_base(family: tuple[Path, list[Path]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["inspect", *map(str, [family[1][0], family[0], *family[1][1:]]), "--detect-base", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["base"]["path"] == str(family[0])
    assert report["base"]["certain"]


def test_inspect_says_whose_buffers_are_unlike_the_bases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {**base_tensors(), "ids": np.arange(4)}
    base, other = (
        write_model(tmp_path / "base", tensors),
        write_model(tmp_path / "b", {**tensors, "ids": np.ones(4, int)}),
    )
    assert cli.run(["inspect", str(other), "--base", str(base), "--values"]) == 0
    assert "ids" in (told := capsys.readouterr().out) and "the base's are used" in told
    assert cli.run(["inspect", str(other), "--base", str(base)]) == 0
    assert "the base's are used" not in capsys.readouterr().out


def test_missing_shard_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_model(tmp_path / "base", base_tensors(), shards=3)
    expert = write_model(tmp_path / "expert", expert_tensors(base_tensors(), 1), shards=3)
    (base / "model-00002-of-00003.safetensors").unlink()
    assert cli.run(["merge", "--base", str(base), "--expert", str(expert), "--out", str(tmp_path / "out")]) == 1
    assert "model-00002-of-00003.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_commands_never_import_qt() -> None:
    code = (
        "import sys; sys.argv = ['main.py', 'methods', '--json']; import main; main.main();"
        "sys.exit([m for m in sys.modules if m.startswith(('PySide6', 'torch'))] != [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {m["id"] for m in json.loads(done.stdout)} >= {"linear", "task_arithmetic", "ties", "slerp"}


def test_window_without_a_display_says_so() -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and "no display" in done.stderr


def test_recipe_without_experts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_project(Recipe(), tmp_path / "empty.mixdown")
    assert cli.run(["merge", str(tmp_path / "empty.mixdown"), "--out", str(tmp_path / "x")]) == 1
    assert "no experts" in capsys.readouterr().err


def test_every_command_is_on_the_help_page() -> None:
    text = (ROOT / "resources/help/cli.md").read_text("utf-8")
    commands = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert {f"| `{action.dest.split()[0]}` |" for action in commands._choices_actions} <= set(
        re.findall(r"^\| `[\w-]+` \|", text, re.MULTILINE)
    )


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "resources").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))]
    assert len(links) > 40
    assert [(page.name, link) for page, link in links if ":" not in link and not (page.parent / link).exists()] == []


LEAVES = """
import atexit, sys
import main
atexit.register(lambda: print("taken apart"))
sys.modules["torch"] = sys
sys.stdout.write("all of it")
sys.exit(main.leave(3 if "three" in sys.argv else 0))
"""


def test_a_command_ends_at_once_with_all_that_it_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, "three"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "all of it", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_could_not_be_said_is_a_problem() -> None:
    held = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", LEAVES], cwd=ROOT, env=held, stdout=full, stderr=subprocess.PIPE,
                              check=False)  # fmt: skip
    assert done.returncode == 1 and b"cannot be written" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("buffering", [1, 1 << 20], ids=["at once", "at the end"])
@pytest.mark.parametrize("command", ["methods --json", "history --csv"])
def test_a_full_disk_behind_stdout_is_no_bug(
    command: str, buffering: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = open("/dev/full", "w", buffering=buffering)  # noqa: SIM115  (closing it fails, too)
    monkeypatch.setattr(sys, "stdout", full)
    try:
        assert cli.run(command.split()) == 1
    finally:
        with suppress(OSError):
            full.close()
    said = capsys.readouterr().err
    assert "the output cannot be written: No space left on device" in said and "bug" not in said


def test_nothing_is_said_into_a_closed_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(main.os, "_exit", lambda code: pytest.fail("not with a quick exit"))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert main.leave(cli.run(["methods"])) == 0


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_letters_that_a_terminal_lacks_and_names_that_are_no_text(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    monkeypatch.setattr("app.cli_output.methods_json", lambda: {"path": "na\udcffme", "help": "\u03bb of the masks"})
    assert cli.run(["methods", "--json"]) == 0
    assert json.loads(raw.getvalue().decode(encoding)) == {"path": "na\udcffme", "help": "\u03bb of the masks"}
