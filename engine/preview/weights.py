"""The weights of a mix at any point, and how they change from one point to the next: only what a move touches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from engine.errors import NotEnoughMemory
from engine.evaluate.memory import available_memory
from engine.evaluate.state import DiskState, completed
from engine.merge.inputs import Inputs
from engine.preview.basis import Cell, Floats
from engine.progress import Checked, Progress
from engine.recipe.recipe import Recipe, Rule

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]
Overrides = Mapping[str, Floats]
SHARE = 0.5
"""Of the free memory, that task vectors may take."""


class Weights(Protocol):
    """Where a live preview gets its weights from.

    Attributes:
        bytes: Memory that it holds.
        note: What the user should know, or "".
        varied: Tensors that a move can change.
    """

    bytes: int
    note: str
    varied: frozenset[str]

    def all(self, point: Floats, overrides: Overrides, progress: Progress) -> State:
        """Every float32 weight at a point."""

    def moved(self, here: Mapping[str, Tensor], origin: Floats, point: Floats, groups: Sequence[int],
              progress: Progress) -> State:  # fmt: skip
        """The weights of some groups at a point, given those at another (`here` at `origin`)."""

    def direction(self, origin: Floats, cell: Cell, progress: Progress) -> State:
        """Change of the weights per unit of a cell, at a point."""


class LinearWeights:
    """base + sum_t f[t, g] tau[t, g], with all task vectors in memory.

    Args:
        inputs: The models; without a base the first expert takes its place (the factors add up to 1).
        names: Tensors that the network uses.
        progress: Told the tensors read; asked before each.

    Raises:
        NotEnoughMemory: if the task vectors do not even fit in bfloat16.
    """

    def __init__(self, inputs: Inputs, names: Sequence[str], progress: Progress) -> None:
        self._groups = [tuple(n for n in group.tensors if n in set(names)) for group in inputs.layout.groups]
        self._column = {name: g for g, group in enumerate(self._groups) for name in group}
        origin = inputs.base or inputs.experts[0]
        kind, self.note = _storage(inputs, names)
        progress.begin(len(names) * (len(inputs.experts) + 1), "Reading task vectors", "tensors")
        with DiskState(origin, inputs.base, progress) as state:
            self._base = {name: _told(state[name], progress) for name in names}
        self._tau: list[State] = []
        for expert in inputs.experts:
            own: State = {}
            with DiskState(expert, inputs.base, progress) as state:
                for name in names:
                    if name in expert.tensors and self._base[name].is_floating_point():
                        change = state[name] - self._base[name]
                        if bool(change.any()):
                            own[name] = change.to(kind)
                    progress.advance(1)
            self._tau.append(own)
        self.varied = frozenset(name for own in self._tau for name in own)
        self._held: Overrides = {}
        stored = [t for own in (self._base, *self._tau) for t in own.values()]
        self.bytes = sum(t.numel() * t.element_size() for t in stored)

    def all(self, point: Floats, overrides: Overrides, progress: Progress) -> State:
        """Every weight at a point."""
        self._held, made = dict(overrides), {}
        for name, base in self._base.items():
            progress.check()
            column = self._column.get(name)
            factors = overrides.get(name, point[:, column] if column is not None else np.zeros(len(point)))
            value = base
            for row, own in enumerate(self._tau):
                if name in own and factors[row]:
                    value = base.clone() if value is base else value
                    value.add_(own[name].to(base.dtype), alpha=float(factors[row]))
            made[name] = value
        return made

    def moved(
        self, here: Mapping[str, Tensor], origin: Floats, point: Floats, groups: Sequence[int], progress: Progress
    ) -> State:
        """The weights of some groups at a point, by adding what differs."""
        made: State = {}
        change = point - origin
        for group in groups:
            rows = np.flatnonzero(change[:, group])
            for name in self._groups[group]:
                value = here[name]
                for row in rows if name not in self._held else ():
                    if name in self._tau[row]:
                        alpha = float(change[row, group])
                        value = value.add(self._tau[row][name].to(value.dtype), alpha=alpha)
                if value is not here[name]:
                    made[name] = value
        return made

    def direction(self, origin: Floats, cell: Cell, progress: Progress) -> State:
        """The task vectors of a cell, added up over its experts."""
        made: State = {}
        for group in cell.groups:
            for name in self._groups[group]:
                parts = [self._tau[t][name] for t in cell.experts if name in self._tau[t] and name not in self._held]
                if parts:
                    made[name] = sum((part.float() for part in parts[1:]), parts[0].float())
        return made


class EngineWeights:
    """Weights that the engine merges anew, for methods that are not linear; only the tensors of changed groups.

    Args:
        recipe: Method, parameters and seed are taken from it.
        inputs: Its models.
        names: Tensors that the network uses.
        reason: Why weights are made this way.
    """

    def __init__(self, recipe: Recipe, inputs: Inputs, names: Sequence[str], reason: str) -> None:
        self._recipe, self._inputs, self._names = recipe, inputs, frozenset(names)
        self._overrides: Overrides = {}
        self.bytes, self.note, self.varied = 0, reason, self._names

    def all(self, point: Floats, overrides: Overrides, progress: Progress) -> State:
        """Every weight at a point."""
        self._overrides = dict(overrides)
        return self._merged(point, self._names, progress)

    def moved(
        self, here: Mapping[str, Tensor], origin: Floats, point: Floats, groups: Sequence[int], progress: Progress
    ) -> State:
        """The weights of some groups at a point, merged anew."""
        wanted = {name for g in groups for name in self._inputs.layout.groups[g].tensors}
        return self._merged(point, wanted & self._names, progress)

    def direction(self, origin: Floats, cell: Cell, progress: Progress) -> State:
        """The same by central differences of 0.02 in the coefficient."""
        wanted = frozenset(n for g in cell.groups for n in self._inputs.layout.groups[g].tensors) & self._names
        up = self._merged(cell.added(origin, 0.01), wanted, progress)
        down = self._merged(cell.added(origin, -0.01), wanted, progress)
        return {name: (up[name] - down[name]) / 0.02 for name in wanted if up[name].is_floating_point()}

    def _merged(self, point: Floats, wanted: frozenset[str] | set[str], progress: Progress) -> State:
        from engine.merge.plan import make_plan
        from engine.merge.run import merged_state, survey

        plan = make_plan(self._at(point), self._inputs)
        stats = survey(plan, progress=Checked(progress)) if plan.method.survey is not None else None
        part = replace(plan, jobs=tuple(job for job in plan.jobs if job.name in wanted))
        state = merged_state(part, Checked(progress), stats=stats)
        return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}

    def _at(self, point: Floats) -> Recipe:
        experts, groups = self._recipe.experts, self._inputs.layout.groups
        rules = [
            Rule(expert=ref.id, layer=group.place.layer, kind=group.place.kind, value=float(point[t, g]))
            for t, ref in enumerate(experts)
            for g, group in enumerate(groups)
        ]
        rules += [
            Rule(expert=ref.id, tensor=name, value=float(values[t]))
            for name, values in self._overrides.items()
            for t, ref in enumerate(experts)
        ]
        return replace(self._recipe, rules=tuple(rules), muted=(), soloed=(), gains=(), dtype="F32")


def _told(tensor: Tensor, progress: Progress) -> Tensor:
    progress.advance(1)
    return tensor


def _storage(inputs: Inputs, names: Sequence[str]) -> tuple[Any, str]:
    """The dtype in which task vectors fit into memory, and a note if it is not the best one."""
    import torch

    base = completed(inputs.base or inputs.experts[0], inputs.base)
    own = sum(e.tensors[n].numel for e in inputs.experts for n in names if n in e.tensors)
    whole, free = sum(base[n].numel for n in names if n in base), available_memory()
    if free is None or 8 * whole + 4 * own <= SHARE * free:
        return torch.float32, ""
    if 8 * whole + 2 * own <= SHARE * free:
        return torch.bfloat16, "Task vectors are kept in bfloat16 to save memory."
    raise NotEnoughMemory(
        f"The task vectors take {own * 2 / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are free.",
        hint="Scores are measured when a fader is released.",
    )
