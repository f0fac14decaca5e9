"""Export > Task bundle: the dialog, its forecast from headers, and the job that writes and scores the bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog

from app import places
from app.export_controller import free_name
from app.jobs import Job
from app.jobs_controller import row
from engine.bundle.forecast import forecast
from engine.evaluate.task import load_task
from engine.files.hashing import HashCache, content_hash
from engine.merge.inputs import Inputs
from engine.progress import Token
from widgets.common.format import bytes_text, percent_text
from widgets.dialogs.bundle_state import BundleForm, BundleResult, BundleSizes, BundleState, BundleTask

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.bundle.making import Made
    from widgets.dialogs.bundle_dialog import BundleDialog

_KEY = "task bundle"
_SUFFIX = ".safetensors"
_FILES = f"Task bundles (*{_SUFFIX})"


class BundleExport(QObject):
    """Connects the dialog with the workspace; the dialog is made when it is first wanted.

    Args:
        desk: The assembled desk.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk, self._workspace = desk, desk.workspace
        self._dialog: BundleDialog | None = None
        self._results: tuple[BundleResult, ...] = ()
        self._summary, self._written = "", Path()
        self._workspace.store.recipeChanged.connect(self._follow)
        self._workspace.modelsChanged.connect(self._follow)
        self._workspace.runner.jobsChanged.connect(self._show_progress)

    @property
    def dialog(self) -> BundleDialog:
        """The dialog."""
        if self._dialog is None:
            from widgets.dialogs.bundle_dialog import BundleDialog

            made = self._dialog = BundleDialog(self._desk.window)
            made.formChanged.connect(lambda _: self.refresh())
            made.exportRequested.connect(self.export)
            made.cancelRequested.connect(self._cancel)
            made.browseRequested.connect(self._browse)
            made.actionTriggered.connect(self.act)
            made.copied.connect(lambda _: self._desk.tell("Copied.", "ok"))
            made.helpRequested.connect(lambda: self._desk.dialogs.help("bundles"))
        return self._dialog

    def open(self) -> None:
        """Show the dialog with the experts of the desk."""
        dialog, form = self.dialog, self.dialog.form()
        if not form.path:
            folder = Path(self._workspace.settings.export_folder or Path.home())
            form = replace(form, path=f"{free_name(folder, 'tasks.safetensors')}")
        dialog.set_form(replace(form, tasks=self._tasks(form)))
        self.refresh()
        dialog.show()
        dialog.activateWindow()
        dialog.target.setFocus()

    def refresh(self) -> None:
        """Show the forecast, what is in the way, and the job."""
        form, inputs = self.dialog.form(), self._workspace.inputs()
        self.dialog.set_state(BundleState(
            sizes=_sizes(inputs, form), reason=self._reason(form, inputs), job=row(self._job) if self._job else None,
            results=self._results, summary=self._summary,
        ))  # fmt: skip

    def export(self, form: BundleForm) -> None:
        """Start the job, after asking if a file would be replaced."""
        inputs, out = self._workspace.inputs(), _target(form)
        if inputs is None:
            return
        chosen = self._desk.dialogs.ask_replace(out) if out.exists() else out
        if chosen is None:
            return
        form = replace(form, path=str(chosen))
        self.dialog.set_form(form)
        self._results = ()
        rows, threads = self._workspace.settings.eval_rows, self._workspace.settings.threads
        self._workspace.runner.submit(
            f"Bundling {chosen.name}", bundle_work(inputs, form, chosen, rows=rows, threads=threads), key=_KEY,
            done=self._done, failed=lambda _: self.refresh(),
        )  # fmt: skip
        self._workspace.change_settings(export_folder=str(chosen.parent))
        self.refresh()

    def act(self, action: str) -> None:
        """A button of the finished job."""
        if action == "open_folder":
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written.parent)))
        elif action == "open_bundle":
            self._desk.adding.add([str(self._written)], "canvas")

    @property
    def _job(self) -> Job | None:
        return next((j for j in reversed(self._workspace.runner.jobs) if j.key == _KEY and not j.dropped), None)

    def _cancel(self) -> None:
        if self._job is not None:
            self._workspace.runner.cancel(self._job)

    def _browse(self) -> None:
        start = self.dialog.form().path or str(Path.home() / f"tasks{_SUFFIX}")
        path, _ = QFileDialog.getSaveFileName(
            self.dialog, "Export as task bundle", start, _FILES, options=QFileDialog.Option.DontConfirmOverwrite
        )
        if path:
            self.dialog.set_form(replace(self.dialog.form(), path=str(Path(path).with_suffix(_SUFFIX))))
            self.refresh()

    def _tasks(self, form: BundleForm) -> tuple[BundleTask, ...]:
        """The experts of the desk; what the user chose for one stays."""
        recipe, known = self._workspace.recipe, {task.name: task for task in form.tasks}
        data = tuple((t.path, t.name) for t in recipe.tasks)
        paths = {path for path, _ in data}
        made = []
        for expert in recipe.experts:
            own = next((path for path, name in data if name == expert.name), "")
            old = known.get(expert.name)
            if old is not None and old.data == data:
                made.append(old)
            elif old is not None:
                made.append(replace(old, data=data, chosen=old.chosen if old.chosen in paths else own))
            else:
                made.append(BundleTask(name=expert.name, data=data, chosen=own))
        return tuple(made)

    def _reason(self, form: BundleForm, inputs: Inputs | None) -> str:
        if not self._workspace.recipe.experts:
            return "Needs at least one expert."
        if inputs is None:
            return "Waiting for the models to be read."
        if inputs.base is None:
            return "A bundle needs the base. Drop it on the base well."
        for expert, found in self._workspace.findings().items():
            worst = next((f.message for f in found if f.severity == "error"), "")
            if worst:
                return f"{self._workspace.recipe.expert(expert).name} does not fit the base: {worst}"
        if not form.path.strip():
            return "Choose a file first."
        out = _target(form)
        if out.suffix != _SUFFIX:
            return f"A bundle is a {_SUFFIX} file."
        return "" if out.parent.is_dir() else "This folder does not exist."

    def _follow(self, *_: object) -> None:
        """Experts or tasks may have changed."""
        if self._dialog is not None and self._dialog.isVisible():
            form = self._dialog.form()
            tasks = self._tasks(form)
            if tasks != form.tasks:
                self._dialog.set_form(replace(form, tasks=tasks))
            self.refresh()

    def _show_progress(self) -> None:
        """At most ten times a second: only the job, not what it took some reading to find out."""
        if self._dialog is not None and self._dialog.isVisible() and self._job is not None:
            self._dialog.set_state(replace(self._dialog.state, job=row(self._job)))

    def _done(self, made: Made) -> None:
        order = {expert.name: number for number, expert in enumerate(self._workspace.recipe.experts)}
        found = sorted(results_of(made), key=lambda result: order.get(result.name, len(order)))
        self._results, self._summary, self._written = tuple(found), summary_of(made), made.done.path
        job = self._job
        if job is not None:
            job.message = self._summary
            job.actions = (("open_folder", "Open folder"), ("open_bundle", "Put its tasks on the desk"))
        self._desk.tell(f"Bundled {made.done.storage.tasks} experts in {made.done.path.name}.", "ok")
        if self._dialog is not None:
            self.refresh()


def bundle_work(inputs: Inputs, form: BundleForm, out: Path, *, rows: int, threads: int) -> Callable[[Token], Made]:
    """The bundle as a job: hash, choose λ, write, score.

    Args:
        inputs: A base and its experts.
        form: What the user wants.
        out: The file to write.
        rows: Most rows of each split that are scored.
        threads: Worker threads; 0 for one a core.
    """
    data = {t.name: t.chosen for t in form.tasks if t.chosen}
    fixed = {t.name: t.level for t in form.tasks if not t.is_tuned}

    def work(token: Token) -> Made:
        from engine.bundle.compress import BundleOptions
        from engine.bundle.making import make_bundle
        from engine.store.cache import ScoreCache

        cache, base = HashCache(places.hash_cache_file()), inputs.base
        options = BundleOptions(
            include_base=form.include_base, codec="huffman" if form.coded else "raw", bits=8 if form.eight else 32,
            rescale=form.rescale, replace=True, base_sha256="" if base is None else content_hash(base, token, cache),
            sha256={n: content_hash(ck, token, cache) for n, ck in zip(inputs.names, inputs.experts, strict=True)},
        )  # fmt: skip
        tasks = {name: load_task(Path(path)) for name, path in data.items() if name in inputs.names}
        return make_bundle(
            inputs, out, tasks=tasks, fixed=fixed, options=options, limit=rows or None, progress=token,
            cache=ScoreCache(places.score_cache_file()), threads=threads or None,
        )  # fmt: skip

    return work


def results_of(made: Made) -> tuple[BundleResult, ...]:
    """The table of a finished bundle."""
    done = made.done
    lines = []
    for task in done.manifest.tasks:
        kept = made.kept.get(task.name)
        line = BundleResult(name=task.name, level=task.strictness, tuned=task.name in made.tuned,
                            density=done.density[task.name], size_bytes=made.task_bytes.get(task.name, 0))  # fmt: skip
        if kept is not None:
            line = replace(line, restored=kept.restored.value, expert=kept.expert.value, kept=kept.share,
                           rows=kept.restored.count)  # fmt: skip
        lines.append(line)
    return tuple(lines)


def summary_of(made: Made) -> str:
    """What a finished bundle takes and keeps."""
    size = made.done.storage
    text = (f"{bytes_text(size.file_bytes)} beside {bytes_text(size.experts_bytes)} of experts, "
            f"{size.bits_a_parameter:.2f} bits a parameter with the base.")  # fmt: skip
    if made.mean_share is None:
        return f"{text} No task has data, so nothing was scored."
    rows = sum(kept.restored.count for kept in made.kept.values())
    return (
        f"{text} Restored tasks keep {percent_text(made.mean_share, 2)} of their experts' scores on {rows} test rows."
    )


def _sizes(inputs: Inputs | None, form: BundleForm) -> BundleSizes | None:
    found = forecast(inputs, bits=8 if form.eight else 32, include_base=form.include_base) if inputs else None
    if found is None or inputs is None:
        return None
    own = sum(expert.size_bytes for expert in inputs.experts)
    return BundleSizes(
        file_bytes=found.file_bytes, experts_bytes=own, bits=found.bits_a_parameter, tasks=found.tasks,
        ratio=own / max(1, found.base_bytes + found.multi_bytes + found.mask_bytes),
    )  # fmt: skip


def _target(form: BundleForm) -> Path:
    return Path(form.path.strip()).expanduser().absolute()


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the dialog to the desk."""
    made = BundleExport(desk)
    return {"file.bundle": lambda *_: made.open()}
