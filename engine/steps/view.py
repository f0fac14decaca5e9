"""What a merge kernel and a statistic may see of the models: chunks, never files.

Protocols and values only. `engine.merge` implements `View`; methods use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from engine.errors import OutOfRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.steps.ops import Array
    from engine.steps.select import Sketch

R = TypeVar("R")

BLOCK = 4096
"""Chunks start at multiples of this many elements, so that block-wise reductions do not depend on chunking."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which elements of which tensor a chunk holds.

    Attributes:
        tensor: Name of the tensor.
        start: Flat index of the first element (a multiple of `BLOCK`, or the start of a row or tensor).
        stop: Flat index after the last element.
        shape: Shape of the whole tensor.
        keys: Content key of every model, in canonical order; seeds random masks.
        names: Name of every model, in canonical order.
        seed: The recipe's seed.
        twin: The tensor whose random masks this one has, too, because both are the same weights; "" for its own.
    """

    tensor: str
    start: int
    stop: int
    shape: tuple[int, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...]
    seed: int
    twin: str = ""

    def place(self, name: str) -> int:
        """Where an expert stands; the first for "".

        Raises:
            OutOfRange: if no expert that is heard has this name.
        """
        if name and name not in self.names:
            raise OutOfRange(f"No expert that is heard is called {name!r}.", hint=f"Heard: {', '.join(self.names)}.")
        return self.names.index(name) if name else 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One span of all models, in float32 (float64 if any input is F64), on the device.

    Attributes:
        span: Which elements.
        base: (n,) values of the base (zeros when the recipe has no base).
        deltas: T tensors (n,): task vectors for methods of space "delta", the experts' weights for space
            "weight". A tensor that an expert does not have counts as the base's.
        weights: T coefficients of this tensor.
    """

    span: Span
    base: Array
    deltas: tuple[Array, ...]
    weights: tuple[float, ...]


class View(Protocol):
    """A stream of chunks: the whole model (for `survey`) or one tensor (for `measure`)."""

    @property
    def numel(self) -> int:
        """Merged elements in the view; frozen ones and those absent from experts count."""

    @property
    def tensor(self) -> str:
        """Name of the tensor, or "" where the view is the whole model."""

    @property
    def models(self) -> int:
        """Number of experts T."""

    @property
    def names(self) -> Sequence[str]:
        """Name of every expert, in canonical order: T of them."""

    @property
    def resident(self) -> bool:
        """Whether another pass reads no file: all chunks are in memory."""

    def map(self, function: Callable[[Chunk], R]) -> Iterator[R]:
        """Apply `function` to every chunk on worker threads; results come in chunk order."""

    def sample(self, stride: int) -> Iterator[Sequence[Array]]:
        """Every stride-th element of all task vectors, in order and in one or more pieces: T arrays for each piece."""

    def recall(self, make: Callable[[], tuple[Sketch, ...] | None]) -> tuple[Sketch, ...] | None:
        """The sketches of all task vectors from an earlier pass over the same models, or by `make` now."""
