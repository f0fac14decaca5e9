"""torch against onnxruntime on bench8-text and the demo: `python -m tests.benchmarks.runners [ROWS]`.

For every task: rows with the same prediction, largest difference of the hidden state's logits, seconds of both.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app import places
from engine.evaluate.data import read_classifier, read_examples
from engine.evaluate.model import network
from engine.evaluate.runner import batch_of, batches, predict
from engine.evaluate.state import DiskState
from engine.evaluate.task import Task, load_task
from engine.files.checkpoint import open_checkpoint
from engine.files.model import Checkpoint
from engine.graphs.policy import RUNNERS, running
from engine.graphs.values import Spec
from engine.progress import Silent

ROOT = Path(__file__).resolve().parents[2]
BENCH8 = ROOT.parent / "shared" / "data" / "bench8-text"
LABELS = {"sst2": 2, "agnews": 4, "trec6": 6, "subj": 2, "banking77": 77, "clinc150": 150, "stackoverflow20": 20,
          "clickbait": 2}  # fmt: skip


def demo() -> Iterator[tuple[Task, Checkpoint, Checkpoint]]:
    """Every task of the demo with its expert."""
    base = open_checkpoint(places.DEMO / "base")
    for path in sorted((places.DEMO / "tasks").glob("*.task.json")):
        task = load_task(path)
        folder = places.DEMO / "experts" / task.name
        yield task, open_checkpoint(folder if folder.exists() else places.DEMO / "base"), base


def bench8(folder: Path) -> Iterator[tuple[Task, Checkpoint, Checkpoint]]:
    """Every task of bench8-text with its expert; the int16 tokens are read as they are."""
    base = open_checkpoint(BENCH8 / "base")
    (folder / "tasks").mkdir()
    for path in (BENCH8 / "eval" / "tokens.safetensors", *sorted((BENCH8 / "heads").glob("*.safetensors"))):
        (folder / path.name).write_bytes(path.read_bytes())
    heads = sorted((BENCH8 / "heads").glob("*.safetensors"))
    for name in LABELS:
        file = next((h for h in heads if h.stem == name), heads[0])
        tensors = open_checkpoint(file).tensors
        weight = next((n for n in tensors if name in n), next(iter(tensors)))
        rows = {k: f"{name}.{s}.{v}" for s in ("val", "test")
                for k, v in ((s, "ids"), (f"{s}_lengths", "len"), (f"{s}_labels", "label"))}  # fmt: skip
        raw = {"format": 1, "name": name, "labels": [str(i) for i in range(tensors[weight].shape[0])],
               "data": {"kind": "tokens", "file": "../tokens.safetensors", **rows},
               "head": {"file": f"../{file.name}", "weight": weight, "pool": "mean", "normalise": True}}  # fmt: skip
        place = folder / "tasks" / f"{name}.task.json"
        place.write_text(json.dumps(raw))
        yield load_task(place), open_checkpoint(BENCH8 / "experts" / name), base


def compare(task: Task, model: Checkpoint, base: Checkpoint, rows: int | None) -> dict[str, Any]:
    """Both runners on the first test rows of a task."""
    net = network(base.config, task.kind)
    with DiskState(model, base) as state:
        weights = net.fit(state)
    examples, head = read_examples(task, "test", rows), read_classifier(task)
    predicted, hidden, took = {}, {}, {}
    for name in ("torch", "onnxruntime"):
        RUNNERS.use("torch" if name == "torch" else "onnxruntime", places.graph_folder())
        RUNNERS.graph(Spec.of(net.key), Silent())
        predict(net, weights, task, examples, head, Silent())  # warm
        started = time.perf_counter()
        predicted[name] = predict(net, weights, task, examples, head, Silent())
        took[name] = time.perf_counter() - started
        hidden[name] = np.concatenate(list(_logits(net, weights, task, examples, head)))
    gap = float(np.abs(hidden["torch"] - hidden["onnxruntime"]).max())
    ordered = np.sort(hidden["torch"], axis=1)
    close = int(((ordered[:, -1] - ordered[:, -2]) < 1e-4).sum()) if ordered.shape[1] > 1 else 0
    same = int((predicted["torch"] == predicted["onnxruntime"]).sum())
    return {"rows": examples.count, "same": same, "ties": close, "gap": gap, **took}


def _logits(net: Any, weights: Any, task: Task, examples: Any, head: Any) -> Iterator[Any]:
    with running(net, weights, Silent()) as module, torch.inference_mode():
        for rows in batches(net, task, examples):
            inputs, mask = batch_of(task, examples, rows)
            given = {"pixel_values": inputs} if mask is None else {"input_ids": inputs, "attention_mask": mask}
            state = module(**given, return_dict=True).last_hidden_state
            mean = state.mean(1) if mask is None else (state * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            pooled = state[:, 0] if task.head.pool == "cls" else mean
            pooled = torch.nn.functional.normalize(pooled, dim=-1) if task.head.normalise else pooled
            yield (pooled @ torch.from_numpy(head.weight).T + torch.from_numpy(head.bias)).numpy()


def main(rows: int | None) -> int:
    """Print the table; 1 if any prediction differs that is no tie, or logits differ by more than 1e-4."""
    wrong = 0
    print(
        f"{'task':<18}{'rows':>6}{'same':>6}{'ties':>6}{'max |Δ logit|':>16}{'torch s':>10}{'onnx s':>10}{'ratio':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        cases = [*demo(), *(bench8(Path(folder)) if BENCH8.exists() else ())]
        for task, model, base in cases:
            r = compare(task, model, base, rows)
            bad = r["rows"] - r["same"] > r["ties"] or r["gap"] > 1e-4
            wrong += bad
            mark = "  WRONG" if bad else ""
            print(f"{task.name:<18}{r['rows']:>6}{r['same']:>6}{r['ties']:>6}{r['gap']:>16.1e}{r['torch']:>10.2f}"
                  f"{r['onnxruntime']:>10.2f}{r['torch'] / r['onnxruntime']:>7.2f}×{mark}")  # fmt: skip
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
