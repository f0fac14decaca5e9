"""ONNX files of strangers: parsed with limits, nothing outside of their folder read, no operators of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from engine.errors import EvalProblem
from engine.files.opening import open_regular, read_small
from engine.files.text import listed, printable
from engine.graphs.values import LOCATION

MAX_BYTES = (1 << 31) - 1
"""Largest graph file: protobuf's own limit. Larger weights lie in external data."""
MAX_DATA = 1 << 31
MAX_NODES = 200_000
MAX_TENSORS = 100_000
MAX_DEPTH = 8
DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
"""Operators that come with onnxruntime; all others need a library, which is never loaded."""
_KEYS = frozenset({"location", "offset", "length", "checksum"})
_HINT = "Export the graph anew, or score with torch."
_DTYPES = {1: "float32", 10: "float16", 11: "float64"}
_TEXT = 8
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
         17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}  # fmt: skip
"""Bits of a value by ONNX's number of its type; text has no size of its own."""
_NUMBER = re.compile(r"\d{1,18}")


def external_names(raw: bytes) -> dict[str, str]:
    """Weights of a graph that are to be injected, with their dtypes as torch calls them."""
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(raw)
    found = {}
    for tensor in model.graph.initializer:
        if any(e.key == "location" and e.value == LOCATION for e in tensor.external_data):
            found[tensor.name] = _DTYPES[tensor.data_type]
    return found


def read_graph(path: Path) -> Any:
    """A stranger's graph as `onnx.ModelProto`, checked; external data not read yet.

    Raises:
        EvalProblem: if it is damaged, too large, has operators of its own, or refers to anything that it must not.
        FileProblem: if it cannot be read.
    """
    import onnx

    where = printable(path, 400)
    raw = read_small(path, MAX_BYTES)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(raw)
    except Exception as error:  # protobuf's own class differs between its implementations
        raise EvalProblem("The file is damaged or no ONNX graph.", where=where, hint=_HINT) from error
    try:
        check_graph(model)
    except EvalProblem as problem:
        problem.where = problem.where or where
        raise
    return model


def check_graph(model: Any) -> None:
    """Refuse what must not be run.

    Raises:
        EvalProblem: saying what.
    """
    if not model.graph.node or not model.graph.output:
        raise EvalProblem("The graph is empty.", hint=_HINT)
    own = {f.domain for f in model.functions}
    counts = [0]
    bodies = [(model.graph.node, 0), *((f.node, 0) for f in model.functions)]
    strange = sorted({n.domain for nodes, depth in bodies for n in _nodes(nodes, depth, counts)} - DOMAINS - own)
    if strange:
        raise EvalProblem(
            f"The graph has operators of its own ({listed(strange)}), which would need a library of somebody's code.",
            hint="Only the operators that come with onnxruntime are run.",
        )
    graph = model.graph
    if graph.sparse_initializer or model.training_info or len(graph.initializer) > MAX_TENSORS:
        raise EvalProblem("The graph has sparse weights, training data or too many tensors.", hint=_HINT)
    if len({tensor.name for tensor in graph.initializer}) != len(graph.initializer):
        raise EvalProblem("The graph has two weights of one name.", hint=_HINT)
    for tensor in graph.initializer:
        size = _size(tensor)
        if tensor.raw_data and len(tensor.raw_data) != size:
            raise EvalProblem(
                f"The values of {printable(tensor.name, 80)} do not have the size that it says.", hint=_HINT
            )


def _size(tensor: Any) -> int:
    """Bytes that the values of an initializer take, by its dimensions; 0 for text, which must be in the graph.

    Raises:
        EvalProblem: if these or its type cannot be, or it is too large.
    """
    count = 1
    for dim in tensor.dims:
        count *= dim
    bits = 0 if tensor.data_type == _TEXT and not _is_external(tensor) else _BITS.get(tensor.data_type, -1)
    size = (count * bits + 7) // 8
    if bits < 0 or min(tensor.dims, default=0) < 0 or max(size, count) > 4 * MAX_DATA:
        told = " × ".join(f"{dim:,}" for dim in tensor.dims[:8])
        raise EvalProblem(
            f"{printable(tensor.name, 80)} cannot be of type {tensor.data_type} and size {told}.", hint=_HINT
        )
    return size


def _nodes(nodes: Any, depth: int, counts: list[int]) -> Iterator[Any]:
    """All nodes, also of the bodies of loops and branches."""
    if depth > MAX_DEPTH:
        raise EvalProblem(f"The graph has bodies nested deeper than {MAX_DEPTH}.", hint=_HINT)
    for node in nodes:
        counts[0] += 1
        if counts[0] > MAX_NODES:
            raise EvalProblem(f"The graph has more than {MAX_NODES:,} operators.", hint=_HINT)
        yield node
        for attribute in node.attribute:
            inner = [attribute.t, *attribute.tensors]
            bodies = [attribute.g, *attribute.graphs]
            if any(_is_external(t) for t in (*inner, *(t for g in bodies for t in g.initializer))):
                raise EvalProblem("The graph keeps data of an operator in another file.", hint=_HINT)
            for body in bodies:
                yield from _nodes(body.node, depth + 1, counts)


def _is_external(tensor: Any) -> bool:
    return bool(tensor.data_location == 1 or tensor.external_data)


def inject(tensor: Any) -> None:
    """Make an initializer one that is injected: its values are dropped."""
    name, dims, dtype = tensor.name, list(tensor.dims), tensor.data_type
    tensor.Clear()
    tensor.name, tensor.data_type, tensor.data_location = name, dtype, 1
    tensor.dims.extend(dims)
    size = 8 if dtype == 11 else 2 if dtype == 10 else 4
    for dim in dims:
        size *= dim
    for key, value in (("location", LOCATION), ("offset", "0"), ("length", str(size))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def embed(tensor: Any, folder: Path, room: int) -> int:
    """Read an initializer's external data into it; returns its size in bytes.

    Args:
        tensor: The initializer.
        folder: The graph's folder; the data must lie in it.
        room: Most bytes to read.

    Raises:
        EvalProblem: if the entry is wrong, leads out of the folder or is too large.
    """
    name, where = printable(tensor.name, 80), printable(folder, 400)
    entries = {e.key: e.value for e in tensor.external_data}
    if len(entries) != len(tensor.external_data) or not entries.keys() <= _KEYS or "location" not in entries:
        raise EvalProblem(
            f"The external data of {name} are described in a way that is not allowed.", where=where, hint=_HINT
        )
    numbers = [entries.get(key, "0") for key in ("offset", "length")]
    if not all(_NUMBER.fullmatch(n) for n in numbers):
        raise EvalProblem(f"The external data of {name} have a wrong offset or length.", where=where, hint=_HINT)
    offset, length = map(int, numbers)
    path = inside(folder, entries["location"])
    descriptor, stamp = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise EvalProblem("External data must not be a second name of another file.", where=printable(path, 400))
        length = length or stamp.size - offset
        if offset + length > stamp.size or not 0 <= length <= room:
            raise EvalProblem(
                f"The external data of {name} lie outside of their file or are too large.", where=where, hint=_HINT
            )
        if length != _size(tensor):
            raise EvalProblem(
                f"The external data of {name} do not have the size that it says.", where=where, hint=_HINT
            )
        file.seek(offset)
        tensor.raw_data = file.read(length)
    del tensor.external_data[:]
    tensor.data_location = 0
    return length


def inside(folder: Path, text: str) -> Path:
    """A file named by a graph: relative, without `..`, below the graph's folder and not by a link.

    Raises:
        EvalProblem: if it is anything else.
    """
    parts = PurePosixPath(text).parts
    wrong = not text or "\0" in text or "\\" in text or ".." in parts or len(text) > 1024
    if not wrong and not PurePosixPath(text).is_absolute() and not PureWindowsPath(text).drive:
        path = folder
        for part in parts:
            path = path / part
            if path.is_symlink():
                break
        else:
            if path.is_file():
                return path
    raise EvalProblem(
        f"The graph refers to {printable(text, 120)!r}, which is not a file of its folder.",
        where=printable(folder, 400), hint="External data must lie beside the graph, without links.",
    )  # fmt: skip
