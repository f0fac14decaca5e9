"""A task bundle on the desk: its tasks are restored into a private cache and become experts, as one undo step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QFileDialog, QMessageBox

from app import served
from app.adding import plural
from app.problems import as_problem
from app.workbench import model_ref
from engine.errors import MixdownError
from engine.files import members
from engine.files.checkpoint import open_checkpoint
from engine.files.layout import describe
from engine.files.model import Checkpoint, Layout
from engine.files.text import printable
from engine.progress import Token
from engine.recipe.recipe import ModelRef

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.bundle.opening import Bundle

WAIT_MS = 80
"""Tasks of one bundle that are missed within this time are restored together."""

CLEAN_DELAY_MS = 30_000
"""Unused restored tasks are removed when the window has been open for a while."""


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle, and what its tasks will be restored from.

    Attributes:
        bundle: The opened bundle.
        base: The base it was made from, as found; None if the bundle includes it or nobody knows it.
        tasks: Names of the tasks that are wanted.
    """

    bundle: Bundle
    base: Checkpoint | None
    tasks: tuple[str, ...]

    @property
    def needs_base(self) -> bool:
        """Whether the user has to say where the base is."""
        return self.base is None and not self.bundle.manifest.included


@dataclass(frozen=True, slots=True)
class Restored:
    """Restored tasks, opened, and the base they belong to."""

    found: Found
    tasks: tuple[tuple[Checkpoint, Layout], ...]
    base: tuple[Checkpoint, Layout]


class BundleDrop(QObject):
    """Takes bundles that were dropped, and restores tasks that a project needs but the cache has not.

    Args:
        desk: The assembled desk.
        ask_base: Asks where a base is (bundle's name, base's name); None for "nowhere".
    """

    def __init__(self, desk: Desk, ask_base: Callable[[str, str], Path | None] | None = None) -> None:
        super().__init__(desk)
        self._desk, self._workspace = desk, desk.workspace
        self.ask_base = ask_base or self._ask
        self._tried: set[str] = set()
        self._wanted: dict[str, list[str]] = {}
        self._soon = QTimer(self, interval=WAIT_MS, singleShot=True)
        self._soon.timeout.connect(self._restore_wanted)
        desk.adding.bundleDropped.connect(self.open)
        self._workspace.library.entryChanged.connect(self._on_entry)

    def open(self, path: str) -> None:
        """Put all tasks of a bundle on the desk."""
        self._look(path, None, lambda found: self._take(found, self._add))

    # Looking for the base ------------------------------------------------------------------------------------

    def _look(self, path: str, tasks: tuple[str, ...] | None, done: Callable[[Found], None]) -> None:
        """Open a bundle and look for its base among the models on the desk, then where it was seen before."""
        recipe = self._workspace.recipe
        refs = [*([recipe.base] if recipe.base else []), *recipe.experts]
        around = [Path(ref.path) for ref in refs if members.split(Path(ref.path)) is None]

        def work(_: Token) -> Found:
            from engine.bundle.opening import open_bundle  # not while the window starts

            bundle = open_bundle(Path(path))
            wanted = tasks or tuple(entry.name for entry in bundle.manifest.in_order)
            return Found(bundle, served.cache().base_for(bundle, _opened(around)), wanted)

        self._workspace.runner.submit(
            f"Opening {Path(path).name}", work, lane="files", shown=False, done=done,
            failed=lambda error: self._failed(path, error),
        )  # fmt: skip

    def _take(self, found: Found, done: Callable[[Restored], None]) -> None:
        """Restore, after asking for the base if nobody knows it."""
        given: Path | None = None
        if found.needs_base:
            name = printable(found.bundle.manifest.base_name, 80)
            given = self.ask_base(found.bundle.path.name, name)
            if given is None:
                self._desk.tell(f"{found.bundle.path.name} was not opened: it needs its base, {name}.", "warning")
                return
        path = found.bundle.path
        self._workspace.runner.submit(
            f"Restoring {plural(len(found.tasks), 'task')} of {path.name}",
            restore_work(found, given, self._workspace.settings.threads), key=f"restore {path} {found.tasks}",
            done=done, failed=lambda error: self._failed(str(path), error),
        )  # fmt: skip

    def _ask(self, bundle: str, base: str) -> Path | None:
        """Ask for the base: a folder or a file."""
        box = QMessageBox(self._desk.window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Which base?")
        box.setTextFormat(box.textFormat().PlainText)
        box.setText(f"{printable(bundle, 80)} needs the model it was made from: {base}")
        box.setInformativeText("The bundle refers to its base and does not include it. Any copy of the same weights "
                               "will do, under any name; another model is refused.")  # fmt: skip
        folder = box.addButton("Choose folder…", QMessageBox.ButtonRole.AcceptRole)
        file = box.addButton("Choose file…", QMessageBox.ButtonRole.ActionRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(folder)
        box.exec()
        if box.clickedButton() is folder:
            path = QFileDialog.getExistingDirectory(self._desk.window, f"The base {base}")
        elif box.clickedButton() is file:
            path, _ = QFileDialog.getOpenFileName(self._desk.window, f"The base {base}", "", "Models (*.safetensors)")
        else:
            path = ""
        return Path(path) if path else None

    # The experts ---------------------------------------------------------------------------------------------

    def _add(self, restored: Restored) -> None:
        """All tasks as experts, with the base if the desk has none: one undo step."""
        library, store, recipe = self._workspace.library, self._workspace.store, self._workspace.recipe
        known = {ref.path for ref in recipe.experts}
        fresh = [(task, name) for task, name in zip(restored.tasks, restored.found.tasks, strict=True)
                 if str(task[0].path) not in known]  # fmt: skip
        for opened in (restored.base, *(task for task, _ in fresh)):
            library.adopt(*opened)
        base, text = restored.base[0], plural(len(fresh), "expert")
        own = next((e for e in recipe.experts if e.path == str(base.path)), None)
        if recipe.base is None:
            name = restored.found.bundle.manifest.base_name
            recipe = recipe.without_expert(own.id) if own is not None else recipe
            recipe = recipe.with_base(ModelRef(id="base", name=own.name if own else name, path=str(base.path)))
            text = f"base and {text}"
        elif recipe.base.path != str(base.path):
            self._desk.tell(f"The tasks of {restored.found.bundle.path.name} belong to another base, {base.name}.",
                            "warning")  # fmt: skip
        for (task, _), name in fresh:
            recipe = recipe.with_expert(model_ref(recipe, task.path, name))
        if len(fresh) < len(restored.tasks):
            self._desk.tell(f"{plural(len(restored.tasks) - len(fresh), 'task')} already on the desk.")
        if recipe != self._workspace.recipe:
            store.apply(recipe, f"Add {text} from {restored.found.bundle.path.name}")

    def _on_entry(self, path: str) -> None:
        """A project wants a task that is not restored (any more): note it, once; its neighbours follow soon."""
        error = self._workspace.library.entry(path).error
        inside = members.split(Path(path)) if isinstance(error, members.NotRestored) else None
        if inside is not None and path not in self._tried:
            self._tried.add(path)
            self._wanted.setdefault(str(inside[0]), []).append(inside[1])
            self._soon.start()

    def _restore_wanted(self) -> None:
        """One job and at most one question for each bundle."""
        wanted, self._wanted = self._wanted, {}
        used = {ref.path for ref in self._workspace.recipe.experts}
        for path, names in wanted.items():
            tasks = [name for name in names if str(members.member_path(Path(path), name)) in used]
            self._tried -= {str(members.member_path(Path(path), name)) for name in names if name not in tasks}
            if not tasks:
                continue
            self._look(path, tuple(tasks), lambda found: self._take(found, self._again))

    def _again(self, restored: Restored) -> None:
        """The tasks are there now."""
        for checkpoint, layout in restored.tasks:
            self._tried.discard(str(checkpoint.path))
            self._workspace.library.adopt(checkpoint, layout)

    def _failed(self, path: str, error: MixdownError) -> None:
        self._desk.show_problem(as_problem(error, f"{Path(path).name} cannot be opened"))


def restore_work(found: Found, given: Path | None, threads: int) -> Callable[[Token], Restored]:
    """Restoring as a job.

    Args:
        found: The bundle, its tasks and its base.
        given: Where the user says that the base is.
        threads: Worker threads; 0 for one a core.
    """

    def work(token: Token) -> Restored:
        bundle, cache = found.bundle, served.cache()
        base = open_checkpoint(given) if given is not None else found.base
        made = cache.restore(bundle, found.tasks, base, progress=token, threads=threads or None)
        own = cache.included_base(bundle) if base is None else base
        return Restored(found, tuple((ck, describe(ck.tensors, ck.config)) for ck in made),
                        (own, describe(own.tensors, own.config)))  # fmt: skip

    return work


def _opened(paths: Sequence[Path]) -> Iterator[Checkpoint]:
    """Those of the models that can be opened."""
    for path in paths:
        with suppress(MixdownError):
            yield open_checkpoint(path)


def clean(desk: Desk) -> None:
    """Remove restored tasks that no project uses, in the background."""
    recent: Sequence[str] = desk.workspace.settings.recent
    projects = [Path(path) for path in recent]
    desk.workspace.runner.submit("Tidying up restored tasks", lambda _: served.clean(projects), lane="files",
                                 shown=False, background=True)  # fmt: skip


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire bundles to the desk."""
    served.serve()
    BundleDrop(desk)
    QTimer.singleShot(CLEAN_DELAY_MS, desk, lambda: clean(desk))
    return {}
