"""Trust in what is dropped: pickles are converted safely, exported models are opened as the project they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QFileDialog

from app.handlers import notice
from app.problems import as_problem
from engine.errors import MixdownError, UnsafePickle
from engine.files.hashing import HashCache
from engine.files.model import Checkpoint
from engine.files.text import counted, listed, printable
from engine.progress import Token
from engine.recipe import provenance
from engine.recipe.recipe import Recipe
from widgets.dialogs.state import Problem

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.pickles.convert import Converted

_CONVERT, _ORIGIN, _OPEN = "convert-pickle", "origin", "open_project"
_PICKLES = "Pickles (*.pt *.pth *.ckpt *.bin)"


def unopened(path: Path, error: MixdownError) -> Problem:
    """The card of a file that could not be opened; a pickle may be converted."""
    actions: tuple[tuple[str, str], ...] = ()
    if isinstance(error, UnsafePickle) and path.is_file():
        actions = ((f"{_CONVERT}:{path}", "Convert safely"),)
    return as_problem(error, f"{printable(path.name)} cannot be opened", actions)


class Trust(QObject):
    """Converts pickles and reopens exported models.

    Args:
        desk: The assembled desk.
        ask_folder: Asks where models are (their names, listed); None for "nowhere".
    """

    def __init__(self, desk: Desk, ask_folder: Callable[[str], Path | None] | None = None) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.ask_folder = ask_folder or self._ask_folder
        desk.window.card.actionTriggered.connect(self._on_card)
        desk.window.toasts.actionTriggered.connect(self._on_notice)
        desk.adding.opened.connect(self._offer)

    def choose_pickle(self) -> None:
        """Choose a pickle and convert it."""
        path, _ = QFileDialog.getOpenFileName(self._desk.window, "Convert a pickle safely", "", _PICKLES)
        if path:
            self.convert(Path(path))

    def convert(self, source: Path) -> None:
        """Convert a pickle into a file beside it and put that on the desk."""

        def work(token: Token) -> Converted:
            from engine.pickles.convert import convert

            return convert(source, _free(source), progress=token)

        def done(made: Converted) -> None:
            rest = f" {made.left_out} other entries were left out." if made.left_out else ""
            self._desk.tell(f"{printable(source.name)} became {printable(made.path.name)}: "
                            f"{counted(made.tensors, 'tensor')}.{rest}", "ok")  # fmt: skip
            self._desk.adding.add([str(made.path)], "canvas")

        self._desk.workspace.runner.submit(
            f"Converting {printable(source.name)}", work, lane="files", done=done, key=f"convert {source}",
            failed=lambda error: self._desk.show_problem(
                as_problem(error, f"{printable(source.name)} cannot be converted")),
        )  # fmt: skip

    def open_origin(self, path: str) -> None:
        """Open the recipe of an exported model as an untitled project; its inputs are looked for beside it."""
        self._look(Path(path), (Path(path).parent,))

    def _look(self, model: Path, folders: tuple[Path, ...]) -> None:
        hashes = self._desk.workspace.library.hashes

        def work(token: Token) -> tuple[Recipe, tuple[str, ...]]:
            return found_again(model, folders, token, hashes)

        self._desk.workspace.runner.submit(
            f"Looking for the inputs of {printable(model.name)}", work, lane="files", key="origin",
            done=lambda found: self._found(model, folders, *found),
            failed=lambda error: self._desk.show_problem(
                as_problem(error, f"{printable(model.name)} cannot be opened as a project")),
        )  # fmt: skip

    def _found(self, model: Path, folders: tuple[Path, ...], recipe: Recipe, absent: tuple[str, ...]) -> None:
        if absent:
            more = self.ask_folder(listed(absent))
            if more is not None and more not in folders:
                self._look(model, (*folders, more))
            else:
                self._desk.tell(f"Not opened as a project: inputs not found: {listed(absent)}.", "warning")
            return
        store = self._desk.workspace.store
        only_it = store.recipe.base is None and [e.path for e in store.recipe.experts] == [str(model)]
        if only_it or self._desk.handlers.may_discard():
            store.reset(recipe, None)
            self._desk.tell(f"The recipe of {printable(model.name)} is on the desk.", "ok")

    def _offer(self, opened: list[Checkpoint]) -> None:
        """Say of dropped models which are exports that can be opened as the project they were."""
        for checkpoint in opened:
            if provenance.has_recipe(checkpoint.metadata):
                self._desk.window.toasts.show_notice(notice(
                    f"{printable(checkpoint.name)} was merged with Mixdown; its recipe is in the file.", "info",
                    ((_OPEN, "Open as project"),), f"{_ORIGIN} {checkpoint.path}"))  # fmt: skip

    def _on_card(self, action: str) -> None:
        verb, _, path = action.partition(":")
        if verb == _CONVERT:
            self.convert(Path(path))

    def _on_notice(self, key: str, action: str) -> None:
        kind, _, path = key.partition(" ")
        if kind == _ORIGIN and action == _OPEN:
            self.open_origin(path)

    def _ask_folder(self, names: str) -> Path | None:
        path = QFileDialog.getExistingDirectory(self._desk.window, f"Where are {names}?")
        return Path(path) if path else None


def found_again(
    model: Path, folders: tuple[Path, ...], token: Token, hashes: HashCache
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe of an exported model with its inputs located, and the names of those that were not found.

    Raises:
        BadProject: if the model does not hold a recipe.
    """
    from engine.export.locate import locate
    from engine.files.checkpoint import open_checkpoint

    where = printable(model, 400)
    recipe = provenance.to_recipe(provenance.read(open_checkpoint(model).metadata, where), where)
    return locate(recipe, folders, token, hashes)


def _free(source: Path) -> Path:
    """A safetensors file beside a pickle that does not exist yet."""
    number, made = 1, source.with_name(f"{source.stem}.safetensors")
    while made.exists():
        number += 1
        made = source.with_name(f"{source.stem}-{number}.safetensors")
    return made


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire it to the assembled desk."""
    trust = Trust(desk)
    return {"file.convert_pickle": trust.choose_pickle}
