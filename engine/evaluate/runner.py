"""Running a network over the rows of tasks: float32, deterministic, in batches short enough to cancel.

Every core computes batches of its own. Spreading one small operation over all cores makes them wait for
each other some thousand times a second; on a busy machine that is ten times slower than one core.

Rows are sorted by length (stably) and padded to the longest of their batch; the batch size depends on the
network and the rows alone, never on the machine or the time, so that a score is the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, MixdownError
from engine.evaluate.data import Classifier, Examples, read_classifier, read_examples
from engine.evaluate.measures import Outcome, find_measure
from engine.evaluate.metrics import METRICS
from engine.evaluate.model import Network, network
from engine.evaluate.sample import read_sample
from engine.evaluate.score import Score
from engine.evaluate.state import shapes_of
from engine.evaluate.task import Split, Task
from engine.files.text import printable
from engine.graphs.policy import running
from engine.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH_WORK = 1_500_000_000
"""Multiply-adds of one batch, some 50 ms of a core. Larger batches leave the cache and are slower."""
MAX_BATCH = 128


def evaluate(
    state: Mapping[str, Tensor], config: Mapping[str, Any] | None, task: Task, split: Split = "val",
    limit: int | None = None, progress: Progress | None = None,
) -> Score:  # fmt: skip
    """Score one model on one task; see `evaluate_all`."""
    return evaluate_all(state, config, (task,), split=split, limit=limit, progress=progress)[task.name]


def evaluate_all(
    state: Mapping[str, Tensor], config: Mapping[str, Any] | None, tasks: Sequence[Task], *, split: Split = "val",
    limit: int | None = None, progress: Progress | None = None,
) -> dict[str, Score]:  # fmt: skip
    """Score one model on several tasks.

    Args:
        state: Its weights by name, any float dtype; computed with in float32.
        config: Its config.json as data; everything in it that is not a plain size is ignored.
        tasks: What to evaluate.
        split: "val" to choose with, "test" for the final figure.
        limit: Only the first rows of each task; None for all.
        progress: Told the rows done; asked before every batch and every layer.

    Returns:
        A score for each task's name, in the order given.

    Raises:
        EvalProblem: if a task or the model cannot be used.
        Cancelled: within a batch of the user's wish.
    """
    found = outcomes(state, config, tasks, split=split, limit=limit, progress=progress)
    return {task.name: judged(task, split, found[task.name]) for task in tasks}


def outcomes(
    state: Mapping[str, Tensor], config: Mapping[str, Any] | None, tasks: Sequence[Task], *, split: Split = "val",
    limit: int | None = None, progress: Progress | None = None,
) -> dict[str, Outcome]:  # fmt: skip
    """What one model makes of every row of several tasks; see `evaluate_all`.

    Returns:
        For each task's name its rows in order. Where predictions are all that a task needs (`is_plain`), the
        outputs (N, C) are 1 for the predicted class and 0 for the others.
    """
    progress = progress or Silent()
    plain = [task for task in tasks if is_plain(task)]
    loaded = [(task, read_examples(task, split, limit), read_classifier(task)) for task in plain]
    samples = {task.name: read_sample(task, split, limit) for task in tasks if task not in plain}
    rows = sum(examples.count for _, examples, _ in loaded) + sum(s.rows.count for s in samples.values())
    progress.begin(rows, "Scoring", "rows")
    found = _plain_outcomes(state, config, loaded, progress)
    for task in tasks:
        if task.name in samples:
            from engine.evaluate.readout import read_out

            found[task.name] = read_out(state, config, task, samples[task.name], progress)
    return {task.name: found[task.name] for task in tasks}


def judged(task: Task, split: Split, outcome: Outcome) -> Score:
    """The task's metric of what a model made of its rows.

    Raises:
        EvalProblem: if the metric is not defined on these rows, or not finite.
    """
    if is_plain(task):
        return score(task, split, outcome.targets, outcome.outputs.argmax(1))
    return scored(task, split, outcome)


def is_plain(task: Task) -> bool:
    """Whether predicted classes are all that a task needs: a linear frozen head and a metric of predictions."""
    return task.is_linear and task.metric in METRICS


def _plain_outcomes(
    state: Mapping[str, Tensor], config: Mapping[str, Any] | None,
    loaded: Sequence[tuple[Task, Examples, Classifier]], progress: Progress,
) -> dict[str, Outcome]:  # fmt: skip
    found: dict[str, Outcome] = {}
    fitted: dict[int, dict[str, Tensor]] = {}
    for task, examples, classifier in loaded:
        progress.check()
        net = network(config, task.kind) if not task.graph.name else _own(task, state)
        if id(net) not in fitted:
            fitted[id(net)] = net.fit(state)
        predictions = predict(net, fitted[id(net)], task, examples, classifier, progress)
        said = np.zeros((examples.count, len(classifier.bias)), np.uint8)
        said[np.arange(examples.count), predictions] = 1
        found[task.name] = Outcome(examples.labels, said)
    return found


def _own(task: Task, state: Mapping[str, Tensor]) -> Network:
    """The graph that a task names."""
    from engine.graphs.own import opened

    return opened(task.graph, shapes_of(state))


def score(task: Task, split: Split, labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> Score:
    """The task's metric of some predictions."""
    measured = METRICS[task.metric](labels, predictions, len(task.labels))
    return Score(
        task=task.name, split=split, metric=task.metric, value=measured.value, low=measured.low, high=measured.high,
        correct=int((labels == predictions).sum()), count=len(labels),
    )  # fmt: skip


def scored(task: Task, split: Split, outcome: Outcome) -> Score:
    """The task's metric of what a model made of its rows.

    Raises:
        EvalProblem: if the metric is not defined on these rows, or not finite.
    """
    found = find_measure(task.metric)
    measured = found(outcome)
    if not math.isfinite(measured.value):
        raise EvalProblem(
            f"{found.title} of task {printable(task.title, 80)} has no finite value on these rows.",
            hint="Evaluate more rows, or lower the coefficients if the model's output has grown out of range.",
        )
    right = round(measured.value * outcome.count) if found.is_share_of_rows else 0
    return Score(
        task=task.name, split=split, metric=task.metric, value=measured.value, low=measured.low, high=measured.high,
        correct=right, count=outcome.count,
    )  # fmt: skip


def predict(
    net: Network, weights: Mapping[str, Tensor], task: Task, examples: Examples, classifier: Classifier,
    progress: Progress, threads: int | None = None,
) -> NDArray[np.int64]:  # fmt: skip
    """(N,) predicted classes, in the order of the rows; of equal logits the first class wins."""
    import torch

    from engine.merge.crew import Crew

    check_fits(net, task, examples)
    head = torch.from_numpy(classifier.weight), torch.from_numpy(classifier.bias)
    predictions = np.empty(examples.count, np.int64)
    with Crew(threads) as crew, running(net, weights, progress) as module:

        def work(rows: NDArray[np.int64]) -> None:
            progress.check()
            with torch.inference_mode():
                inputs, mask = batch_of(task, examples, rows)
                hidden = _forward(net, module, task, inputs, mask)
                logits = _logits(task, hidden, mask, *head)
                if not bool(logits.isfinite().all()):
                    raise overflowed(task)
                predictions[rows] = logits.argmax(1).numpy()
            progress.advance(len(rows))

        crew.drain(batches(net, task, examples), work)
    return predictions


def batches(net: Network, task: Task, examples: Examples) -> Iterator[NDArray[np.int64]]:
    """Indices of the rows of each batch, longest rows last."""
    if task.kind == "image":
        _, _, height, width = examples.inputs.shape
        positions = (height // net.patch) * (width // net.patch) + 1 if net.patch else height * width
        lengths = np.full(examples.count, positions)
    else:
        lengths = examples.lengths
    order, room = np.argsort(lengths, kind="stable"), BATCH_WORK // max(net.costs, 1)
    first = 0
    while first < len(order):
        longest = lengths[order[first : first + MAX_BATCH]]  # ascending
        fits = int(np.count_nonzero(longest * np.arange(1, len(longest) + 1) <= room))
        yield order[first : first + max(fits, 1)]
        first += max(fits, 1)


def batch_of(task: Task, examples: Examples, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
    """Inputs of some rows: pixels (B, C, H, W) float32, or ids (B, L) and their mask (B, L)."""
    import torch

    if task.kind == "image":
        pixels = examples.inputs[rows].astype(np.float32) * np.float32(task.scale)
        mean, std = (np.asarray(v, np.float32)[None, :, None, None] for v in (task.mean, task.std))
        return torch.from_numpy((pixels - mean) / std), None
    lengths, starts = examples.lengths[rows], np.cumsum(examples.lengths) - examples.lengths
    places = np.arange(lengths.max())[None, :]
    mask = places < lengths[:, None]
    ids = np.where(mask, examples.inputs[np.where(mask, starts[rows][:, None] + places, 0)], task.pad)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


def _forward(net: Network, module: nn.Module, task: Task, inputs: Tensor, mask: Tensor | None) -> Tensor:
    """The last hidden state (B, L, H)."""
    given = {"pixel_values": inputs} if mask is None else {"input_ids": inputs, "attention_mask": mask}
    try:
        hidden: Tensor = module(**given, return_dict=True).last_hidden_state
    except MixdownError:
        raise
    except Exception as error:  # whatever third-party code says about a stranger's numbers
        raise EvalProblem(
            f"The {net.model_type} network cannot process task {printable(task.title, 80)}: {printable(error, 300)}",
            where=printable(task.path, 400),
            hint="The task was made for another model; remove it from the recipe.",
        ) from error
    return hidden.flatten(2).transpose(1, 2) if hidden.dim() == 4 else hidden  # (B, H, h, w) of convolutional networks


def _logits(task: Task, hidden: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """Pool, normalise, classify: (B, L, H) -> (B, classes)."""
    if hidden.shape[-1] != weight.shape[1]:
        raise wrong_width(task, weight.shape[1], hidden.shape[-1])
    if task.head.pool == "cls":
        pooled = hidden[:, 0]
    elif mask is None:
        pooled = hidden.mean(1)
    else:
        pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    if task.head.normalise:
        pooled = pooled / pooled.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return pooled @ weight.T + bias


def wrong_width(task: Task, head: int, hidden: int) -> EvalProblem:
    """The error for a head of another width than the model's state."""
    return EvalProblem(
        f"The head of task {printable(task.title, 80)} is {head} wide, the model's hidden state {hidden}.",
        where=printable(task.head.file, 400),
        hint="The task was made for another model; remove it from the recipe.",
    )


def overflowed(task: Task) -> EvalProblem:
    """The error for outputs that are not finite."""
    return EvalProblem(
        f"The model's output on task {printable(task.title, 80)} is not finite: its numbers have grown out of range.",
        hint="Lower the coefficients.",
    )


def check_fits(net: Network, task: Task, examples: Examples) -> None:
    """What can be said before anything is computed.

    Raises:
        EvalProblem: if the rows hold ids that the network does not know, or are too long for it.
    """
    if task.kind == "tokens":
        top, longest = int(examples.inputs.max(initial=task.pad)), int(examples.lengths.max())
        if top >= net.vocabulary or examples.inputs.min(initial=0) < 0:
            text = f"Task {printable(task.title, 80)} has token id {top}; the model knows {net.vocabulary:,} ids."
            raise EvalProblem(text, where=printable(task.path, 400), hint="The task was tokenised for another model.")
        if net.positions and longest > net.positions:
            text = f"Task {printable(task.title, 80)} has rows of {longest} tokens; the model takes {net.positions}."
            raise EvalProblem(text, where=printable(task.path, 400), hint="The task was made for another model.")
