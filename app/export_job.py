"""An export as plain data that can be sent to another process, and how it is done. Never imports Qt or torch itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import doctor
from app.workbench import hashed, open_recipe, origins, provenance, recheck_inputs, vouch
from engine import errors
from engine.errors import Changed, MixdownError
from engine.merge.inputs import Inputs
from engine.progress import Token
from engine.recipe.project import from_json, to_json
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from engine.export.options import Exported, ExportOptions

Stamps = tuple[tuple[str, int, int], ...]
"""Path, bytes and time of change of every input file, as the window opened it."""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What is exported, where and how.

    Attributes:
        recipe: With absolute paths.
        out: A new folder or a .safetensors file.
        options: How to write it.
        device: "auto", "cpu" or "cuda".
        threads: Worker threads; 0 for one a core.
        stamps: Of the inputs; empty to take them as they are.
    """

    recipe: Recipe
    out: Path
    options: ExportOptions
    device: str = "auto"
    threads: int = 0
    stamps: Stamps = field(default=())


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished export, with what it was made of.

    Attributes:
        exported: The files.
        recipe: The recipe with all content hashes.
        device: Where it was computed.
    """

    exported: Exported
    recipe: Recipe
    device: str


def stamps_of(inputs: Inputs) -> Stamps:
    """What the files of the inputs were when they were opened."""
    opened = [ck for ck in (inputs.stored_base, *inputs.stored_experts) if ck is not None]
    return tuple(sorted({(str(s.path), s.size, s.mtime_ns) for ck in opened for s in ck.stamps}))


def perform(job: ExportJob, inputs: Inputs, token: Token) -> Finished:
    """Hash what is not hashed yet, plan, merge and write, in this process.

    Raises:
        MixdownError: as `engine.export.folder.export` does.
    """
    from engine.export.folder import export
    from engine.merge.plan import make_plan

    now, on = hashed(job.recipe, inputs, token), doctor.pick_device(job.device)
    known = origins(now, inputs)
    done = export(make_plan(now, inputs), job.out, options=job.options, provenance=provenance(now, known),
                  progress=token, device=on, threads=job.threads or None,
                  recheck=lambda: recheck_inputs(now, inputs, token))  # fmt: skip
    vouch(done.path, known)
    return Finished(done, now, on)


def reopened(job: ExportJob) -> Inputs:
    """The job's models, opened from their headers again.

    Raises:
        Changed: if a file is not the one that the window opened.
        FileProblem: if a model cannot be opened.
    """
    inputs = open_recipe(job.recipe).inputs
    if job.stamps and stamps_of(inputs) != job.stamps:
        known = {path: rest for path, *rest in job.stamps}
        other = next((path for path, *rest in stamps_of(inputs) if known.get(path) != rest), "")
        raise Changed("The file was changed since it was put on the desk.", where=other, hint="Export it again.")
    return inputs


def job_to_json(job: ExportJob) -> dict[str, Any]:
    """A job as plain data."""
    return {"recipe": to_json(job.recipe), "out": str(job.out), "options": asdict(job.options),
            "device": job.device, "threads": job.threads, "stamps": [list(s) for s in job.stamps]}  # fmt: skip


def job_from_json(data: Mapping[str, Any]) -> ExportJob:
    """A job from plain data.

    Raises:
        BadProject: if the recipe is not one.
    """
    from engine.export.options import ExportOptions

    stamps = tuple((str(path), int(size), int(time)) for path, size, time in data["stamps"])
    return ExportJob(from_json(data["recipe"]), Path(data["out"]), ExportOptions(**data["options"]),
                     data["device"], data["threads"], stamps)  # fmt: skip


def finished_to_json(done: Finished) -> dict[str, Any]:
    """A result as plain data."""
    made = done.exported
    return {"path": str(made.path), "bytes": made.bytes, "seconds": made.seconds, "files": [str(f) for f in made.files],
            "notes": dict(made.notes), "recipe": to_json(done.recipe), "device": done.device}  # fmt: skip


def finished_from_json(data: Mapping[str, Any]) -> Finished:
    """A result from plain data."""
    from engine.export.options import Exported

    made = Exported(Path(data["path"]), data["bytes"], data["seconds"], tuple(map(Path, data["files"])), data["notes"])
    return Finished(made, from_json(data["recipe"]), data["device"])


def error_to_json(error: MixdownError) -> dict[str, str]:
    """A problem as plain data."""
    return {"kind": type(error).__name__, "message": error.message, "where": error.where, "hint": error.hint}


def error_from_json(data: Mapping[str, str]) -> MixdownError:
    """The problem that plain data tells, of the same class where there is one."""
    kind = getattr(errors, data["kind"], MixdownError)
    known = isinstance(kind, type) and issubclass(kind, MixdownError)
    plain = known and kind.__init__ is MixdownError.__init__
    made: MixdownError = (kind if plain else MixdownError)(data["message"], where=data["where"], hint=data["hint"])
    return made
