"""Hostile files through drop, preview, merge and export: a clear error or harmless, within 2 s and 300 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.corpus import CASES, sample

ROOT = Path(__file__).resolve().parent.parent.parent
MOST_SECONDS, MOST_BYTES = 2.0, 300_000_000
CODE = (".py", ".pt", ".bin", ".pkl", ".ckpt", ".pth", ".jinja2", ".so", ".sh")


def run(names: Sequence[str], home: Path) -> list[dict[str, Any]]:
    """What became of some cases, in one child process."""
    command = [sys.executable, "-m", "tests.hostile.runner", str(home), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    reached = len(found)
    assert done.returncode == 0, (
        f"died at {names[reached] if reached < len(names) else 'the end'}: {done.stderr[-800:]}"
    )
    return found


def faults(found: dict[str, Any]) -> list[str]:
    """Everything about one case that must not be."""
    case, wrong = CASES[found["name"]], []
    for action, told in found["steps"].items():
        if case.kind == "graph" and told["said"] == "ok":
            wrong.append(f"{action}: a graph of a stranger was taken")
        if told["said"].startswith("BUG"):
            wrong.append(f"{action}: {told['said']}: {told['message']}")
        elif told["said"] != "ok" and not (told["message"] and told["hint"] and (told["where"] or _of_recipe(told))):
            wrong.append(f"{action}: not named: {told}")
        elif any(mark in told.get("message", "") for mark in ("\x1b", "\u202e", "\0", "\n")):
            wrong.append(f"{action}: control characters in {told['message']!r}")
    if case.refused and found["steps"]["open"]["said"] == "ok" and not _stopped(found):
        wrong.append("was not refused")
    if found["seconds"] > MOST_SECONDS or found["extra"] > MOST_BYTES:
        wrong.append(f"cost {found['seconds']:.2f} s and {found['extra'] / 1e6:.0f} MB")
    if found["left"]:
        wrong.append(f"made {found['left']}")
    if any(name.endswith(CODE) for name in found["out"]) or "auto_map" in found["text"] or "evil" in found["text"]:
        wrong.append(f"code went into the export: {found['out']}")
    return wrong


def _of_recipe(told: dict[str, str]) -> bool:
    """Whether it is about a field of a recipe that could be read; the message quotes the value."""
    return told["said"] in ("UnknownMethod", "BadRecipe", "OutOfRange")


def _stopped(found: dict[str, Any]) -> bool:
    return any(told["said"] != "ok" for told in found["steps"].values())


def check(names: Sequence[str], home: Path) -> None:
    """Run and compare with the promise."""
    found = run(names, home)
    assert [f["name"] for f in found] == list(names)
    assert {f["name"]: wrong for f in found if (wrong := faults(f))} == {}
    assert not list(home.rglob("canary"))


def test_the_corpus_has_all_classes() -> None:
    classes = {name.partition("-")[0] for name in CASES}
    assert len(CASES) >= 150
    assert classes >= {"header", "entry", "name", "value", "index", "link", "config", "tokenizer", "format", "pickle",
                       "disguise", "archive", "project", "yaml", "task", "metadata", "folder", "graph"}  # fmt: skip


def test_a_sample_of_every_class(tmp_path: Path) -> None:
    names = [*sample(3), "value-nan", "folder-code", "config-auto-map", "header-sparse-huge"]
    check(list(dict.fromkeys(names)), tmp_path)


@pytest.mark.soak
def test_the_whole_corpus(tmp_path: Path) -> None:
    check(list(CASES), tmp_path)


def test_the_canary_can_sing(tmp_path: Path) -> None:
    """A payload that is really run makes the canary: the absence above means something."""
    import pickle

    path = CASES["disguise-bare-bin"].make(tmp_path)
    pickle.loads(path.read_bytes())
    assert (tmp_path / "canary").is_dir()
