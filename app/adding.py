"""Dropped files become models of the recipe: opened in the background, base found by the weights, one undo step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from app.library import Opened, Problems, open_many
from app.workbench import model_ref
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.files.ancestry import Ancestry, detect_base
from engine.files.drop import expand
from engine.files.model import Checkpoint
from engine.progress import Token
from engine.recipe.recipe import ModelRef, Recipe

MOST_FILES = 64
"""Most models that one drop puts on the desk; of more, the user chooses."""

BATCH = 4
"""Models that get their rows in one turn of the event loop."""

BATCH_MS = 10
"""Between two batches the window paints what is there."""

_gestures = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A guess which expert is really the base."""

    expert_id: str
    text: str


def plural(count: int, thing: str) -> str:
    """ "1 expert", "3 experts"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


class Adding(QObject):
    """Turns paths into models of the recipe.

    Signals:
        proposalChanged: There is a base to confirm, or not any more.
        told: A sentence worth a notification, and the undo action it offers ("" none).
        failed: (path, error) of a file that could not be opened.
        opened: The checkpoints that were dropped and could be opened, before they are in the recipe.
        manyFound: (paths, target) of more models than one drop puts on the desk; somebody asks which are wanted.
        bundleDropped: Path of a task bundle, whose tasks are wanted rather than the file itself.
    """

    proposalChanged = Signal()
    told = Signal(str, str)
    failed = Signal(object, object)
    manyFound = Signal(list, str)
    bundleDropped = Signal(str)
    opened = Signal(object)

    def __init__(self, workspace: Workspace, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.proposal: Proposal | None = None

    def add(self, paths: Sequence[str], target: str = "canvas") -> None:
        """Open what was dropped and put it where it was dropped.

        Args:
            paths: Files and folders.
            target: "base", "canvas", or an expert's id to replace it.
        """
        wanted = [Path(p) for p in paths]

        def work(token: Token) -> tuple[Opened, Problems] | list[Path]:
            found = expand(wanted)
            if len(found) > MOST_FILES:
                return found
            token.check()
            opened, problems = open_many(found, list)
            if not found:
                problems.append((wanted[0], MixdownError(
                    "There is no checkpoint here.", where=str(wanted[0]),
                    hint="Drop .safetensors files or folders that hold them.")))  # fmt: skip
            return opened, problems

        self._workspace.runner.submit(
            f"Opening {plural(len(wanted), 'item')}", work, lane="files", shown=False,
            done=lambda result: self.manyFound.emit(result, target) if isinstance(result, list) else
            self._opened(result[0], result[1], target),
            failed=lambda error: self.failed.emit(wanted[0], error),
        )  # fmt: skip

    def _opened(self, opened: Opened, problems: Problems, target: str) -> None:
        from engine.bundle.opening import says_bundle  # not while the window starts

        for path, error in problems:
            self.failed.emit(path, error)
        for bundle in [ck for ck, _ in opened if says_bundle(ck.metadata)]:
            self.bundleDropped.emit(str(bundle.stamps[0].path))
        opened = [(ck, layout) for ck, layout in opened if not says_bundle(ck.metadata)]
        if not opened:
            return
        self.opened.emit([ck for ck, _ in opened])
        changed = [ck.name for ck, layout in opened if self._workspace.library.adopt(ck, layout)]
        if changed:
            self.told.emit(f"Changed on disk and read again: {', '.join(changed)}.", "")
        checkpoints = [checkpoint for checkpoint, _ in opened]
        if target == "base":
            self._set_base(checkpoints[0])
            checkpoints = checkpoints[1:]
        elif target not in ("canvas", "add"):
            self._replace(target, checkpoints[0])
            checkpoints = checkpoints[1:]
        if checkpoints:
            self._add_experts(checkpoints, reread=bool(changed))

    def _set_base(self, checkpoint: Checkpoint) -> None:
        recipe = self._workspace.recipe
        ref = ModelRef(id=recipe.base.id if recipe.base else "base", name=checkpoint.name, path=str(checkpoint.path))
        self._workspace.store.apply(recipe.with_base(ref), f"Set base {ref.name}")
        self._set_proposal(None)

    def _replace(self, expert_id: str, checkpoint: Checkpoint) -> None:
        recipe = self._workspace.recipe
        old = recipe.expert(expert_id)
        ref = ModelRef(id=old.id, name=checkpoint.name, path=str(checkpoint.path))
        if ref.name in [e.name for e in recipe.experts if e.id != old.id]:
            ref = ModelRef(id=old.id, name=old.name, path=ref.path)
        self._workspace.store.apply(recipe.with_replaced(ref), f"Replace {old.name} by {ref.name}")

    def _add_experts(self, checkpoints: Sequence[Checkpoint], *, reread: bool) -> None:
        recipe, known = self._workspace.recipe, {e.path for e in self._workspace.recipe.experts}
        if recipe.base is not None:
            known.add(recipe.base.path)
        fresh = [c for c in checkpoints if str(c.path) not in known]
        if len(fresh) < len(checkpoints) and not reread:
            self.told.emit(f"{plural(len(checkpoints) - len(fresh), 'model')} already on the desk.", "")
        self._add_some(list(fresh), fresh, f"add {next(_gestures)}")

    def _add_some(self, left: Sequence[Checkpoint], fresh: Sequence[Checkpoint], gesture: str) -> None:
        """Give the next models their rows and the window its turn; all are one undo step.

        Args:
            left: Models without a row.
            fresh: All models of this drop.
            gesture: Of the undo step.
        """
        store, recipe = self._workspace.store, self._workspace.recipe
        for checkpoint in left[:BATCH]:
            recipe = recipe.with_expert(model_ref(recipe, checkpoint.path))
        text = recipe.experts[-1].name if len(fresh) == 1 else plural(len(fresh), "expert")
        store.apply(recipe, f"Add {text}", gesture)
        if len(left) > BATCH:
            QTimer.singleShot(BATCH_MS, self, lambda: self._add_more(left[BATCH:], fresh, gesture, recipe))
        else:
            self._all_added(fresh, gesture)

    def _add_more(
        self, left: Sequence[Checkpoint], fresh: Sequence[Checkpoint], gesture: str, expected: Recipe
    ) -> None:
        """Go on, unless the user has undone the beginning or opened something else meanwhile."""
        present = {e.path for e in self._workspace.recipe.experts}
        if all(e.path in present for e in expected.experts[-BATCH:]):
            self._add_some(left, fresh, gesture)

    def _all_added(self, fresh: Sequence[Checkpoint], gesture: str) -> None:
        """Look how the new models fit what is there."""
        recipe = self._workspace.recipe
        if recipe.base is None and len(recipe.experts) > 1:
            self._look_for_base(gesture)
        elif recipe.base is not None and fresh:
            self._look_for_strangers(fresh)

    def _look_for_base(self, gesture: str) -> None:
        recipe = self._workspace.recipe
        entries = [self._workspace.library.entry(e.path) for e in recipe.experts]
        candidates = [(ref, entry.checkpoint) for ref, entry in zip(recipe.experts, entries, strict=True)]
        opened = [(ref, ck) for ref, ck in candidates if ck is not None]

        def work(token: Token) -> Ancestry:
            return detect_base([ck for _, ck in opened], token)

        self._workspace.runner.submit(
            "Looking for the base among the models", work, lane="files", shown=False, key="ancestry",
            done=lambda found: self._found([ref for ref, _ in opened], found, gesture),
        )  # fmt: skip

    def _look_for_strangers(self, fresh: Sequence[Checkpoint]) -> None:
        """Say which of the new experts do not descend from the base that is there."""
        base = self._workspace.recipe.base
        opened = self._workspace.library.entry(base.path).checkpoint if base else None
        if opened is None:
            return

        def work(token: Token) -> list[str]:
            return [ck.name for ck in fresh if 1 in detect_base([opened, ck], token).strangers]

        def done(names: list[str]) -> None:
            if names:
                self.told.emit(f"Not related to the base {opened.name}: {', '.join(names)}.", "")

        self._workspace.runner.submit("Comparing with the base", work, lane="files", shown=False, done=done)

    def _found(self, refs: Sequence[ModelRef], ancestry: Ancestry, gesture: str) -> None:
        recipe = self._workspace.recipe
        still = {e.id for e in recipe.experts}
        if recipe.base is not None or any(ref.id not in still for ref in refs):
            return
        if ancestry.strangers:
            names = ", ".join(refs[i].name for i in ancestry.strangers)
            self.told.emit(f"Not related to the others: {names}.", "")
        if ancestry.base is None:
            self.told.emit(f"No base yet. {ancestry.reason} Drop the base on the base well.", "")
            return
        ref = refs[ancestry.base]
        if ancestry.certain:
            count = len(recipe.experts) - 1
            text = f"Add base {ref.name} and {plural(count, 'expert')}"
            self._workspace.store.apply(promoted(recipe, ref.id), text, gesture)
            self.told.emit(f"{ref.name} is the base: {ancestry.reason}", "undo")
        else:
            self._set_proposal(Proposal(ref.id, f"{ref.name} looks like the base. {ancestry.reason}"))

    def accept(self, expert_id: str) -> None:
        """Make an expert the base (a confirmed proposal, or the user's own choice)."""
        recipe = self._workspace.recipe
        name = recipe.expert(expert_id).name
        self._workspace.store.apply(promoted(recipe, expert_id), f"Use {name} as base")
        self._set_proposal(None)

    def dismiss(self) -> None:
        """Turn the proposal down."""
        self._set_proposal(None)

    def _set_proposal(self, proposal: Proposal | None) -> None:
        self.proposal = proposal
        self.proposalChanged.emit()


def promoted(recipe: Recipe, expert_id: str) -> Recipe:
    """The recipe with one expert as base; an old base becomes an expert."""
    chosen, old = recipe.expert(expert_id), recipe.base
    made = recipe.without_expert(expert_id)
    if old is not None:
        back = model_ref(made.with_base(None), Path(old.path), old.name)
        made = made.with_expert(back)
    return made.with_base(ModelRef(id="base", name=chosen.name, path=chosen.path, sha256=chosen.sha256))
