"""What task bundles cost and keep: sizes, bits a parameter, and the test score of every restored task.

python -m tests.benchmarks.bundle_table [--family demo|bench8] [--limit N]

lambda is chosen for each task on validation rows; scores are on test rows. bench8 needs /work/shared/data/bench8-text.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from engine.bundle.coding import CODECS
from engine.bundle.compress import DEFAULT_STRICTNESS, BundleOptions, compress
from engine.bundle.opening import Bundle, open_bundle
from engine.bundle.restore import restored_state
from engine.bundle.tune import tune
from engine.evaluate.mix import score_checkpoint
from engine.evaluate.runner import evaluate_all
from engine.evaluate.task import Task, load_task
from engine.files.checkpoint import open_checkpoint
from engine.merge.inputs import Inputs, make_inputs

ROOT = Path(__file__).resolve().parent.parent.parent
BENCH8 = Path("/work/shared/data/bench8-text")


def demo(_: Path) -> tuple[Inputs, dict[str, Task]]:
    """The shipped demo."""
    folder = ROOT / "resources" / "demo"
    listing = json.loads((folder / "demo.json").read_text("utf-8"))
    names = [e["name"] for e in listing["experts"]]
    experts = [open_checkpoint(folder / e["path"]) for e in listing["experts"]]
    tasks = {e["name"]: load_task(folder / "tasks" / f"{e['task']}.task.json") for e in listing["experts"]}
    return make_inputs(open_checkpoint(folder / "base"), experts, names), tasks


def bench8(folder: Path) -> tuple[Inputs, dict[str, Task]]:
    """Eight fine-tunes of a sentence encoder, with tasks written as Mixdown reads them."""
    results = json.loads((BENCH8 / "results.json").read_text("utf-8"))
    (folder / "tasks").mkdir()
    shutil.copy(BENCH8 / "eval" / "tokens.safetensors", folder)
    tasks = {}
    for name, about in results["tasks"].items():
        shutil.copy(BENCH8 / "heads" / f"{name}.safetensors", folder)
        fields = {"": "ids", "_lengths": "len", "_labels": "label"}
        rows = {f"{s}{k}": f"{name}.{s}.{v}" for s in ("val", "test") for k, v in fields.items()}
        raw = {
            "format": 1, "name": name, "labels": about["labels"],
            "data": {"kind": "tokens", "file": "../tokens.safetensors", **rows},
            "head": {"file": f"../{name}.safetensors", "weight": "weight", "pool": "mean", "normalise": True},
        }  # fmt: skip
        path = folder / "tasks" / f"{name}.task.json"
        path.write_text(json.dumps(raw))
        tasks[name] = load_task(path)
    experts = [open_checkpoint(BENCH8 / "experts" / name) for name in tasks]
    return make_inputs(open_checkpoint(BENCH8 / "base"), experts, list(tasks)), tasks


VARIANTS = {
    "authors, λ 0.4": (False, False),
    "authors, λ tuned": (False, True),
    "rescaled, λ 0.4": (True, False),
    "rescaled, λ tuned": (True, True),
}
"""Name -> (rescale, whether λ is chosen for each task on validation rows)."""


def main() -> None:
    """Print sizes and scores of one family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("demo", "bench8"), default="demo")
    parser.add_argument("--limit", type=int, default=0, help="rows of each split (default: all)")
    given = parser.parse_args()
    limit = given.limit or None
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        inputs, tasks = {"demo": demo, "bench8": bench8}[given.family](folder)
        chosen = {
            rescale: {n: t.strictness for n, t in tune(inputs, tasks, limit=limit, options=options).items()}
            for rescale in (False, True)
            for options in (BundleOptions(rescale=rescale),)
        }
        sizes(inputs, chosen[True], folder)
        scores(inputs, tasks, chosen, limit, folder)


def sizes(inputs: Inputs, levels: dict[str, float], folder: Path) -> None:
    """Bytes and bits of every coding, with the default λ and gains."""
    print(f"{'multi':>6}{'codec':>9}{'masks kB':>10}{'bits/mask':>10}{'bundle MB':>11}{'bits/param':>11}{'smaller':>9}")
    for bits in (32, 8):
        for codec in CODECS:
            options = BundleOptions(codec=codec, bits=bits, rescale=True, sidecars=False)
            size = compress(inputs, folder / f"{codec}{bits}.safetensors", strictness=levels, options=options).storage
            per_mask = 8 * size.mask_bytes / max(1, size.trainable * size.tasks)
            print(f"{bits:>6}{codec:>9}{size.mask_bytes / 1e3:>10.0f}{per_mask:>10.4f}{size.file_bytes / 1e6:>11.3f}"
                  f"{size.bits_a_parameter:>11.2f}{size.ratio:>9.2f}")  # fmt: skip
    print(f"P {size.trainable:,} F {size.frozen:,}; experts {size.experts_bytes / 1e6:.2f} MB, "
          f"base {size.base_bytes / 1e6:.2f} MB; paper's accounting: {size.paper_experts_bits / 1e6:.1f} Mbit of "
          f"experts, {size.paper_bundle_bits / 1e6:.1f} Mbit of bundle", flush=True)  # fmt: skip


def scores(
    inputs: Inputs, tasks: dict[str, Task], chosen: dict[bool, dict[str, float]], limit: int | None, folder: Path
) -> None:  # fmt: skip
    """Share of each expert's test score that its restored task keeps, for every variant."""
    own = {
        name: score_checkpoint(expert, inputs.base, tasks[name], split="test", limit=limit).value
        for name, expert in zip(inputs.names, inputs.experts, strict=True)
    }
    print(f"{'variant':<20}{'bits':>5}{'mean':>9}{'worst':>9}  kept of each task (λ)")
    for title, (rescale, tuned) in VARIANTS.items():
        levels = chosen[rescale] if tuned else dict.fromkeys(tasks, DEFAULT_STRICTNESS)
        for bits in (32, 8):
            options = BundleOptions(bits=bits, rescale=rescale, replace=True)
            path = compress(inputs, folder / "try.safetensors", strictness=levels, options=options).path
            kept = _kept(inputs, open_bundle(path), tasks, own, limit)
            each = "  ".join(f"{name} {share:.1%} ({levels[name]:g})" for name, share in kept.items())
            print(f"{title:<20}{bits:>5}{sum(kept.values()) / len(kept):>9.2%}{min(kept.values()):>9.2%}  {each}",
                  flush=True)  # fmt: skip


def _kept(
    inputs: Inputs, bundle: Bundle, tasks: dict[str, Task], own: dict[str, float], limit: int | None
) -> dict[str, float]:
    """Restored over own test score, by task."""
    config = None if inputs.base is None else inputs.base.config
    found = {}
    for name, task in tasks.items():
        state = restored_state(bundle, name, inputs.base)
        found[name] = evaluate_all(state, config, [task], split="test", limit=limit)[task.name].value / own[name]
    return found


if __name__ == "__main__":
    main()
