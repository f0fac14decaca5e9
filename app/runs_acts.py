"""What can be done with runs: use, run again, compare, open, star, tag, note, delete, save; and recording scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QInputDialog

from app import recording
from app.compare_controller import CompareController
from app.explain_controller import ExplainController
from app.export_controller import export_work, free_name
from app.handlers import notice
from app.problems import as_problem
from app.workbench import check_hashes, hashed, open_recipe, refuse_errors
from engine.errors import MixdownError, WriteProblem
from engine.evaluate.score import Score
from engine.files.checkpoint import open_checkpoint
from engine.files.hashing import content_hash
from engine.files.text import listed
from engine.history import recipes
from engine.history.values import Run
from engine.methods import find
from engine.progress import Token
from engine.recipe.recipe import Recipe
from widgets.common.format import plural
from widgets.common.text import plain

if TYPE_CHECKING:
    from app.desk import Desk
    from app.runs_controller import RunsController
    from engine.history.history import History

_KEY = "runs"
_HASHING = "hash outputs"
_SETTLED_S = 2.0


class RunsActs(QObject):
    """Commands on runs.

    Args:
        desk: The assembled desk.
        runs: Asks the history and shows what came of it.
    """

    def __init__(self, desk: Desk, runs: RunsController) -> None:
        super().__init__(runs)
        self._desk, self._runs = desk, runs
        self._deleted: list[int] = []
        desk.window.toasts.actionTriggered.connect(self._on_notice)

    def tell(self, text: str, severity: str = "info") -> None:
        """A notification."""
        self._desk.window.toasts.show_notice(notice(text, severity, (), _KEY))

    def do(self, command: str, runs: list[int]) -> None:
        """Do a command of the panel."""
        if command == "csv":
            self._choose_csv()
        elif command == "delete":
            self.delete(runs)
        elif runs:
            handlers: dict[str, Callable[[tuple[Run, ...]], None]] = {
                "use": self._use, "rerun": self._rerun, "compare": self._compare,
                "beside": self._beside, "folder": self._folder, "star": self._star,
                "tag": self._ask_tags, "note": self._ask_note,
            }  # fmt: skip
            self._runs.ask(lambda history: history.runs(runs), lambda found: found and handlers[command](found))

    def _write(self, work: Callable[[History], Any]) -> None:
        self._runs.ask(work, lambda _: self._runs.changed())

    # Marks ---------------------------------------------------------------------------------------------------

    def _star(self, runs: tuple[Run, ...]) -> None:
        ids, star = [r.id for r in runs], not all(r.star for r in runs)
        self._write(lambda history: history.set_star(ids, star))

    def _ask_tags(self, runs: tuple[Run, ...]) -> None:
        common = set.intersection(*(set(r.tags) for r in runs))
        text, ok = QInputDialog.getText(self._desk.window, "Tags", f"Tags of {plural(len(runs), 'run')}, separated by "
                                        "commas:", text=", ".join(sorted(common)))  # fmt: skip
        if ok:
            self.tag([r.id for r in runs], common, {" ".join(t.split()) for t in text.split(",")} - {""})

    def tag(self, runs: list[int], before: set[str], after: set[str]) -> None:
        """Change the tags that the runs have in common."""
        self._write(lambda history: history.set_tags(runs, add=after - before, remove=before - after))

    def _ask_note(self, runs: tuple[Run, ...]) -> None:
        run = runs[0]
        text, ok = QInputDialog.getMultiLineText(self._desk.window, "Note", f"Note on run {run.id}:", run.note)
        if ok:
            self._write(lambda history: history.set_note(run.id, text.strip()))

    def delete(self, runs: list[int]) -> None:
        """Take runs off the list; files stay, and undo brings the runs back."""

        def done(_: object) -> None:
            self._deleted = runs
            text = f"Deleted {plural(len(runs), 'run')} from the list; files stay."
            self._desk.window.toasts.show_notice(notice(text, "info", (("undo", "Undo"),), f"{_KEY} deleted"))
            self._runs.changed()

        self._runs.ask(lambda history: history.delete(runs), done)

    def restore(self) -> None:
        """Bring back what was deleted last."""
        runs, self._deleted = self._deleted, []
        self._write(lambda history: history.delete(runs, False))

    def _on_notice(self, key: str, action: str) -> None:
        if key == f"{_KEY} deleted" and action == "undo":
            self.restore()

    # Recipes -------------------------------------------------------------------------------------------------

    def _recipe(self, run: Run) -> Recipe | None:
        try:
            recipe = recipes.recipe_of(run.facts.recipe)
            find(recipe.method)  # one of a plug-in may be gone
            return recipe
        except MixdownError as error:
            self._desk.show_problem(as_problem(error, f"Run {run.id} cannot be used"))
            return None

    def _use(self, runs: tuple[Run, ...]) -> None:
        """Put the recipe on the desk as one undoable step; tasks of the desk stay where the run has none."""
        recipe, workspace = self._recipe(runs[0]), self._desk.workspace
        if recipe is None:
            return
        gone = [i.name for i in runs[0].facts.inputs if not Path(i.path).exists()]
        workspace.store.apply(recipe if recipe.tasks else replace(recipe, tasks=workspace.recipe.tasks),
                              f"Use run {runs[0].id}")  # fmt: skip
        text = f"The recipe of run {runs[0].id} is on the desk. Undo brings yours back."
        missing = f" Not found any more: {listed([plain(n, 40) for n in gone])}; choose their files anew on the shelf."
        self.tell(text + (missing if gone else ""), "warning" if gone else "ok")

    def _rerun(self, runs: tuple[Run, ...]) -> None:
        """Make the model again beside the old one, or score the recipe again."""
        run, recipe = runs[0], self._recipe(runs[0])
        if recipe is None:
            return
        work = self._again(run, recipe) if run.facts.output_path else self._score_again(recipe)

        def failed(error: MixdownError) -> None:
            self._desk.show_problem(as_problem(error, f"Run {run.id} could not be made again"))

        self._desk.workspace.runner.submit(f"Run {run.id} again: {plain(run.facts.title, 80)}", work,
                                           done=self._ran, failed=failed)  # fmt: skip

    def _again(self, run: Run, recipe: Recipe) -> Callable[[Token], str]:
        old, settings = Path(run.facts.output_path), self._desk.workspace.settings
        folder = old.parent if old.parent.is_dir() else Path(settings.export_folder or Path.home())
        out = free_name(folder, old.name) if not old.suffix else _free_file(folder / old.name)
        hashes = self._desk.workspace.library.hashes

        def work(token: Token) -> str:
            from engine.export.options import ExportOptions

            opened = open_recipe(recipe)
            refuse_errors(opened.findings, {e.id: e.name for e in recipe.experts})
            changed = check_hashes(recipe, hashed(recipe, opened.inputs, token, hashes))
            done = export_work(recipe, opened.inputs, out, ExportOptions(), settings.device, settings.threads)(token)
            made = content_hash(open_checkpoint(done.path), token, hashes)
            known = run.facts.output_sha256
            verdict = "" if not known else " The weights are the same, byte by byte." if made == known else \
                " The weights differ from the old ones."  # fmt: skip
            why = f" Inputs that changed since: {listed([plain(n, 40) for n in changed])}." if changed else ""
            return f"Run {run.id} was made again as {plain(out.name, 60)}.{verdict}{why}"

        return work

    def _score_again(self, recipe: Recipe) -> Callable[[Token], str]:
        rows, tasks = self._desk.workspace.scoring.rows, recipe.tasks

        def work(token: Token) -> str:
            from app import places
            from app.evaluator import score_recipe
            from engine.evaluate.task import load_task
            from engine.store.cache import ScoreCache

            opened = open_recipe(recipe)
            loaded = [load_task(Path(t.path)) for t in tasks]
            found = score_recipe(recipe, opened.inputs, loaded, limit=rows, cache=ScoreCache(places.score_cache_file()),
                                 progress=token)  # fmt: skip
            facts = recording.score_facts(hashed(recipe, opened.inputs, token), tuple(found.values()), None, "")
            recording.recorder().submit(lambda history: history.record(facts)).result()
            return "Scored again: " + ", ".join(f"{plain(n, 40)} {s.measure.text(s.value)}" for n, s in found.items())

        return work

    def _ran(self, text: str) -> None:
        self.tell(text, "ok")
        self._runs.changed()

    def _compare(self, runs: tuple[Run, ...]) -> None:
        """Explain the difference of two runs, or of one and now."""
        dialog, (guests, scores) = self._desk.findChild(ExplainController), self._guests(runs)
        if isinstance(dialog, ExplainController) and guests:
            dialog.compare(guests, scores)

    def _beside(self, runs: tuple[Run, ...]) -> None:
        """Two runs, or now and one, on two desks."""
        layout, (guests, scores) = self._desk.findChild(CompareController), self._guests(runs)
        if isinstance(layout, CompareController) and guests:
            layout.guests(guests, scores)

    def _guests(self, runs: tuple[Run, ...]) -> tuple[dict[str, Recipe], dict[Recipe, dict[str, Score]]]:
        """Recipes of at most two runs by name, and the scores that were recorded with them."""
        made = {f"Run {run.id}: {run.facts.title}": (self._recipe(run), run) for run in runs[:2]}
        guests = {name: recipe for name, (recipe, _) in made.items() if recipe is not None}
        scores = {recipe: {s.task: s for s in run.facts.scores}
                  for recipe, run in made.values() if recipe is not None and run.facts.scores}  # fmt: skip
        return guests, scores

    def _folder(self, runs: tuple[Run, ...]) -> None:
        path = Path(runs[0].facts.output_path)
        folder = path if path.is_dir() else path.parent
        if not path.exists():
            self.tell(f"{plain(str(path), 200)} is not there any more. Run it again to make it anew.", "warning")
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    # Saving and recording ------------------------------------------------------------------------------------

    def _choose_csv(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self._desk.window, "Save runs", str(Path.home() / "runs.csv"),
                                              "CSV (*.csv)")  # fmt: skip
        if path:
            self.save_csv(path if path.endswith(".csv") else f"{path}.csv")

    def save_csv(self, path: str) -> None:
        """Write all runs that fit the filter, with all columns."""
        query = replace(self._runs.query, offset=0, limit=1_000_000)

        def work(history: History) -> str:
            from app.cli_history import write_csv

            page = history.page(query)
            try:
                with open(path, "w", encoding="utf-8", newline="") as file:
                    write_csv(file, page.runs, history.columns())
            except OSError as error:
                return f"{path} could not be written: {error.strerror}. Choose another folder."
            return f"Saved {plural(page.total, 'run')} in {path}."

        self._runs.ask(work, lambda text: self.tell(text or "The history is switched off."))

    def record_scores(self, recipe: Recipe, scores: tuple[Score, ...], seconds: float) -> None:
        """Write a quick eval into the history, in the background."""
        library, refs = self._desk.workspace.library, [r for r in (recipe.base, *recipe.experts) if r is not None]
        entries = library.ready([r.path for r in refs])
        opened = {r.path: e.checkpoint for r, e in zip(refs, entries or [], strict=False)}

        def work(token: Token) -> None:
            made = recipe
            for ref in refs:
                checkpoint = opened.get(ref.path)
                if checkpoint is not None:
                    made = made.with_replaced(replace(ref, sha256=content_hash(checkpoint, token, library.hashes)))
            trouble = recording.record(recording.score_facts(made, scores, seconds, ""))
            if trouble:
                raise WriteProblem(trouble)

        self._desk.workspace.runner.submit("Recording the score", work, lane="files", shown=False, background=True,
                                           done=lambda _: self._runs.changed(),
                                           failed=lambda error: self._runs.problem(error))  # fmt: skip

    def hash_outputs(self) -> None:
        """Find out the content hashes of outputs that have none yet, in the background: merges of merges need them."""
        hashes = self._desk.workspace.library.hashes

        def work(token: Token) -> int:
            missing = recording.recorder().submit(lambda history: history.unhashed()).result()
            known = 0
            for run, path, created in missing or ():
                sha256 = _output_hash(path, created, token, hashes)
                if sha256:
                    recording.recorder().submit(partial(_note_hash, run, sha256)).result()
                    known += 1
            return known

        self._desk.workspace.runner.submit("Hashing exports for the history", work, lane="files", key=_HASHING,
                                           shown=False, background=True, failed=lambda _: None,
                                           done=lambda count: self._runs.refresh() if count else None)  # fmt: skip


def _note_hash(run: int, sha256: str, history: History) -> None:
    history.set_output_hash(run, sha256)


def _output_hash(path: str, created: float, token: Token, hashes: Any) -> str:
    """The content hash of an output that nobody has changed since, "" for none."""
    try:
        checkpoint = open_checkpoint(Path(path))
        if any(stamp.mtime_ns > (created + _SETTLED_S) * 1e9 for stamp in checkpoint.stamps):
            return ""
        return content_hash(checkpoint, token, hashes)
    except (MixdownError, OSError):
        token.check()
        return ""


def _free_file(path: Path) -> Path:
    """A file that does not exist yet: "merged.safetensors", "merged-2.safetensors"."""
    number, made = 1, path
    while made.exists():
        number += 1
        made = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return made
