"""Kills a program that exports in a loop, at random moments, and looks at what is left each time.

python -m tests.engine.export_kills FOLDER KILLS file|folder

A child is forked for every kill, so that a kill costs milliseconds. Prints JSON: what was found after each kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from engine.export.existing import find_litter, remove_litter
from engine.export.folder import ExportOptions, export
from engine.files.checkpoint import open_checkpoint
from tests.engine.merge_cases import Family, digest, family, loaded

COEFFICIENTS = (0.4, 0.8)


def export_forever(models: Family, out: Path) -> None:
    """Replace the export by another one, again and again."""
    plans = [models.with_method("task_arithmetic", c).plan for c in COEFFICIENTS]
    while True:
        for plan in plans:
            export(plan, out, options=ExportOptions(replace=True, shard_bytes=30_000), threads=2)


def expected(models: Family, folder: Path) -> list[str]:
    """Digests of the two models that may be found."""
    out = []
    for c in COEFFICIENTS:
        done = export(models.with_method("task_arithmetic", c).plan, folder / f"{c}.safetensors", threads=1)
        out.append(digest(loaded(done.path)))
    return out


def state_of(out: Path, good: list[str]) -> str:
    """Say "absent", "complete" or what is wrong."""
    if not out.exists():
        return "absent"
    try:
        open_checkpoint(out)
        return "complete" if digest(loaded(out)) in good else "wrong"
    except Exception as error:
        return f"unreadable: {error}"


def kill_once(models: Family, out: Path, wait_s: float, *, until_there: bool = False) -> None:
    """Fork, export, kill some time after an export has begun, or has been made."""
    child = os.fork()
    if child == 0:
        try:
            export_forever(models, out)
        finally:
            os._exit(1)
    end = time.monotonic() + 30
    while time.monotonic() < end and not (out.exists() if until_there else _has_begun(out)):
        time.sleep(0.001)
    time.sleep(wait_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _has_begun(out: Path) -> bool:
    return out.parent.exists() and any(name.startswith(f".{out.name}.partial-") for name in os.listdir(out.parent))


def main() -> None:
    """Kill, look, clean up, look again."""
    folder, kills, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    models = family(folder / "models", dtype=torch.float32)
    out = folder / "exports" / ("merged.safetensors" if kind == "file" else "merged")
    found, chance = [], random.Random(0)
    helper = os.fork()  # in a child, because the parent must stay free of threads to fork
    if helper == 0:
        (folder / "expected.json").write_text(json.dumps(expected(models, folder)))
        os._exit(0)
    os.waitpid(helper, 0)
    good = json.loads((folder / "expected.json").read_text())
    for number in range(kills):
        kill_once(models, out, chance.uniform(0.0, 0.3), until_there=number == 0)
        before = state_of(out, good)
        litter = len(find_litter(out.parent))
        remove_litter(out.parent)
        left = [name for name in os.listdir(out.parent) if name != out.name]
        found.append({"before": before, "litter": litter, "after": state_of(out, good), "left": left})
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
