"""What a merge makes of a GPU: bytes read and written a second, as a share of what the device can copy.

python -m tests.benchmarks.bench_gpu [--models DIR] [--methods task_arithmetic,ties] [--out DIR]

"kernel" is the merge alone on models that lie on the GPU: (T + 1) reads and one write of float32, against a copy on the
device, which reads and writes once. "export" is a whole export, from and to files, against a copy of the same bytes
from pinned memory to the device and back. Without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

METHODS = ("task_arithmetic", "linear", "slerp", "consensus", "dare_linear", "dare_ties", "ties")
ELEMENTS = 1 << 26


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of some runs, with the device idle before and after."""
    work()
    best = float("inf")
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def device_copy() -> float:
    """GB/s of a copy on the device, reads and writes counted."""
    source = torch.zeros(ELEMENTS, device="cuda")
    target = torch.empty_like(source)
    return 8 * ELEMENTS / seconds(lambda: target.copy_(source)) / 1e9


def bus_copy() -> float:
    """GB/s of a copy from pinned memory to the device."""
    source = torch.zeros(ELEMENTS, pin_memory=True)
    target = torch.empty(ELEMENTS, device="cuda")
    return 4 * ELEMENTS / seconds(lambda: target.copy_(source)) / 1e9


def kernel(experts: int = 3) -> float:
    """GB/s of task arithmetic on tensors that are on the device."""
    from engine.steps.reduce import weighted_sum

    base = torch.randn(ELEMENTS, device="cuda")
    deltas = [torch.randn(ELEMENTS, device="cuda") for _ in range(experts)]
    spent = seconds(lambda: weighted_sum(deltas, [0.3] * experts).add_(base))
    return 4 * ELEMENTS * (experts + 2) / spent / 1e9


def export(method: str, models: Path, out: Path) -> float:
    """GB/s of an export by the GPU: bytes of all models and of the merged one."""
    from engine.export.folder import export as write
    from engine.merge.inputs import open_inputs
    from engine.merge.plan import make_plan
    from engine.recipe.recipe import ModelRef, Recipe
    from tests.benchmarks.bench_merge import experts_of

    paths = experts_of(method, models)
    refs = tuple(ModelRef(id=p.name, name=p.name, path=str(p)) for p in paths)
    base = ModelRef(id="base", name="base", path=str(models / "base"))
    recipe = Recipe(base=base, experts=refs, method=method)
    plan = make_plan(recipe, open_inputs(recipe))
    start = time.perf_counter()
    write(plan, out / "merged", device="cuda")
    spent = time.perf_counter() - start
    shutil.rmtree(out / "merged")
    return (plan.bytes_in + plan.bytes_out) / spent / 1e9


def main() -> None:
    """Print what the device can do and what is made of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "synth350")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", type=Path, help="folder for the exports (default: a temporary one)")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing to measure")
        return
    copy, bus = device_copy(), bus_copy()
    print(f"{torch.cuda.get_device_name()}: copies {copy:.0f} GB/s on the device, {bus:.1f} GB/s over the bus")
    print(f"{'kernel, task arithmetic':<26}{kernel():>8.0f} GB/s{kernel() / copy:>8.2f} of a copy")
    if not (given.models / "base").is_dir():
        print(f"{given.models}/base is not there: exports are not measured")
        return
    with tempfile.TemporaryDirectory(dir=given.out) as folder:
        for method in given.methods.split(","):
            rate = export(method, given.models, Path(folder))
            print(f"{'export, ' + method:<26}{rate:>8.2f} GB/s{rate / bus:>8.2f} of the bus", flush=True)


if __name__ == "__main__":
    main()
