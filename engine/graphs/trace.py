"""Tracing a network of transformers to an ONNX graph without weights, by torch's dynamo exporter.

Runs in a process of its own (`engine.graphs.child`): tracing is seconds of Python that would hold up the window, and
it patches torch while it runs.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import EvalProblem
from engine.files.text import printable
from engine.graphs.values import LOCATION, OPSET, Measured, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from engine.evaluate.model import Network

_PREFIX = "net."
_PAD_ROWS = 3
_BATCH_WORK = 1_500_000_000
_ROUNDS = 5
_BATCHES = 8  # of a typical score, over which the making of a session is spread


def trace(spec: Spec, out: Path) -> list[str]:
    """Write the graph of an architecture; returns the names of its weights (those of the network).

    Weights are named but not there: each is external data of a file that does not exist. Batch and sequence length
    are free.

    Raises:
        EvalProblem: if the network cannot be traced.
    """
    import onnx_ir as ir

    net = _network(spec)
    module = _with_memory(net, fill=False)
    try:
        with _quiet():
            model = _traced(net, module, spec)
    except Exception as error:  # whatever the exporter says about somebody's architecture
        text = f"The {net.model_type} network cannot be turned into an ONNX graph: {printable(error, 300)}"
        raise EvalProblem(text, hint="Use torch to score it, and export it as safetensors.") from error
    weights = _without_weights(model, net)
    ir.save(model, out)
    return weights


def measure(spec: Spec, graph: Path) -> Measured:
    """Time both runners on the same made-up batches with made-up weights, one core each, and compare outputs."""
    import torch

    from engine.graphs.session import Session, provider

    net = _network(spec)
    module = _with_memory(net, fill=True)
    weights = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    feeds = made_inputs(net, spec, rows=_rows(net, spec), length=24)
    torch.set_num_threads(1)
    started = time.perf_counter()
    with Session(graph, weights, threads=1) as session:
        start_s = time.perf_counter() - started

        def by_torch() -> list[Tensor]:
            with torch.inference_mode():
                said = module(**feeds, return_dict=True)
            return [getattr(said, name) for name in _outputs(said, spec)]

        def by_onnx() -> list[Tensor]:
            return list(session.run(feeds).values())

        pairs = zip(by_torch(), by_onnx(), strict=True)
        gaps = [(float((a - b).abs().max()), float(a.abs().max())) for a, b in pairs]
        torch_s, onnx_s = _timed(by_torch, by_onnx)
    return Measured(torch_s, onnx_s + start_s / _BATCHES, max(g for g, _ in gaps), max(s for _, s in gaps), provider())


def _timed(*works: Callable[[], object]) -> list[float]:
    """Best seconds of each, in turn, so that a busy machine disturbs both alike."""
    best = [float("inf")] * len(works)
    for _ in range(_ROUNDS):
        for at, work in enumerate(works):
            started = time.perf_counter()
            work()
            best[at] = min(best[at], time.perf_counter() - started)
    return best


def _network(spec: Spec) -> Network:
    from engine.evaluate.model import network

    return network(spec.fields, "image" if spec.kind == "image" else "tokens", spec.head, spec.classes)


def _with_memory(net: Network, *, fill: bool) -> nn.Module:
    """The module with parameters of its own; unfilled ones take memory only where they are touched."""
    import torch

    generator = torch.Generator().manual_seed(0)
    made: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    weights = {id(p) for p in net.module.parameters()}
    for name, old in net.module.state_dict(keep_vars=True).items():
        if id(old) not in weights and not old.is_meta:
            state[name] = old.detach()  # a table that was computed
            continue
        if id(old) not in made:
            made[id(old)] = torch.empty(old.shape, dtype=old.dtype)
            if fill:
                _fill(made[id(old)], name, generator)
        state[name] = made[id(old)]
    net.module.load_state_dict(state, assign=True)
    for parameter in net.module.parameters():
        parameter.requires_grad_(False)
    return net.module


def _fill(tensor: Tensor, name: str, generator: Any) -> None:
    """Values of the usual size, so that nothing overflows."""
    if not tensor.is_floating_point():
        tensor.zero_()
    elif tensor.dim() > 1:
        tensor.normal_(0.0, 0.6 / max(tensor[0].numel(), 1) ** 0.5, generator=generator)
    else:
        tensor.fill_(1.0 if name.endswith(("weight", "running_var")) else 0.0)


def made_inputs(net: Network, spec: Spec, rows: int, length: int) -> dict[str, Tensor]:
    """Made-up inputs; the last text is padded."""
    import torch

    generator = torch.Generator().manual_seed(1)
    if spec.kind == "image":
        config = net.module.config
        side = getattr(config, "image_size", 0) or 64
        height, width = side if isinstance(side, (list, tuple)) else (side, side)
        shape = (rows, getattr(config, "num_channels", 3), height, width)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    length = min(length, net.positions) if net.positions else length
    ids = torch.randint(0, max(net.vocabulary, 1), (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, max(1, length - _PAD_ROWS) :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _rows(net: Network, spec: Spec) -> int:
    positions = 24 if spec.kind == "tokens" else max(1, (28 // net.patch) ** 2 if net.patch else 64)
    return int(np.clip(_BATCH_WORK // max(net.costs * positions, 1), 1, 64))


def _outputs(said: Any, spec: Spec) -> list[str]:
    """Names of what the network says that a task may read."""
    if spec.head:
        return ["logits"]
    return [name for name in ("last_hidden_state", "pooler_output") if getattr(said, name, None) is not None]


def _traced(net: Network, module: nn.Module, spec: Spec) -> Any:
    """The exporter's model, its weights still named `net.NAME`."""
    import torch

    feeds = made_inputs(net, spec, rows=2, length=7)
    with torch.inference_mode():
        names = _outputs(module(**feeds, return_dict=True), spec)

    class Plain(torch.nn.Module):
        """Tensors in, tensors out."""

        def __init__(self) -> None:
            super().__init__()
            self.net = module

        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            """The outputs that tasks read."""
            said = self.net(**dict(zip(feeds, inputs, strict=True)), return_dict=True, **without_cache)
            return tuple(getattr(said, name) for name in names)

    without_cache = {"use_cache": False} if hasattr(module.config, "use_cache") and spec.kind == "tokens" else {}
    free = torch.export.Dim.DYNAMIC
    axes = {0: free} if spec.kind == "image" and net.patch else {0: free, 2: free, 3: free}
    axes = {0: free, 1: free} if spec.kind == "tokens" else axes
    with torch.no_grad():
        program = torch.onnx.export(
            Plain().eval(), tuple(feeds.values()), dynamo=True, dynamic_shapes=(tuple(axes for _ in feeds),),
            opset_version=OPSET, optimize=False, verbose=False, input_names=list(feeds), output_names=names,
        )  # fmt: skip
    assert program is not None
    return program.model


def _without_weights(model: Any, net: Network) -> list[str]:
    """Take the weights out of a graph, in place, after it was simplified around them; returns their names.

    While it is simplified they are inputs: else they would be transposed and folded into nameless constants.
    """
    import onnx_ir as ir
    from onnxscript import optimizer

    graph = model.graph
    found = [name for name in graph.initializers if name.removeprefix(_PREFIX) in net.wanted and name[:4] == _PREFIX]
    values = {name: graph.initializers[name] for name in found}
    for name, value in values.items():
        value.const_value = None
        del graph.initializers[name]
        graph.inputs.append(value)
    optimizer.optimize(model)
    for name, value in values.items():
        graph.inputs.remove(value)
        if not value.uses():
            continue
        shape = net.wanted[name.removeprefix(_PREFIX)]
        value.name = name.removeprefix(_PREFIX)
        value.const_value = ir.ExternalTensor(
            LOCATION, 0, int(np.prod(shape)) * value.dtype.itemsize, value.dtype, shape=ir.Shape(shape),
            name=value.name, base_dir="",
        )  # fmt: skip
        graph.initializers[value.name] = value
    _forget_sources(model)
    return [value.name for value in values.values() if value.name in graph.initializers]


def _forget_sources(model: Any) -> None:
    """Drop what the exporter notes about our source files: paths, and half of the file's size."""
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells developers things; nobody here reads them."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
