"""The dialogs and menus that the desk opens; each is imported when it is first wanted, the window opens sooner."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint
from PySide6.QtWidgets import QMenu

from app import places
from app.actions import ACTIONS
from app.doctor import installed_versions
from app.export_controller import free_name
from app.help_pages import pages
from app.history_place import connect_preferences
from app.jobs import FINISHED, Job
from app.menus import plain_title, shortcut_text
from app.version import VERSION
from app.workspace import Workspace
from engine.graphs.values import CHOICES
from widgets.common.format import bytes_text, duration_text
from widgets.common.text import button_text
from widgets.dialogs.state import ExistingExport, PreferencesState

if TYPE_CHECKING:
    from app.window import MainWindow
    from engine.export.options import Exported
    from widgets.dialogs.help_viewer import HelpViewer

LICENCES = """Mixdown: Apache 2.0.
PySide6 and Qt: LGPL v3. torch: BSD 3-Clause. safetensors, transformers: Apache 2.0.
onnxruntime, onnxscript: MIT. onnx: Apache 2.0. SQLAlchemy: MIT. pyqtgraph: MIT. numpy: BSD 3-Clause.
Inter typeface: SIL OFL 1.1.
Demo data: Fashion-MNIST (MIT), MNIST (CC BY-SA 3.0), optdigits (CC BY 4.0); see resources/demo/ATTRIBUTION.md."""


class Dialogs(QObject):
    """Opens dialogs over the window."""

    def __init__(self, workspace: Workspace, window: MainWindow, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._window = workspace, window
        self._help: HelpViewer | None = None
        self._row_actions: dict[str, Callable[[str], None]] = {}

    def preferences(self) -> None:
        """Preferences; every change applies at once."""
        from widgets.dialogs.preferences import PreferencesDialog

        settings = self._workspace.settings
        dialog = PreferencesDialog(
            PreferencesState(
                theme=settings.theme,
                auto_eval=settings.auto_eval,
                eval_rows=settings.eval_rows,
                device=settings.device,
                devices=self._workspace.devices,
                runner=settings.runner,
                runners=CHOICES,
                threads=settings.threads,
                cores=os.cpu_count() or 1,
            ),
            self._window,
        )
        connect_preferences(self._workspace, dialog)
        dialog.changed.connect(lambda name, value: self._workspace.change_settings(**{name: value}))
        dialog.exec()

    def help(self, page: str, section: str = "") -> None:
        """The help viewer on a page."""
        from widgets.dialogs.help_viewer import HelpViewer

        if self._help is None:
            self._help = HelpViewer(places.RESOURCES / "help", dict(pages()), self._window)
        self._help.open_page(page, section)
        self._help.show()
        self._help.raise_()
        self._help.activateWindow()

    def shortcuts(self) -> None:
        """All keys."""
        from widgets.dialogs.shortcuts import ShortcutsDialog

        rows = [(a.menu, plain_title(a), shortcut_text(a)) for a in ACTIONS if a.keys]
        ShortcutsDialog(rows, self._window).exec()

    def about(self) -> None:
        """Versions and licences."""
        from widgets.dialogs.about import AboutDialog

        AboutDialog(VERSION, list(installed_versions().items()), LICENCES, self._window).exec()

    def ask_replace(self, out: Path) -> Path | None:
        """Replace what is at the target, write beside it, or neither."""
        from widgets.dialogs.replace_export import ReplaceExportDialog

        other = free_name(out.parent, out.name)
        dialog = ReplaceExportDialog(existing_export(out), str(other), self._window)
        return {"replace": out, "keep": other}.get(dialog.ask())

    def may_stop(self, jobs: Sequence[Job], close_again: Callable[[], object]) -> bool:
        """Ask what to do with running jobs; "wait" closes the window when the last one ends."""
        from widgets.dialogs.close_jobs import CloseJobsDialog

        answer = CloseJobsDialog([job.title for job in jobs], self._window).ask()
        if answer == "wait":

            def when_done() -> None:
                if all(job.state in FINISHED for job in jobs):
                    self._workspace.runner.jobsChanged.disconnect(when_done)
                    close_again()

            self._workspace.runner.jobsChanged.connect(when_done)
        return answer == "stop"

    def set_row_actions(self, actions: dict[str, Callable[[str], None]]) -> None:
        """Give the functions of the row menu, by label, in menu order."""
        self._row_actions = actions

    def row_menu(self, expert: str, point: QPoint) -> None:
        """The context menu of an expert's row."""
        menu = QMenu(self._window)
        menu.addSection(button_text(self._workspace.recipe.expert(expert).name))
        for label, run in self._row_actions.items():
            menu.addAction(label).triggered.connect(lambda _=False, r=run: r(expert))
        menu.exec(point)

    def notices(self) -> None:
        """A menu of the last notifications above the bell; choosing one shows it again."""
        menu, kept = QMenu(self._window), self._window.toasts.notices()[-12:]
        for notice in reversed(kept):
            text = notice.text if len(notice.text) <= 90 else f"{notice.text[:88]}…"
            menu.addAction(button_text(text)).triggered.connect(
                lambda _=False, n=notice: self._window.toasts.show_notice(n)
            )
        if not kept:
            menu.addAction("No notifications so far").setEnabled(False)
        bell = self._window.bell
        menu.exec(bell.mapToGlobal(bell.rect().topRight()) - QPoint(menu.sizeHint().width(), menu.sizeHint().height()))

    @staticmethod
    def exported_text(done: Exported) -> str:
        """What the notification of a finished export says."""
        return f"Exported {done.path.name}: {bytes_text(done.bytes)} in {duration_text(done.seconds)}."


def existing_export(out: Path) -> ExistingExport:
    """What lies at the target of an export."""
    from engine.export.existing import examine

    found = examine(out)
    files = [f for f in out.rglob("*") if f.is_file()] if out.is_dir() else [out]
    is_export = found.kind == "export"
    return ExistingExport(
        path=str(out),
        summary="An export by Mixdown" if is_export else f"Not made by Mixdown: {found.what}",
        size_bytes=sum(f.lstat().st_size for f in files[:10_000]),
        changed=time.strftime("%Y-%m-%d %H:%M", time.localtime(out.lstat().st_mtime)),
        is_export=is_export,
    )
