"""The strip above the desk that says how a recipe restacks layers, and where slices are edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QBoxLayout

from app.stack_state import told
from engine.files.text import printable
from widgets.desk.stack_note import StackNote

if TYPE_CHECKING:
    from app.desk import Desk

_WAY_OUT = "Change the slices in the mergekit YAML and drop it here again, or undo."
_HINT = (
    "Slices and coefficients are edited in the mergekit YAML: save it, change it and drop it here again. The desk "
    "shows what it says; a model has 0 in layers that it takes no part in. Export and the command line merge it; live "
    "numbers and previews need layers that stay in place."
)


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Put the strip above the desk; it is there only while the recipe has a stack."""
    _StackStrip(desk)
    return {}


class _StackStrip(QObject):
    """Shows and hides the strip.

    Args:
        desk: The assembled desk.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk, self._note = desk, StackNote()
        page = desk.window.centralWidget()
        centre = page.layout() if page is not None else None
        self._later = QTimer(self, interval=0, singleShot=True)
        self._later.timeout.connect(self.refresh)
        self._note.hide()
        if isinstance(centre, QBoxLayout):
            centre.insertWidget(1, self._note)
        self._note.saveRequested.connect(lambda: desk.window.commands.trigger("file.mergekit"))
        self._note.helpRequested.connect(lambda: desk.dialogs.help("mergekit"))
        for signal in (desk.workspace.store.recipeChanged, desk.workspace.modelsChanged):
            signal.connect(lambda *_: self._later.start())
        self._later.start()

    def refresh(self) -> None:
        """Say what the recipe does now."""
        workspace, recipe = self._desk.workspace, self._desk.workspace.recipe
        self._note.setVisible(bool(recipe.stack))
        if not recipe.stack:
            return
        problem = workspace.unstackable if workspace.inputs() is None else None
        if problem is not None:
            self._note.show_stack(printable(str(problem), 600), _WAY_OUT, is_problem=True)
            return
        made = workspace.inputs()
        findings = made.stacked.findings if made is not None and made.stacked is not None else ()
        more = " ".join(f"{f.message} {f.hint}" for f in findings)
        self._note.show_stack(told(recipe), f"{more} {_HINT}".strip(), is_problem=False)
