"""How fast a merge is, as a multiple of just copying: read all inputs, write the same bytes, fsync.

python -m tests.benchmarks.bench_merge [--models DIR] [--runs 3] [--methods task_arithmetic,ties] [--many ties]
                                         [--cold] [--app]

DIR has base and expert1 ... expert3 (made by /work/shared/bench/make_synth.py). Every line is a fresh process,
whose peak memory (interpreter and torch included) is reported; times are those of `export` alone, warm cache.
"again" is a second export in the same process with another density (for methods that have one): what the first
found in the models is remembered. Floor and exports alternate, because the speed of a shared machine drifts. The ratio
of processor time is that of all threads together; it says more than wall time where other programs run. With `--cold`
the system is asked to forget the inputs before each floor and each export. With `--app` the exports are those of a
window whose export panel is open: a waiting process does them, from the job's line to its last (ADR 0014).

Then the methods of `--many` run with 3 and with 20 experts (the same ones several times): memory must not grow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.merge.inputs import Inputs
    from engine.recipe.recipe import Recipe

METHODS = ("task_arithmetic", "linear", "slerp", "consensus", "dare_linear", "dare_ties", "ties")
MANY = ("task_arithmetic", "ties", "dare_ties")
BLOCK = 4 << 20
Times = tuple[float, float]
"""Wall and processor seconds."""


def experts_of(method: str, models: Path, count: int = 0) -> list[Path]:
    """SLERP takes two experts, the others all, or `count` of them, some several times."""
    found = sorted(p for p in models.iterdir() if p.name.startswith("expert"))
    if method == "slerp":
        return found[:2]
    return [found[k % len(found)] for k in range(count or len(found))]


def copy_floor(inputs: list[Path], out: Path) -> Times:
    """Time to read every weight file once and to write the size of the first model, with fsync."""
    buffer = memoryview(bytearray(BLOCK))
    start = now()
    for model in inputs:
        for file in sorted(model.glob("*.safetensors")):
            with file.open("rb", buffering=0) as stream:
                while stream.readinto(buffer):
                    pass
    left = sum(file.stat().st_size for file in inputs[0].glob("*.safetensors"))
    with out.open("wb", buffering=0) as stream:
        while left:
            left -= stream.write(buffer[: min(left, BLOCK)])
        os.fsync(stream.fileno())
    spent = since(start)
    out.unlink()
    return spent


def forget(inputs: list[Path]) -> None:
    """Ask the system to drop the models' files from its cache."""
    for file in (f for model in inputs for f in model.glob("*.safetensors")):
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def now() -> Times:
    """Both clocks."""
    return time.perf_counter(), time.process_time()


def since(start: Times) -> Times:
    """What both clocks have advanced."""
    wall, processor = now()
    return wall - start[0], processor - start[1]


def export_twice(method: str, models: Path, folder: Path, count: int, *, cold: bool, app: bool) -> None:
    """Child process: two exports; prints their times and the peak memory of the process that exports."""
    import resource

    if cold:
        import engine.export.folder  # noqa: F401  # is not to be read from the disk in the measured time

        forget([models / "base", *experts_of(method, models)])
    found = {"first": timed_export(method, models, folder / "merged", count, again=False, app=app)}
    if not count:
        found["again"] = timed_export(method, models, folder / "merged2", count, again=True, app=app)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN if app else resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**found, "peak": peak}))


def timed_export(method: str, models: Path, out: Path, count: int, *, again: bool, app: bool) -> Times:
    """One export, with another density if it is not the first."""
    from engine.export.folder import export
    from engine.files.checkpoint import open_checkpoint
    from engine.merge.inputs import make_inputs
    from engine.merge.plan import make_plan
    from engine.methods import find
    from engine.recipe.recipe import ModelRef, Recipe

    base, experts = models / "base", experts_of(method, models, count)
    names = [f"{path.name} {k}" for k, path in enumerate(experts)]
    refs = tuple(ModelRef(id=name, name=name, path=str(p)) for name, p in zip(names, experts, strict=True))
    has_density = any(p.name == "density" for p in find(method).params)
    params = (("density", 0.37),) if again and has_density else ()
    recipe = Recipe(base=ModelRef(id="base", name="base", path=str(base)), experts=refs, method=method, params=params)
    inputs = make_inputs(open_checkpoint(base), [open_checkpoint(p) for p in experts], names)
    if app:
        return worker_export(recipe, inputs, out)
    plan, start = make_plan(recipe, inputs), now()
    export(plan, out)
    return since(start)


def worker_export(recipe: Recipe, inputs: Inputs, out: Path) -> Times:
    """One export by a process that waits, as a window has it done; its processor time is not known here."""
    from app.export_host import HOST
    from app.export_job import ExportJob, stamps_of
    from app.workbench import hashed
    from engine.export.options import ExportOptions
    from engine.progress import Token

    recipe = hashed(recipe, inputs, Token())  # a window does this when a model is added
    HOST.warm()
    while not HOST.is_warm:
        time.sleep(0.05)
    start = now()
    HOST.run(ExportJob(recipe, out, ExportOptions(), "cpu", 0, stamps_of(inputs)), Token())
    wall = since(start)[0]
    HOST.close()
    return wall, float("nan")


def child(
    method: str, models: Path, folder: Path, count: int = 0, *, cold: bool = False, app: bool = False
) -> dict[str, Any]:
    """Run `export_twice` in a fresh process and delete what it wrote."""
    command = [sys.executable, "-m", __spec__.name, "--child", method, "--models", str(models), "--out", str(folder)]
    command += ["--experts", str(count), *(["--cold"] if cold else []), *(["--app"] if app else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    for path in folder.glob("merged*"):
        shutil.rmtree(path)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(method: str, models: Path, folder: Path, runs: int, *, cold: bool, app: bool) -> dict[str, float]:
    """Median ratios and seconds, and the largest peak memory, over alternating runs."""
    found: dict[str, list[float]] = {}
    inputs = [models / "base", *experts_of(method, models)]
    for _ in range(runs):
        forget(inputs if cold else [])
        before = copy_floor(inputs, folder / "floor")
        result = child(method, models, folder, cold=cold, app=app)
        forget(inputs if cold else [])
        after = copy_floor(inputs, folder / "floor")
        wall, processor = ((before[i] + after[i]) / 2 for i in (0, 1))
        row = {"wall": result["first"][0] / wall, "processor": result["first"][1] / processor,
               "again": result["again"][0] / wall, "again_processor": result["again"][1] / processor,
               "seconds": result["first"][0], "peak": result["peak"]}  # fmt: skip
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    return {key: max(values) if key == "peak" else statistics.median(values) for key, values in found.items()}


def print_speed(methods: list[str], models: Path, folder: Path, runs: int, *, cold: bool, app: bool) -> None:
    """One line for each method."""
    print(f"{'':<18}{'first, / copying':>20}{'again, / copying':>20}")
    print(f"{'method':<18}{'wall':>10}{'processor':>10}{'wall':>10}{'processor':>10}{'seconds':>10}{'peak MB':>10}")
    for method in methods:
        f = measure(method, models, folder, runs, cold=cold, app=app)
        ratios = f"{f['wall']:>10.2f}{f['processor']:>10.2f}{f['again']:>10.2f}{f['again_processor']:>10.2f}"
        print(f"{method:<18}{ratios}{f['seconds']:>10.2f}{f['peak'] / 1e6:>10.0f}", flush=True)


def print_memory(methods: list[str], models: Path, folder: Path) -> None:
    """Peak memory with few and with many experts."""
    print(f"\n{'method':<18}{'3 experts MB':>16}{'20 experts MB':>16}")
    for method in methods:
        peaks = [child(method, models, folder, count)["peak"] / 1e6 for count in (3, 20)]
        print(f"{method:<18}{peaks[0]:>16.0f}{peaks[1]:>16.0f}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("/tmp/synth350"))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--many", default=",".join(MANY))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for the exports (default: a temporary one)")
    parser.add_argument("--cold", action="store_true", help="without the page cache")
    parser.add_argument("--app", action="store_true", help="by the process that waits behind an open export panel")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--experts", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        export_twice(given.child, given.models, given.out, given.experts, cold=given.cold, app=given.app)
        return
    if not (given.models / "base").is_dir():
        sys.exit(f"{given.models}/base is not there; make the models with make_synth.py")
    with tempfile.TemporaryDirectory(dir=given.out) as folder:
        if given.methods:
            methods = given.methods.split(",")
            print_speed(methods, given.models, Path(folder), given.runs, cold=given.cold, app=given.app)
        if given.many:
            print_memory(given.many.split(","), given.models, Path(folder))


if __name__ == "__main__":
    main()
