"""What the export panel says, as pure functions of its state."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from widgets.common.format import bytes_text, duration_text, plural

if TYPE_CHECKING:
    from widgets.panels.state import ExportForm, ExportState, JobRow, Note

_ORDER = {"error": 0, "warning": 1, "info": 2, "ok": 3}


def written(state: ExportState) -> tuple[str, ...]:
    """What will lie in the target folder, one line for each thing."""
    form, size = state.form, state.bytes_out
    limit = form.shard_gb * 1e9
    if form.format == "onnx":
        lines = ["model.onnx (from 1.9 GB on with a data file)"]
    elif size is None or not limit or size <= limit:
        lines = [f"model.safetensors ({bytes_text(size)})" if size is not None else "the weights as safetensors"]
    else:
        lines = [f"about {ceil(size / limit)} safetensors files of up to {bytes_text(limit)}, and their index"]
    if form.format == "both":
        lines.append("model.onnx, a graph that reads the safetensors beside it")
    if form.sidecars:
        lines.append("config.json and the base's tokenizer files")
    if form.card:
        lines.append("README.md, a model card with the recipe")
    return tuple(lines)


def format_text(form: ExportForm) -> str:
    """What a format costs and gives; "" for plain safetensors."""
    if form.format == "onnx":
        return (
            "Compared with torch. Needs twice the space while it is written, and some 10 s more for the first export "
            "of an architecture. Cannot be merged again."
        )
    if form.format == "both":
        return (
            "Compared with torch. The graph takes under 1 MB and reads the weights beside it; some 10 s more for the "
            "first export of an architecture."
        )
    return ""


def space_share(state: ExportState) -> float | None:
    """Share of the free space that the result takes (above 1: too large), None while unknown."""
    if state.bytes_out is None or state.free_bytes is None:
        return None
    return state.bytes_out / state.free_bytes if state.free_bytes > 0 else 2.0


def space_text(state: ExportState) -> str:
    """The same in words."""
    share = space_share(state)
    if share is None:
        return f"Needs {bytes_text(state.bytes_out)}" if state.bytes_out is not None else "Size not known yet"
    need, free = bytes_text(state.bytes_out), bytes_text(state.free_bytes)
    if share > 1:
        return f"Needs {need}, only {free} free: {bytes_text((state.bytes_out or 0) - (state.free_bytes or 0))} missing"
    return f"Needs {need} of {free} free"


def forecast_text(state: ExportState) -> str:
    """Time and memory: "About 20 s, up to 600 MB of memory"."""
    parts = [f"about {duration_text(state.forecast_s)}"] if state.forecast_s is not None else []
    parts += [f"up to {bytes_text(state.peak_bytes)} of memory"] if state.peak_bytes is not None else []
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def sorted_notes(notes: tuple[Note, ...]) -> list[Note]:
    """The worst first; otherwise as they came."""
    return sorted(notes, key=lambda note: _ORDER[note.severity])


def checks_text(notes: tuple[Note, ...]) -> str:
    """Heading of the checks: "Checks: 1 problem, 2 warnings"."""
    if not notes:
        return "Checks"
    words = (("error", "problem"), ("warning", "warning"), ("info", "note"))
    counts = [(sum(n.severity == severity for n in notes), noun) for severity, noun in words]
    said = ", ".join(plural(count, noun) for count, noun in counts if count)
    return f"Checks: {said}" if said else f"Checks: all {len(notes)} passed" if len(notes) > 1 else "Checks: passed"


def is_busy(job: JobRow | None) -> bool:
    """Whether an export waits or runs."""
    return job is not None and job.state in ("waiting", "running", "paused")
