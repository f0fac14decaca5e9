"""Making a task bundle: one pass over base and experts, written durably."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.analyse.sweep import plan_of, sweep
from engine.bundle.append import PartFile
from engine.bundle.authors import FlatMasks
from engine.bundle.carried import carried_files
from engine.bundle.coding import CODECS
from engine.bundle.manifest import Manifest, TaskEntry, base_name, file_name, to_json
from engine.bundle.storage import Storage
from engine.bundle.writing import MaskWriter
from engine.errors import BadRecipe, NotEnoughDisk, OutOfRange, WriteProblem
from engine.export.disk import explained, sync_folder
from engine.export.existing import SUFFIX, Workspace, examine, put_in_place, remove_litter
from engine.export.preflight import free_space, normalised
from engine.export.shards import KEY, canonical_json
from engine.files.config import sanitised
from engine.files.hashing import fingerprint, recheck
from engine.files.header import read_header
from engine.files.model import ITEM_BYTES, Checkpoint
from engine.files.reading import Reader
from engine.files.text import control_in, printable
from engine.merge.inputs import Inputs
from engine.merge.plan import Plan
from engine.progress import Progress, Silent

DEFAULT_STRICTNESS = 0.4
"""The middle of the paper's range, for tasks without data."""

_ENTRY_ROOM = 60  # bytes of a header entry beside names and numbers
_COPY = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOptions:
    """How to make a bundle.

    Attributes:
        include_base: Whether the base's weights go into the bundle.
        codec: Lossless coding of the masks, one of `engine.bundle.coding.CODECS`.
        bits: 32 stores the multi-task vector exactly, 8 rounds it.
        rescale: Whether each restored tensor gets its task vector's old size back (L1 norm); not in the paper.
        sidecars: Whether the base's configuration and tokenizer data come along.
        replace: Whether an existing file of Mixdown's may be replaced.
        base_sha256: Content hash of the base, if known.
        sha256: Content hashes of experts by name, as far as known.
    """

    include_base: bool = False
    codec: str = "huffman"
    bits: int = 32
    rescale: bool = True
    sidecars: bool = True
    replace: bool = False
    base_sha256: str = ""
    sha256: Mapping[str, str] | None = None


PAPER = BundleOptions(codec="raw", rescale=False)
"""As in the paper and the official code: plain masks, and base + mask x multi-task vector."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """A finished bundle.

    Attributes:
        path: The file.
        seconds: Wall time.
        storage: Its sizes.
        manifest: What it says about itself.
        density: Share of the trainable weights in each task's mask, by name.
    """

    path: Path
    seconds: float
    storage: Storage
    manifest: Manifest
    density: Mapping[str, float]


def compress(
    inputs: Inputs,
    out: Path,
    *,
    strictness: Mapping[str, float] | None = None,
    masks: Mapping[str, NDArray[np.uint8]] | None = None,
    options: BundleOptions | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Compressed:
    """Write a bundle from which every expert can be restored; afterwards it is on the disk.

    Memory does not grow with the models or experts: coded masks wait for the end of their tensor in a scratch file.

    Args:
        inputs: A base and T experts.
        out: The .safetensors file to make.
        strictness: lambda by expert name; `DEFAULT_STRICTNESS` for the others.
        masks: Ready masks by expert name, packed and flat (see `engine.bundle.authors`), instead of made ones;
            `strictness` then only says what is noted as their lambda.
        options: How to make it.
        progress: Told the bytes read; pauses and cancels.
        threads: Worker threads; None for one a core.

    Raises:
        Mismatch: if there is no base, or the models do not fit.
        OutOfRange: for a negative lambda or unknown option.
        WriteProblem: if the target is taken or cannot be written.
        NotEnoughDisk: if it does not fit.
        NotFinite: if a model has a NaN or infinity.
        Changed, Cancelled: if a model was changed meanwhile, or the user stopped it; nothing is left behind.
    """
    inputs.refuse_stack("A bundle")
    started, options, progress = time.monotonic(), options or BundleOptions(), progress or Silent()
    levels = {name: (strictness or {}).get(name, DEFAULT_STRICTNESS) for name in inputs.names}
    _check(options, levels)
    plan, target = plan_of(inputs), normalised(out)
    _check_target(plan, target, options)
    manifest, ready = _manifest(plan, inputs.names, levels, options), _ready(plan, masks)
    remove_litter(target.parent, target.name)
    try:
        with Workspace(target) as workspace:
            made = workspace.path / target.name
            carried = carried_files(inputs) if options.sidecars else {}
            room = _header_room(plan, manifest, carried)
            with PartFile(made, room) as file, tempfile.TemporaryFile(dir=workspace.path) as spool:
                if options.include_base:
                    _copy_base(plan, file, progress)
                writer = MaskWriter(plan, file, manifest, spool, ready)
                sweep(plan, [writer], progress, threads=threads, text="Making the masks")
                writer.finish()
                _write_small(file, carried)
                file.finish({KEY: canonical_json(to_json(manifest))})
            size = _settled(made)
            recheck_models(inputs, options, progress)
            put_in_place(made, target)
    except OSError as error:
        raise explained(error, target) from error
    return Compressed(target, time.monotonic() - started, writer.storage(size), manifest, writer.density())


def recheck_models(inputs: Inputs, options: BundleOptions, progress: Progress | None = None) -> None:
    """Make sure that the models still are what was hashed for the options; see `engine.files.hashing.recheck`.

    Raises:
        Changed: naming the file.
        FileProblem: if a file cannot be read any more.
    """
    if inputs.base is not None:
        recheck(inputs.base, options.base_sha256, progress)
    for name, expert in zip(inputs.names, inputs.experts, strict=True):
        recheck(expert, (options.sha256 or {}).get(name, ""), progress)


def _settled(made: Path) -> int:
    """Bytes of the finished file, whose header reads back and whose name is on the disk."""
    read_header(made)
    sync_folder(made.parent)
    return made.stat().st_size


def _check(options: BundleOptions, levels: Mapping[str, float]) -> None:
    if options.codec not in CODECS:
        raise OutOfRange(f"There is no coding {options.codec!r}.", hint=f"Use one of: {', '.join(CODECS)}.")
    if options.bits not in (8, 32):
        raise OutOfRange(f"The multi-task vector cannot have {options.bits} bits.", hint="Use 32 or 8.")
    for name, value in levels.items():
        if not 0 <= value < 1e6:
            raise OutOfRange(f"λ of {name} is {value}.", hint="Use a number from 0 up, for instance 0.4.")


def _check_target(plan: Plan, target: Path, options: BundleOptions) -> None:
    """The target must be a new .safetensors file (or an own one to be replaced), and fit."""
    if control := control_in(target.name):
        raise WriteProblem(f"The name holds the control character {control}.", where=printable(target, 400),
                           hint="Choose a name without it.")  # fmt: skip
    if target.suffix != SUFFIX:
        raise WriteProblem("A bundle is a .safetensors file.", where=str(target), hint=f"Call it {target.name}{SUFFIX}")
    inputs = [model for model in (plan.models.base, *plan.models.experts) if model is not None]
    if any(target == normalised(stamp.path) for model in inputs for stamp in model.stamps):
        raise WriteProblem("This is one of the models.", where=str(target), hint="Choose another name.")
    there = examine(target)
    if there.kind == "foreign":
        raise WriteProblem(f"There is already {there.what}.", where=str(target), hint="Choose another name.")
    if there.kind == "export" and not options.replace:
        raise WriteProblem("There is already a file.", where=str(target), hint="Choose another name, or replace it.")
    weights = sum(job.numel for job in plan.jobs if job.is_float)
    need = weights * options.bits // 8 + len(plan.models.experts) * weights // 8
    need += plan.bytes_out if options.include_base else 0
    if options.codec != "raw":
        need += max((job.numel for job in plan.jobs if job.is_float), default=0) * len(plan.models.experts) // 8
    if free_space(target) < need:
        raise NotEnoughDisk(f"The bundle needs up to {need / 1e9:.1f} GB.", where=str(target), hint="Free some space.")


def _manifest(plan: Plan, rows: Sequence[str], levels: Mapping[str, float], options: BundleOptions) -> Manifest:
    """Tasks come in the canonical order, so that equal inputs make equal masks; how the rows stood is noted."""
    base, hashes = _base(plan), options.sha256 or {}
    tasks = tuple(TaskEntry(name, float(levels[name]), hashes.get(name, "")) for name in plan.models.names)
    return Manifest(
        tasks=tasks,
        base_name=base.name,
        base_sha256=options.base_sha256,
        base_print=fingerprint(base),
        included=options.include_base,
        codec=options.codec,
        bits=options.bits,
        rescale=options.rescale,
        config=sanitised(base.config) if options.sidecars and base.config is not None else None,
        order=tuple(plan.models.names.index(name) for name in rows),
    )


def _ready(plan: Plan, masks: Mapping[str, NDArray[np.uint8]] | None) -> FlatMasks | None:
    """The given masks, over all tensors of the base."""
    if masks is None:
        return None
    absent = [name for name in plan.models.names if name not in masks]
    if absent:
        raise BadRecipe(f"There is no mask for {absent[0]}.", hint=f"There are masks for: {', '.join(masks)}.")
    return FlatMasks(masks, {name: info.numel for name, info in _base(plan).tensors.items()})


def _base(plan: Plan) -> Checkpoint:
    assert plan.models.base is not None  # plan_of has made sure
    return plan.models.base


def _header_room(plan: Plan, manifest: Manifest, carried: Iterable[str]) -> int:
    """No fewer bytes than the header will have."""
    tasks = len(manifest.tasks)
    digits = len(str(plan.bytes_out * (tasks + 10)))
    room = 2 * len(canonical_json(to_json(manifest))) + 256  # quotes are escaped
    for job in plan.jobs:
        entry = len(json.dumps(job.name).encode()) + _ENTRY_ROOM + len(str(tasks)) + 2 * digits
        room += (tasks + 3) * (entry + max(digits, len(str(job.shape))))
    room += sum(len(json.dumps(name)) + _ENTRY_ROOM + 60 for name in carried)
    return room + tasks * (_ENTRY_ROOM + 3 * digits)


def _write_small(file: PartFile, carried: Mapping[str, bytes]) -> None:
    """Configuration and tokenizer data, byte by byte."""
    for name, data in carried.items():
        file.write(file.cursor, data)
        file.enter(file_name(name), "U8", (len(data),), len(data))


def _copy_base(plan: Plan, file: PartFile, progress: Progress) -> None:
    """All tensors of the base as they are, wide types first."""
    base = _base(plan)
    progress.begin(base.size_bytes, "Copying the base")
    with Reader(base) as reader:
        for info in sorted(base.tensors.values(), key=lambda info: -ITEM_BYTES[info.dtype]):
            step = _COPY // ITEM_BYTES[info.dtype]
            for first in range(0, info.numel, step):
                progress.check()
                raw = reader.read(info, first, min(step, info.numel - first))
                file.write(file.cursor + first * ITEM_BYTES[info.dtype], raw.data)
                progress.advance(raw.size)
            file.enter(base_name(info.name), info.dtype, info.shape, info.size_bytes)
        reader.check_unchanged()
