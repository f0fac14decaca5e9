"""The start page: shown in the middle while the desk is empty."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QMimeData, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDragMoveEvent,
    QDropEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QFrame, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from widgets.common.icons import icon, paint_icon
from widgets.common.pieces import TallArea, clear, column, dimmed, heading, icon_button, push, row
from widgets.common.text import ElidedLabel, PlainLabel, button_text, plain, tip
from widgets.common.theme import theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from widgets.dialogs.state import RecentProject

_WIDE = 620


def local_paths(data: QMimeData) -> list[str]:
    """Paths of the local files in a drag; addresses on the network are left out."""
    return [url.toLocalFile() for url in data.urls() if url.isLocalFile() and url.toLocalFile()]


class DropZone(QFrame):
    """A dashed box that says what can be dropped."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.is_hot = False
        self.setObjectName("welcome-drop")
        self.open = push(
            "Open models…", name="welcome-open", icon_name="open", hint="Choose files or a project (Ctrl+O)"
        )
        title = heading("Drop a base model and its fine-tunes here", larger=1.15)
        title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        text = dimmed("Safetensors files or Hugging Face model folders. Mixdown finds the base by itself.")
        text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        body = column(52, title, text, 6, row(None, self.open, None))
        body.setContentsMargins(24, 20, 24, 22)
        self.setLayout(body)

    def show_hot(self, hot: bool) -> None:
        """Show that something acceptable is above."""
        if hot != self.is_hot:
            self.is_hot = hot
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The dashed edge and a large icon."""
        colours, painter = theme(), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        edge = QColor(colours.accent if self.is_hot else colours.dim)
        painter.setPen(QPen(edge, 2 if self.is_hot else 1.5, Qt.PenStyle.DashLine))
        painter.setBrush(QColor(colours.hover if self.is_hot else colours.panel))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5), 10, 10)
        paint_icon(painter, "models", QRectF(self.width() / 2 - 20, 22, 40, 40), edge)
        painter.end()


class _RecentButton(QPushButton):
    """One recent project: name, detail and path on two lines."""

    def __init__(self, project: RecentProject) -> None:
        super().__init__()
        self.setAutoDefault(False)
        self.setObjectName("welcome-recent")
        self.setToolTip(tip(project.path))
        self.setAccessibleName(f"Open {plain(project.name)}")
        self.setAccessibleDescription(
            ", ".join(t for t in dict.fromkeys((plain(project.detail), plain(project.path))) if t)
        )
        name = ElidedLabel(project.name)
        detail = ElidedLabel(project.detail if project.detail != project.path else "", "dim")
        detail.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        path = ElidedLabel(project.path, "dim", mode=Qt.TextElideMode.ElideMiddle)
        for label in (name, detail, path):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        body = column(row(name, detail), path, spacing=2)
        body.setContentsMargins(12, 6, 12, 6)
        self.setLayout(body)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Two lines of text."""
        layout = self.layout()
        return layout.sizeHint() if layout is not None else super().sizeHint()

    def minimumSizeHint(self) -> QSize:
        """The texts give way."""
        layout = self.layout()
        return layout.minimumSize() if layout is not None else super().minimumSizeHint()


class WelcomePage(TallArea):
    """What to do first: drop models, open the demo or a project, or go on with a recent one.

    Signals:
        filesDropped: Paths of the files and folders dropped.
        openRequested: The user wants a file dialog.
        demoRequested: The user wants the demo.
        projectRequested: The user wants to choose a project file.
        recentChosen: Path of the recent project.
        recentRemoved: Path of a project to forget in the list.
        helpRequested: The user wants the help's first page.
    """

    filesDropped = Signal(list)
    openRequested = Signal()
    demoRequested = Signal()
    projectRequested = Signal()
    recentChosen = Signal(str)
    recentRemoved = Signal(str)
    helpRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("welcome")
        self.setAccessibleName("Start page")
        self.setAcceptDrops(True)
        self._projects: tuple[RecentProject, ...] = ()
        self.zone = DropZone()
        self._zone_open = self.zone.open
        self._zone_open.clicked.connect(self.openRequested)
        self._recent_title = heading("Recent projects", larger=1.0)
        self._recent = QVBoxLayout()
        self._recent.setSpacing(6)
        self.show_widget(self._page())
        self.set_recent(())

    def _page(self) -> QWidget:
        inner = QWidget()
        title = heading("Mixdown", larger=1.9)
        text = PlainLabel("Merge fine-tuned models like tracks on a mixing desk.", wrap=True)
        keys = dimmed("Ctrl+O open    Ctrl+Shift+P any command    F1 help")
        inner.setLayout(
            column(title, text, 8, self.zone, self._first_steps(), 8, self._recent_title, self._recent, 8, keys)
        )
        inner.setMaximumWidth(_WIDE)
        page = QWidget()
        outer = row(None, column(None, inner, None, None), None, spacing=0)
        outer.setStretch(1, 100)
        outer.setContentsMargins(20, 20, 20, 20)
        page.setLayout(outer)
        return page

    def _first_steps(self) -> QWidget:
        box = QWidget()
        demo = push("Open demo", name="welcome-demo", icon_name="demo", primary=True,
                    hint="A real base model with real fine-tunes, and tasks to score them")  # fmt: skip
        project = push("Open project…", name="welcome-project", icon_name="folder", hint="A .mixdown file")
        guide = push("How it works", name="welcome-help", icon_name="help", hint="The first page of the help (F1)")
        demo.clicked.connect(self.demoRequested)
        project.clicked.connect(self.projectRequested)
        guide.clicked.connect(self.helpRequested)
        box.setLayout(row(None, demo, project, guide, None))
        return box

    def set_recent(self, projects: Sequence[RecentProject]) -> None:
        """List the projects used before, newest first."""
        if self._recent.count() and tuple(projects) == self._projects:
            return
        self._projects = tuple(projects)
        clear(self._recent)
        for project in self._projects:
            self._recent.addLayout(self._recent_row(project))
        self._recent_title.setVisible(bool(self._projects))

    def _recent_row(self, project: RecentProject) -> QVBoxLayout:
        button = _RecentButton(project)
        button.clicked.connect(partial(self.recentChosen.emit, project.path))
        forget = icon_button("close", f"Remove {plain(project.name)} from this list (the file stays)")
        forget.setText(button_text(""))
        forget.clicked.connect(partial(self.recentRemoved.emit, project.path))
        return column(row(button, forget, spacing=4))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept local files and folders."""
        if local_paths(event.mimeData()):
            event.acceptProposedAction()
            self.zone.show_hot(True)

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        """Go on accepting them."""
        if local_paths(event.mimeData()):
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """They went elsewhere."""
        self.zone.show_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Report their paths."""
        self.zone.show_hot(False)
        if paths := local_paths(event.mimeData()):
            event.acceptProposedAction()
            self.filesDropped.emit(paths)

    def changeEvent(self, event: QEvent) -> None:
        """Paint the icons in the new theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "zone"):
            self._zone_open.setIcon(icon("open"))
        super().changeEvent(event)
