"""Scoring a model by an ONNX graph of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import EvalProblem
from engine.evaluate.data import read_classifier, read_examples
from engine.evaluate.memory import check_memory
from engine.evaluate.runner import is_plain, predict, score
from engine.evaluate.score import Score
from engine.evaluate.state import DiskState, completed
from engine.evaluate.task import Split, Task
from engine.files.model import Checkpoint
from engine.files.text import printable
from engine.graphs.own import open_graph
from engine.progress import Progress, Silent


def score_with_graph(
    model: Checkpoint, base: Checkpoint | None, tasks: Sequence[Task], graph: Path, *, split: Split = "val",
    limit: int | None = None, progress: Progress | None = None,
) -> list[Score]:  # fmt: skip
    """Score a model on disk, its weights injected into a graph.

    Args:
        model: A base, expert or merged model.
        base: Where tensors come from that the model does not have.
        tasks: Tasks with a frozen head; the graph gives the hidden state or its pooled form.
        graph: The .onnx file.
        split: "val" to choose with, "test" for the final figure.
        limit: Only the first rows; None for all.
        progress: Told the rows done.

    Raises:
        EvalProblem: if the graph cannot be used, is not of this model, or a task needs more than it gives.
    """
    progress = progress or Silent()
    for task in tasks:
        if not is_plain(task):
            raise EvalProblem(
                f"Task {printable(task.title, 80)} cannot be scored by a graph of one's own: it has no frozen "
                "classifier.",
                where=printable(task.path, 400), hint="Score it without --graph.",
            )  # fmt: skip
    shapes = {name: info.shape for name, info in completed(model, base).items()}
    net = open_graph(graph, shapes)
    check_memory(0, net.wanted.values())
    loaded = [(task, read_examples(task, split, limit), read_classifier(task)) for task in tasks]
    progress.begin(sum(examples.count for _, examples, _ in loaded), "Scoring", "rows")
    with DiskState(model, base, progress) as state:
        weights = net.fit(state)
    return [
        score(task, split, examples.labels, predict(net, weights, task, examples, classifier, progress))
        for task, examples, classifier in loaded
    ]
