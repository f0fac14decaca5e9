"""Cutting any network's forward pass into stages, so that an evaluation restarts at the first changed one.

The network is taken apart into units: the elements of its lists of blocks, and whatever stands beside those lists. A
forward pass calls the units in some order. A later pass gets the remembered outputs of the calls before the first
changed unit instead of computing them, and runs everything else, also the glue between the units, as it is written.
That is exact for every deterministic network and needs no knowledge of its architecture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import EvalProblem

if TYPE_CHECKING:
    from torch import nn


class Uncut(EvalProblem):
    """The network's forward pass cannot be restarted in the middle."""


@dataclass(slots=True)
class Memo:
    """What the units gave back for one batch.

    Attributes:
        order: Unit of every call.
        outputs: What it returned.
    """

    order: list[int] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def restart(self, changed: frozenset[int] | None) -> int:
        """The first call of a changed unit; 0 if anything may have changed (None)."""
        if changed is None:
            return 0
        return next((i for i, unit in enumerate(self.order) if unit in changed), len(self.order))

    @property
    def bytes(self) -> int:
        """Memory of the remembered outputs."""
        sizes = {t.data_ptr(): t.numel() * t.element_size() for out in self.outputs for t in tensors_of(out)}
        return sum(sizes.values())


class Stages:
    """A network whose units can be skipped; several threads may run it at once.

    Args:
        module: Changed in place: every unit's `forward` asks here first.
    """

    def __init__(self, module: nn.Module) -> None:
        self._local = threading.local()
        self.units: tuple[str, ...] = ()
        self._owners: dict[str, int] = {}
        seen: dict[int, int] = {}
        for name, unit in units(module):
            if id(unit) not in seen:
                seen[id(unit)] = len(self.units)
                self.units += (name,)
                unit.forward = self._staged(len(self.units) - 1, unit.forward)
            self._owners[name] = seen[id(unit)]

    def unit_of(self, key: str) -> int | None:
        """Which unit a weight belongs to; None if it lies between the units."""
        parts = key.split(".")
        for depth in range(len(parts) - 1, 0, -1):
            index = self._owners.get(".".join(parts[:depth]))
            if index is not None:
                return index
        return None

    def run(
        self, call: Callable[[], Any], memo: Memo | None = None, restart: int = 0, *, record: bool = False,
        check: Callable[[], None] | None = None,
    ) -> tuple[Any, Memo]:  # fmt: skip
        """One forward pass.

        Args:
            call: Runs the network on one batch.
            memo: Of an earlier pass of the same batch.
            restart: First call that is computed; those before it are answered from the memo.
            record: Whether to remember the outputs.
            check: Asked before every unit.

        Returns:
            What `call` gives, and the new memo (empty outputs unless `record`).

        Raises:
            Uncut: if the units are called in another order than before.
        """
        run = _Run(memo, restart, record, check)
        self._local.run = run
        try:
            return call(), run.made
        finally:
            self._local.run = None

    def _staged(self, unit: int, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*arguments: Any, **named: Any) -> Any:
            run = getattr(self._local, "run", None)
            return original(*arguments, **named) if run is None else run.call(unit, original, arguments, named)

        return forward


class _Run:
    """One pass of one thread."""

    def __init__(self, memo: Memo | None, restart: int, record: bool, check: Callable[[], None] | None) -> None:
        self._memo, self._restart, self._record, self._check = memo, restart, record, check
        self.made = Memo()

    def call(self, unit: int, original: Callable[..., Any], arguments: Any, named: Any) -> Any:
        position = len(self.made.order)
        self.made.order.append(unit)
        memo = self._memo
        if memo is not None and self._restart and (position >= len(memo.order) or memo.order[position] != unit):
            raise Uncut("The network takes another way through its layers each time.", hint=_HINT)
        if memo is not None and position < self._restart:
            output = memo.outputs[position]
        else:
            if self._check is not None:
                self._check()
            output = original(*arguments, **named)
        if self._record:
            self.made.outputs.append(output)
        return output


_HINT = "Scores are measured when a fader is released."


def units(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts between which a network can be cut: elements of its outermost lists of blocks, and what is beside."""
    from torch import nn

    def walk(part: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
        for key, child in part.named_children():
            path = f"{name}.{key}" if name else key
            if not isinstance(part, nn.ModuleList) and any(_is_stack(m) for m in child.modules()):
                yield from walk(child, path)
            else:
                yield path, child

    def _is_stack(part: nn.Module) -> bool:
        return isinstance(part, nn.ModuleList) and len(part) > 0

    return walk(module, "")


def tensors_of(output: Any) -> Iterator[Any]:
    """All tensors inside what a unit returned."""
    import torch

    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from tensors_of(item)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for item in output:
            yield from tensors_of(item)
