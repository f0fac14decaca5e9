"""The export panel: checks from headers while the user types, then the export itself as a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QObject, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices

from app import export_host
from app.command_line import command_for
from app.export_job import ExportJob
from app.jobs import Job
from app.jobs_controller import row
from app.recording import record_export
from app.workbench import remarks
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.merge.inputs import Inputs
from engine.progress import Token
from engine.recipe.origin import about_origins, inherited
from engine.recipe.recipe import Recipe
from widgets.common.format import bytes_text, duration_text
from widgets.panels.export_panel import ExportPanel
from widgets.panels.state import ExportForm, ExportState, Note

if TYPE_CHECKING:
    from engine.export.options import Exported, ExportOptions, Format
    from engine.export.preflight import Preflight

CHECK_DELAY_MS = 120
_FORMATS = (
    ("safetensors", "Model folder (safetensors)"),
    ("onnx", "ONNX graph"),
    ("both", "safetensors and ONNX"),
)
_DTYPES = (("", "as the base"), ("BF16", "bfloat16"), ("F16", "float16"), ("F32", "float32"))


@dataclass(frozen=True, slots=True)
class _Check:
    """The last preflight: of which form, and what it said."""

    form: ExportForm
    report: Preflight | None = None
    error: MixdownError | None = None


class ExportController(QObject):
    """Connects the export panel with preflight and export.

    Signals:
        exported: The `Exported`, after success.
        failed: (error) of an export.
        copied: Text that was put on the clipboard.
        openRequested: Path of an export that should become an expert.
        told: A sentence worth a notification.
    """

    exported = Signal(object)
    failed = Signal(object)
    copied = Signal(str)
    told = Signal(str)
    openRequested = Signal(str)

    def __init__(
        self,
        workspace: Workspace,
        panel: ExportPanel,
        ask_replace: Callable[[Path], Path | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._workspace, self._panel, self._ask_replace = workspace, panel, ask_replace
        self._form = ExportForm(device=workspace.settings.device)
        self._check: _Check | None = None
        self._wants_worker = False
        self._key = ""
        self._written: dict[str, Path] = {}
        self._timer = QTimer(self, interval=CHECK_DELAY_MS, singleShot=True)
        self._timer.timeout.connect(self._preflight)
        panel.formChanged.connect(self._on_form)
        panel.exportRequested.connect(self.export)
        panel.cancelRequested.connect(self.cancel)
        panel.copied.connect(self.copied)
        panel.refused.connect(self.told)
        panel.jobActionTriggered.connect(self.act)
        workspace.store.recipeChanged.connect(self._on_recipe)
        workspace.modelsChanged.connect(self._on_recipe)
        workspace.runner.jobsChanged.connect(self._show_progress)

    def tidy(self) -> None:
        """Clean up after an export that was killed: put an older export back, delete what is unfinished."""
        folder = Path(self._workspace.settings.export_folder)
        if not self._workspace.settings.export_folder or not folder.is_dir():
            return

        def work(_: Token) -> int:
            from engine.export.existing import remove_litter

            return len(remove_litter(folder))

        self._workspace.runner.submit("Tidying up after an earlier export", work, lane="files", shown=False,
                                      done=self._tidied)  # fmt: skip

    def _tidied(self, count: int) -> None:
        if count:
            self.told.emit("An export was interrupted the last time. What it left behind has been removed; "
                           "the older export is in place.")  # fmt: skip

    # What the panel shows ------------------------------------------------------------------------------------

    def start(self) -> None:
        """The panel was opened: propose a target and check it."""
        self._wants_worker = True  # not at each move of a fader while it stays open
        if not self._form.path:
            folder = Path(self._workspace.settings.export_folder or Path.home())
            self._form = replace(self._form, path=str(free_name(folder, "merged")))
        self._on_recipe()

    def _on_recipe(self, *_: object) -> None:
        self._form = replace(self._form, dtype=self._workspace.recipe.dtype)
        if self._panel.isVisible():
            self.refresh()
            self._timer.start()

    def _on_form(self, form: ExportForm) -> None:
        self._form = form
        recipe = self._workspace.recipe
        if form.dtype != recipe.dtype:
            label = dict(_DTYPES).get(form.dtype, form.dtype)
            self._workspace.store.apply(replace(recipe, dtype=form.dtype), f"Write as {label}")
        self.refresh()
        self._timer.start()

    def refresh(self) -> None:
        """Show the form and what is known about it."""
        check = self._check if self._check and self._check.form == self._form else None
        report = check.report if check else None
        self._panel.set_state(
            ExportState(
                form=self._form,
                formats=_FORMATS,
                dtypes=self._dtypes(),
                devices=self._workspace.devices,
                notes=self._notes(check),
                bytes_out=report.bytes_out if report else None,
                free_bytes=report.free_bytes if report else None,
                peak_bytes=report.peak_memory_bytes if report else None,
                forecast_s=report.forecast_s if report else None,
                command=self.command(),
                reason=self._reason(check),
                exists=bool(self._form.path) and Path(self._form.path).expanduser().exists(),
                job=row(self._job) if self._job else None,
            )
        )

    def _dtypes(self) -> tuple[tuple[str, str], ...]:
        ref = self._workspace.recipe.base or next(iter(self._workspace.recipe.experts), None)
        checkpoint = self._workspace.library.entry(ref.path).checkpoint if ref else None
        own = ", ".join(d.lower() for d in checkpoint.dtypes) if checkpoint else ""
        return (("", f"as the base: {own}" if own else "as the base"), *_DTYPES[1:])

    def _notes(self, check: _Check | None) -> tuple[Note, ...]:
        if check is None:
            return ()
        if check.error is not None:
            return (Note(severity="error", message=check.error.message, hint=check.error.hint),)
        assert check.report is not None
        found = tuple(Note(severity=f.severity, message=f.message, hint=f.hint) for f in check.report.findings) or (
            Note(severity="ok", message="Same keys, same shapes; fits on the disk and in memory."),
        )
        return (*found, *self._about_sources())

    def _about_sources(self) -> tuple[Note, ...]:
        """Which sources nobody vouches for; the export will name them."""
        recipe, library = self._workspace.recipe, self._workspace.library
        models = [m for m in (recipe.base, *recipe.experts) if m is not None]
        origins = {m.name: library.entry(m.path).origin for m in models}
        text, unknown = about_origins(origins), inherited(tuple(origins.values()))
        hint = "The export's card, manifest and provenance will name what nobody vouches for." if unknown else ""
        return (Note(severity="info", message=text, hint=hint),) if text else ()

    def _reason(self, check: _Check | None) -> str:
        if not self._workspace.recipe.experts:
            return "Needs at least one expert."
        if self._job is not None and self._job.state in ("waiting", "running", "paused"):
            return "An export is running."
        if self._workspace.inputs() is None:
            problem = self._workspace.unstackable
            return str(problem) if problem is not None else "Waiting for the models to be read."
        if not self._form.path.strip():
            return "Choose a folder first."
        if check is None:
            return "Checking…"
        worst = next((n for n in self._notes(check) if n.severity == "error"), None)
        return worst.message if worst else ""

    def command(self) -> str:
        """The same export as a command line; "" while the models are being read."""
        layout, recipe = self._workspace.layout, self._workspace.recipe
        if layout is None or not recipe.experts:
            return ""
        store, form = self._workspace.store, self._form
        options = [*(["--dtype", form.dtype] if form.dtype else []), *(["--no-verify"] if not form.verify else [])]
        options += ["--format", form.format] if form.format != "safetensors" else []
        if form.shard_gb and form.shard_gb != ExportForm().shard_gb:
            options += ["--shard-size", f"{form.shard_gb:g}GB"]
        return command_for(recipe, layout, form.path, options, store.path if not store.is_edited else None)

    # Preflight -----------------------------------------------------------------------------------------------

    def _preflight(self) -> None:
        """Check from headers alone, in a file thread; the newest form wins."""
        inputs, recipe, form = self._workspace.inputs(), self._workspace.recipe, self._form
        if inputs is None or not form.path.strip():
            return
        options = self._options(form, replace_old=True)
        wanted, self._wants_worker = self._wants_worker, False

        def work(token: Token) -> Preflight:
            from engine.export.preflight import preflight
            from engine.merge.plan import make_plan

            if wanted:
                export_host.warm(inputs)
            return preflight(make_plan(recipe, inputs), target(form), options)

        self._workspace.runner.submit(
            "Checking the export", work, lane="files", key="preflight", shown=False,
            done=lambda report: self._checked(_Check(form, report)),
            failed=lambda error: self._checked(_Check(form, None, error)),
        )  # fmt: skip

    def _checked(self, check: _Check) -> None:
        self._check = check
        self.refresh()

    @staticmethod
    def _options(form: ExportForm, *, replace_old: bool) -> ExportOptions:
        from engine.export.options import SHARD_BYTES, ExportOptions

        return ExportOptions(
            shard_bytes=int(form.shard_gb * 1e9) or SHARD_BYTES * 10**6,
            verify=form.verify,
            replace=replace_old,
            card=form.card,
            sidecars=form.sidecars,
            format=cast("Format", form.format),
        )

    # The export ----------------------------------------------------------------------------------------------

    def export(self, form: ExportForm) -> None:
        """Start the export as a job, after asking if something would be replaced."""
        inputs, recipe, out = self._workspace.inputs(), self._workspace.recipe, target(form)
        if inputs is None:
            return
        chosen = self._ask_replace(out) if out.exists() else out
        if chosen is None:
            return
        if chosen != out:
            form, out = replace(form, path=str(chosen)), chosen
            self._form = form
        options = self._options(form, replace_old=out.exists())
        work = export_work(recipe, inputs, out, options, form.device, self._workspace.settings.threads)
        key = self._key = f"export {out}"
        self._workspace.runner.submit(
            f"Exporting {out.name}", work, key=key, done=lambda done: self._done(done, key), failed=self._failed
        )
        self._workspace.change_settings(export_folder=str(out.parent))
        self.refresh()

    @property
    def _job(self) -> Job | None:
        """The latest export, also when it was started again from the jobs panel."""
        return next((j for j in reversed(self._workspace.runner.jobs) if self._key and j.key == self._key), None)

    def cancel(self) -> None:
        """Stop the running export."""
        if self._job is not None:
            self._workspace.runner.cancel(self._job)

    def act_on(self, number: int, action: str) -> None:
        """A button of a finished export in the jobs panel."""
        job = next((j for j in self._workspace.runner.jobs if j.number == number), None)
        if job is not None:
            self.act(action, job.key)

    def act(self, action: str, key: str = "") -> None:
        """A button of a finished export, by default the latest; the form may name another place by now."""
        path = self._written.get(key or self._key)
        if path is None:
            return
        if action == "open_folder":
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path if path.is_dir() else path.parent)))
        elif action == "open_expert":
            self.openRequested.emit(str(path))

    def _done(self, done: Exported, key: str) -> None:
        self._written[key] = done.path
        job = next((j for j in reversed(self._workspace.runner.jobs) if j.key == key), None)
        if job is not None:
            text = f"Exported {bytes_text(done.bytes)} in {duration_text(done.seconds)}."
            job.message = f"{text} {remarks(done.notes)}".strip()
            is_model = any(file.suffix == ".safetensors" for file in done.files)
            job.actions = (("open_folder", "Open folder"), *([("open_expert", "Open as expert")] if is_model else []))
        self.exported.emit(done)
        self._wants_worker = True  # who exported once is likely to do it again
        self._on_recipe()

    def _failed(self, error: MixdownError) -> None:
        self.failed.emit(error)
        self._on_recipe()

    def _show_progress(self) -> None:
        if self._job is not None and self._panel.isVisible():
            self.refresh()


def export_work(
    recipe: Recipe, inputs: Inputs, out: Path, options: ExportOptions, device: str, threads: int
) -> Callable[[Token], Exported]:
    """The export as a job, in a process of its own: a crash in there does not take the window with it."""

    def work(token: Token) -> Exported:
        made = export_host.export(ExportJob(recipe, out, options, device, threads), inputs, token)
        record_export(made.recipe, made.exported, made.device)
        return made.exported

    return work


def target(form: ExportForm) -> Path:
    """The form's path, made absolute."""
    return Path(form.path.strip()).expanduser().absolute()


def free_name(folder: Path, name: str) -> Path:
    """A path in the folder that does not exist yet: "merged", "merged-2", ..."""
    number, path = 1, folder / name
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path
