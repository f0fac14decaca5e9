"""Exporting a model as ONNX: traced, named as the checkpoint, checked against torch, durable."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import replace as changed
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import EvalProblem, NotEnoughMemory, WriteProblem
from engine.export.disk import explained, sync_folder
from engine.export.existing import Workspace, is_our_graph, put_in_place, remove_litter
from engine.export.preflight import normalised
from engine.files.model import Checkpoint, TensorInfo
from engine.files.reading import Reader
from engine.files.text import control_in, printable
from engine.graphs import assemble
from engine.graphs.policy import Runners
from engine.graphs.values import OPSET, TOLERANCE, Spec
from engine.progress import Progress, Silent

if TYPE_CHECKING:
    from engine.evaluate.model import Network

SUFFIX = ".onnx"
DATA_SUFFIX = ".data"
FILE_NAME = "model.onnx"
Place = Literal["inside", "beside", "auto"]
_LM = ("ForCausalLM", "LMHeadModel")
_CLASS = ("ForSequenceClassification", "ForImageClassification")
_MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class OnnxExported:
    """A finished ONNX export.

    Attributes:
        path: The .onnx file.
        files: It and its data file, if there is one.
        bytes: Size of both.
        seconds: Wall time.
        opset: Its operator set.
        head: "" for the encoder alone, "class" or "lm".
        weights: How many tensors of the model are in it.
        unused: Tensors of the model that its outputs do not need.
        difference: Largest absolute difference from torch's outputs on made-up inputs; NaN if too little memory was
            free to compare.
        scale: Largest absolute output of torch.
    """

    path: Path
    files: tuple[Path, ...]
    bytes: int
    seconds: float
    opset: int
    head: str
    weights: int
    unused: tuple[str, ...]
    difference: float
    scale: float

    @property
    def text(self) -> str:
        """One sentence for people."""
        said = "not compared with torch (too little memory)" if isnan(self.difference) else (
            f"outputs as torch's within {self.difference:.0e}")  # fmt: skip
        return f"ONNX opset {self.opset}, {self.weights} weights, {said}."


def export_onnx(
    model: Checkpoint, out: Path, runners: Runners, *, base: Checkpoint | None = None, kind: str = "",
    head: str = "auto", metadata: Mapping[str, Any] | None = None, replace: bool = False,
    limit: int = assemble.SINGLE_LIMIT, progress: Progress | None = None,
) -> OnnxExported:  # fmt: skip
    """Write a model as an ONNX file, with a data file beside it where it would be 2 GB or more.

    Until the last step everything happens in a hidden folder beside the target; if anything fails it is deleted.

    Args:
        model: The model, with its configuration.
        out: The .onnx file.
        runners: Whose graphs are used; its folder must be set.
        base: Where tensors and the configuration come from that the model does not have.
        kind: "image" or "tokens"; "" asks the configuration.
        head: "auto" for what the configuration says, or "" (encoder alone), "class", "lm".
        metadata: Plain data about the model's origin, written into the file.
        replace: Whether an existing ONNX file of Mixdown's may be replaced.
        limit: Largest file with the weights inside.
        progress: Told how far it is; cancels.

    Raises:
        EvalProblem: if the architecture is unknown, cannot be traced, or disagrees with torch.
        WriteProblem: if the target is taken or cannot be written.
        Cancelled: if the user stopped the job.
    """
    progress, target = progress or Silent(), normalised(out)
    _check_target(target, replace)
    remove_litter(target.parent, target.name)
    try:
        with Workspace(target) as workspace:
            done = write_onnx(model, workspace.path / target.name, runners, base=base, kind=kind, head=head,
                              metadata=metadata, limit=limit, progress=progress)  # fmt: skip
            progress.check()
            for file in reversed(done.files):  # the data first: the graph must never point to nothing
                put_in_place(file, target.with_name(file.name))
    except OSError as error:
        raise explained(error, target) from error
    if len(done.files) == 1 and replace:
        target.with_name(target.name + DATA_SUFFIX).unlink(missing_ok=True)
    files = tuple(target.with_name(file.name) for file in done.files)
    return _moved(done, files)


def _moved(done: OnnxExported, files: tuple[Path, ...]) -> OnnxExported:
    return changed(done, path=files[0], files=files)


def write_onnx(
    model: Checkpoint, file: Path, runners: Runners, *, base: Checkpoint | None = None, kind: str = "",
    head: str = "auto", metadata: Mapping[str, Any] | None = None, limit: int = assemble.SINGLE_LIMIT,
    weights_at: Path | None = None, progress: Progress | None = None,
) -> OnnxExported:  # fmt: skip
    """Write the file(s) into a folder of the caller's and check them; see `export_onnx`.

    Args:
        model: The model, with its configuration.
        file: The .onnx file, which is not there.
        runners: Whose graphs are used.
        base: Where tensors and the configuration come from that the model does not have.
        kind: "image" or "tokens"; "" asks the configuration.
        head: "auto" for what the configuration says, or "" (encoder alone), "class", "lm".
        metadata: Plain data about the model's origin.
        limit: Largest file with the weights inside.
        weights_at: The folder of the model's own safetensors files, to which the graph then refers instead of holding
            the weights; it must be the folder of `file`.
        progress: Told how far it is; cancels.
    """
    from engine.evaluate.state import completed

    started, progress = time.monotonic(), progress or Silent()
    infos = completed(model, base)
    config = model.config or (base.config if base else None)
    net = _network(config, kind, head, {name: info.shape for name, info in infos.items()})
    matched = net.check({name: info.shape for name, info in infos.items()})
    tensors = _with_tied(net, {key: infos[name] for key, name in matched.items()})
    graph = assemble.named_graph(runners.graph(Spec.of(net.key), progress).read_bytes(), tensors)
    weights = assemble.weights_of(graph, tensors)
    plain = json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False) if metadata else ""
    assemble.describe(graph, {"mixdown": plain} if plain else {})
    files = _write_files(graph, weights, file, limit, weights_at, progress)
    sync_folder(file.parent)
    difference, scale = _difference(net, model, base, file, progress)
    if difference > TOLERANCE * max(1.0, scale):
        raise EvalProblem(
            f"The written graph's outputs differ from torch's by {difference:.1e}.", where=printable(file.name),
            hint="Export safetensors instead, and report the architecture.",
        )  # fmt: skip
    used = {info.name for info in weights}
    return OnnxExported(
        path=file, files=files, bytes=sum(f.stat().st_size for f in files), seconds=time.monotonic() - started,
        opset=OPSET, head=net.head, weights=len(weights), unused=tuple(n for n in infos if n not in used),
        difference=difference, scale=scale,
    )  # fmt: skip


def _write_files(
    graph: Any, weights: list[TensorInfo], file: Path, limit: int, weights_at: Path | None, progress: Progress
) -> tuple[Path, ...]:
    size = sum(info.size_bytes for info in weights)
    progress.begin(size, "Writing ONNX")
    with ExitStack() as stack:
        readers: dict[Path, Reader] = {}

        def reader(info: TensorInfo) -> Reader:
            if info.file not in readers:
                readers[info.file] = stack.enter_context(_reader(info))
            return readers[info.file]

        files: tuple[Path, ...] = (file,)
        if weights_at is not None:
            placed = [assemble.Weight(info, info.file.name, info.start) for info in weights]
        elif size + graph.ByteSize() + 512 * len(weights) < limit:
            placed = [assemble.Weight(info) for info in weights]
        else:
            data = file.with_name(file.name + DATA_SUFFIX)
            placed, files = assemble.write_data(weights, data, reader, progress), (file, data)
        assemble.write(graph, placed, file, reader, progress)
    return files


def _reader(info: TensorInfo) -> Reader:
    from engine.evaluate.data import open_data

    return Reader(open_data(info.file))


def _with_tied(net: Network, tensors: dict[str, TensorInfo]) -> dict[str, TensorInfo]:
    for group in net.tied:
        shared = next((tensors[key] for key in sorted(group) if key in tensors), None)
        if shared is not None:
            tensors.update(dict.fromkeys(group - tensors.keys(), shared))
    return tensors


def _network(config: Mapping[str, Any] | None, kind: str, head: str, shapes: Mapping[str, tuple[int, ...]]) -> Network:
    """The network with the head that the configuration names, if the model has it."""
    from engine.evaluate.model import network

    table = config or {}
    is_image = kind == "image" or (not kind and is_image_config(table))
    wanted = _head_of(table) if head == "auto" else head
    classes = _classes(table, shapes) if wanted == "class" else 0
    try:
        net = network(config, "image" if is_image else "tokens", wanted, classes)
        net.check(shapes)
    except EvalProblem:
        if head != "auto" or not wanted:
            raise
        return network(config, "image" if is_image else "tokens")
    return net


def is_image_config(config: Mapping[str, Any]) -> bool:
    """Whether a model takes images rather than tokens, by its config.json."""
    words = {"image_size", "num_channels", "patch_size"}
    return bool(words & config.keys()) and "vocab_size" not in config


def _head_of(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    return "lm" if name.endswith(_LM) else "class" if name.endswith(_CLASS) else ""


def _classes(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many classes: from the configuration, or from the last matrix that is called a classifier."""
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return min(len(labels), _MAX_CLASSES)
    found = [s[0] for n, s in shapes.items() if n.startswith(("classifier", "score")) and len(s) == 2]
    return found[-1] if found else 2


def _difference(
    net: Network, model: Checkpoint, base: Checkpoint | None, file: Path, progress: Progress
) -> tuple[float, float]:
    """Largest difference of the file's outputs from torch's, and torch's largest output, on made-up inputs."""
    import torch

    from engine.evaluate.memory import check_memory
    from engine.evaluate.state import DiskState, completed
    from engine.graphs.session import Session
    from engine.graphs.trace import made_inputs

    progress.begin(0, "Comparing with torch", "steps")
    infos = completed(model, base)
    try:
        check_memory(0, [i.shape for i in infos.values()])
    except NotEnoughMemory:
        return nan, nan
    feeds = made_inputs(net, Spec.of(net.key), rows=3, length=19)
    with DiskState(model, base, progress) as state:
        weights = net.fit(state)
    with net.lent(weights, progress) as module, torch.inference_mode():
        said = module(**feeds, return_dict=True)
    with Session(file, {}, progress=progress, device="cpu") as session:
        found = session.run(feeds)
    pairs = [(found[name], getattr(said, name)) for name in found]
    if any(a.shape != b.shape for a, b in pairs):
        raise EvalProblem("The written graph's outputs have other shapes than torch's.")
    return max(float((a - b).abs().max()) for a, b in pairs), max(float(b.abs().max()) for _, b in pairs)


def _check_target(target: Path, replace: bool) -> None:
    where = printable(target, 400)
    if target.suffix != SUFFIX:
        raise WriteProblem("The name of an ONNX file ends in .onnx.", where=where, hint="For instance: model.onnx")
    if control := control_in(target.name):
        raise WriteProblem(f"The name holds the control character {control}.", where=where, hint="Choose another.")
    for path in (target, target.with_name(target.name + DATA_SUFFIX)):
        if not os.path.lexists(path):
            continue
        if not replace:
            raise WriteProblem("Something is there already.", where=printable(path, 400), hint="Use --replace.")
        if path == target and not is_our_graph(path):
            raise WriteProblem("It is not a file that Mixdown wrote.", where=where, hint="Choose another name.")
