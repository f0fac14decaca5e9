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
from engine.evaluate.readout import network_for
from engine.evaluate.runner import _forward, _logits, batch_of, batches, check_fits, overflowed, wrong_width
from engine.evaluate.task import Task
from engine.preview.stages import Memo, Stages
from engine.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

Logits = NDArray[np.float32]


@dataclass(eq=False)
class Part:
    """A task's rows on a network, in batches.

    Attributes:
        task: The task.
        index: Its place among all tasks of the session.
        examples: Its rows.
        head: Weight (C, H) and bias (C,); None if the network itself ends in a classifier.
        rows: Rows of every batch.
        inputs: Input and mask of every batch.
        memos: What the units gave for every batch at the reference.
    """

    task: Task
    index: int
    examples: Examples
    head: tuple[Tensor, Tensor] | None
    rows: list[NDArray[np.int64]]
    inputs: list[tuple[Tensor, Tensor | None]]
    memos: list[Memo] = field(default_factory=list)


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
        self._slots = _slots(self.module)
        filled = {key for keys in self._keys.values() for key in keys}
        self.install_keys({k: s for k, s in self.net.wanted.items() if k not in filled})

    @property
    def names(self) -> tuple[str, ...]:
        """Tensors of the models that the network uses."""
        return tuple(self._keys)

    def add(self, task: Task, index: int, examples: Examples) -> None:
        """Take a task's rows.

        Raises:
            EvalProblem: if they do not fit the network.
        """
        import torch

        check_fits(self.net, task, examples)
        rows = list(batches(self.net, task, examples))
        inputs = [batch_of(task, examples, part) for part in rows]
        head = None
        if task.head.type == "frozen":
            classifier = read_classifier(task)
            head = torch.from_numpy(classifier.weight), torch.from_numpy(classifier.bias)
        self.parts.append(Part(task, index, examples, head, rows, inputs))

    def install(self, weights: Mapping[str, Tensor], *, grad: bool = False) -> None:
        """Put tensors of the models into the network, as they are."""
        from torch import nn

        for name, tensor in weights.items():
            wanted = grad and tensor.is_floating_point()
            shared = nn.Parameter(tensor, requires_grad=wanted) if tensor.is_floating_point() else None
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
        found: dict[str, nn.Parameter] = {}
        for name in names:
            for key in self._keys.get(name, ())[:1]:
                owner, attribute = self._slots[key][0]
                parameter = owner._parameters.get(attribute)
                if parameter is not None:
                    found[name] = parameter
        return found

    def units_of(self, names: Iterable[str]) -> frozenset[int] | None:
        """Units that some tensors belong to; None if one lies between the units."""
        found = {self.stages.unit_of(key) for name in names for key in self._keys.get(name, ())}
        return None if None in found else frozenset(unit for unit in found if unit is not None)

    def logits(self, part: Part, batch: int, restart: int, progress: Progress, *, record: bool = False) -> Tensor:
        """(B, C) of one batch; the caller decides about gradients.

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
            if part.head is None:
                return self._own(part, inputs, mask)
            return _logits(part.task, _forward(self.net, self.module, part.task, inputs, mask), mask, *part.head)

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
        if logits.shape[1] != len(part.task.labels):
            raise wrong_width(part.task, len(part.task.labels), logits.shape[1])
        return logits


def tower_key(task: Task) -> tuple[str, int]:
    """Tasks of one key run on one network."""
    return task.kind, 0 if task.head.type == "frozen" else len(task.labels)


def check_live(task: Task) -> None:
    """Whether a task's score follows from logits of classes.

    Raises:
        EvalProblem: with the reason why it has no live estimates.
    """
    own = task.head.type == "model" and not task.head.file.name
    if task.family != "class" or task.metric != "accuracy" or not (task.is_linear or own):
        raise EvalProblem("Live estimates are for the accuracy of classifiers with a linear or built-in head.",
                          hint="This task is scored when a fader is released.")  # fmt: skip


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
