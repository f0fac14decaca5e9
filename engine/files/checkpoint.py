"""Opening a checkpoint: a safetensors file, or a folder of them, from headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from engine.errors import NotSafetensors
from engine.files import members
from engine.files.config import try_config
from engine.files.drop import expand
from engine.files.folder import INDEX_SUFFIX, Shards, find_shards, find_sidecars
from engine.files.header import MAX_TENSORS, Header, read_header
from engine.files.model import Checkpoint, TensorInfo
from engine.files.text import counted, listed, printable

__all__ = ["expand", "open_checkpoint"]


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the headers of a model; no weights are read and nothing in it is executed.

    Args:
        path: A .safetensors file, an index file, a model folder, or a task inside a bundle (`engine.files.members`).
            Shards that are absent are a warning as long as one is there.

    Raises:
        FileProblem: naming the file, the reason and what to do next.
    """
    if path.name.endswith(INDEX_SUFFIX):
        path = path.parent
    if (inside := members.split(path)) is not None and (opener := members.opener()) is not None:
        return opener(*inside)
    return _open_folder(path) if path.is_dir() else _open_file(path)


def _open_file(path: Path) -> Checkpoint:
    header = read_header(path)
    return Checkpoint(
        path=path,
        kind="file",
        tensors=header.tensors,
        stamps=(header.stamp,),
        metadata=header.metadata,
        indexed=frozenset(header.tensors),
        warnings=_oddities(header.tensors),
    )


def _open_folder(path: Path) -> Checkpoint:
    shards = find_shards(path)
    headers = {name: read_header(path / name) for name in shards.files}
    tensors = _joined(path, headers)
    _check_map(path, shards, headers)
    config, remarks = try_config(path)
    metadata: dict[str, str] = {}
    for header in headers.values():
        metadata.update(header.metadata)
    return Checkpoint(
        path=path,
        kind="folder",
        tensors=MappingProxyType(tensors),
        stamps=tuple(header.stamp for header in headers.values()),
        metadata=MappingProxyType(metadata),
        config=None if config is None else MappingProxyType(config),
        sidecars=find_sidecars(path),
        absent_shards=shards.absent,
        indexed=frozenset(tensors) | frozenset(shards.weight_map),
        warnings=(*_absent(shards), *shards.warnings, *remarks, *_oddities(tensors)),
    )


def _joined(folder: Path, headers: dict[str, Header]) -> dict[str, TensorInfo]:
    """All tensors in name order; no tensor may be in two files."""
    found: dict[str, TensorInfo] = {}
    for name, header in headers.items():
        twice = sorted(found.keys() & header.tensors.keys())
        if twice:
            raise NotSafetensors(
                f"{counted(len(twice), 'tensor')} of {printable(name, 120)} are also in another file: {listed(twice)}.",
                where=printable(folder, 400),
                hint="If these are different models, drop the files one by one; else get the model again.",
            )
        found.update(header.tensors)
        if len(found) > MAX_TENSORS:
            raise NotSafetensors(f"More than {MAX_TENSORS:,} tensors.", where=printable(folder, 400), hint="Split it.")
    return dict(sorted(found.items()))


def _check_map(folder: Path, shards: Shards, headers: dict[str, Header]) -> None:
    """Every tensor of the index must be in the file that the index says, if that file is there."""
    wrong = [
        tensor for tensor, name in shards.weight_map.items() if name in headers and tensor not in headers[name].tensors
    ]
    if wrong:
        raise NotSafetensors(
            f"{counted(len(wrong), 'tensor')} are not in the files that the index names: {listed(wrong)}.",
            where=printable(folder, 400),
            hint="The folder mixes files of different models; download the model again.",
        )


def _absent(shards: Shards) -> tuple[str, ...]:
    if not shards.absent:
        return ()
    return (f"{counted(len(shards.absent), 'file')} of the model not there: {listed(shards.absent)}.",)


def _oddities(tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    if not tensors:
        return ("The file has no tensors.",)
    return ()
