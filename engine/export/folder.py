"""Exporting a plan: prepared in a hidden folder beside the target, checked, then given its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine.errors import FileProblem, WriteProblem
from engine.export.beside import small_files
from engine.export.disk import explained, sync_folder
from engine.export.existing import SUFFIX, Workspace, put_in_place, remove_litter
from engine.export.manifest import MANIFEST_NAME, file_hashes, manifest_json
from engine.export.options import Exported, ExportOptions
from engine.export.preflight import bytes_needed, normalised, obstacles, remember_speed
from engine.export.shards import INDEX_NAME, Shard, index_json, make_shards
from engine.export.writer import WeightWriter, write_file
from engine.files.header import read_header
from engine.merge.fallback import merge
from engine.merge.plan import Plan
from engine.merge.sink import Sink
from engine.progress import Checked, Progress, Silent

__all__ = ["ExportOptions", "Exported", "export"]


def export(
    plan: Plan,
    out: Path,
    *,
    options: ExportOptions | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    threads: int | None = None,
    stats: object = None,
    fill: Callable[[Sink], object] | None = None,
    beside: Callable[[], Iterable[tuple[str, bytes]]] | None = None,
    recheck: Callable[[], object] | None = None,
) -> Exported:
    """Merge and write a model; afterwards it is on the disk, power cuts included.

    Until the last step everything happens in a hidden folder beside the target, which is deleted if anything fails.

    Args:
        plan: What to merge.
        out: A new folder, or a .safetensors file.
        options: How to write it.
        provenance: What the files say about their origin; plain JSON without paths and times.
        progress: Told how far it is; pauses and cancels.
        device: "cpu" or "cuda".
        threads: Worker threads; None for one a core.
        stats: Result of an earlier `survey` of this plan.
        fill: Writes the tensors of the plan instead of the merge; used where they come from elsewhere.
        beside: Gives name and content of the files beside the weights, instead of the card and the models' own.
        recheck: Called when all is written; raises if the inputs are not any more what the provenance says.

    Raises:
        WriteProblem: if the target is taken, read-only or faulty.
        NotEnoughDisk: if it does not fit.
        NotFinite: if a NaN or infinity would be written.
        FileProblem: if an input is unreadable or was changed.
        Cancelled: if the user stopped the job.
    """
    started, notes = time.monotonic(), dict[str, int]()
    options, provenance, progress = options or ExportOptions(), provenance or {}, progress or Silent()
    target = normalised(out)
    remove_litter(target.parent, target.name)
    for obstacle in obstacles(plan, target, options, bytes_needed(plan, target, options)):
        raise obstacle.error

    def merging(sink: Sink) -> None:
        notes.update(merge(plan, sink, progress=progress, device=device, threads=threads, stats=stats).notes)

    try:
        with Workspace(target) as workspace:
            job = _Export(plan, target, options, provenance, progress, beside)
            sizes = job.prepare(workspace.path, fill or merging)
            (recheck or progress.check)()
            progress.check()
            put_in_place(job.finished(workspace.path), target)
    except OSError as error:
        raise explained(error, target) from error
    seconds = time.monotonic() - started
    remember_speed(plan, seconds if fill is None else 0.0)
    return Exported(target, sum(sizes.values()), seconds, tuple(job.final(name) for name in sizes), notes)


class _Export:
    """The steps of one export, inside the workspace."""

    def __init__(
        self,
        plan: Plan,
        target: Path,
        options: ExportOptions,
        provenance: Mapping[str, Any],
        progress: Progress,
        beside: Callable[[], Iterable[tuple[str, bytes]]] | None,
    ) -> None:
        self._plan = plan
        self._target = target
        self._options = options
        self._provenance = provenance
        self._progress = progress
        self._small_files = beside or (lambda: small_files(plan, provenance, options))
        self._is_file = target.suffix == SUFFIX

    def prepare(self, folder: Path, fill: Callable[[Sink], object]) -> dict[str, int]:
        """Write everything and check it: name and size of every file, weights first."""
        single = self._target.name if self._is_file else ""
        shards = make_shards(self._plan, self._provenance, limit=self._options.shard_bytes, single=single)
        with WeightWriter(folder, shards, sample=self._options.verify) as writer:
            beside: dict[str, bytes] = {} if self._is_file else self._write_beside(folder, shards)
            fill(writer)
            roots = writer.seal()
            if self._is_file:
                self._proved(folder, shards, writer, self._progress)
            else:
                whole = self._hashed(folder, shards, writer)
                beside |= self._write_manifest(folder, shards, roots, whole, beside)
            sync_folder(folder)
        sizes = {**{shard.name: shard.size for shard in shards}, **{name: len(data) for name, data in beside.items()}}
        if self._options.format == "safetensors":
            return sizes
        from engine.graphs.folder import add_graph

        return add_graph(folder, self._plan, sizes, self._options.format, self._provenance, self._progress)

    def finished(self, folder: Path) -> Path:
        """What gets the target's name: the folder, or the one file in it."""
        return folder / self._target.name if self._is_file else folder

    def final(self, name: str) -> Path:
        """Where a file is after the export."""
        return self._target if self._is_file else self._target / name

    def _write_beside(self, folder: Path, shards: tuple[Shard, ...]) -> dict[str, bytes]:
        files = dict(self._small_files())
        if len(shards) > 1:
            files[INDEX_NAME] = index_json(self._plan, shards)
        for name, data in files.items():
            self._progress.check()
            write_file(folder / name, data)
        return files

    def _proved(self, folder: Path, shards: tuple[Shard, ...], writer: WeightWriter, progress: Progress) -> None:
        """Wait until the disk has everything, then have it give some of it back."""
        writer.finish(progress)
        if self._options.verify:
            self._check_headers(folder, shards)
            writer.check_samples(progress)

    def _hashed(self, folder: Path, shards: tuple[Shard, ...], writer: WeightWriter) -> dict[str, str]:
        """The SHA-256 of every weight file, taken while the disk takes the bytes and gives some back."""
        with ThreadPoolExecutor(1, "prove") as pool:
            proved = pool.submit(self._proved, folder, shards, writer, Checked(self._progress))
            whole = file_hashes([folder / shard.name for shard in shards], self._progress)
            proved.result()
        return whole

    def _write_manifest(
        self,
        folder: Path,
        shards: tuple[Shard, ...],
        roots: Mapping[str, str],
        whole: Mapping[str, str],
        beside: Mapping[str, bytes],
    ) -> dict[str, bytes]:
        weights = {s.name: (s.size, roots[s.name], whole[s.name]) for s in shards}
        data = manifest_json(weights, beside, self._provenance.get("sources"))
        write_file(folder / MANIFEST_NAME, data)
        return {MANIFEST_NAME: data}

    def _check_headers(self, folder: Path, shards: tuple[Shard, ...]) -> None:
        """Read the files as any other model and compare with the plan."""
        for shard in shards:
            try:
                tensors = read_header(folder / shard.name).tensors
            except FileProblem as problem:
                raise WriteProblem(f"The written file cannot be read back: {problem.message}", where=shard.name,
                                   hint="The disk may be faulty; export to another one.") from problem  # fmt: skip
            found = {(t.name, t.dtype, t.shape, t.start) for t in tensors.values()}
            jobs = ((self._plan.jobs[index], start) for index, start in shard.places.items())
            if found != {(job.name, job.out_dtype, job.shape, start) for job, start in jobs}:
                raise WriteProblem("The written file does not say what was written.", where=shard.name,
                                   hint="The disk may be faulty; export to another one.")  # fmt: skip
