"""Somebody's ONNX graph as the network of an evaluation: which of its weights are the merge's, and running it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from engine.errors import EvalProblem
from engine.evaluate.model import Network
from engine.files.opening import open_regular
from engine.files.text import listed, printable
from engine.graphs.proto import MAX_DATA, embed, inject, read_graph
from engine.graphs.session import Session

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.progress import Progress

_FLOATS = {1: "F32", 10: "F16", 11: "F64"}
_ALL_FLOATS = {**_FLOATS, 16: "BF16", 17: "F8_E4M3", 19: "F8_E5M2"}
_SMALL = 64
_ENOUGH = 0.5
_HINT = "Export the graph with its names kept, for instance with: main.py onnx MODEL --out model.onnx"
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(eq=False)
class OwnGraph(Network):
    """A graph of the user's as a `Network`: same matching, same batches, other runner.

    Attributes:
        raw: The graph without the weights that the merge gives.
        fixed: Which tensor of the model fills which weight.
    """

    raw: bytes = b""
    fixed: dict[str, str] = field(default_factory=dict)

    def match(self, names: Sequence[str]) -> dict[str, str]:
        """As it was found when the graph was opened."""
        return dict(self.fixed)

    @contextmanager
    def running(self, weights: Mapping[str, Tensor], progress: Progress) -> Iterator[nn.Module]:
        """The graph with these weights, called as the network would be."""
        with Session(self.raw, weights, progress=progress) as session:
            yield as_module(session)


def as_module(session: Session) -> nn.Module:
    """A session as something that is called like a network of transformers."""

    def call(*, return_dict: bool = True, **feeds: Tensor) -> Any:
        return SimpleNamespace(**_named(session.run(feeds)))

    return cast("nn.Module", call)


def _named(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs under transformers' names: a lone state or lone logits may be called anything."""
    named = dict(found)
    for tensor in found.values():
        if tensor.dim() in (3, 4):
            named.setdefault("last_hidden_state", tensor)
        elif tensor.dim() == 2:
            named.setdefault("logits", tensor)
    if "last_hidden_state" not in named and "logits" in named:
        named["last_hidden_state"] = named["logits"][:, None]
    named.setdefault("logits", next(iter(found.values())))
    return named


_opened: dict[tuple[object, ...], OwnGraph] = {}


def opened(path: Path, shapes: Shapes) -> OwnGraph:
    """As `open_graph`; the last one is kept for as long as the file and the model's shapes stay.

    Raises:
        EvalProblem: see `open_graph`.
        FileProblem: if it cannot be read.
    """
    descriptor, stamp = open_regular(path)
    os.close(descriptor)
    key = stamp, tuple(sorted(shapes.items()))
    found = _opened.get(key)
    if found is None:
        found = open_graph(path, shapes)
        _opened.clear()
        _opened[key] = found
    return found


def open_graph(path: Path, shapes: Shapes) -> OwnGraph:
    """Open an ONNX file as the network for a model.

    Args:
        path: The file; weights may be in it or in external data beside it.
        shapes: Shape of every tensor of the model.

    Raises:
        EvalProblem: if the file is unsafe or damaged, or its weights are not those of the model.
        FileProblem: if it cannot be read.
    """
    model = read_graph(path)
    try:
        matched, unmatched = _matched(model, shapes)
        _refuse_strangers(matched, unmatched, shapes)
    except EvalProblem as problem:
        problem.where = problem.where or printable(path, 400)
        raise
    room = MAX_DATA
    wanted: dict[str, tuple[int, ...]] = {}
    for tensor in model.graph.initializer:
        if tensor.name in matched:
            wanted[tensor.name] = tuple(tensor.dims)
            inject(tensor)
        elif tensor.external_data or tensor.data_location == 1:
            room -= embed(tensor, path.parent, room)
    kept = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in kept]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    matrices = sum(prod(shape) for shape in wanted.values() if len(shape) > 1)
    return OwnGraph(
        module=cast("nn.Module", None), model_type=printable(path.name, 80), wanted=wanted, tied=(),
        costs=max(1, matrices), vocabulary=1 << 40, positions=0, patch=_patch(wanted),
        raw=model.SerializeToString(), fixed=matched,
    )  # fmt: skip


def _patch(wanted: Shapes) -> int:
    """Edge of the patches if the first convolution cuts the image into some, as vision transformers do."""
    edges = [shape[2] for shape in wanted.values() if len(shape) == 4 and shape[2] == shape[3] > 3]
    return edges[0] if len(edges) == 1 else 0


def _matched(model: Any, shapes: Shapes) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Initializer -> tensor of the model, and float initializers that have none."""
    weights = {t.name: t for t in model.graph.initializer if t.data_type in _ALL_FLOATS}
    rename = _renaming(list(weights), list(shapes))
    matched: dict[str, str] = {}
    for name, tensor in weights.items():
        theirs = rename(name)
        if theirs not in shapes:
            continue
        if tuple(tensor.dims) != tuple(shapes[theirs]):
            raise EvalProblem(
                f"{printable(name, 120)} has shape {list(tensor.dims)} in the graph and {list(shapes[theirs])} in the "
                "model.",
                hint="The graph belongs to another model.",
            )
        if tensor.data_type not in _FLOATS:
            text = f"{printable(name, 120)} is {_ALL_FLOATS[tensor.data_type]} in the graph, which cannot be injected."
            raise EvalProblem(text, hint="Export the graph in float32.")
        matched[name] = theirs
    return matched, {n: tuple(t.dims) for n, t in weights.items() if n not in matched}


def _renaming(graph: list[str], model: list[str]) -> Callable[[str], str]:
    """How the graph's names become the model's: a prefix dropped, another put before."""
    known = set(model)
    drops = {""} | {".".join(n.split(".")[:k]) + "." for n in graph for k in (1, 2) if n.count(".") >= k}
    adds = {""} | {".".join(n.split(".")[:k]) + "." for n in model for k in (1, 2) if n.count(".") >= k}
    best = Counter({
        (drop, add): sum(name.startswith(drop) and add + name[len(drop) :] in known for name in graph)
        for drop in sorted(drops, key=len)[:32]
        for add in sorted(adds, key=len)[:32]
    })  # fmt: skip
    drop, add = max(best, key=lambda pair: (best[pair], -len(pair[0]) - len(pair[1])))

    def rename(name: str) -> str:
        return add + name[len(drop) :] if name.startswith(drop) else name

    return rename


def _refuse_strangers(matched: Mapping[str, str], unmatched: Shapes, shapes: Shapes) -> None:
    """Scores must depend on the merge alone: no matrix of the graph may be an old copy of one of the model's."""
    used = set(matched.values())
    absent = {name: shape for name, shape in shapes.items() if name not in used and len(shape) > 1}
    sizes = {tuple(sorted(shape)) for shape in absent.values()}
    own = [n for n, s in unmatched.items() if len(s) > 1 and prod(s) >= _SMALL and tuple(sorted(s)) in sizes]
    total = sum(prod(s) for s in shapes.values())
    share = sum(prod(shapes[name]) for name in used) / max(total, 1)
    if not own and matched and share >= _ENOUGH:
        return
    names = sorted(absent)
    why = (
        f"it keeps values of its own for {len(own)} matrices ({listed(own)})"
        if own
        else f"only {share:.0%} of the model's weights are in it"
    )
    raise EvalProblem(
        f"The graph's weights are not those of the model: {why}. Missing in the graph: {listed(names)}.", hint=_HINT
    )
