"""Heads that are made from a model: label phrases through its text tower, or the classifier of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, FileProblem
from engine.evaluate.config import Kind
from engine.evaluate.data import Examples
from engine.evaluate.make_rows import Made, flat
from engine.evaluate.model import network
from engine.evaluate.plan import TaskPlan
from engine.evaluate.readout import embed
from engine.evaluate.sample import Sample
from engine.evaluate.state import DiskState
from engine.evaluate.task import Head, Rows, Task
from engine.evaluate.tokens import read_tokenizer
from engine.files.checkpoint import open_checkpoint
from engine.files.model import Checkpoint
from engine.files.reading import Reader
from engine.files.text import printable
from engine.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

TEXT_SCALE = 20.0
"""Logits of cosines are this much larger (sentence-transformers' default); predictions do not depend on it."""
MAX_HEAD = 1 << 28
_PROJECTIONS = ("text_projection.weight", "visual_projection.weight")


def phrase_head(plan: TaskPlan, made: Made, progress: Progress) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """A zero-shot head: the normalised embedding of every label's phrase (Radford et al. 2021 for CLIP).

    Returns:
        The head as JSON without its file, and its tensors.

    Raises:
        EvalProblem: if the model cannot read text, or not into the space that it puts images in.
    """
    model = _open(Path(str(plan.model)))
    phrases = [plan.template.replace("{}", label) for label in made.labels]
    is_image, config = bool(made.input), model.config or {}
    if is_image and not ("text_config" in config and all(name in model.tensors for name in _PROJECTIONS)):
        raise EvalProblem(
            "Phrases make a head for images only with a model that has a text tower, such as CLIP.",
            where=printable(model.path, 400), hint="Choose such a model, or a frozen head in a file.",
        )  # fmt: skip
    encoded = read_tokenizer(plan.model).encode(phrases, 77 if is_image else plan.max_tokens, progress)
    arrays = flat(encoded)
    examples = Examples(arrays["ids"].astype(np.int64), arrays["lengths"].astype(np.int64),
                        np.zeros(len(phrases), np.int64))  # fmt: skip
    pool = "pooler" if is_image else plan.pool
    head = Head(file=Path(), weight="", pool=pool, normalise=True, type="none")
    with DiskState(model, progress=progress) as state:
        net = network(config, "tokens")
        scale = math.exp(min(float(state["logit_scale"]), math.log(100))) if "logit_scale" in state else TEXT_SCALE
        projection = state[_PROJECTIONS[0]].float() if is_image else None
        weight = embed(net, net.fit(_text_part(state)), _task(head, made.pad), Sample(examples, examples.labels),
                       projection, progress)  # fmt: skip
    if all(label.isdigit() for label in made.labels):
        made.notes = (*made.notes, "The labels are only numbers: phrases made from them say little.")
    made.facts["phrases"] = printable(plan.template, 400)
    more = {"projection": _PROJECTIONS[1]} if is_image else {}
    return {"type": "frozen", "weight": "weight", "pool": pool, "normalise": True, **more}, {
        "weight": (weight * np.float32(scale)).astype(np.float32)
    }


def _text_part(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Of a model with two towers only the text's, so that names are not mixed up."""
    inner = [name for name in state if name.startswith("text_model.")]
    return {name: state[name] for name in inner} if inner else state


def _task(head: Head, pad: int) -> Task:
    rows = Rows(inputs="", labels="")
    return Task(name="phrases", title="Label phrases", kind="tokens", labels=(), data=Path(), val=rows, test=rows,
                head=head, pad=pad, family="retrieve")  # fmt: skip


def classifier_tensors(plan: TaskPlan) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint with a classifier that its encoder alone does not have.

    Raises:
        EvalProblem: if it has none, or cannot be read.
    """
    model = _open(Path(str(plan.head_file)))
    kind: Kind = "image" if plan.data.is_dir() or plan.data.suffix.lower() in (".npz", ".safetensors") else "tokens"
    encoder = set(network(model.config, kind).match(tuple(model.tensors)).values())
    kept = {name: info for name, info in model.tensors.items() if info.is_float and (
        name not in encoder or "pooler." in name)}  # fmt: skip
    if not kept or sum(info.numel * 4 for info in kept.values()) > MAX_HEAD:
        raise EvalProblem("The checkpoint has no classifier.", where=printable(model.path, 400),
                          hint="Choose a checkpoint that was saved with its classifier.")  # fmt: skip
    with Reader(model) as reader:
        return {name: reader.read_float32(info).reshape(info.shape) for name, info in kept.items()}


def _open(path: Path) -> Checkpoint:
    try:
        return open_checkpoint(path)
    except FileProblem as problem:
        raise EvalProblem(f"The model cannot be opened: {problem.message}", where=problem.where,
                          hint=problem.hint) from problem  # fmt: skip
