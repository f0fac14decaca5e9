"""How long the overlap of experts takes, as a multiple of reading the models once.

python -m tests.benchmarks.bench_overlap [--models DIR] [--experts 8] [--runs 3] [--window]

Without DIR a synthetic family is made first: a ViT-B/32 text-free layout of 86 M float32 parameters, experts with
heavy-tailed task vectors. Reading and counting alternate, warm cache; peak memory is that of a fresh process, or of
the largest one. Counting is what the command `overlap` does (in processes where there are any), with --window what the
window does (in threads). The second ratio compares processor time (of all threads and processes): it holds on a busy
machine, too.

What is read goes to the start of a page, as the files' bytes do: with a buffer that begins 1 to 31 bytes after a page
this processor reads six times as slowly, which flatters the ratio.
"""

from __future__ import annotations

import argparse
import json
import mmap
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = 4 << 20
CASES = {
    "masks, pairs, lattice": (("masks",), (0.4,)),
    "the same for 5 lambda": (("masks",), (0.2, 0.3, 0.4, 0.5, 0.6)),
    "everything, 5 lambda": (("products", "signs", "masks"), (0.2, 0.3, 0.4, 0.5, 0.6)),
}


def shapes() -> dict[str, tuple[int, ...]]:
    """A ViT-B: 85.8 M parameters."""
    found: dict[str, tuple[int, ...]] = {
        "vit.embeddings.patch_embeddings.projection.weight": (768, 3, 16, 16),
        "vit.embeddings.position_embeddings": (1, 197, 768),
    }
    for layer in range(12):
        at = f"vit.encoder.layer.{layer}"
        for part in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
            found[f"{at}.{part}.weight"], found[f"{at}.{part}.bias"] = (768, 768), (768,)
        found[f"{at}.attention.output.dense.weight"], found[f"{at}.attention.output.dense.bias"] = (768, 768), (768,)
        found[f"{at}.intermediate.dense.weight"], found[f"{at}.intermediate.dense.bias"] = (3072, 768), (3072,)
        found[f"{at}.output.dense.weight"], found[f"{at}.output.dense.bias"] = (768, 3072), (768,)
        for part in ("layernorm_before", "layernorm_after"):
            found[f"{at}.{part}.weight"], found[f"{at}.{part}.bias"] = (768,), (768,)
    return {**found, "vit.layernorm.weight": (768,), "vit.layernorm.bias": (768,)}


def make(folder: Path, experts: int) -> None:
    """Write base.safetensors and expert1 ... expertN.safetensors, unless they are there."""
    import torch
    from safetensors.torch import save_file

    def state(seed: int, base: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        made = torch.Generator().manual_seed(seed)
        found = {}
        for name, shape in shapes().items():
            noise = torch.randn(shape, generator=made)
            if base is None:
                found[name] = noise.mul_(0.02)
            else:
                found[name] = noise.mul_(noise.abs()).mul_(4e-4).add_(base[name])
        return found

    folder.mkdir(parents=True, exist_ok=True)
    missing = [k for k in range(1, experts + 1) if not (folder / f"expert{k}.safetensors").exists()]
    if missing or not (folder / "base.safetensors").exists():
        base = state(0, None)
        save_file(base, folder / "base.safetensors")
        for k in missing:
            save_file(state(k, base), folder / f"expert{k}.safetensors")


def files(folder: Path, experts: int) -> list[Path]:
    """Base first."""
    return [folder / "base.safetensors", *(folder / f"expert{k}.safetensors" for k in range(1, experts + 1))]


def read_once(paths: list[Path]) -> tuple[float, float]:
    """Seconds to read every file once, one after the other: on the clock and of the processor."""
    buffer = memoryview(mmap.mmap(-1, BLOCK))
    start, before = time.perf_counter(), time.process_time()
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    return time.perf_counter() - start, time.process_time() - before


def processor_s() -> float:
    """Processor time of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def count_once(case: str, folder: Path, experts: int, *, window: bool) -> None:
    """Child process: one count; prints its seconds and the peak memory of its largest process."""
    from engine.analyse.overlap import overlap
    from engine.files.checkpoint import open_checkpoint
    from engine.merge import forks
    from engine.merge.inputs import make_inputs

    if not window:
        forks.allow()
    base, *others = (open_checkpoint(path) for path in files(folder, experts))
    inputs = make_inputs(base, others, [f"expert {k}" for k in range(experts)])
    parts, strictness = CASES[case]
    start, before = time.perf_counter(), processor_s()
    overlap(inputs, parts=parts, strictness=strictness)
    seconds = time.perf_counter() - start
    used = processor_s() - before
    status = Path("/proc/self/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    print(json.dumps({"seconds": seconds, "processor": used, "peak": peak * 1024}))


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--window", action="store_true", help="in threads, as the window counts")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        count_once(given.child, given.models, given.experts, window=given.window)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = given.models or Path(made)
        make(folder, given.experts)
        paths = files(folder, given.experts)
        read_once(paths)
        print(f"{given.experts} experts, {sum(p.stat().st_size for p in paths) / 1e9:.2f} GB")
        head = ("reading s", "counting s", "ratio", "its processor s", "processor s", "ratio", "peak MB")
        print(f"{'case':<24}" + "".join(f"{text:>17}" for text in head))
        for case in CASES:
            times, peak = list[tuple[float, ...]](), 0
            for _ in range(given.runs):
                read = read_once(paths)
                command = [sys.executable, "-m", __spec__.name, "--child", case, "--models", str(folder),
                           "--experts", str(given.experts), *["--window"] * given.window]  # fmt: skip
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                wall, load = found["seconds"], found["processor"]
                times.append((read[0], wall, wall / read[0], read[1], load, load / read[1]))
                peak = max(peak, found["peak"])
            middle = [statistics.median(column) for column in zip(*times, strict=True)]
            print(f"{case:<24}" + "".join(f"{value:>17.2f}" for value in middle) + f"{peak / 1e6:>17.0f}", flush=True)


if __name__ == "__main__":
    main()
