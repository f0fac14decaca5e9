"""The example strip behind its panel: chosen and read in a worker, told anew at every move of a fader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QDockWidget

from app import preview_work as work
from app.preview_controller import PreviewController
from engine.errors import MixdownError
from engine.preview.strip import strip
from engine.preview.surrogate import Surrogate
from widgets.panels.examples import ExamplesPanel, ExamplesState
from widgets.panels.examples_list import Card

if TYPE_CHECKING:
    from app.desk import Desk

_KEY = "live examples"
_FRAME_MS = 16
_NOTES = {
    "exact": "Validation rows nearest to flipping. Move a fader.",
    "estimate": "≈ Estimated while faders move; framed ones have flipped.",
    "stale": "≈ Old estimate: far from where it was prepared; framed ones have flipped.",
    "waiting": "Waiting: the moved fader is not prepared yet.",
}


class ExamplesController(QObject):
    """Connects the strip with the live preview; works only while the strip can be seen.

    Args:
        desk: The assembled desk.
        preview: The live preview.
    """

    def __init__(self, desk: Desk, preview: PreviewController) -> None:
        super().__init__(desk)
        self._desk, self._preview = desk, preview
        self._dock = desk.window.docks["examples"]
        self.panel: ExamplesPanel | None = None
        self.task = ""
        self._chosen: work.Chosen | None = None
        self._source: tuple[Surrogate, bool] | None = None
        self._wanted = self._trouble = ""
        self._later = QTimer(self, interval=_FRAME_MS, singleShot=True)
        self._later.timeout.connect(self.refresh)
        for signal in (preview.changed, preview.estimated, self._dock.visibilityChanged):
            signal.connect(self._soon)
        desk.window.scores.taskChosen.connect(self.choose)
        self._dock.visibilityChanged.connect(
            lambda _: desk.window.commands.check("view.examples", not self._dock.isHidden())
        )

        overlap = desk.window.docks["overlap"]
        for dock in (overlap, self._dock):
            dock.visibilityChanged.connect(lambda _, shown=dock: self._share(shown))

    def _share(self, shown: QDockWidget) -> None:
        """Strip and overlap views are tabs of one place; tabs are made once both are wanted."""
        window, overlap = self._desk.window, self._desk.window.docks["overlap"]
        if overlap.isHidden() or self._dock.isHidden() or self._dock in window.tabifiedDockWidgets(overlap):
            return
        window.tabifyDockWidget(overlap, self._dock)
        QTimer.singleShot(0, shown.raise_)

    def show(self, is_on: bool = True) -> None:
        """Show or hide the strip."""
        if is_on:
            self._desk.window.show_panel("examples")
        else:
            self._dock.hide()

    def choose(self, task: str) -> None:
        """Show examples of another task; the average has none of its own."""
        if task and task != self.task:
            self.task = task
            self._soon()

    def _soon(self, *_: object) -> None:
        if self._dock.isVisible() and not self._later.isActive():
            self._later.start()

    def refresh(self) -> None:
        """Choose examples if need be, and tell how they stand."""
        if not self._dock.isVisible():
            return
        if self.panel is None:
            self.panel = ExamplesPanel()
            self.panel.taskChosen.connect(self.choose)
            self._dock.setWidget(self.panel)
        live, point = self._preview.session(), self._preview.point()
        surrogate = self._preview.best(point) if point is not None else None
        if live is None or surrogate is None or point is None:
            self._chosen = self._source = None
            self.panel.set_state(ExamplesState(hint=self._hint()))
            return
        tasks = [t for t in live.tasks if t.family == "class"]
        if not tasks:
            self._chosen = self._source = None
            self.panel.set_state(ExamplesState(hint="Examples flip for tasks of classes; there is none here."))
            return
        names = [t.name for t in tasks]
        self.task = self.task if self.task in names else names[0]
        self._want(surrogate)
        chosen, cards = self._chosen, tuple[Card, ...]()
        if chosen is not None and chosen.task == self.task:
            cards = self._cards(surrogate, chosen)
        self.panel.set_state(ExamplesState(
            tasks=tuple((t.name, t.name) for t in tasks), task=self.task, cards=cards,
            note=_NOTES[surrogate.state(point)] if cards else "",
            hint=self._trouble or "Looking for examples that are near to flipping…",
        ))  # fmt: skip

    def _cards(self, surrogate: Surrogate, chosen: work.Chosen) -> tuple[Card, ...]:
        point = self._preview.point()
        if point is None:
            return ()
        labels = next(t for t in surrogate.tasks if t.name == chosen.task).classes
        return tuple(
            Card(text=picture.text, pixels=picture.pixels, label=labels[e.label], answer=labels[e.predicted],
                 before=labels[e.before], chance=e.probability, change=e.change, flipped=e.flipped)
            for e, picture in zip(strip(surrogate, chosen.task, point, chosen.rows), chosen.pictures, strict=True)
        )  # fmt: skip

    def _want(self, surrogate: Surrogate) -> None:
        """Choose anew for another task or surrogate, and once more when all derivatives are there."""
        source, full = self._source, surrogate.filled >= 1
        same = self._chosen is not None and self._chosen.task == self.task
        if source is not None and source[0] is surrogate and source[1] == full and (same or self._wanted == self.task):
            return
        task = next((t for t in self._desk.workspace.scoring.board.tasks.values() if t.name == self.task), None)
        base = self._desk.workspace.recipe.base
        if task is None:
            return
        self._source, self._wanted, self._trouble = (surrogate, full), self.task, ""
        path = Path(base.path) if base is not None else None
        folder = path if path is None or path.is_dir() else path.parent
        self._desk.workspace.runner.submit(
            "Choosing examples", lambda token: work.examples(surrogate, task, folder, token), key=_KEY, lane="files",
            shown=False, done=self._found, failed=self._failed,
        )  # fmt: skip

    def _found(self, chosen: work.Chosen) -> None:
        self._chosen = chosen
        self._soon()

    def _failed(self, error: MixdownError) -> None:
        self._trouble = f"{error.message} {error.hint}".strip()
        self._soon()

    def _hint(self) -> str:
        """What to do while there is no live preview."""
        state = self._preview.state
        if state.phase == "off":
            return "Turn on View > Live preview to see examples flip while faders move."
        if state.phase == "idle":
            return f"Drop a base, experts and a task, or open the demo. {state.reason}"
        return state.line
