"""The first mix with a real mouse: drop, drag, undo, mute, evaluate, export; then others judge the result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.e2e.independent import correct_answers
from tests.e2e.screen import ROOT, Program, Screen, missing_tools

pytestmark = [
    pytest.mark.mouse,
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {', '.join(missing_tools())}"),
]
DEMO = ROOT / "resources" / "demo"
CORNER = (700, 840)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen(77)
    yield made
    made.close()


def pictures() -> Path | None:
    """Where screenshots go, if anybody wants them."""
    folder = os.environ.get("MIXDOWN_SHOTS")
    return Path(folder) if folder else None


def shoot(screen: Screen, name: str) -> None:
    folder = pictures()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        screen.picture(folder / f"{name}.png")


def mix(screen: Screen, program: Program, experts: list[str]) -> None:
    """Drag a fader, undo, redo, drag another, mute an expert."""
    first = experts[0]
    before = program.state()["values"]
    screen.drag(program.ask("fader", first, 2, before[0][2]), program.ask("fader", first, 2, 1.6))
    moved = program.until(lambda s: s["values"][0][2] > 1.3, 10)
    assert abs(moved["values"][0][2] - 1.6) < 0.1
    screen.mouse("key", "ctrl+z")
    program.until(lambda s: s["values"] == before, 10)
    screen.mouse("key", "ctrl+shift+z")
    program.until(lambda s: s["values"] == moved["values"], 10)
    screen.drag(program.ask("fader", first, 3, 1.0), program.ask("fader", first, 3, 0.5))
    screen.click(program.ask("fader", experts[2], 4, 0.2))
    screen.mouse("key", "m")
    program.until(lambda s: s["muted"] == [experts[2]], 10)
    shoot(screen, "3-mixed")


def export(screen: Screen, program: Program, out: Path) -> None:
    """Type a target, export and quit."""
    screen.mouse("key", "ctrl+e")
    time.sleep(0.6)
    screen.click(program.ask("centre", "export-target"))
    screen.mouse("key", "ctrl+a")
    screen.mouse("type", "--delay", "8", str(out))
    time.sleep(0.8)
    shoot(screen, "5-export")
    screen.click(program.ask("centre", "export-button"))
    program.until(lambda s: any("Exported" in j[2] for j in s["jobs"]), 60)
    time.sleep(0.4)
    shoot(screen, "6-exported")
    screen.mouse("key", "ctrl+q")
    assert program.process.wait(15) == 0


def check(out: Path, again: Path, home: Path, tasks: list[Path], scores: dict[str, tuple[int, int]]) -> None:
    """The folder opens, scores as shown, and the command line makes the same bytes of the session."""
    with safe_open(out / "model.safetensors", "pt") as model:
        assert "mixdown" in (model.metadata() or {})
    for task in tasks:
        name = json.loads(task.read_text("utf-8"))["name"]
        right, count = scores[name]
        assert correct_answers(out, task, count) == right, name

    command = [sys.executable, "main.py", "merge", str(home / "session.mixdown"), "--out", str(again)]
    subprocess.run(
        command, cwd=ROOT, check=True, env={**os.environ, "MIXDOWN_HOME": str(again.parent / "other")}, timeout=120
    )
    for file in sorted(p.name for p in out.iterdir()):
        assert (out / file).read_bytes() == (again / file).read_bytes(), file


def test_first_mix(screen: Screen, tmp_path: Path) -> None:
    listing = json.loads((DEMO / "demo.json").read_text("utf-8"))
    chosen = listing["experts"][:3]
    home = tmp_path / "home"
    home.mkdir()
    (home / "settings.json").write_text(json.dumps({"welcomed": True, "theme": "dark"}))
    program = Program(screen, home)
    program.until(lambda s: s["base"] is None, 30)
    shoot(screen, "1-welcome")

    files = [DEMO / listing["base"], *(DEMO / e["path"] for e in chosen)]
    told = screen.drop(files, (600, 450), CORNER)
    assert "CopyAction" in told
    state = program.until(lambda s: s["base"] == "base" and s["gram"], 60)
    assert sorted(state["experts"]) == sorted(e["name"] for e in chosen)
    tasks = [DEMO / "tasks" / f"{e['task']}.task.json" for e in chosen]
    screen.drop(tasks, (600, 450), CORNER)
    shoot(screen, "2-dropped")

    mix(screen, program, state["experts"])
    screen.mouse("key", "ctrl+Return")
    scored = program.until(lambda s: s["scores"] and len(s["scores"]) == 3, 120)
    shoot(screen, "4-scored")

    export(screen, program, tmp_path / "merged")
    check(tmp_path / "merged", tmp_path / "again", home, tasks, scored["scores"])
