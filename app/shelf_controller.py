"""The shelf's controller: base, experts, checks, and what can be done with a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMessageBox, QWidget

from app import places
from app.adding import Adding
from app.library import Entry
from app.workbench import model_ref, unique_name
from app.workspace import Workspace
from engine.files import members
from engine.files.model import Finding
from engine.recipe.recipe import ModelRef, Recipe
from widgets.dialogs.state import Problem
from widgets.shelf.shelf import Shelf
from widgets.shelf.state import BaseProposal, Check, ModelCard, ShelfState

PROJECT = ".mixdown"


class ShelfController(QObject):
    """Connects the shelf with the workspace, and takes everything that is dropped anywhere.

    Signals:
        cardChosen: An expert's id.
        problem: A `Problem` to show.
        projectDropped: Path of a project file.
        mergekitDropped: Path of a mergekit configuration.
        taskDropped: Path of a task file.
        dataDropped: Path of a data file that a task can be made from.
        replaceWanted: (id) the user wants to choose another file.
    """

    cardChosen = Signal(str)
    problem = Signal(object)
    projectDropped = Signal(str)
    mergekitDropped = Signal(str)
    taskDropped = Signal(str)
    dataDropped = Signal(str)
    replaceWanted = Signal(str)

    def __init__(self, workspace: Workspace, adding: Adding, shelf: Shelf, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._adding, self._shelf = workspace, adding, shelf
        self._current = ""
        self._shown: object = None
        self._connect()

    def _connect(self) -> None:
        shelf = self._shelf
        shelf.filesDropped.connect(self.drop)
        shelf.cardChosen.connect(self._choose)
        shelf.baseAccepted.connect(self._adding.accept)
        shelf.proposalDismissed.connect(self._adding.dismiss)
        shelf.replaceRequested.connect(self.replaceWanted)
        shelf.revealRequested.connect(self._reveal)
        shelf.renamed.connect(self.rename)
        shelf.duplicateRequested.connect(self.duplicate)
        shelf.removeRequested.connect(self.remove)
        shelf.baseRequested.connect(self._adding.accept)
        shelf.moveRequested.connect(self.move)
        shelf.checksRequested.connect(self.show_checks)
        self._workspace.store.recipeChanged.connect(self._on_recipe)
        self._soon = QTimer(self, interval=25, singleShot=True)  # many models become known at once
        self._soon.timeout.connect(self.refresh)
        self._workspace.modelsChanged.connect(self._later)
        self._adding.proposalChanged.connect(self.refresh)

    def _on_recipe(self, recipe: Recipe) -> None:
        """Most changes of a recipe are faders, which the shelf does not show."""
        shown = (recipe.base, recipe.experts, recipe.muted, recipe.soloed)
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def _later(self) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def refresh(self, *_: object) -> None:
        """Show the models as they are now."""
        self._soon.stop()
        recipe, proposal = self._workspace.recipe, self._adding.proposal
        base = self._card(recipe.base, -1) if recipe.base else None
        experts = tuple(self._card(ref, i) for i, ref in enumerate(recipe.experts))
        ids = {card.id for card in experts}
        self._shelf.set_state(
            ShelfState(
                base=base,
                experts=experts,
                proposal=BaseProposal(id=proposal.expert_id, text=proposal.text)
                if proposal and proposal.expert_id in ids
                else None,
                current=self._current,
                has_demo=(places.DEMO / "demo.json").exists(),
            )
        )

    def drop(self, paths: Sequence[str], target: str) -> None:
        """Take dropped paths: a project is opened, a task added, everything else becomes models."""
        from engine.evaluate.look import is_data  # the readers of data files can wait for a drop

        projects = [p for p in paths if p.endswith(PROJECT)]
        tasks = [p for p in paths if p.endswith(".task.json")]
        configs = [p for p in paths if p.lower().endswith((".yaml", ".yml"))]
        data = [p for p in paths if is_data(p)]
        models = [p for p in paths if p not in (*projects, *tasks, *configs, *data)]
        if projects:
            self.projectDropped.emit(projects[0])
            return
        if configs:
            self.mergekitDropped.emit(configs[0])
            return
        for task in tasks:
            self.taskDropped.emit(task)
        if data:
            self.dataDropped.emit(data[0])
        if not models:
            return
        target = target.removeprefix("row:")
        if target == "base" and self._workspace.recipe.base is not None:
            target = self._ask_base(models[0])
        if target:
            self._adding.add(models, target)

    def _ask_base(self, path: str) -> str:
        """A second base: replace the first, add it as expert, or nothing."""
        old = self._workspace.recipe.base
        box = QMessageBox(self._shelf.window() if isinstance(self._shelf, QWidget) else None)
        box.setWindowTitle("There is a base already")
        box.setText(f"{old.name if old else ''} is the base. What should {Path(path).name} be?")
        box.setTextFormat(box.textFormat().PlainText)
        swap = box.addButton("Replace base", QMessageBox.ButtonRole.AcceptRole)
        add = box.addButton("Add as expert", QMessageBox.ButtonRole.ActionRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        return "base" if box.clickedButton() is swap else "canvas" if box.clickedButton() is add else ""

    def choose(self, model_id: str) -> None:
        """Mark a card without telling anybody."""
        self._current = model_id
        self.refresh()

    def _choose(self, model_id: str) -> None:
        self.choose(model_id)
        self.cardChosen.emit(model_id)

    def rename(self, model_id: str, name: str) -> None:
        """Give a model another name; a name that is taken gets a number."""
        recipe, ref = self._workspace.recipe, self._ref(model_id)
        taken = [e.name for e in recipe.experts if e.id != model_id]
        fresh = unique_name(name, taken) if model_id in {e.id for e in recipe.experts} else name.strip()
        if fresh and fresh != ref.name:
            self._workspace.store.apply(recipe.with_replaced(replace(ref, name=fresh)), f"Rename {ref.name} to {fresh}")

    def duplicate(self, model_id: str) -> None:
        """A second row with the same model and coefficients of its own."""
        recipe, ref = self._workspace.recipe, self._ref(model_id)
        self._workspace.store.apply(
            recipe.with_expert(model_ref(recipe, Path(ref.path), ref.name)), f"Duplicate {ref.name}"
        )

    def remove(self, model_id: str) -> None:
        """Take a model off the desk."""
        recipe, ref = self._workspace.recipe, self._ref(model_id)
        is_base = recipe.base is not None and recipe.base.id == model_id
        made = recipe.with_base(None) if is_base else recipe.without_expert(model_id)
        self._workspace.store.apply(made, f"Remove {ref.name}")

    def move(self, model_id: str, step: int) -> None:
        """Move an expert up (-1) or down (+1)."""
        recipe = self._workspace.recipe
        order = [e.id for e in recipe.experts]
        at = order.index(model_id)
        to = min(max(at + step, 0), len(order) - 1)
        order.insert(to, order.pop(at))
        self._workspace.store.apply(recipe.with_order(order), f"Move {recipe.expert(model_id).name}")

    def show_checks(self, model_id: str) -> None:
        """What the checks found, as a card."""
        ref, entry = self._ref(model_id), self._workspace.library.entry(self._ref(model_id).path)
        found = self._findings(ref, entry)
        lines = [f"{f.severity}: {f.message} {f.hint}".strip() for f in found]
        worst: Literal["error", "warning", "info"]
        worst = "error" if any(f.severity == "error" for f in found) or entry.error else "warning" if found else "info"
        error = entry.error
        title = f"{ref.name} cannot be used" if worst == "error" else f"Checks of {ref.name}"
        why = error.message if error else (lines[0] if lines else "Nothing to complain about.")
        self.problem.emit(
            Problem(
                title=title,
                why=why,
                hint=error.hint if error else "",
                details="\n".join(
                    [ref.path, *lines, *(f"  {t}" for f in found for t in f.tensors[:20]), *_sources(entry)]
                ),
                severity=worst,
                actions=((f"remove:{ref.id}", "Remove"), (f"replace:{ref.id}", "Choose another file…"))
                if worst == "error"
                else (),
            )
        )

    def _reveal(self, model_id: str) -> None:
        folder = Path(self._ref(model_id).path)
        folder = folder.parent if members.split(folder) is not None else folder
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder if folder.is_dir() else folder.parent)))

    def _ref(self, model_id: str) -> ModelRef:
        base = self._workspace.recipe.base
        return base if base is not None and base.id == model_id else self._workspace.recipe.expert(model_id)

    def _findings(self, ref: ModelRef, entry: Entry) -> tuple[Finding, ...]:
        base = self._workspace.recipe.base
        other = base.path if base is not None and base.id != ref.id else None
        return self._workspace.library.findings(other, ref.path) if entry.state == "ready" else ()

    def _card(self, ref: ModelRef, index: int) -> ModelCard:
        entry = self._workspace.library.entry(ref.path)
        checkpoint, found = entry.checkpoint, self._findings(ref, entry)
        return ModelCard(
            id=ref.id,
            name=ref.name,
            path=ref.path,
            index=index,
            parameters=checkpoint.parameters if checkpoint else None,
            dtype=dtype_text(checkpoint.dtypes) if checkpoint else "",
            size_bytes=checkpoint.size_bytes if checkpoint else None,
            check=_check(entry, found),
            check_text=_check_text(entry, found),
            origin="" if entry.origin.standing == "not checked" else entry.origin.standing,
            is_muted=index >= 0 and not self._workspace.recipe.is_heard(ref.id),
        )


def _sources(entry: Entry) -> list[str]:
    """The origin of a model and every source that nobody vouches for, a line each."""
    lines = [f"  {source.name}  {source.sha256}" for source in entry.origin.sources]
    return [entry.origin.text, f"Content SHA-256: {entry.sha256}", *lines] if entry.sha256 else []


def dtype_text(dtypes: Sequence[str]) -> str:
    """ "bf16", "f16 + f32", "mixed"."""
    names = [d.lower() for d in dtypes]
    return " + ".join(names) if len(names) < 3 else "mixed"


def _check(entry: Entry, found: Iterable[Finding]) -> Check:
    severities = {f.severity for f in found}
    if entry.state == "failed" or "error" in severities:
        return "error"
    if entry.state == "reading" or entry.values is None:
        return "warning" if "warning" in severities else "reading"
    return "warning" if "warning" in severities else "checked"


def _check_text(entry: Entry, found: Sequence[Finding]) -> str:
    if entry.error is not None:
        return f"{entry.error.message} {entry.error.hint}".strip()
    lines = [f"{f.message} {f.hint}".strip() for f in found]
    if entry.state == "reading":
        lines.append("Reading the header…")
    elif entry.values is None:
        lines.append("Still reading the weights for NaN and infinity.")
    elif not lines:
        lines.append("Keys, shapes and values checked.")
    if entry.values is not None:
        lines.append(entry.origin.text)
    return "\n".join(lines)
