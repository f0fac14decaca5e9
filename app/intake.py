"""More models dropped than one drop puts on the desk: their headers are read, and the user chooses."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal

from app.adding import MOST_FILES, plural
from app.shelf_controller import dtype_text
from engine.errors import MixdownError
from engine.files.checkpoint import open_checkpoint
from engine.files.model import Checkpoint
from engine.progress import Token

if TYPE_CHECKING:
    from app.desk import Desk
    from app.features import Handler
    from widgets.panels.intake import IntakeDialog
    from widgets.panels.intake_model import IntakeFacts

KEY = "intake"
TELL_S = 0.05
"""How often the list hears what was read."""


class Intake(QObject):
    """Asks which of many dropped models are wanted; one question at a time, the newest.

    Signals:
        read: (number of the question, facts) from the worker.
    """

    read = Signal(int, list)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk = desk
        self._number = 0
        self.dialog: IntakeDialog | None = None
        self.read.connect(self._on_read, Qt.ConnectionType.QueuedConnection)
        desk.adding.manyFound.connect(self.ask)

    def ask(self, paths: Sequence[Path], target: str) -> None:
        """Show the list and read the headers meanwhile.

        Args:
            paths: What was found in the drop.
            target: Where it was dropped; see `Adding.add`.
        """
        from widgets.panels.intake import IntakeDialog

        if self.dialog is not None:
            self.dialog.reject()
        self._number += 1
        number, names = self._number, [str(path) for path in paths]
        dialog = self.dialog = IntakeDialog(MOST_FILES, self._desk.window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(lambda chosen: self._close(chosen, target))
        dialog.left.connect(lambda: self._close([], target))
        dialog.start(names)
        dialog.show()
        self._desk.workspace.runner.submit(
            f"Reading the headers of {plural(len(names), 'model')}", lambda token: self._read(number, names, token),
            key=KEY, lane="files",
        )  # fmt: skip

    def _read(self, number: int, paths: Sequence[str], token: Token) -> None:
        """Open one after the other, in a worker; nothing of a model is kept but a few facts."""
        token.begin(len(paths), "reading headers", "models")
        ready: list[IntakeFacts] = []
        told = time.monotonic()
        for path in paths:
            token.check()
            ready.append(facts_of(Path(path)))
            token.advance(1)
            if time.monotonic() - told > TELL_S:
                self.read.emit(number, ready)
                ready, told = [], time.monotonic()
        self.read.emit(number, ready)

    def _on_read(self, number: int, facts: list[IntakeFacts]) -> None:
        if self.dialog is not None and number == self._number:
            self.dialog.learn(facts)

    def _close(self, chosen: Sequence[str], target: str) -> None:
        self.dialog = None
        self._desk.workspace.runner.cancel_key(KEY)
        if chosen:
            self._desk.adding.add(chosen, target)


def facts_of(path: Path) -> IntakeFacts:
    """What the list shows of a model; a problem instead of an error."""
    from widgets.panels.intake_model import IntakeFacts

    try:
        checkpoint = open_checkpoint(path)
    except MixdownError as error:
        return IntakeFacts(str(path), problem=f"{error.message} {error.hint}".strip())
    return IntakeFacts(
        str(path), checkpoint.parameters, dtype_text(checkpoint.dtypes), checkpoint.size_bytes, family(checkpoint)
    )


def family(checkpoint: Checkpoint) -> int:
    """The same number for models with the same tensor names and shapes, within one process."""
    return hash(frozenset((name, info.shape) for name, info in checkpoint.tensors.items()))


def install(desk: Desk) -> Mapping[str, Handler]:
    """Wire it; it has no actions of its own."""
    Intake(desk)
    return {}
