"""The values that describe a checkpoint on disk, before any weight is read.

Light and immutable: they may be handed between threads and compared for equality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

ITEM_BYTES = MappingProxyType({
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
})  # fmt: skip
"""Bytes per element of every dtype that Mixdown reads (safetensors names)."""

FLOAT_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Dtypes that are merged; every other dtype is copied from the base."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """The identity of an open file, to notice that it was changed, replaced or truncated.

    The time of the last change of the file's status (`ctime_ns`) cannot be set, so that a file that was changed and
    given its old time again is told from what it was. It is not compared: renaming a file changes it, too.
    """

    path: Path
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a checkpoint: where its bytes lie and how to read them.

    Attributes:
        name: Key in the state dict.
        dtype: safetensors dtype name ("BF16").
        shape: Dimensions; () is a scalar.
        file: The safetensors file that holds it.
        start: Absolute byte offset of its first byte in `file`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Number of bytes."""
        return self.numel * ITEM_BYTES[self.dtype]

    @property
    def is_float(self) -> bool:
        """Whether it is merged (floating point) or copied from the base."""
        return self.dtype in FLOAT_DTYPES


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies on disk, from headers alone.

    Attributes:
        path: What was dropped: a .safetensors file or a folder.
        kind: "file" for a single file, "folder" for a Hugging Face or bare folder.
        tensors: All tensors by name, in name order.
        stamps: One stamp for each safetensors file, in file-name order.
        metadata: Text metadata of the safetensors header(s), merged.
        config: config.json as plain data (never executed), or None.
        sidecars: Tokenizer and configuration data files of the folder that an export may carry.
        absent_shards: File names that the index lists but that are not there.
        indexed: Tensor names that the index promises (a superset of `tensors` when shards are absent).
        warnings: Things worth telling the user that did not prevent opening (plain text).
        view: "" for the tensors as they are stored; else what tells this choice and naming of them from others.
    """

    path: Path
    kind: Literal["file", "folder"]
    tensors: Mapping[str, TensorInfo]
    stamps: tuple[FileStamp, ...]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] | None = None
    sidecars: tuple[Path, ...] = ()
    absent_shards: tuple[str, ...] = ()
    indexed: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    view: str = ""

    @property
    def name(self) -> str:
        """The file's stem or the folder's name."""
        return self.path.stem if self.kind == "file" else self.path.name

    @cached_property
    def parameters(self) -> int:
        """Number of floating-point elements."""
        return sum(t.numel for t in self.tensors.values() if t.is_float)

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.size_bytes for t in self.tensors.values())

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """Float dtypes in use, the one with most bytes first."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors.values():
            if tensor.is_float:
                sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
        return tuple(sorted(sizes, key=lambda d: (-sizes[d], d)))


KINDS = ("emb", "attn", "mlp", "norm", "head", "other")
"""Kinds of tensors, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor sits in the network: its layer label ("emb", "0", "dec.3", "head") and its kind."""

    layer: str
    kind: str


@dataclass(frozen=True, slots=True)
class Group:
    """All tensors of one layer and one kind."""

    place: Place
    tensors: tuple[str, ...]
    numel: int


@dataclass(frozen=True)
class Layout:
    """How a checkpoint's tensors fall into layers and kinds; made from names and shapes alone.

    Attributes:
        family: What was recognised ("bert", "vit", "llama", "unet", ... or "generic").
        layers: Layer labels in network order, for instance ("emb", "0", ..., "11", "head").
        groups: Non-empty layer x kind groups, ordered by layer and then as in `KINDS`.
        places: Place of every tensor.
    """

    family: str
    layers: tuple[str, ...]
    groups: tuple[Group, ...]
    places: Mapping[str, Place]

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds that occur, in `KINDS` order."""
        present = {group.place.kind for group in self.groups}
        return tuple(kind for kind in KINDS if kind in present)

    def depth(self, layer: str) -> float:
        """Position of a layer in the network, from 0 (first) to 1 (last)."""
        last = len(self.layers) - 1
        return self.layers.index(layer) / last if last > 0 else 0.0


Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check noticed, with what to do about it.

    Attributes:
        severity: "error" blocks the merge, "warning" is worth a look, "info" is good to know.
        code: Stable word for tests and filters ("absent-tensors", "shape", "dtype", "tied", "nan", ...).
        message: What was found, in a plain sentence.
        hint: What to do about it (may be empty).
        tensors: Names concerned, at most a few dozen; `count` says how many there are in all.
        count: Number of tensors concerned.
    """

    severity: Severity
    code: str
    message: str
    hint: str = ""
    tensors: tuple[str, ...] = ()
    count: int = 0
