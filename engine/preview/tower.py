"""One network of a live preview: a private copy with weights of its own, cut into stages, run batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem
from engine.evaluate.data import Examples, read_classifier
from engine.evaluate.model import Network
from engine.evaluate.readout import _bounded, _call, _likelihood, network_for, pooled_out
from engine.evaluate.runner import _forward, _logits, batch_of, check_fits, overflowed, wrong_width
from engine.evaluate.sample import Sample
from engine.evaluate.task import Task
from engine.preview.outcomes import TaskRows
from engine.preview.stages import Memo, Stages
from engine.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

Logits = NDArray[np.float32]
MOST_OUTPUTS = 1 << 18
"""Most numbers of one task that are extrapolated."""


@dataclass(eq=False)
class Part:
    """A task's rows on a network, in batches.

    Attributes:
        task: The task.
        index: Its place among all tasks of the session.
        sample: Its rows.
        head: Weight (C, H) and bias (C,); None if the network itself gives the answer, or there is none.
        rows: Rows of every batch.
        inputs: Input and mask of every batch.
        memos: What the units gave for every batch at the reference.
    """

    task: Task
    index: int
    sample: Sample
    head: tuple[Tensor, Tensor] | None
    rows: list[NDArray[np.int64]]
    inputs: list[tuple[Tensor, Tensor | None]]
    memos: list[Memo] = field(default_factory=list)

    @property
    def examples(self) -> Examples:
        """The rows that the network sees."""
        return self.sample.rows


class Tower:
    """The network that some tasks feed.

    Args:
        config: config.json of the models.
        task: One of the tasks; `tower_key` tells which others share the network.
        shapes: Shape of every tensor of the models.

    Raises:
        EvalProblem: if the network cannot be built or the models do not fit it.
    """

    def __init__(self, config: Mapping[str, Any] | None, task: Task, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.net: Network = network_for(config, task)
        matched = self.net.check(shapes)
        with self.net.lock:
            self.module: nn.Module = copy.deepcopy(self.net.module)
        _unhook(self.module)
        self.stages = Stages(self.module)
        self.parts: list[Part] = []
        self._keys: dict[str, list[str]] = {}
        for key, name in matched.items():
            self._keys.setdefault(name, []).append(key)
        for group in self.net.tied:
            source = next((matched[key] for key in sorted(group) if key in matched), None)
            if source is not None:
                self._keys[source] += [key for key in group if key not in matched]
        self.extras: dict[str, Tensor | None] = {}
        self._slots = _slots(self.module)
        filled = {key for keys in self._keys.values() for key in keys}
        self.install_keys({k: s for k, s in self.net.wanted.items() if k not in filled})

    @property
    def names(self) -> tuple[str, ...]:
        """Tensors of the models that the network uses."""
        return (*self._keys, *self.extras)

    def need(self, task: Task, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Take in what a task's head needs of the models beside the network.

        Raises:
            EvalProblem: if they do not have it.
        """
        if task.head.projection:
            if task.head.projection not in shapes:
                raise EvalProblem("The model has no projection, which the task's head needs.",
                                  hint="The task was made for another model.")  # fmt: skip
            self.extras.setdefault(task.head.projection, None)

    def add(self, task: Task, index: int, sample: Sample) -> None:
        """Take a task's rows.

        Raises:
            EvalProblem: if they do not fit the network.
        """
        import torch

        examples = sample.rows
        check_fits(self.net, task, examples)
        rows = list(_bounded(self.net, task, sample, task.family in ("lm", "choice")))
        inputs = [batch_of(task, examples, part) for part in rows]
        head = None
        if task.head.type == "frozen":
            classifier = read_classifier(task)
            head = torch.from_numpy(classifier.weight), torch.from_numpy(classifier.bias)
        self.parts.append(Part(task, index, sample, head, rows, inputs))

    def install(self, weights: Mapping[str, Tensor], *, grad: bool = False) -> None:
        """Put tensors of the models into the network, as they are."""
        from torch import nn

        for name, tensor in weights.items():
            wanted = grad and tensor.is_floating_point()
            shared = nn.Parameter(tensor, requires_grad=wanted) if tensor.is_floating_point() else None
            if name in self.extras:
                self.extras[name] = shared
            for key in self._keys.get(name, ()):
                for owner, attribute in self._slots[key]:
                    if attribute in owner._parameters:
                        owner._parameters[attribute] = shared
                    else:
                        owner._buffers[attribute] = tensor

    def install_keys(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Fill weights that no model has (poolers and the like) with zeros."""
        import torch
        from torch import nn

        for key, shape in shapes.items():
            for owner, attribute in self._slots.get(key, ()):
                if attribute in owner._parameters:
                    owner._parameters[attribute] = nn.Parameter(torch.zeros(tuple(shape)), requires_grad=False)
                else:
                    owner._buffers[attribute] = torch.zeros(tuple(shape))

    def installed(self, names: Iterable[str]) -> dict[str, nn.Parameter]:
        """The parameters that now hold some tensors."""
        from torch import nn

        found: dict[str, nn.Parameter] = {}
        for name in names:
            extra = self.extras.get(name)
            if isinstance(extra, nn.Parameter):
                found[name] = extra
            for key in self._keys.get(name, ())[:1]:
                owner, attribute = self._slots[key][0]
                parameter = owner._parameters.get(attribute)
                if parameter is not None:
                    found[name] = parameter
        return found

    def units_of(self, names: Iterable[str]) -> frozenset[int] | None:
        """Units that some tensors belong to; None if one lies between the units; -1 stands for what comes after all."""
        known = tuple(names)
        found = {self.stages.unit_of(key) for name in known for key in self._keys.get(name, ())}
        found |= {-1 for name in known if name in self.extras}
        return None if None in found else frozenset(unit for unit in found if unit is not None)

    def logits(self, part: Part, batch: int, restart: int, progress: Progress, *, record: bool = False) -> Tensor:
        """What one batch gives; the caller decides about gradients.

        (B, C) logits of classes; (B, 1) numbers or log likelihoods; (B, H) pooled states.

        Args:
            part: The task's rows.
            batch: Which batch of them.
            restart: First call of a unit that is computed; 0 for all.
            progress: Asked before every unit.
            record: Whether this is the reference from now on.

        Raises:
            EvalProblem: if the logits are not finite.
        """
        inputs, mask = part.inputs[batch]

        def call() -> Tensor:
            if part.task.family in ("lm", "choice"):
                return _likelihood(self.module, inputs, mask, part.sample, part.rows[batch])[:, :1].float()
            if part.task.head.type == "model":
                return self._own(part, inputs, mask)
            if part.head is not None and part.task.is_linear:
                return _logits(part.task, _forward(self.net, self.module, part.task, inputs, mask), mask, *part.head)
            return pooled_out(part.task, _call(self.module, inputs, mask), mask,
                              self.extras.get(part.task.head.projection), part.head)  # fmt: skip

        memo = part.memos[batch] if restart else None
        logits, made = self.stages.run(call, memo, restart, record=record, check=progress.check)
        if record:
            part.memos[batch] = made
        if not bool(logits.isfinite().all()):
            raise overflowed(part.task)
        answer: Tensor = logits
        return answer

    def _own(self, part: Part, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Logits of the classifier inside the network."""
        given = {"pixel_values": inputs} if mask is None else {"input_ids": inputs, "attention_mask": mask}
        logits: Tensor = self.module(**given, return_dict=True).logits
        if logits.shape[1] != max(len(part.task.labels), 1):
            raise wrong_width(part.task, len(part.task.labels), logits.shape[1])
        return logits


def tower_key(task: Task) -> tuple[str, str, int]:
    """Tasks of one key run on one network."""
    if task.head.type != "model":
        return task.kind, "", 0
    return (task.kind, "lm", 0) if task.family in ("lm", "choice") else (task.kind, "class", max(len(task.labels), 1))


def check_live(task: Task) -> None:
    """Whether a task can be heard while faders move.

    Raises:
        EvalProblem: with the reason why it has no live estimates.
    """
    why = ""
    if task.graph.name:
        why = "it runs by an ONNX graph of its own"
    elif task.head.type == "model" and task.head.file.name:
        why = "its head lies over the model's own"
    elif task.head.type == "frozen" and task.family not in ("class", "value"):
        why = f"its head does not fit its family, {task.family}"
    if why:
        raise EvalProblem(f"Estimates are not possible for this task: {why}.",
                          hint="Its true score comes when a fader is released.")  # fmt: skip


def rows_of(task: Task, sample: Sample) -> TaskRows:
    """What the light half knows of a task's rows.

    Raises:
        EvalProblem: if it has too many outputs to follow.
    """
    made = TaskRows(
        task.name, task.title, sample.targets, task.labels, np.arange(sample.count), task.family, task.metric,
        sample.groups, sample.sizes, sample.documents,
    )  # fmt: skip
    if made.size > MOST_OUTPUTS:
        queries, documents = made.shape
        text = f"Estimates are not possible for this task: it has {queries:,} queries and {documents:,} documents."
        raise EvalProblem(text, hint="Its true score comes when a fader is released.")
    return made


def outputs_of(rows: TaskRows, raw: Logits) -> Logits:
    """What is extrapolated: similarities of pooled states, else what the network gave for every row."""
    if rows.family not in ("pair", "retrieve"):
        return raw
    unit = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
    if rows.family == "pair":
        made: Logits = (unit[::2] * unit[1::2]).sum(1, keepdims=True)
        return made
    near: Logits = unit[rows.documents :] @ unit[: rows.documents].T
    return near


def _unhook(module: nn.Module) -> None:
    """Remove the hooks that ask another evaluation's progress, and caches that are only for generating text."""
    for part in module.modules():
        part._forward_pre_hooks.clear()
        config = getattr(part, "config", None)
        if getattr(config, "use_cache", False):
            config.use_cache = False  # type: ignore[union-attr]  # a transformers configuration, copied with the module


def _slots(module: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Where every weight and stored buffer sits, by name; tied ones in several places."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    found: dict[str, list[tuple[nn.Module, str]]] = {}
    for prefix, part in module.named_modules():
        for attribute, value in (*part._parameters.items(), *part._buffers.items()):
            if value is not None:
                name = f"{prefix}.{attribute}" if prefix else attribute
                places.setdefault(id(value), []).append((part, attribute))
                found[name] = places[id(value)]
    return found


def spread(towers: Sequence[Tower], work: Callable[[Tower, Part, int], None], threads: int | None = None) -> None:
    """Do something for every batch of every task, on all cores, the longest first."""
    from engine.merge.crew import Crew

    units = [(tower, part, b) for tower in towers for part in tower.parts for b in range(len(part.rows))]
    units.sort(key=lambda unit: -unit[1].inputs[unit[2]][0].numel())
    with Crew(threads) as crew:
        crew.drain(units, lambda unit: work(*unit))
