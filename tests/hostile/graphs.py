"""ONNX graphs of strangers: data outside of their folder, cut files, dimensions that no disk has, foreign operators."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.hostile.case import SHAPES, Case, tensors

DATA = "weights.bin"
Change = Callable[[Any, Path], None]


def cases() -> Iterator[Case]:
    """All of them."""
    for name, location in _locations():
        yield Case(f"graph-{name}", "graph", _made(_outside(location)))
    for name, change in _changes():
        yield Case(f"graph-{name}", "graph", _made(change))
    for name, cut in (("half", 0.5), ("last-byte", 1.0), ("few-bytes", 0.0)):
        yield Case(f"graph-cut-{name}", "graph", _cut(cut))
    yield Case("graph-zeros", "graph", _bytes(bytes(10_000)))
    yield Case("graph-text", "graph", _bytes(b"__import__('os').mkdir('canary')"))
    yield Case("graph-empty", "graph", _bytes(b""))
    yield Case("graph-folder", "graph", _folder)
    yield Case("graph-fifo", "graph", _fifo)


@cache
def _good() -> bytes:
    """A graph with the weights of the good base and one table of its own beside it, as bytes."""
    from onnx import TensorProto, helper, numpy_helper

    weights = [numpy_helper.from_array(array, name) for name, array in tensors(0).items()]
    table = TensorProto(name="table", dims=[3, 5], data_type=1, data_location=1)
    first = next(iter(SHAPES))
    node = helper.make_node("MatMul", ["x", first], ["y"])
    values = [helper.make_tensor_value_info(name, 1, [None, size]) for name, size in (("x", 8), ("y", 4))]
    made = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [*weights, table]))
    found: bytes = made.SerializeToString()
    return found


def _made(change: Change) -> Callable[[Path], Path]:
    """A file whose data lies beside it as it should, but for the change."""

    def make(folder: Path) -> Path:
        from onnx import ModelProto

        model = ModelProto.FromString(_good())
        (folder / DATA).write_bytes(bytes(60))
        refer(model, DATA)
        change(model, folder)
        path = folder / "m.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return make


def refer(model: Any, location: str, **more: str) -> None:
    """Say where the table's data is."""
    table = model.graph.initializer[-1]
    del table.external_data[:]
    for key, value in {"location": location, "offset": "0", "length": "60", **more}.items():
        entry = table.external_data.add()
        entry.key, entry.value = key, value


def _locations() -> Iterator[tuple[str, str]]:
    yield "parent", "../base.safetensors"
    yield "parents", "../../../../../../../../etc/passwd"
    yield "absolute", "/etc/passwd"
    yield "device", "/dev/zero"
    yield "process", "/proc/self/environ"
    yield "through", f"sub/../../{DATA}"
    yield "windows", "..\\..\\secret.bin"
    yield "drive", "C:\\secret.bin"
    yield "unc", "\\\\server\\share\\secret.bin"
    yield "url", "http://127.0.0.1:9/weights.bin"
    yield "no-name", ""
    yield "dot", "."
    yield "nul", f"{DATA}\0.txt"
    yield "itself-as-folder", "m.onnx/weights.bin"
    yield "absent", "gone.bin"
    yield "long", "x" * 5_000
    yield "controls", "\x1b[2Jgone\u202e.bin"


def _outside(location: str) -> Change:
    return lambda model, _: refer(model, location)


def _changes() -> Iterator[tuple[str, Change]]:
    def link(model: Any, folder: Path) -> None:
        (folder / DATA).unlink()
        (folder / DATA).symlink_to("/etc/passwd")

    def linked_folder(model: Any, folder: Path) -> None:
        (folder / "sub").symlink_to(folder.parent)
        refer(model, "sub/base.safetensors")

    def pipe(model: Any, folder: Path) -> None:
        (folder / DATA).unlink()
        os.mkfifo(folder / DATA)

    def truncated(model: Any, folder: Path) -> None:
        (folder / DATA).write_bytes(bytes(40))

    yield "link", link
    yield "linked-folder", linked_folder
    yield "pipe", pipe
    yield "data-cut", truncated
    yield "data-behind-the-end", lambda model, _: refer(model, DATA, offset="4096")
    yield "data-negative", lambda model, _: refer(model, DATA, offset="-60")
    yield "data-huge-length", lambda model, _: refer(model, DATA, length=str(1 << 60))
    yield "data-no-number", lambda model, _: refer(model, DATA, length="6e1")
    yield "data-unknown-key", lambda model, _: refer(model, DATA, command="mkdir canary")
    yield "dims-huge", lambda model, _: model.graph.initializer[-1].dims.__setitem__(0, 1 << 40)
    yield "dims-overflow", lambda model, _: model.graph.initializer[-1].dims.extend([1 << 62, 1 << 62])
    yield "dims-negative", lambda model, _: model.graph.initializer[-1].dims.__setitem__(0, -3)
    yield "dims-of-a-weight", lambda model, _: model.graph.initializer[0].dims.__setitem__(0, 1 << 40)
    yield "type-unknown", lambda model, _: setattr(model.graph.initializer[-1], "data_type", 99)
    yield "type-text", lambda model, _: setattr(model.graph.initializer[-1], "data_type", 8)
    yield "operator-of-a-stranger", lambda model, _: setattr(model.graph.node[0], "domain", "evil.library")
    yield "name-twice", lambda model, _: model.graph.initializer.append(model.graph.initializer[0])
    yield "nested", _nest


def _nest(model: Any, folder: Path) -> None:
    """Graphs in graphs in graphs."""
    from onnx import GraphProto, helper

    inner = GraphProto(name="g")
    for _ in range(12):
        node = helper.make_node("If", ["c"], ["y"])
        node.attribute.append(helper.make_attribute("then_branch", inner))
        outer = GraphProto(name="g")
        outer.node.append(node)
        inner = outer
    model.graph.node.extend(inner.node)


def _cut(share: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = _made(lambda *_: None)(folder)
        data = path.read_bytes()
        path.write_bytes(data[: min(len(data) - 1, max(7, int(len(data) * share)))])
        return path

    return make


def _bytes(data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "m.onnx").write_bytes(data)
        return folder / "m.onnx"

    return make


def _folder(folder: Path) -> Path:
    (folder / "m.onnx").mkdir()
    return folder / "m.onnx"


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "m.onnx")
    return folder / "m.onnx"
