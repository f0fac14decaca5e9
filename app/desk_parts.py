"""What the desk makes when it is first wanted, at the latest while the window rests after its first paint."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from app.problems import as_problem
from widgets.common.toast import Notice

if TYPE_CHECKING:
    from app.adding import Adding
    from app.desk_controller import DeskController
    from app.dialogs import Dialogs
    from app.export_controller import ExportController
    from app.features import Step
    from app.mix_controller import MixController
    from app.overlap_controller import OverlapController
    from app.preview_controller import PreviewController
    from app.window import MainWindow
    from app.workspace import Workspace
    from engine.export.options import Exported
    from widgets.dialogs.state import Problem


class DeskParts(QObject):
    """The controllers that take no part in the first paint; each wires itself to the desk when it is made."""

    workspace: Workspace
    window: MainWindow
    adding: Adding
    mix: MixController
    desk: DeskController
    tell: Callable[..., None]
    show_problem: Callable[[Problem], None]
    row_actions: Callable[[], dict[str, Callable[[str], None]]]

    @cached_property
    def dialogs(self) -> Dialogs:
        """Dialogs and menus over the window."""
        from app.dialogs import Dialogs

        made = Dialogs(self.workspace, self.window, self)
        made.set_row_actions(self.row_actions())
        return made

    @cached_property
    def overlap(self) -> OverlapController:
        """The overlap views."""
        from app.overlap_controller import OverlapController

        made = OverlapController(self.workspace, self.desk, self.window.docks["overlap"], self)
        made.told.connect(lambda text: self.tell(text, "ok"))
        made.problem.connect(self.window.show_error)
        return made

    @cached_property
    def preview(self) -> PreviewController:
        """The live preview."""
        from app.preview_controller import PreviewController

        return PreviewController(self.workspace, self)

    @cached_property
    def export(self) -> ExportController:
        """The export panel and what it starts."""
        from app.export_controller import ExportController

        panel = self.window.export
        made = ExportController(self.workspace, panel, lambda out: self.dialogs.ask_replace(out), self)
        made.failed.connect(lambda error: self.show_problem(as_problem(error, "The export failed")))
        made.exported.connect(self._tell_exported)
        made.told.connect(lambda text: self.tell(text, "info"))
        made.copied.connect(lambda _: self.tell("Copied.", "ok"))
        made.openRequested.connect(lambda path: self.adding.add([path], "canvas"))
        panel.closeRequested.connect(self._close_export)
        return made

    def _tell_exported(self, done: Exported) -> None:
        actions = (("open_folder", "Open folder"), ("open_expert", "Open as expert"))
        text = self.dialogs.exported_text(done)
        self.window.toasts.show_notice(Notice(text=text, severity="ok", actions=actions, key="exported"))

    def _close_export(self) -> None:
        self.window.docks["export"].hide()
        self.window.canvas.setFocus()

    def late_steps(self) -> tuple[Step, ...]:
        """Modules to load and things to make while the window rests, each in a moment."""
        return (
            self.window.sentence.fill_menu, self.mix.fill,
            "engine.history.inbox", "app.recording", "app.export_host", "app.export_controller", "app.dialogs",
            lambda: self.dialogs,
            "engine.analyse.values", "app.overlap_state", lambda: self.overlap,
            "app.preview_host", "app.preview_work", lambda: self.preview,
            "widgets.panels.export_panel", lambda: self.window.export, lambda: self.export,
        )  # fmt: skip
