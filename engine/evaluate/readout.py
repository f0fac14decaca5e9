"""What a network says about the rows of any task: logits, numbers, similarities, hits, likelihoods.

Batches, threads, precision and cancelling are those of `engine.evaluate.runner`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, FileProblem, MixdownError
from engine.evaluate.data import Classifier, open_data, read_classifier
from engine.evaluate.measures import Outcome, hits_of, options_of
from engine.evaluate.model import Network, network
from engine.evaluate.runner import batch_of, batches, check_fits, overflowed, wrong_width
from engine.evaluate.sample import Sample
from engine.evaluate.state import DiskState, shapes_of
from engine.evaluate.task import Task, as_eval_problem
from engine.files.text import printable
from engine.graphs.policy import running
from engine.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_LOGITS = 1 << 26
"""Most token logits held by one batch: 256 MB."""
_Outputs = Callable[["nn.Module", "Tensor", "Tensor | None"], "Tensor"]


def network_for(
    config: Mapping[str, Any] | None, task: Task, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Network:
    """The network that a task runs: its own graph, the encoder, or the architecture with its own head.

    Args:
        config: config.json of the models.
        task: The task.
        shapes: Shape of every tensor of the model; needed where the task names a graph.

    Raises:
        EvalProblem: if the architecture is unknown or has no such head, or the graph is not of this model.
    """
    if task.graph.name:
        from engine.graphs.own import opened

        return opened(task.graph, shapes or {})
    if task.head.type != "model":
        return network(config, task.kind)
    if task.family in ("lm", "choice"):
        return network(config, task.kind, "lm")
    return network(config, task.kind, "class", len(task.labels) or 1)


def read_out(
    state: Mapping[str, Tensor], config: Mapping[str, Any] | None, task: Task, sample: Sample, progress: Progress
) -> Outcome:
    """Run a model over the rows of a task.

    Args:
        state: The model's weights.
        config: Its config.json.
        task: Any task.
        sample: Its rows.
        progress: Told the rows done.

    Raises:
        EvalProblem: if task and model do not fit together.
        Cancelled: within a batch of the user's wish.
    """
    net = network_for(config, task, shapes_of(state) if task.graph.name else None)
    check_fits(net, task, sample.rows)
    with _completed(state, task) as (merged, own):
        weights = net.fit(merged)
        if task.family in ("lm", "choice"):
            values = _run(net, weights, task, sample, progress, None, 2)
            return _text_outcome(task, sample, values)
        if task.head.type == "model":
            values = _run(net, weights, task, sample, progress, _own_logits, max(len(task.labels), 1))
        else:
            classifier = read_classifier(task) if task.head.type == "frozen" else None
            values = _encoded(net, weights, task, sample, progress, classifier, _projection(task, own))
    return _outcome(task, sample, values)


def head_shapes(task: Task) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that a task's own file lays over the model's head.

    Raises:
        EvalProblem: if the file cannot be read.
    """
    if task.head.type != "model" or not task.head.file.name:
        return {}
    try:
        return {name: info.shape for name, info in open_data(task.head.file).tensors.items()}
    except FileProblem as problem:
        raise as_eval_problem(problem, task) from problem


class _completed:  # noqa: N801  # used like a function
    """The state with the head's own file laid over it; and the state alone."""

    def __init__(self, state: Mapping[str, Tensor], task: Task) -> None:
        self._state, self._task, self._disk = state, task, None
        if task.head.type == "model" and task.head.file.name:
            try:
                self._disk = DiskState(open_data(task.head.file))
            except FileProblem as problem:
                raise as_eval_problem(problem, task) from problem

    def __enter__(self) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        if self._disk is None:
            return self._state, self._state
        return _Layered(self._disk, self._state), self._state

    def __exit__(self, *_: object) -> None:
        if self._disk is not None:
            self._disk.__exit__(None, None, None)


class _Layered(Mapping[str, "Tensor"]):
    """One mapping over another, looked up lazily."""

    def __init__(self, top: Mapping[str, Tensor], bottom: Mapping[str, Tensor]) -> None:
        self._top, self._bottom = top, bottom
        self._names = list(dict.fromkeys([*bottom, *top]))

    def __getitem__(self, name: str) -> Tensor:
        return self._top[name] if name in self._top else self._bottom[name]

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def embed(
    net: Network, weights: Mapping[str, Tensor], task: Task, sample: Sample, projection: Tensor | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """(R, H) pooled states of all rows as the task's head asks: pooled, projected, normalised."""
    return _encoded(net, weights, task, sample, progress or Silent(), None, projection)


def _encoded(
    net: Network, weights: Mapping[str, Tensor], task: Task, sample: Sample, progress: Progress,
    classifier: Classifier | None, projection: Tensor | None,
) -> NDArray[np.float32]:  # fmt: skip
    import torch

    head = None if classifier is None else (torch.from_numpy(classifier.weight), torch.from_numpy(classifier.bias))

    def outputs(module: nn.Module, inputs: Tensor, mask: Tensor | None) -> Tensor:
        return pooled_out(task, _call(module, inputs, mask), mask, projection, head)

    return _run(net, weights, task, sample, progress, outputs, 0)


def pooled_out(
    task: Task, said: Any, mask: Tensor | None, projection: Tensor | None, head: tuple[Tensor, Tensor] | None
) -> Tensor:
    """(B, H) pooled, projected and normalised states from what the network said, or (B, C) logits of a frozen head."""
    pooled = _pooled(task, said, mask)
    if projection is not None:
        if projection.shape[1] != pooled.shape[1]:
            raise wrong_width(task, projection.shape[1], pooled.shape[1])
        pooled = pooled @ projection.T
    if task.head.normalise:
        pooled = pooled / pooled.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    if head is None:
        return pooled
    if pooled.shape[1] != head[0].shape[1]:
        raise wrong_width(task, head[0].shape[1], pooled.shape[1])
    return pooled @ head[0].T + head[1]


def _call(module: nn.Module, inputs: Tensor, mask: Tensor | None) -> Any:
    given = {"pixel_values": inputs} if mask is None else {"input_ids": inputs, "attention_mask": mask}
    return module(**given, return_dict=True)


def _own_logits(module: nn.Module, inputs: Tensor, mask: Tensor | None) -> Tensor:
    logits: Tensor = _call(module, inputs, mask).logits
    return logits


def _pooled(task: Task, said: Any, mask: Tensor | None) -> Tensor:
    """(B, H) from the network's output."""
    if task.head.pool == "pooler":
        own: Tensor | None = getattr(said, "pooler_output", None)
        if own is None:
            raise EvalProblem("The network has no pooled output.", where=str(task.path), hint="Choose another pooling.")
        return own.flatten(1)
    hidden: Tensor = said.last_hidden_state
    hidden = hidden.flatten(2).transpose(1, 2) if hidden.dim() == 4 else hidden
    if task.head.pool == "cls":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(1)
    return (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def _run(
    net: Network, weights: Mapping[str, Tensor], task: Task, sample: Sample, progress: Progress,
    outputs: _Outputs | None, width: int,
) -> NDArray[np.float32]:  # fmt: skip
    """Outputs (R, width) of all rows; `outputs` None scores the rows' own tokens; width 0 takes what comes."""
    import torch

    from engine.merge.crew import Crew

    found: dict[int, NDArray[Any]] = {}
    with Crew(None) as crew, running(net, weights, progress) as module:

        def work(rows: NDArray[np.int64]) -> None:
            progress.check()
            with torch.inference_mode():
                inputs, mask = batch_of(task, sample.rows, rows)
                try:
                    values = (
                        _likelihood(module, inputs, mask, sample, rows) if outputs is None
                        else outputs(module, inputs, mask)
                    )  # fmt: skip
                except MixdownError:
                    raise
                except Exception as error:  # whatever third-party code says about a stranger's numbers
                    raise _cannot(net, task, error) from error
                if not bool(values.isfinite().all()):
                    raise overflowed(task)
                if width and tuple(values.shape) != (len(rows), width):
                    raise wrong_width(task, width, values.shape[-1])
                found.update(zip(rows.tolist(), values.float().numpy(), strict=True))
            progress.advance(len(rows))

        crew.drain(_bounded(net, task, sample, outputs is None), work)
    return np.stack([found[row] for row in range(sample.rows.count)])


def _cannot(net: Network, task: Task, error: Exception) -> EvalProblem:
    return EvalProblem(
        f"The {net.model_type} network cannot process task {printable(task.title, 80)}: {printable(error, 300)}",
        where=printable(task.path, 400),
        hint="The task was made for another model; remove it from the recipe.",
    )


def _bounded(net: Network, task: Task, sample: Sample, is_text: bool) -> Any:
    """The batches of the runner; those of language models split so that their logits stay small."""
    for rows in batches(net, task, sample.rows):
        longest = int(sample.rows.lengths[rows].max()) if is_text else 0
        step = max(1, MAX_LOGITS // max(longest * net.vocabulary, 1)) if is_text else len(rows)
        for first in range(0, len(rows), step):
            yield rows[first : first + step]


def _likelihood(
    module: nn.Module, inputs: Tensor, mask: Tensor | None, sample: Sample, rows: NDArray[np.int64]
) -> Tensor:
    """(B, 2) log likelihood in nats of the scored tokens, and whether they are exactly what the model would say."""
    import torch

    logits = _call(module, inputs, mask).logits[:, :-1]
    wanted = inputs[:, 1:]
    each = -torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    places = torch.arange(1, inputs.shape[1])[None, :]
    lengths, starts = (torch.from_numpy(v[rows])[:, None] for v in (sample.rows.lengths, sample.starts))
    is_scored = (places >= starts) & (places < lengths)
    is_greedy = ((logits.argmax(-1) == wanted) | ~is_scored).all(1)
    total = torch.where(is_scored, each, torch.zeros_like(each)).double().sum(1)
    return torch.stack([total, is_greedy.double()], 1)


def _projection(task: Task, state: Mapping[str, Tensor]) -> Tensor | None:
    """The model's projection matrix, in float32."""
    if not task.head.projection:
        return None
    if task.head.projection not in state:
        raise EvalProblem(f"The model has no tensor {printable(task.head.projection)!r}, which the task's head needs.",
                          where=printable(task.path, 400), hint="The task was made for another model.")  # fmt: skip
    found: Tensor = state[task.head.projection].float()
    return found


def _outcome(task: Task, sample: Sample, values: NDArray[np.float32]) -> Outcome:
    if task.family == "class":
        return Outcome(sample.targets, values)
    if task.family == "value":
        return Outcome(sample.targets, values[:, 0].astype(np.float64))
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    if task.family == "pair":
        return Outcome(sample.targets, (unit[::2].astype(np.float64) * unit[1::2]).sum(1))
    documents = unit[: sample.documents]
    return hits_of(sample.targets, (documents @ query for query in unit[sample.documents :]), sample.documents)


def _text_outcome(task: Task, sample: Sample, values: NDArray[np.float32]) -> Outcome:
    if task.family == "lm":
        return Outcome(sample.targets, -values[:, 0].astype(np.float64), sample.sizes)
    return options_of(sample.targets, sample.groups, sample.sizes, values[:, 0].astype(np.float64))
