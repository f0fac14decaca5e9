"""Restoring one task of a bundle: base + mask x multi-task vector, written by the code that exports merges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle.carried import read_carried, restored_card
from engine.bundle.coding import decode
from engine.bundle.manifest import Manifest, gain_name, mask_name, multi_name, scale_name
from engine.bundle.opening import Bundle, find_base
from engine.bundle.quantise import BLOCK, restored
from engine.errors import NotFinite
from engine.export.beside import small_files
from engine.export.existing import CARD_NAME
from engine.export.folder import Exported, ExportOptions, export
from engine.files.hashing import HashCache, known_hash, recheck
from engine.files.layout import describe
from engine.files.model import ITEM_BYTES, Checkpoint, TensorInfo
from engine.files.reading import Reader
from engine.merge.crew import Crew
from engine.merge.load import Loader
from engine.merge.memory import OVERFLOW, fits
from engine.merge.models import BASE, Models
from engine.merge.plan import Plan, TensorJob
from engine.merge.sink import MemorySink, Sink
from engine.merge.view import spans
from engine.methods import find
from engine.progress import Progress, Silent
from engine.recipe.recipe import ModelRef, Recipe

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 1 << 18


def restore(
    bundle: Bundle,
    task: str,
    out: Path,
    *,
    base: Checkpoint | None = None,
    options: ExportOptions | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
    cache: HashCache | None = None,
    sha256: str = "",
) -> Exported:
    """Write the model of one task, as durably as any export.

    Args:
        bundle: An opened bundle.
        task: Name of the task.
        out: A new folder, or a .safetensors file.
        base: The base, unless the bundle includes it; configuration and tokenizer come from it, else from the bundle.
        options: How to write.
        progress: Told the bytes of the base that were read; pauses and cancels.
        threads: Worker threads; None for one a core.
        cache: Hashes that are known.
        sha256: Content hash of the bundle, if known; without it a bundle whose status changes meanwhile is refused.

    Raises:
        BadRecipe: if there is no such task.
        Mismatch: if the base is absent or another model.
        NotSafetensors: if the bundle is damaged.
        Changed: if the bundle or the base was changed meanwhile, even if it has its old time again.
        WriteProblem: if the target is taken or cannot be written.
        NotEnoughDisk: if it does not fit.
        Cancelled: if the user stopped it; nothing is left behind.
    """
    progress, number = progress or Silent(), bundle.manifest.number(task)
    plan = _plan(bundle, find_base(bundle, base, progress, cache), task)
    chosen, sha256 = options or ExportOptions(), sha256 or known_hash(bundle.checkpoint, cache)
    base_sha256 = "" if base is None else known_hash(base, cache) or bundle.manifest.base_sha256
    provenance = _provenance(bundle.manifest, number)

    def fill(sink: Sink) -> None:
        _fill(bundle, plan, number, sink, progress, threads)

    def beside() -> Iterator[tuple[str, bytes]]:
        yield from small_files(plan, provenance, replace(chosen, card=False), read_carried(bundle))
        if chosen.card:
            has_type = plan.models.base is not None and "model_type" in (plan.models.base.config or {})
            library = "transformers" if has_type else "safetensors"
            yield CARD_NAME, restored_card(bundle, task, provenance, library=library).encode()

    def still_the_same() -> None:
        recheck(bundle.checkpoint, sha256, progress, cache)
        if base is not None:
            recheck(base, base_sha256, progress, cache)

    return export(plan, out, options=chosen, provenance=provenance, progress=progress, fill=fill, beside=beside,
                  recheck=still_the_same)  # fmt: skip


def _provenance(manifest: Manifest, number: int) -> dict[str, Any]:
    """What a restored model says about its origin."""
    task = manifest.tasks[number]
    return {
        "kind": "restored task",
        "format": 1,
        "task": {"name": task.name, "lambda": task.strictness, "sha256": task.sha256},
        "base": {"name": manifest.base_name, "sha256": manifest.base_sha256},
    }


def restored_state(
    bundle: Bundle,
    task: str,
    base: Checkpoint | None = None,
    *,
    progress: Progress | None = None,
    threads: int | None = None,
    cache: HashCache | None = None,
) -> dict[str, Tensor]:
    """The model of one task in memory, by tensor name, with the bytes that `restore` writes."""
    progress, number = progress or Silent(), bundle.manifest.number(task)
    plan = _plan(bundle, find_base(bundle, base, progress, cache), task)
    sink = MemorySink(plan)
    _fill(bundle, plan, number, sink, progress, threads)
    return sink.tensors


def _plan(bundle: Bundle, base: Checkpoint, task: str) -> Plan:
    """A plan whose tensors are all led by the base; what a task changes is computed by `_fill`."""
    if base.config is None and bundle.manifest.config is not None:
        base = replace(base, config=MappingProxyType(dict(bundle.manifest.config)))
    infos = sorted(base.tensors.values(), key=lambda info: (info.file.name, info.start, info.name))
    jobs = tuple(
        TensorJob(i.name, i.shape, i.dtype, i.dtype, "merge" if i.name in bundle.trainable else "copy") for i in infos
    )
    ref = ModelRef(id="base", name=bundle.manifest.base_name, path=str(base.path.absolute()))
    method = find("tall_mask")
    params = {**method.complete({}), "task": task}
    return Plan(Recipe(base=ref, method=method.id), method, params, Models(base, (), (), ()), jobs,
                describe(base.tensors, base.config), ())  # fmt: skip


def _fill(bundle: Bundle, plan: Plan, number: int, sink: Sink, progress: Progress, threads: int | None) -> None:
    """Compute or copy every tensor, on worker threads."""
    with Loader(plan, chunk=_CHUNK) as loader, Reader(bundle.checkpoint) as reader, Crew(threads) as crew:
        work = _Worker(bundle, loader, reader, number, sink, progress)
        progress.begin(plan.bytes_out, "Restoring the task")
        crew.drain(enumerate(plan.jobs), work.tensor)
        loader.check_unchanged()
        reader.check_unchanged()


class _Worker:
    """Restores tensors; thread-safe."""

    def __init__(
        self, bundle: Bundle, loader: Loader, reader: Reader, number: int, sink: Sink, progress: Progress
    ) -> None:
        self._bundle, self._loader, self._reader = bundle, loader, reader
        self._number, self._sink, self._progress = number, sink, progress
        self._gains = dict.fromkeys(bundle.trainable, np.float32(1))
        if bundle.manifest.rescale:
            stored = reader.read_float32(bundle.tensor(gain_name(number)))
            self._gains = dict(zip(sorted(bundle.trainable), stored, strict=True))

    def tensor(self, unit: tuple[int, TensorJob]) -> None:
        """One whole tensor, chunk by chunk."""
        index, job = unit
        changed = job.action == "merge"
        bits = self._bits(job) if changed and job.numel else None
        for _, start, stop in spans(job, self._loader.chunk):
            self._progress.check()
            if bits is None:
                data = self._loader.read_bytes(job, start, stop)
            else:
                data = self._chunk(job, start, stop, bits(start, stop))
            self._sink.write(index, start * ITEM_BYTES[job.out_dtype], data)
            self._progress.advance((stop - start) * ITEM_BYTES[job.out_dtype])

    def _bits(self, job: TensorJob) -> Callable[[int, int], NDArray[np.uint8]]:
        """Reads the packed mask of some weights; a coded mask is decoded once for the tensor."""
        info, raw = self._bundle.tensor(mask_name(self._number, job.name)), -(-job.numel // 8)
        if info.numel == raw:
            return lambda start, stop: self._reader.read(info, start // 8, -(-(stop - start) // 8))
        whole = decode(self._reader.read(info), self._bundle.manifest.codec, raw, job.name)
        return lambda start, stop: whole[start // 8 : -(-stop // 8)]

    def _chunk(self, job: TensorJob, start: int, stop: int, packed: NDArray[np.uint8]) -> NDArray[Any]:
        """Base + gain x mask x multi, rounded once, as bytes."""
        multi = self._multi(job, start, stop)
        np.multiply(multi, np.unpackbits(packed, count=stop - start), out=multi)
        if self._bundle.manifest.rescale:
            np.multiply(multi, self._gains[job.name], out=multi)
        base = self._loader.values(BASE, job.name, start, stop, wide=multi.dtype == np.float64)
        values = base.numpy()
        np.add(values, multi, out=values)
        if not fits(base, OVERFLOW[job.out_dtype]):
            raise NotFinite(f"The restored values are no numbers or too large for {job.out_dtype}.", where=job.name,
                            hint="The bundle or its base is damaged; get it again.")  # fmt: skip
        raw = self._loader.scratch.raw("out", (stop - start) * ITEM_BYTES[job.out_dtype])
        self._loader.memory.narrow(base, job.out_dtype, raw)
        return raw

    def _multi(self, job: TensorJob, start: int, stop: int) -> NDArray[Any]:
        """The multi-task vector of some weights, in an array that may be changed."""
        info, count = self._bundle.tensor(multi_name(job.name)), stop - start
        raw = self._reader.read(info, start, count)
        if info.dtype != "I8":
            return raw.view(np.float64 if info.dtype == "F64" else np.float32)
        scale: TensorInfo = self._bundle.tensor(scale_name(job.name))
        scales = self._reader.read(scale, start // BLOCK, -(-count // BLOCK)).view(np.float32)
        return restored(raw.view(np.int8), scales)
