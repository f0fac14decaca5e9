"""A model in memory, merged the way the engine merges files: survey, measure, then chunk by chunk.

Small enough to be read at a glance, so that tests of methods do not depend on files, threads or plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.merge.compute import post_processed
from engine.methods import Method, find
from engine.methods.spec import Scope
from engine.steps.view import BLOCK, Chunk, Span

torch.set_num_threads(1)  # tensors are tiny: threads only cost
R = TypeVar("R")
State = dict[str, Tensor]


@dataclass
class MemoryView:
    """A View over some tensors of models in memory; counts its passes."""

    base: State
    experts: Sequence[State]
    weights: Mapping[str, tuple[float, ...]]
    space: str = "delta"
    names: Sequence[str] = ()
    keys: Sequence[str] = ()
    seed: int = 0
    chunk: int = BLOCK
    passes: list[int] = field(default_factory=lambda: [0])
    resident: bool = False

    @property
    def numel(self) -> int:
        return sum(x.numel() for x in self.base.values())

    @property
    def models(self) -> int:
        return len(self.experts)

    def map(self, function: Callable[[Chunk], R]) -> Iterator[R]:
        self.passes[0] += 1
        return (function(chunk) for name in self.base for chunk in self.chunks(name))

    def sample(self, stride: int) -> Iterator[list[Any]]:
        return self.map(lambda chunk: [x.reshape(-1)[::stride] for x in chunk.deltas])

    def recall(self, make: Callable[[], Any]) -> Any:
        return make()

    def only(self, name: str) -> MemoryView:
        picked = {name: self.base[name]}
        return MemoryView(
            picked, self.experts, self.weights, self.space, self.names, self.keys, self.seed, self.chunk, self.passes,
            self.resident,
        )  # fmt: skip

    def chunks(self, name: str, scope: Scope = "element") -> Iterator[Chunk]:
        """Pieces (n,) of a tensor, whole rows (r, c), or the tensor in its own shape."""
        base, shape = widened(self.base[name]), tuple(self.base[name].shape)
        models = [widened(e.get(name, self.base[name])) for e in self.experts]
        row = prod(shape[1:]) if len(shape) > 1 else base.numel()
        step = {"element": self.chunk, "rows": max(1, self.chunk // max(1, row)) * row, "tensor": base.numel()}[scope]
        form = {"element": (-1,), "rows": (-1, max(1, row)), "tensor": shape}[scope]
        for start in range(0, base.numel(), max(1, step)):
            stop = min(start + step, base.numel())
            span = Span(name, start, stop, shape, tuple(self.keys), tuple(self.names), self.seed)
            part = base[start:stop].clone()
            values = [m[start:stop] - part if self.space == "delta" else m[start:stop].clone() for m in models]
            yield Chunk(span, part.view(form), tuple(x.view(form) for x in values), tuple(self.weights[name]))


def widened(x: Tensor) -> Tensor:
    flat = x.reshape(-1)
    return flat if flat.dtype == torch.float64 else flat.to(torch.float32)


def content_key(state: State) -> str:
    digest = sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def view_of(
    method: Method,
    base: State,
    experts: Sequence[State],
    weights: Sequence[float] | Mapping[str, tuple[float, ...]],
    *,
    names: Sequence[str] = (),
    keys: Sequence[str] = (),
    seed: int = 0,
    chunk: int = BLOCK,
) -> MemoryView:
    """The view that a merge of these models has; experts are called e0, e1, ... unless named."""
    table = dict(weights) if isinstance(weights, Mapping) else {name: tuple(weights) for name in base}
    called = names or [f"e{t}" for t in range(len(experts))]
    keyed = keys or [content_key(e) for e in experts]
    return MemoryView(base, experts, table, method.space, called, keyed, seed, chunk)


def merge_kernel(view: MemoryView, method: Method, params: Mapping[str, Any], **extra: Any) -> State:
    """What the kernel gives for every tensor, in float32 (float64) and before anything is added or rounded."""
    complete = method.complete(params)
    stats = method.survey(view, **complete, **extra) if method.survey else None
    return {name: merge_tensor(view, method, complete, name, stats, **extra) for name in view.base}


def merge_tensor(
    view: MemoryView, method: Method, complete: Mapping[str, Any], name: str, stats: object, **extra: Any
) -> Tensor:
    """Measure one tensor and merge it chunk by chunk."""
    found = method.measure(view.only(name), stats=stats, **complete) if method.measure else stats
    parts = []
    for chunk in view.chunks(name, method.scope):
        offered = {"base": chunk.base, "span": chunk.span, "stats": found}
        wanted = {key: offered[key] for key in method.wants}
        part = method.merge(chunk.deltas, chunk.weights, **complete, **wanted, **extra)
        assert part.shape == chunk.base.shape, f"{method.id} turns {chunk.base.shape} into {part.shape}"
        parts.append(part.reshape(-1))
    merged = torch.cat(parts) if parts else widened(view.base[name]).clone()
    if method.space == "delta" and complete["post"] != "none" and view.base[name].ndim == 2 and parts:
        whole = next(view.chunks(name, "tensor"))
        flat = Chunk(whole.span, whole.base.reshape(-1), tuple(x.reshape(-1) for x in whole.deltas), whole.weights)
        merged = post_processed(flat, merged, complete)
    assert merged.numel() == prod(view.base[name].shape)
    return merged.reshape(view.base[name].shape)


def merge(
    method_id: str,
    base: State,
    experts: Sequence[State],
    weights: Sequence[float] | Mapping[str, tuple[float, ...]],
    params: Mapping[str, Any] | None = None,
    *,
    names: Sequence[str] = (),
    keys: Sequence[str] = (),
    seed: int = 0,
    chunk: int = BLOCK,
    canonical: bool = False,
    **extra: Any,
) -> State:
    """The merged model in the base's dtypes, with shortcuts; `canonical` sorts the experts by content."""
    method, given = find(method_id), dict(params or {})
    view = view_of(method, base, experts, weights, names=names, keys=keys, seed=seed, chunk=chunk)
    if canonical:
        order = sorted(range(len(experts)), key=lambda t: view.keys[t])
        rows = {name: tuple(row[t] for t in order) for name, row in view.weights.items()}
        called, sorted_experts = [view.names[t] for t in order], [experts[t] for t in order]
        view = view_of(method, base, sorted_experts, rows, names=called, seed=seed, chunk=chunk)
    complete = method.complete(given)
    sources = {name: method.shortcut(view.weights[name], complete) for name in base}
    survey = method.survey if any(source is None for source in sources.values()) else None
    stats = survey(view, **complete, **extra) if survey else None
    out = {}
    for name, old in base.items():
        source = sources[name]
        if source is not None:
            out[name] = old.clone() if source == -1 else view.experts[source].get(name, old).clone()
            continue
        merged = merge_tensor(view, method, complete, name, stats, **extra)
        if method.space == "delta":
            merged = widened(old).reshape(old.shape) + merged
        out[name] = merged.to(old.dtype)
    return out
