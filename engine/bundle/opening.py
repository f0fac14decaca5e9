"""Opening a bundle: its header is checked like that of any model from a stranger, nothing is read but that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from engine.bundle.manifest import Manifest, base_name, from_json, gain_name, mask_name, multi_name, scale_name
from engine.bundle.quantise import BLOCK
from engine.errors import Mismatch, NotSafetensors
from engine.export.shards import KEY
from engine.files.checkpoint import open_checkpoint
from engine.files.hashing import HashCache, content_hash, fingerprint
from engine.files.header import read_header
from engine.files.model import Checkpoint, TensorInfo
from engine.files.text import printable
from engine.progress import Progress

_BASE = base_name("")
_MULTI = multi_name("")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        checkpoint: The file as it is.
        manifest: What it says about itself.
        trainable: Names of the tensors that any task changes.
    """

    checkpoint: Checkpoint
    manifest: Manifest
    trainable: frozenset[str]

    @property
    def path(self) -> Path:
        """The file."""
        return self.checkpoint.path

    def tensor(self, name: str) -> TensorInfo:
        """One of the file's own tensors ("mask/0/...").

        Raises:
            NotSafetensors: if it is not there.
        """
        info = self.checkpoint.tensors.get(name)
        if info is None:
            raise NotSafetensors(f"The bundle has no {printable(name, 200)}.", where=str(self.path), hint=_AGAIN)
        return info

    def base(self) -> Checkpoint | None:
        """The base that the bundle includes, as a model of its own; None if it only refers to one."""
        if not self.manifest.included:
            return None
        infos = {
            name.removeprefix(_BASE): TensorInfo(
                name.removeprefix(_BASE), info.dtype, info.shape, info.file, info.start
            )
            for name, info in self.checkpoint.tensors.items()
            if name.startswith(_BASE)
        }
        config = self.manifest.config
        return Checkpoint(
            path=self.path,
            kind="file",
            tensors=MappingProxyType(dict(sorted(infos.items()))),
            stamps=self.checkpoint.stamps,
            metadata=MappingProxyType({}),
            config=None if config is None else MappingProxyType(dict(config)),
            indexed=frozenset(infos),
        )


_AGAIN = "Get the bundle again or make it anew."


def is_bundle(path: Path) -> bool:
    """Whether a .safetensors file says that it is a task bundle.

    Raises:
        FileProblem: if its header cannot be read.
    """
    return says_bundle(read_header(path).metadata)


def says_bundle(metadata: Mapping[str, str]) -> bool:
    """Whether a safetensors header says that its file is a task bundle."""
    return '"kind":"task bundle"' in metadata.get(KEY, "")


def open_bundle(path: Path) -> Bundle:
    """Read and check the header of a bundle; no weights are read.

    Raises:
        NotSafetensors: if it is not a bundle, or a damaged one.
        FileProblem: if it cannot be read.
    """
    checkpoint = open_checkpoint(path)
    where = printable(path, 400)
    manifest = from_json(checkpoint.metadata.get(KEY, "{}"), where)
    names = frozenset(n.removeprefix(_MULTI) for n in checkpoint.tensors if n.startswith(_MULTI))
    bundle = Bundle(checkpoint, manifest, names)
    for name in sorted(names):
        _check_parts(bundle, name)
    for number in range(len(manifest.tasks) if manifest.rescale else 0):
        gain = bundle.tensor(gain_name(number))
        if gain.dtype != "F32" or gain.shape != (len(names),):
            raise NotSafetensors("The bundle is wrong about its gains.", where=where, hint=_AGAIN)
    return bundle


def find_base(
    bundle: Bundle, given: Checkpoint | None, progress: Progress | None = None, cache: HashCache | None = None
) -> Checkpoint:
    """The base to restore from: the given one if it is the right one, else the included one.

    Raises:
        Mismatch: if there is none, or it is another model than the bundle was made from.
    """
    base = given or bundle.base()
    name = printable(bundle.manifest.base_name, 100)
    if base is None:
        raise Mismatch(f"The bundle needs its base, {name}, which it does not include.",
                       where=str(bundle.path), hint="Say where the base is (--base PATH).")  # fmt: skip
    for tensor in sorted(bundle.trainable):
        info, multi = base.tensors.get(tensor), bundle.tensor(multi_name(tensor))
        if info is None or info.shape != multi.shape or not info.is_float:
            raise Mismatch("The base does not have this tensor in the bundle's shape.", where=tensor,
                           hint=f"Give the model that the bundle was made from: {name}.")  # fmt: skip
    if given is not None and not _is_same(bundle.manifest, given, progress, cache):
        raise Mismatch(f"{printable(given.name, 100)} is not the base that the bundle was made from, {name}.",
                       where=str(given.path),
                       hint="Give the original base; with another one tasks are wrong.")  # fmt: skip
    return base


def _is_same(manifest: Manifest, base: Checkpoint, progress: Progress | None, cache: HashCache | None) -> bool:
    """By content; the fingerprint also knows a base that is spread over other files."""
    if manifest.base_print and fingerprint(base) != manifest.base_print:
        return False
    if not manifest.base_sha256 or manifest.base_print:
        return True
    return content_hash(base, progress, cache) == manifest.base_sha256


def _check_parts(bundle: Bundle, name: str) -> None:
    """Shapes and types of one tensor's parts."""
    multi = bundle.tensor(multi_name(name))
    raw = -(-multi.numel // 8)
    right = multi.dtype == "I8" if bundle.manifest.bits == 8 else multi.dtype in ("F32", "F64")
    if multi.dtype == "I8":
        scale = bundle.tensor(scale_name(name))
        right = right and scale.dtype == "F32" and scale.shape == (-(-multi.numel // BLOCK),)
    for number in range(len(bundle.manifest.tasks)):
        mask = bundle.tensor(mask_name(number, name))
        right = right and mask.dtype == "U8" and len(mask.shape) == 1 and mask.numel <= raw
        right = right and (mask.numel == raw or bundle.manifest.codec != "raw")
    if not right:
        raise NotSafetensors(f"The bundle is wrong about tensor {printable(name, 120)}.",
                             where=str(bundle.path), hint=_AGAIN)  # fmt: skip


def describe_sizes(bundle: Bundle) -> Mapping[str, int]:
    """Bytes by kind of content: "base", "multi" (with its scales and gains), "mask" and "file" (tokenizer data)."""
    sizes = dict.fromkeys(("base", "multi", "mask", "file"), 0)
    for name, info in bundle.checkpoint.tensors.items():
        kind = name.split("/", 1)[0]
        sizes["multi" if kind in ("scale", "gain") else kind] += info.size_bytes
    return sizes
