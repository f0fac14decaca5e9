"""Whether an exported model is as it was written: files, headers and every block of every tensor."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine.errors import BadProject, FileProblem
from engine.export.existing import SUFFIX
from engine.export.manifest import MANIFEST_NAME, read_manifest
from engine.export.shards import header_bytes, root_of
from engine.export.tree import ALGORITHM, BLOCK, HEX, block_count, block_size
from engine.files import strict_json
from engine.files.buffers import page_aligned
from engine.files.checkpoint import open_checkpoint
from engine.files.folder import weight_files
from engine.files.header import read_header
from engine.files.model import TensorInfo
from engine.files.opening import open_regular
from engine.files.text import printable
from engine.progress import Progress, Silent
from engine.recipe import provenance


class Hash(Protocol):
    """A hash that takes bytes."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take more bytes."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was written.

    Attributes:
        file: Name of the file.
        what: What is wrong, in a sentence.
        tensor: The tensor concerned; "" for a header or a file that is no weight file.
        block: Number of the damaged 1 MiB block of the tensor, from 0; -1 where that is not known.
    """

    file: str
    what: str
    tensor: str = ""
    block: int = -1


@dataclass(frozen=True, slots=True)
class Integrity:
    """What was found about the files of a model.

    Attributes:
        path: The model.
        damage: Everything that is not as it was written.
        files: Number of files that were compared.
        tensors: Number of tensors whose bytes were compared.
        bytes: Bytes of these.
        provenance: What the model says about its origin, without the hash tree; empty if it cannot be read.
        roots: Root of the hash tree by weight file.
        sha256: SHA-256 of whole files, by name, as the manifest says; for the intact ones it is true.
    """

    path: Path
    damage: tuple[Damage, ...]
    files: int
    tensors: int
    bytes: int
    provenance: Mapping[str, Any]
    roots: Mapping[str, str]
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_intact(self) -> bool:
        """Whether everything is as it was written."""
        return not self.damage


def check_files(path: Path, progress: Progress | None = None) -> Integrity:
    """Compare a model with the hashes that were stored when it was written.

    Args:
        path: A folder or .safetensors file that Mixdown exported.
        progress: Told the bytes read; asked whether to go on.

    Raises:
        BadProject: if it has no hashes (made by another program or an older Mixdown).
        FileProblem: if there is no model.
    """
    progress = progress or Silent()
    weights = [path] if path.suffix == SUFFIX and not path.is_dir() else _weights(path)
    damage: list[Damage] = []
    manifest = _manifest(path, damage)
    for name in sorted(manifest.keys() - {file.name for file in weights}):
        damage += _check_small(path / name, manifest[name])
    progress.begin(sum(map(_size, weights)), "Checking the weights")
    found = [_check_weights(file, manifest.get(file.name), progress) for file in weights]
    damage += [one for part in found for one in part.damage]
    told = next((part.provenance for part in found if part.provenance), {})
    if not told and not damage:
        raise BadProject("It has no checksums.", where=printable(path, 400),
                         hint="Only exports of this version of Mixdown or newer can be verified.")  # fmt: skip
    return Integrity(
        path, tuple(damage), len(manifest.keys() | {file.name for file in weights}), sum(p.tensors for p in found),
        sum(p.bytes for p in found), told, {file.name: p.root for file, p in zip(weights, found, strict=True)},
        {name: entry["sha256"] for name, entry in manifest.items() if "sha256" in entry},
    )  # fmt: skip


def _size(file: Path) -> int:
    """Bytes of a file.

    Raises:
        FileProblem: if it cannot be opened.
    """
    descriptor, stamp = open_regular(file)
    os.close(descriptor)
    return stamp.size


def _weights(folder: Path) -> list[Path]:
    names = weight_files(tuple(sorted(os.listdir(folder)))) if folder.is_dir() else ()
    if not names:
        open_checkpoint(folder)  # says why there is no model
        raise FileProblem("There are no weights.", where=printable(folder, 400), hint="Choose an exported model.")
    return [folder / name for name in names]


def _manifest(path: Path, damage: list[Damage]) -> dict[str, dict[str, Any]]:
    if not path.is_dir() or not (path / MANIFEST_NAME).exists():
        return {}
    try:
        return read_manifest(path)
    except FileProblem as problem:
        damage.append(Damage(MANIFEST_NAME, problem.message))
        return {}


def _check_small(path: Path, entry: Mapping[str, Any]) -> Iterator[Damage]:
    """One file of the manifest that is not a weight file of the folder."""
    if not path.is_file() or path.is_symlink():
        yield Damage(path.name, "The file is not there.")
    elif path.stat().st_size != entry["bytes"]:
        yield Damage(path.name, f"It has {path.stat().st_size:,} bytes instead of {entry['bytes']:,}.")
    else:
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == entry.get("sha256")
        if not same:
            yield Damage(path.name, "Its content is not what was written.")


@dataclass(frozen=True, slots=True)
class _Part:
    """What was found about one weight file."""

    damage: tuple[Damage, ...]
    tensors: int = 0
    bytes: int = 0
    provenance: Mapping[str, Any] | None = None
    root: str = ""


def _check_weights(path: Path, entry: Mapping[str, Any] | None, progress: Progress) -> _Part:
    """One weight file: its header against its own root, then its blocks."""
    try:
        checkpoint = open_checkpoint(path)
        told = provenance.read(checkpoint.metadata, path.name) if provenance.KEY in checkpoint.metadata else None
    except (FileProblem, BadProject) as problem:
        return _Part((Damage(path.name, f"The header is damaged: {problem.message}"),))
    tree = told.pop("tree", None) if told is not None else None
    if told is None or not _is_tree(tree):
        known = entry is not None or tree is not None
        return _Part((Damage(path.name, "The header has lost its hashes."),) if known else ())
    assert isinstance(tree, dict)  # by _is_tree
    whole = hashlib.sha256()
    damage = list(_check_header(path, told, tree, entry, whole))
    wanted = entry.get("sha256") if entry is not None else None
    for info in sorted(checkpoint.tensors.values(), key=lambda info: (info.start, info.size_bytes)):
        damage += _check_tensor(info, tree["leaves"].get(info.name), progress, whole if wanted else None)
    if wanted and not damage and whole.hexdigest() != wanted:
        damage.append(Damage(path.name, "Its SHA-256 is not the one in the manifest."))
    return _Part(tuple(damage), len(checkpoint.tensors), checkpoint.size_bytes, told, tree["root"])


def _is_tree(tree: object) -> bool:
    if not isinstance(tree, dict) or tree.get("hash") != ALGORITHM or tree.get("block") != BLOCK:
        return False
    leaves = tree.get("leaves")
    return isinstance(tree.get("root"), str) and isinstance(leaves, dict) and all(
        isinstance(leaf, str) for leaf in leaves.values())  # fmt: skip


def _check_header(
    path: Path, told: Mapping[str, Any], tree: Mapping[str, Any], entry: Mapping[str, Any] | None, whole: Hash
) -> Iterator[Damage]:
    """The header must be, byte by byte, what the exporter writes for what it says, and have its own root.

    It is also the beginning of the whole file's hash.
    """
    first = min((t.start for t in read_header(path).tensors.values()), default=path.stat().st_size)
    descriptor, _ = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        raw = file.read(first)
    whole.update(raw)
    tensors = strict_json.parse(raw[8:], depth=4)
    tensors.pop("__metadata__", None)
    again = header_bytes(tensors, told, tree["leaves"], tree["root"])
    if again != raw or root_of(tensors, told, tree["leaves"]) != tree["root"]:
        yield Damage(path.name, "The header is not as it was written.")
    elif entry is not None and entry.get("tree") != tree["root"]:
        yield Damage(path.name, "It is not the file that the manifest names.")


def _check_tensor(info: TensorInfo, leaves: str | None, progress: Progress, whole: Hash | None) -> Iterator[Damage]:
    """Every block of a tensor against its hash; the bytes also go into the whole file's hash where there is one."""
    if leaves is None or len(leaves) != HEX * block_count(info.size_bytes):
        yield Damage(info.file.name, "Its hashes are not there.", info.name)
        return
    descriptor, _ = open_regular(info.file)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        buffer = page_aligned(min(BLOCK, max(1, info.size_bytes))).data
        for block in range(block_count(info.size_bytes)):
            progress.check()
            part = buffer[: block_size(info.size_bytes, block)]
            file.seek(info.start + block * BLOCK)
            complete = _fill(file, part)
            if whole is not None:
                whole.update(part)
            if not complete or hashlib.sha256(part).hexdigest() != leaves[HEX * block : HEX * (block + 1)]:
                yield Damage(info.file.name, _about(info, block), info.name, block)
            progress.advance(len(part))


def _fill(file: io.FileIO, part: memoryview) -> bool:
    """Read until the buffer is full; False at the end of the file."""
    while len(part):
        got = file.readinto(part)
        if not got:
            return False
        part = part[got:]
    return True


def _about(info: TensorInfo, block: int) -> str:
    first = info.start + block * BLOCK
    last = first + block_size(info.size_bytes, block) - 1
    return (
        f"Tensor {printable(info.name, 120)} is not as it was written: block {block:,} of "
        f"{block_count(info.size_bytes):,} (bytes {first:,} to {last:,} of the file)."
    )
