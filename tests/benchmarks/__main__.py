"""All benchmarks, one after the other, each in a process of its own: `make bench`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SYNTH = Path(__file__).resolve().parents[3] / "shared" / "bench" / "make_synth.py"


def synthetic(folder: Path) -> list[str]:
    """Base and three experts of 0.35 B parameters, when the generator is here."""
    if not SYNTH.exists():
        print("../shared/bench/make_synth.py is not here: small models are measured, whose ratios mean little")
        return []
    if not (folder / "expert3" / "model.safetensors").exists():
        subprocess.run([sys.executable, str(SYNTH), str(folder), "--size", "350m", "--experts", "3"], check=True)
    return ["--models", str(folder)]


def main() -> None:
    """Run every benchmark."""
    models = synthetic(Path(tempfile.gettempdir()) / "synth350")
    parts = (("bench_desk", []), ("bench_app", models), ("bench_merge", models), ("bench_gpu", models))
    for name, flags in parts:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *flags], check=True)


if __name__ == "__main__":
    main()
