"""What an export will need and what stands in its way, from headers alone and before any work."""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import MixdownError, NotEnoughDisk, NotEnoughMemory, WriteProblem
from engine.export.disk import is_mounted, network_filesystem
from engine.export.existing import SUFFIX, examine
from engine.export.options import ExportOptions
from engine.export.tree import HEX, block_count
from engine.files.model import ITEM_BYTES, Finding
from engine.files.text import control_in, counted, printable
from engine.merge.plan import Plan

_FIXED_MEMORY = 250 << 20  # Python and torch
_MEMORY_A_THREAD = 32 << 20  # buffers of `engine.merge.load`, and what kernels make
_RESIDENT = 64 << 20  # most that a thread keeps of a tensor it measures (`engine.merge.load.RESIDENT`)
_SKETCHES = 88 << 20  # most that `engine.merge.recall` keeps, and 2 Mi magnitudes being counted
_SKETCH_BYTES_A_MAGNITUDE = 12
_DECOMPOSED = 3  # factors and workspace of singular value decompositions, measured
_HEADER_BYTES_A_TENSOR = 120
_SLACK = 1 << 20
_GRAPH_BYTES = 1 << 19
_MAX_NAME = 200
_RATE = {"linear": 0.45e9, "mask": 0.15e9, "full": 0.15e9}
_rates: dict[str, float] = {}
_rates_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Preflight:
    """The forecast of an export.

    Attributes:
        findings: What is in the way ("error") or worth knowing; findings of the plan are not repeated.
        bytes_out: Bytes that will be written.
        free_bytes: Free space at the target.
        peak_memory_bytes: Most memory the program will use.
        forecast_s: Estimated seconds; from earlier exports by the same method once there was one.
    """

    findings: tuple[Finding, ...]
    bytes_out: int
    free_bytes: int
    peak_memory_bytes: int
    forecast_s: float

    @property
    def is_ready(self) -> bool:
        """Whether nothing is in the way."""
        return all(finding.severity != "error" for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that makes an export impossible: a stable word for it and the error to raise."""

    code: str
    error: MixdownError


def preflight(plan: Plan, out: Path, options: ExportOptions | None = None, *, threads: int | None = None) -> Preflight:
    """Foresee an export; reads no weights and takes less than 50 ms.

    Args:
        plan: What would be merged.
        out: The new folder, or a .safetensors file.
        options: How it would be written.
        threads: Worker threads; None for one a core.
    """
    options = options or ExportOptions()
    target = normalised(out)
    threads = threads or max(1, min(8, os.cpu_count() or 1))
    need = bytes_needed(plan, target, options)
    peak = peak_memory(plan, threads)
    findings = [Finding("error", o.code, o.error.message, o.error.hint) for o in obstacles(plan, target, options, need)]
    findings += _about_replacing(target, options)
    findings += _about_dtypes(plan)
    findings += _about_disk(target)
    findings += _about_memory(plan, peak)
    return Preflight(tuple(findings), need - _SLACK, free_space(target), peak, forecast(plan, threads))


def peak_memory(plan: Plan, threads: int) -> int:
    """Most bytes that a merge takes: buffers of the threads, tensors that are merged whole, what statistics keep.

    Args:
        plan: What would be merged.
        threads: Worker threads.
    """
    method, models = plan.method, len(plan.models.experts) + 1
    kept = sketches = 0
    if method.measure is not None:
        sizes = (4 * models * job.numel for job in plan.jobs if job.action == "merge")
        kept = threads * max((size for size in sizes if size <= _RESIDENT), default=0)
    if method.survey is not None or method.measure is not None:
        numel = sum(job.numel for job in plan.jobs if job.is_float)
        sketches = min(_SKETCHES, _SKETCH_BYTES_A_MAGNITUDE * numel * models)
    decomposes = method.family == "spectral" or plan.params.get("post", "none") != "none"
    whole = plan.whole_bytes * (_DECOMPOSED if decomposes else 1)
    return _FIXED_MEMORY + threads * _MEMORY_A_THREAD + whole + kept + sketches


def normalised(out: Path) -> Path:
    """The target as an absolute path without "..", its parents' links followed."""
    absolute = out.absolute()
    return absolute.resolve() if absolute.name in ("", "..") else absolute.parent.resolve() / absolute.name


def obstacles(plan: Plan, target: Path, options: ExportOptions, need: int) -> Iterator[Obstacle]:
    """Everything that makes this export impossible."""
    where = printable(target, 400)
    if not target.name or len(os.fsencode(target.name)) > _MAX_NAME:
        yield Obstacle(
            "name", WriteProblem("The name is empty or too long.", where=where, hint="Choose a shorter name.")
        )
        return
    yield from _unfit_place(target, where)
    if options.format != "safetensors" and target.suffix == SUFFIX:
        text = "An ONNX export is a folder, not a .safetensors file."
        yield Obstacle("format", WriteProblem(text, where=where, hint="Leave the ending out."))
    yield from _inputs_in_the_way(plan, target, where)
    yield from _existing_in_the_way(target, options, where)
    yield from _no_permission(target, where)
    yield from _beyond_memory(plan)
    free = free_space(target)
    if need > free:
        message = f"The model needs {_size(need)} but only {_size(free)} are free."
        yield Obstacle("space", NotEnoughDisk(message, where=where, hint="Free some space or choose another disk."))


def bytes_needed(plan: Plan, target: Path, options: ExportOptions) -> int:
    """Bytes that an export takes: tensors, headers and the files beside them."""
    beside = 0
    if target.suffix != SUFFIX and options.sidecars:
        models = [m for m in (plan.models.base, *plan.models.experts) if m is not None]
        files = next((m.sidecars for m in models if m.sidecars), ())
        beside = sum(file.stat().st_size for file in files if file.exists())
    names = sum(len(job.name) + _HEADER_BYTES_A_TENSOR for job in plan.jobs)
    graph = plan.bytes_out + _GRAPH_BYTES if options.format == "onnx" else _GRAPH_BYTES * (options.format == "both")
    hashes = HEX * sum(block_count(job.bytes_out) for job in plan.jobs)
    return plan.bytes_out + 2 * names + hashes + beside + graph + _SLACK


def free_space(target: Path) -> int:
    """Free bytes where the target would be made."""
    try:
        return shutil.disk_usage(_nearest_folder(target)).free
    except OSError:
        return 0


def forecast(plan: Plan, threads: int) -> float:
    """Estimated seconds of an export."""
    with _rates_lock:
        rate = _rates.get(plan.method.id) or _RATE[plan.method.live] * max(1.0, threads / 2)
    return 0.2 + (plan.bytes_in + plan.bytes_out) / rate


def remember_speed(plan: Plan, seconds: float) -> None:
    """Learn from a finished export, for the next forecast; tiny ones say nothing."""
    size = plan.bytes_in + plan.bytes_out
    if size > 50e6 and seconds > 0.1:
        with _rates_lock:
            _rates[plan.method.id] = size / seconds


def _unfit_place(target: Path, where: str) -> Iterator[Obstacle]:
    """A name that other programs trip over, or a folder that nothing can take the place of."""
    if control := control_in(target.name):
        message = f"The name holds the control character {control}, which lists and scripts trip over."
        yield Obstacle("name", WriteProblem(message, where=where, hint="Choose a name without it."))
    if is_mounted(target):
        message = "A disk is mounted there, so the export cannot take its place."
        yield Obstacle("mount", WriteProblem(message, where=where, hint="Choose a new folder inside of it."))


def _inputs_in_the_way(plan: Plan, target: Path, where: str) -> Iterator[Obstacle]:
    refs = [ref for ref in (plan.recipe.base, *plan.recipe.experts) if ref is not None]
    for ref in refs:
        model = Path(ref.path).resolve()
        if model.is_relative_to(target):
            message = f"{printable(ref.name)} is there, which this merge reads."
        elif target.is_relative_to(model):
            message = f"It is inside of the folder of {printable(ref.name)}, which this merge reads."
        else:
            continue
        yield Obstacle("inside-input", WriteProblem(message, where=where, hint="Choose a place outside of the models."))
        return


def _existing_in_the_way(target: Path, options: ExportOptions, where: str) -> Iterator[Obstacle]:
    existing = examine(target)
    if existing.kind == "foreign":
        hint = "Choose another name; Mixdown only replaces its own exports."
        yield Obstacle("foreign", WriteProblem(f"There is {existing.what} already.", where=where, hint=hint))
    elif existing.kind == "export" and not options.replace:
        hint = "Choose another name, or replace it (--replace)."
        yield Obstacle("exists", WriteProblem("There is an earlier export already.", where=where, hint=hint))


def _no_permission(target: Path, where: str) -> Iterator[Obstacle]:
    folder = _nearest_folder(target)
    if not folder.is_dir():
        message = f"{printable(folder)} is not a folder."
    elif not os.access(folder, os.W_OK | os.X_OK):
        message = "The folder cannot be written to (read-only, or no permission)."
    else:
        return
    yield Obstacle("read-only", WriteProblem(message, where=where, hint="Choose another folder."))


def _about_replacing(target: Path, options: ExportOptions) -> Iterator[Finding]:
    if options.replace and examine(target).kind == "export":
        yield Finding("warning", "replace", "The earlier export will be replaced, once the new one is complete.")


def _about_dtypes(plan: Plan) -> Iterator[Finding]:
    """Tensors that are stored as something else than they come in."""
    changes = Counter((job.dtype, job.out_dtype) for job in plan.jobs if job.dtype != job.out_dtype)
    for (before, after), count in sorted(changes.items()):
        names = tuple(job.name for job in plan.jobs if (job.dtype, job.out_dtype) == (before, after))[:20]
        loses = ITEM_BYTES[after] < ITEM_BYTES[before] or {before, after} == {"F16", "BF16"}
        message = f"{counted(count, 'tensor')} will be stored as {after} instead of {before}."
        hint = "Values are rounded once, when they are written." if loses else "The file becomes larger."
        yield Finding("warning" if loses else "info", "dtype", message, hint, names, count)


def _about_disk(target: Path) -> Iterator[Finding]:
    if kind := network_filesystem(_nearest_folder(target)):
        message = (
            f"The target is on a network file system ({kind}), which may not keep what it confirms in a power cut."
        )
        yield Finding(
            "warning", "network-disk", message, "Export to a local disk, then copy; `verify` checks the copy."
        )


def _about_memory(plan: Plan, peak: int) -> Iterator[Finding]:
    available = _memory("MemAvailable")
    if available is not None and available < peak and not any(_beyond_memory(plan)):
        message = f"The merge needs about {_size(peak)} of memory; {_size(available)} are available."
        fewer = "fewer experts or a smaller method" if plan.whole_bytes > peak // 2 else "fewer threads"
        yield Finding("warning", "memory", message, f"Close other programs or use {fewer}.")


def _beyond_memory(plan: Plan) -> Iterator[Obstacle]:
    """A tensor that has to be merged whole, of more models than this computer could ever hold."""
    largest = max(plan.jobs, key=plan.bytes_at_once, default=None)
    there = _memory("MemTotal", "SwapTotal")
    if largest is None or there is None or plan.bytes_at_once(largest) <= there:
        return
    need, models = plan.bytes_at_once(largest), len(largest.used) + 1
    message = f"{plan.method.title} takes {_size(need)} of memory for this tensor of {models:,} models at once; "
    message += f"this computer has {_size(there)}."
    hint = "Use fewer experts, or a method that merges piece by piece, like Task Arithmetic or TIES."
    yield Obstacle("memory", NotEnoughMemory(message, where=printable(largest.name, 120), hint=hint))


def _memory(*names: str) -> int | None:
    """Bytes of memory that the system states under these names, together; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        stated = dict(line.split(":", 1) for line in lines)
        return sum(int(stated[name].split()[0]) * 1024 for name in names)
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _nearest_folder(target: Path) -> Path:
    """The innermost existing thing above the target; an export makes missing folders."""
    return next((parent for parent in target.parents if parent.exists()), target.parent)


def _size(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
