"""A stack of layers: which layers of which models each layer of the merged model is made of.

mergekit's `slices:` as a frozen value. A recipe without a stack merges every layer where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

BASE_ID = "base"
"""How a slice names the recipe's base; experts are named by their ids."""

MAX_LAYERS = 1024
"""Most layers of a merged model, and of a model that is read."""


@dataclass(frozen=True, slots=True)
class Source:
    """Consecutive layers of one model.

    Attributes:
        model: Id of an expert, or `BASE_ID`.
        first: Index of the first layer in that model.
    """

    model: str
    first: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive layers of the merged model that are made of the same models.

    Attributes:
        sources: Where they come from, in mergekit's order; each model at most once.
        count: Number of layers.
        base: The expert that is the base of these layers; "" for the recipe's base.
    """

    sources: tuple[Source, ...]
    count: int
    base: str = ""

    @property
    def root(self) -> str:
        """Id of the model that is the base of these layers, if it is one of the sources."""
        return self.base or BASE_ID

    @property
    def base_source(self) -> Source | None:
        """The source that is the base of these layers."""
        return next((s for s in self.sources if s.model == self.root), None)

    @property
    def merged(self) -> tuple[Source, ...]:
        """The sources that are not the base."""
        return tuple(s for s in self.sources if s.model != self.root)


Stack = tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """What one model gives to the merged model.

    Attributes:
        layers: For each layer of the merged model, the layer of this model, or None if it takes no part there.
        before: Whether it takes part in what comes before the layers (embeddings).
        after: Whether it takes part in what comes after them (last norm, head).
    """

    layers: tuple[int | None, ...]
    before: bool
    after: bool

    @property
    def is_empty(self) -> bool:
        """Whether the model takes no part at all."""
        return not (self.before or self.after or any(layer is not None for layer in self.layers))


def depth(stack: Stack) -> int:
    """Number of layers of the merged model."""
    return sum(part.count for part in stack)


def outer(stack: Stack, *, after: bool) -> Slice:
    """The slice whose models make what lies before the layers, or after them.

    As in mergekit 0.1.5 these are the first and the last slice; of the last it takes as many sources as the first has,
    which is kept here (unless it would lose the base, where mergekit stops).
    """
    first, last = stack[0], stack[-1]
    if not after or len(last.sources) <= len(first.sources):
        return last if after else first
    cut = replace(last, sources=last.sources[: len(first.sources)])
    return last if cut.base_source is None and last.base_source is not None else cut


def origin(stack: Stack, model: str) -> Origin:
    """Where an expert is merged."""
    layers: list[int | None] = []
    for part in stack:
        first = next((s.first for s in part.merged if s.model == model), None)
        layers += [None if first is None else first + i for i in range(part.count)]
    ends = [any(s.model == model for s in outer(stack, after=after).merged) for after in (False, True)]
    return Origin(tuple(layers), *ends)


def base_origins(stack: Stack) -> dict[str, Origin]:
    """What each model gives to the base of the merged model, by id; empty if no slice has a base."""
    found: dict[str, Origin] = {}
    for model in dict.fromkeys(part.root for part in stack if part.base_source is not None):
        layers: list[int | None] = []
        for part in stack:
            source = part.base_source if part.root == model else None
            layers += [None if source is None else source.first + i for i in range(part.count)]
        ends = [(part := outer(stack, after=after)).root == model and part.base_source is not None
                for after in (False, True)]  # fmt: skip
        found[model] = Origin(tuple(layers), *ends)
    return found


def needed_layers(stack: Stack, model: str) -> int:
    """How many layers a model must have at least."""
    return max((s.first + part.count for part in stack for s in part.sources if s.model == model), default=0)


def without(stack: Stack, model: str) -> Stack:
    """The stack without one expert; slices that lose all their sources stay, and are refused when merged."""
    if not any(model in (s.model, part.base) for part in stack for s in part.sources):
        return stack
    return tuple(
        replace(part, sources=tuple(s for s in part.sources if s.model != model),
                base="" if part.base == model else part.base)
        for part in stack
    )  # fmt: skip


def renamed(stack: Stack, ids: Mapping[str, str]) -> Stack:
    """The stack with other ids for its experts."""
    return tuple(
        replace(part, sources=tuple(replace(s, model=ids.get(s.model, s.model)) for s in part.sources),
                base=ids.get(part.base, part.base))
        for part in stack
    )  # fmt: skip


def to_plain(stack: Stack) -> list[dict[str, Any]]:
    """The stack as plain data."""
    return [
        {
            "sources": [{"model": s.model, "first": s.first} for s in part.sources],
            "count": part.count,
            **({"base": part.base} if part.base else {}),
        }
        for part in stack
    ]


def from_plain(data: Iterable[Mapping[str, Any]]) -> Stack:
    """The stack from plain data that has the shape of `SCHEMA`."""
    return tuple(
        Slice(tuple(Source(s["model"], s["first"]) for s in raw["sources"]), raw["count"], raw.get("base", ""))
        for raw in data
    )


_ID = {"type": "string", "maxLength": 64}
SCHEMA: dict[str, Any] = {"type": "array", "maxItems": MAX_LAYERS, "items": {
    "type": "object", "additionalProperties": False, "required": ["sources", "count"],
    "properties": {
        "sources": {"type": "array", "maxItems": 1000, "items": {
            "type": "object", "additionalProperties": False, "required": ["model", "first"],
            "properties": {"model": {**_ID, "minLength": 1},
                           "first": {"type": "integer", "minimum": 0, "maximum": MAX_LAYERS}}}},
        "count": {"type": "integer", "minimum": 1, "maximum": MAX_LAYERS}, "base": _ID}}}  # fmt: skip


def words(stack: Stack, names: Mapping[str, str]) -> str:
    """The stack in a line, first and last layer of each slice: "chat 0–15, code 8–23"."""

    def told(part: Slice) -> str:
        shown = [f"{names.get(s.model, s.model)} {s.first}–{s.first + part.count - 1}" for s in part.sources]
        return " + ".join(shown) or "nothing"

    return ", ".join(map(told, stack))
