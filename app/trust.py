"""Trust in what is dropped: pickles converted safely, exports opened as the project they were, sources confirmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QFileDialog, QInputDialog

from app import doctor, places
from app.handlers import notice
from app.problems import as_problem
from engine.errors import MixdownError, UnsafePickle
from engine.files.hashing import HashCache
from engine.files.model import Checkpoint
from engine.files.text import counted, listed, printable
from engine.progress import Token
from engine.recipe import provenance
from engine.recipe.recipe import Recipe
from engine.store.confirmed import Confirmed
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
        ask_hash: Asks for the SHA-256 that a publisher states (of which model); "" for none.
    """

    def __init__(
        self,
        desk: Desk,
        ask_folder: Callable[[str], Path | None] | None = None,
        ask_hash: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.ask_folder, self.ask_hash = ask_folder or self._ask_folder, ask_hash or self._ask_hash
        desk.window.shelf.confirmRequested.connect(self.confirm)
        desk.window.card.actionTriggered.connect(self._on_card)
        desk.window.toasts.actionTriggered.connect(self._on_notice)
        desk.adding.opened.connect(self._offer)

    def look_at_versions(self) -> None:
        """Warn of packages with known holes, once after the start; pickles are refused then by whoever opens them."""

        def done(found: tuple[str, ...]) -> None:
            if found:
                self._desk.tell(f"{' '.join(found)} Until then, open only files that you trust.", "error", "outdated")

        self._desk.workspace.runner.submit(
            "Looking at the versions of packages", lambda _: doctor.outdated(), lane="files", shown=False,
            key="outdated", done=done, background=True)  # fmt: skip

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

    def confirm(self, model_id: str) -> None:
        """Compare a model with the SHA-256 that its publisher states; if they agree, it is a verified source here."""
        workspace = self._desk.workspace
        recipe, library = workspace.recipe, workspace.library
        ref = next((m for m in (recipe.base, *recipe.experts) if m is not None and m.id == model_id), None)
        checkpoint = library.entry(ref.path).checkpoint if ref is not None else None
        stated = self.ask_hash(ref.name) if ref is not None and checkpoint is not None else ""
        if ref is None or checkpoint is None or not stated.strip():
            return
        name, opened = printable(ref.name, 80), checkpoint

        def work(token: Token) -> None:
            from engine.export.origins import confirmed_hash

            Confirmed(places.confirmed_file()).add(confirmed_hash(opened, stated, token, library.hashes), ref.name)

        def done(_: None) -> None:
            library.judge_again()
            self._desk.tell(f"{name} is a verified source on this computer.", "ok")

        workspace.runner.submit(
            f"Comparing {name} with the SHA-256 of its publisher", work, lane="files", key=f"confirm {ref.path}",
            done=done, failed=lambda error: self._desk.show_problem(as_problem(error, f"{name} is not confirmed")),
        )  # fmt: skip

    def _ask_hash(self, name: str) -> str:
        text, ok = QInputDialog.getMultiLineText(
            self._desk.window, "Confirm source",
            f"SHA-256 that the publisher of {printable(name, 80)} states, of each weight file\n"
            "(on Hugging Face: the file's page). It says who made the bytes, not that they are harmless.")  # fmt: skip
        return text if ok else ""

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
    trust.look_at_versions()
    return {"file.convert_pickle": trust.choose_pickle}
