"""Child process: drops, previews, merges and exports hostile things and reports what became of them.

python -m tests.hostile.runner FOLDER NAME ... (prints one line of JSON for each)
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.analyse.gram import gram
from engine.analyse.overlap import overlap
from engine.errors import MixdownError
from engine.export.folder import export
from engine.files.ancestry import detect_base
from engine.files.checkpoint import expand, open_checkpoint
from engine.files.checks import check
from engine.files.layout import describe
from engine.files.model import Checkpoint
from engine.merge.inputs import make_inputs, open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.recipe.recipe import ModelRef, Recipe
from tests.hostile.case import Case, good
from tests.hostile.corpus import CASES

LIMIT_BYTES = 1 << 30
"""Merges of models that are larger are planned but not run."""


def main() -> None:
    """Run the cases that are named and report."""
    home = Path(sys.argv[1])
    good(home / "base.safetensors", 0)
    open_checkpoint(home / "base.safetensors")
    _try(CASES["value-minus-zero"], home)  # everything is loaded once
    if any(CASES[name].kind == "graph" for name in sys.argv[2:]):
        _try(CASES["graph-data-cut"], home)
    for name in sys.argv[2:]:
        sys.stdout.write(json.dumps(_try(CASES[name], home)) + "\n")
        sys.stdout.flush()


def _try(case: Case, home: Path) -> dict[str, Any]:
    folder = home / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dropped = case.make(folder)
    before = sorted(str(p.relative_to(home)) for p in home.rglob("*"))
    os.chdir(folder)
    ground, start = _reset_peak(), time.monotonic()
    steps = _steps(case, dropped, home)
    found = {
        "name": case.name,
        "seconds": time.monotonic() - start,
        "extra": _peak() - ground,
        "steps": steps,
        "out": sorted(p.name for p in (home / "out").rglob("*")) if (home / "out").exists() else [],
        "left": sorted({str(p.relative_to(home)) for p in home.rglob("*")} - set(before)),
        "text": _all_text(home / "out"),
    }
    os.chdir(home)
    shutil.rmtree(home / "out", ignore_errors=True)
    shutil.rmtree(folder)
    found["left"] = [p for p in found["left"] if not p.startswith("out")]
    return found


def _steps(case: Case, dropped: Path, home: Path) -> dict[str, dict[str, str]]:
    """What each action said: "ok", or the error's class and parts."""
    steps: dict[str, dict[str, str]] = {}
    opened: list[Checkpoint] = []

    def act(name: str, work: Callable[[], object]) -> None:
        try:
            work()
            steps[name] = {"said": "ok"}
        except MixdownError as error:
            steps[name] = {"said": type(error).__name__, "message": error.message,
                           "where": error.where, "hint": error.hint}  # fmt: skip
        except Exception as error:
            steps[name] = {"said": f"BUG {type(error).__name__}", "message": str(error)[:500], "where": "", "hint": ""}

    if case.kind == "graph":
        act("open", lambda: _graph(dropped, home))
        act("drop", lambda: open_checkpoint(dropped))
        return steps
    if case.kind != "model":
        recipes: list[Recipe] = []
        act("open", lambda: recipes.extend(_open_text(case, dropped)))
        if recipes:
            act("merge", lambda: merged_state(make_plan(recipes[0], open_inputs(recipes[0])), threads=1))
            act("export", lambda: export(make_plan(recipes[0], open_inputs(recipes[0])), home / "out", threads=1))
        return steps
    act("open", lambda: opened.extend(open_checkpoint(p) for p in expand([dropped]) or [dropped]))
    if opened:
        base, expert = open_checkpoint(home / "base.safetensors"), opened[0]
        act("preview", lambda: _preview(base, expert))
        act("overlap", lambda: _overlap(base, expert))
        act("merge", lambda: _merge(base, expert))
        act("export", lambda: _export(base, expert, home / "out"))
    return steps


def _open_text(case: Case, path: Path) -> list[Recipe]:
    """The recipe of a project or mergekit file; none for a task."""
    if case.kind == "task":
        from engine.evaluate.task import load_task

        load_task(path)
        return []
    if case.kind == "project":
        from engine.recipe.project import load_project

        return [load_project(path)]
    from engine.recipe.mergekit import load_mergekit

    imported = load_mergekit(path)
    for finding in imported.findings:
        if finding.severity == "error":
            raise MixdownError(finding.message, where=str(path), hint=finding.hint or "Nothing was merged.")
    return [imported.recipe]


def _preview(base: Checkpoint, expert: Checkpoint) -> None:
    describe(expert.tensors, expert.config)
    check(base, expert)
    detect_base([base, expert])


def _overlap(base: Checkpoint, expert: Checkpoint) -> None:
    """All passes over the task vectors that the desk makes."""
    inputs = make_inputs(base, [expert], [expert.name])
    if sum(info.size_bytes for info in expert.tensors.values()) < LIMIT_BYTES:
        gram(inputs, threads=1)
        overlap(inputs, threads=1)


def _graph(path: Path, home: Path) -> None:
    """Open it as the network of an evaluation of the good base."""
    from engine.graphs.own import open_graph

    open_graph(path, {name: info.shape for name, info in open_checkpoint(home / "base.safetensors").tensors.items()})


def _recipe(base: Checkpoint, expert: Checkpoint) -> Recipe:
    return Recipe(
        base=ModelRef(id="base", name="base", path=str(base.path)),
        experts=(ModelRef(id="e", name=expert.name or "e", path=str(expert.path)),),
    )


def _merge(base: Checkpoint, expert: Checkpoint) -> None:
    plan = make_plan(_recipe(base, expert), make_inputs(base, [expert], [expert.name]))
    if plan.bytes_out < LIMIT_BYTES:
        merged_state(plan, threads=1)


def _export(base: Checkpoint, expert: Checkpoint, out: Path) -> None:
    plan = make_plan(_recipe(base, expert), make_inputs(base, [expert], [expert.name]))
    export(plan, out, threads=1)
    alone = make_plan(
        Recipe(experts=_recipe(base, expert).experts, method="linear"), make_inputs(None, [expert], [expert.name])
    )
    if alone.bytes_out < LIMIT_BYTES:
        shutil.rmtree(out)
        export(alone, out, threads=1)  # now the files beside the weights are the hostile model's


def _all_text(out: Path) -> str:
    """Everything that an export says in JSON."""
    return "\n".join(p.read_text("utf-8", "replace") for p in sorted(out.glob("*.json"))) if out.exists() else ""


def _reset_peak() -> int:
    """Forget the process's peak memory and return what it uses now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Peak memory since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
