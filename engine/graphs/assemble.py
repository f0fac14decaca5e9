"""An ONNX file from a traced graph and a checkpoint's tensors: names and bytes as they are in the checkpoint.

The weights are copied piece by piece, so that a model larger than memory can be written. Weights that are not float32
keep their dtype and are cast in the graph, which onnxruntime does once, when it loads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import EvalProblem
from engine.export.disk import sync
from engine.files.model import TensorInfo
from engine.files.reading import Reader
from engine.files.text import printable
from engine.progress import Progress

SINGLE_LIMIT = 1_900_000_000
"""Largest file with the weights inside; protobuf ends at 2 GiB."""
PRODUCER = "mixdown"
ALIGN = 4096
_CHUNK = 1 << 22
_CODES = {"F32": 1, "F16": 10, "F64": 11, "BF16": 16, "F8_E4M3": 17, "F8_E5M2": 19}
_FLOAT = 1
Opener = Callable[[str], Reader]


@dataclass(frozen=True, slots=True)
class Weight:
    """One weight of the file.

    Attributes:
        info: The tensor as it is stored.
        location: The external data file, "" for inside.
        offset: Its first byte there.
    """

    info: TensorInfo
    location: str = ""
    offset: int = 0


def named_graph(raw: bytes, tensors: Mapping[str, TensorInfo]) -> Any:
    """The graph with the checkpoint's names and dtypes, without its weights, as `onnx.ModelProto`.

    Args:
        raw: A traced graph.
        tensors: The tensor of each of its weights; outputs that depend on others are left out.

    Raises:
        EvalProblem: if a weight's dtype cannot be stored, or no output is left.
    """
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(raw)
    graph = model.graph
    weights = [t.name for t in graph.initializer if t.external_data]
    _drop_without(graph, set(weights) - set(tensors))
    kept = {t.name: t for t in graph.initializer}
    taken = {name for node in graph.node for name in (*node.input, *node.output)} - set(weights)
    inputs: dict[str, str] = {}
    casts = []
    for name in [n for n in weights if n in kept]:
        info = tensors[name]
        if info.dtype not in _CODES:
            raise EvalProblem(f"{printable(info.name)} is {info.dtype}, which an ONNX graph cannot compute with.",
                              hint="Choose another dtype for the export.")  # fmt: skip
        inputs[name] = info.name if info.dtype == "F32" else _free(f"{info.name}/float32", taken)
        if info.dtype != "F32":
            casts.append(onnx.helper.make_node("Cast", [info.name], [inputs[name]], to=_FLOAT))
        graph.initializer.remove(kept[name])
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name in inputs:
                node.input[at] = inputs[name]
    nodes = [*{c.output[0]: c for c in casts}.values(), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _drop_without(graph: Any, missing: set[str]) -> None:
    """Remove outputs that need weights that are not there, and what only they needed."""
    spoiled = set(missing)
    for node in graph.node:
        if any(name in spoiled for name in node.input):
            spoiled.update(node.output)
    outputs = [o for o in graph.output if o.name not in spoiled]
    if not outputs:
        raise EvalProblem("The model lacks weights that every output of its architecture needs.")
    needed = {o.name for o in outputs}
    nodes = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            needed.update(_read(node))
            nodes.append(node)
    initializers = [t for t in graph.initializer if t.name in needed]
    for field, kept in ((graph.output, outputs), (graph.node, nodes[::-1]), (graph.initializer, initializers)):
        del field[:]
        field.extend(kept)


def _read(node: Any) -> Iterator[str]:
    """Names that a node reads, also in the bodies of loops and branches."""
    yield from node.input
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                yield from _read(inner)


def weights_of(model: Any, tensors: Mapping[str, TensorInfo]) -> list[TensorInfo]:
    """The tensors that a named graph reads, each once, in the checkpoint's order."""
    read = {name for node in model.graph.node for name in node.input}
    found = {info.name: info for info in tensors.values() if info.name in read}
    return sorted(found.values(), key=lambda info: (str(info.file), info.start))


def describe(model: Any, metadata: Mapping[str, str]) -> None:
    """Say who made the file and from what."""
    model.producer_name = PRODUCER
    del model.metadata_props[:]
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def write(model: Any, weights: Sequence[Weight], path: Path, reader: Callable[[TensorInfo], Reader],
          progress: Progress) -> int:  # fmt: skip
    """Write the file; weights without a location are copied into it. Synced; returns its size.

    A protobuf message is a row of fields with their lengths before them, so the weights can be copied while it is
    written, without a second copy of the model in memory.
    """
    heads = [_tensor_head(weight) for weight in weights]
    sizes = [len(head) + (0 if w.location else w.info.size_bytes) for head, w in zip(heads, weights, strict=True)]
    graph = model.graph.SerializeToString()
    total = len(graph) + sum(1 + len(_varint(size)) + size for size in sizes)
    rest = type(model)()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    with path.open("xb") as file:
        file.write(rest.SerializeToString(deterministic=True))
        file.write(b"\x3a" + _varint(total))  # field 7: the graph
        file.write(graph)
        for weight, head, size in zip(weights, heads, sizes, strict=True):
            file.write(b"\x2a" + _varint(size))  # field 5 of the graph: an initializer
            file.write(head)
            if not weight.location:
                copy(weight.info, reader(weight.info), file, progress)
        file.flush()
        sync(file.fileno())
        return file.tell()


def write_data(weights: Sequence[TensorInfo], path: Path, reader: Callable[[TensorInfo], Reader],
               progress: Progress) -> list[Weight]:  # fmt: skip
    """Write an external data file, every tensor at a page of its own; synced."""
    placed = []
    with path.open("xb") as file:
        for info in weights:
            file.seek(-(-file.tell() // ALIGN) * ALIGN)
            placed.append(Weight(info, path.name, file.tell()))
            copy(info, reader(info), file, progress)
        file.flush()
        os.ftruncate(file.fileno(), file.tell())
        sync(file.fileno())
    return placed


def copy(info: TensorInfo, reader: Reader, file: BinaryIO, progress: Progress) -> None:
    """Copy a tensor's bytes."""
    step = max(1, _CHUNK // max(1, info.size_bytes // max(info.numel, 1)))
    for first in range(0, info.numel, step):
        progress.check()
        data = reader.read(info, first, min(step, info.numel - first))
        file.write(data.tobytes())
        progress.advance(data.nbytes)


def _tensor_head(weight: Weight) -> bytes:
    """Everything of a TensorProto but the values, and the header of the values."""
    import onnx

    info = weight.info
    tensor = onnx.TensorProto(dims=list(info.shape), data_type=_CODES[info.dtype], name=info.name)
    if not weight.location:
        return bytes(tensor.SerializeToString()) + b"\x4a" + _varint(info.size_bytes)  # field 9: raw data
    tensor.data_location = 1
    for key, value in (("location", weight.location), ("offset", weight.offset), ("length", info.size_bytes)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return bytes(tensor.SerializeToString())


def _varint(number: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found + bytes([number]))
