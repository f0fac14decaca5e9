"""Methods from outside the project: found, shown everywhere, and harmless when they are wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from engine.errors import BadRecipe
from engine.methods import plugins, registered
from engine.methods.spec import unregister
from tests.engine.memory_view import merge

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "resources" / "help" / "example_plugin.py"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No plug-in of one test is there in the next."""
    before = registered()
    monkeypatch.setattr(plugins, "_LOADED", {})
    yield
    unregister(set(registered()) - set(before))


def python(home: Path, code: str, switch: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "MIXDOWN_PLUGINS"} | {"MIXDOWN_HOME": str(home)}
    if switch is not None:
        environment["MIXDOWN_PLUGINS"] = switch
    return subprocess.run(
        [sys.executable, *code.split("\0")], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def with_example(home: Path) -> Path:
    (home / "plugins").mkdir()
    shutil.copy(EXAMPLE, home / "plugins")
    return home


def test_the_example_is_short_and_shows_everywhere(tmp_path: Path) -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 30
    home = with_example(tmp_path)
    listed = json.loads(python(home, "main.py\0methods\0--json", "1").stdout)
    mine = next(m for m in listed if m["id"] == "limited_arithmetic")
    assert [p["name"] for p in mine["params"]][:2] == ["limit", "scale"]
    code = "-c\0from app import plugins, help_pages; plugins.load(); print(help_pages.methods_page())"
    assert "## Limited arithmetic" in python(home, code, "1").stdout


def test_files_are_loaded_only_when_asked_for(tmp_path: Path) -> None:
    home = with_example(tmp_path)
    code = "-c\0import app.plugins as p; print(p.load().methods)"
    assert python(home, code, None).stdout.strip() == "()"
    (home / "settings.json").write_text('{"plugins": true}')
    assert "limited_arithmetic" in python(home, code, None).stdout
    assert python(home, code, "0").stdout.strip() == "()"


def test_the_example_computes_what_it_says() -> None:
    (loaded,) = [p for p in plugins.load_folder(EXAMPLE.parent) if p.name == "example_plugin"]
    assert loaded.methods == ("limited_arithmetic",) and not loaded.problem
    base = {"w": torch.zeros(4)}
    experts = [{"w": torch.tensor([0.0005, 0.002, -0.004, 0.0])}, {"w": torch.tensor([0.0005, 0.0, 0.0, 0.0])}]
    got = merge("limited_arithmetic", base, experts, [1.0, 0.5])["w"]
    torch.testing.assert_close(got, torch.tensor([0.00075, 0.001, -0.001, 0.0]))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def declaration(id_: str, more: str = "") -> str:
    return (
        "from engine.methods import Param, merge_method\n"
        f"@merge_method(id={id_!r}, title='T', family='f', summary='S.', paper='P 2026', space='delta', {more})\n"
        "def kernel(deltas, weights, **params):\n    return deltas[0]\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (declaration("half") + "raise RuntimeError('broken')", "broken"),
        (declaration("ties"), "two methods"),
        (declaration("Not An Id"), "identifier"),
        (declaration("twice", "params=[Param('a', 1.0, help='A.'), Param('a', 2.0, help='B.')]"), "different"),
        (declaration("wrong", "params=[Param('a', 3.0, help='A.', low=0.0, high=1.0)]"), "Choose"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("def broken(:", "SyntaxError"),
        ("x = 1\nimport no_such_module_at_all", "line 2"),
        (declaration("a").replace("space='delta'", "space='deltas'"), "use one of delta, weight"),
        (declaration("a", "scope='whole'"), "use one of element, rows, tensor"),
        (declaration("a", "live='fast'"), "use one of linear, mask, full"),
        (declaration("a", "help=3"), "help must be a text"),
        (declaration("a", "params=['scale']"), r"Param(name, default"),
        (declaration("a", "params=[Param('a', None, help='A.')]"), "the default of a must be"),
        (declaration("a").replace("family='f', ", ""), "lacks family"),
        (
            declaration("a", "params=[Param('a', 1.0, help='A.')]").replace(", **params", ""),
            "not take its parameter 'a'",
        ),
        (declaration("a").replace("**params", "*, beta"), "asks for 'beta'"),
        (declaration("a").replace("weights, ", ""), "the tensors and the coefficients"),
        (declaration("a", "effective=lambda c, p: c[0]"), "effective makes (3,)"),
        (declaration("a", "measure=lambda view, gamma: 0"), "the measure asks for 'gamma'"),
    ],
)
def test_a_wrong_plugin_is_taken_back_and_reported(tmp_path: Path, text: str, said: str) -> None:
    before = registered()
    write(tmp_path, "bad.py", text)
    write(tmp_path, "good.py", declaration("good_one"))
    bad, good = plugins.load_folder(tmp_path)
    assert said in bad.problem and not bad.methods
    assert good.methods == ("good_one",)
    assert registered().keys() == before.keys() | {"good_one"}
    assert plugins.load_folder(tmp_path) == (bad, good), "nothing is run twice"


def test_hidden_and_foreign_files_are_not_run(tmp_path: Path) -> None:
    write(tmp_path, "_private.py", declaration("private"))
    write(tmp_path, "open.py", declaration("open_to_all")).chmod(0o666)
    (found,) = plugins.load_folder(tmp_path)
    assert found.name == "open" and "someone else" in found.problem
    assert "open_to_all" not in registered() and "private" not in registered()
    assert plugins.load_folder(tmp_path / "absent") == ()


def test_installed_packages_are_found_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "third_party_method.py", declaration("third_party"))
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("mine", "third_party_method", plugins.GROUP),
        EntryPoint("gone", "no_such_module", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "_points", lambda: points)
    gone, mine = plugins.load_installed()
    assert mine.methods == ("third_party",) and "no_such_module" in gone.problem


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "NoneType instead of a tensor"),
        ("return deltas[0].double()", "float64 instead of torch.float32"),
        ("return deltas[0] / 0 * 0", "NaN for finite weights"),
        ("return deltas[0].mul_(2)", "changes its inputs"),
        ("return deltas[0] + unknown", "NameError: .*bad.py, line 4"),
        ("import torch; return deltas[0] @ torch.ones(2, 2)", "RuntimeError"),
    ],
)
def test_a_fault_while_merging_is_told_as_the_plugins(tmp_path: Path, body: str, said: str) -> None:
    write(tmp_path, "bad.py", declaration("faulty").replace("return deltas[0]", body))
    (found,) = plugins.load_folder(tmp_path)
    assert found.methods == ("faulty",), found.problem
    state = {"w": torch.ones(4)}
    with pytest.raises(BadRecipe, match=f"T does not work: .*{said}") as caught:
        merge("faulty", state, [{"w": torch.full((4,), 2.0)}], [1.0])
    assert "tell its author" in caught.value.hint


def test_what_was_not_loaded_is_a_problem_for_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import doctor

    (tmp_path / "plugins").mkdir()
    write(tmp_path / "plugins", "bad.py", "1/0")
    monkeypatch.setenv("MIXDOWN_HOME", str(tmp_path))
    monkeypatch.setenv("MIXDOWN_PLUGINS", "1")
    problems = doctor.examine(tmp_path).problems
    assert any(p.startswith("The plug-in 'bad'") and "ZeroDivisionError" in p and "line 1" in p for p in problems)
