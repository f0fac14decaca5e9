"""The main window: shelf, canvas and details around one workspace. It only arranges; controllers do the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QChildEvent, QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication, QShowEvent
from PySide6.QtWidgets import (
    QDockWidget,
    QLabel,
    QMainWindow,
    QStackedWidget,
    QTabBar,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.actions import Action
from app.menus import Commands
from app.workspace import Workspace
from engine.errors import MixdownError
from widgets.common.icons import icon
from widgets.common.tabs import CloseTabs
from widgets.common.toast import Notice, Toasts
from widgets.desk.canvas import MergeCanvas
from widgets.dialogs.error_card import ErrorCard
from widgets.dialogs.palette import CommandPalette
from widgets.dialogs.welcome import WelcomePage
from widgets.panels.history import HistoryPanel
from widgets.panels.inspector import Inspector
from widgets.panels.jobs import JobsPanel
from widgets.panels.method_panel import MethodPanel
from widgets.panels.scores import ScoresPanel
from widgets.panels.sentence import Sentence
from widgets.shelf.shelf import Shelf

if TYPE_CHECKING:
    from widgets.panels.export_panel import ExportPanel

DETAILS = ("inspector", "scores", "method", "history", "jobs", "export")
_LAYOUT = 1
_MOST_STOPS = 2000
"""Places that Tab may pass in search of one that can be seen."""


class MainWindow(QMainWindow):
    """The desk.

    Signals:
        firstPaint: The window was painted for the first time; torch may be loaded now.
        pathsDropped: Paths dropped on no panel in particular.
    """

    firstPaint = Signal()
    pathsDropped = Signal(list, str)

    def __init__(self, workspace: Workspace, handler: Callable[[Action], Callable[..., None]]) -> None:
        super().__init__()
        self.workspace = workspace
        self.allow_close: Callable[[], bool] = lambda: True
        self._close_tabs = CloseTabs(self)
        self.setObjectName("window")
        self.setAcceptDrops(True)
        self.setDockNestingEnabled(True)
        room = QGuiApplication.primaryScreen().availableSize()
        self.resize(min(1440, room.width() - 16), min(900, room.height() - 48))
        self._make_widgets()
        self.commands = Commands(self, handler)
        self.docks = self._make_docks()
        self._make_toolbar()
        self._make_status()
        self.reset_layout()
        self._restore()

    def _make_widgets(self) -> None:
        self.shelf, self.canvas, self.sentence = Shelf(), MergeCanvas(), Sentence()
        self.inspector, self.scores, self.method = Inspector(), ScoresPanel(), MethodPanel()
        self.history, self.jobs = HistoryPanel(), JobsPanel()
        self.welcome, self.card = WelcomePage(), ErrorCard()
        self.card.hide()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.welcome)
        self.pages.addWidget(self.canvas)
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.card)
        column.addWidget(self.pages, 1)
        self.setCentralWidget(centre)
        self.toasts = Toasts(self)
        self.palette_box = CommandPalette(self)

    def _make_docks(self) -> dict[str, QDockWidget]:
        titles = {"models": ("Models", self.shelf), "inspector": ("Inspector", self.inspector),
                  "scores": ("Scores", self.scores), "method": ("Method", self.method),
                  "history": ("History", self.history), "jobs": ("Jobs", self.jobs), "export": ("Export", None),
                  "overlap": ("Overlap", None), "examples": ("Examples", None)}  # fmt: skip
        docks = {}
        for name, (title, widget) in titles.items():
            dock = QDockWidget(title, self)
            dock.setObjectName(f"dock-{name}")
            if widget is not None:
                widget.setMinimumWidth(230 if name == "models" else 310)
                dock.setWidget(widget)
            dock.setFeatures(QDockWidget.DockWidgetFeature.DockWidgetMovable)
            dock.setTitleBarWidget(QWidget(dock))  # the tab, or the panel itself, says what it is
            docks[name] = dock
        docks["inspector"].visibilityChanged.connect(self.workspace.modelsChanged)  # dies with either end
        return docks

    @cached_property
    def export(self) -> ExportPanel:
        """The export panel, made when it is first wanted."""
        from widgets.panels.export_panel import ExportPanel

        panel = ExportPanel()
        panel.setMinimumWidth(356)
        self.docks["export"].setWidget(panel)
        return panel

    def _make_toolbar(self) -> None:
        bar = QToolBar("Recipe")
        bar.setObjectName("toolbar")
        bar.setMovable(False)
        bar.addWidget(self.sentence)
        for action_id, name in (("edit.undo", "undo"), ("edit.redo", "redo")):
            self.commands[action_id].setIcon(icon(name))
            bar.addWidget(self._tool(action_id, name, ""))  # the action's text changes at every step of a drag
        bar.addSeparator()
        for action_id, name, text in (("mix.eval", "evaluate", "Evaluate"), ("file.export", "export", "Export…")):
            bar.addWidget(self._tool(action_id, name, text))
        self.addToolBar(bar)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)

    def _tool(self, action_id: str, name: str, text: str) -> QToolButton:
        """A button of the toolbar that follows an action without taking its long title; an icon alone without text."""
        action, button = self.commands[action_id], QToolButton()
        button.setObjectName(f"tool-{action_id}")
        button.setText(text)
        primary = action_id == "file.export"
        button.setIcon(icon(name, "on_accent" if primary else "text"))
        button.setProperty("primary", primary)
        style = Qt.ToolButtonStyle
        button.setToolButtonStyle(style.ToolButtonTextBesideIcon if text else style.ToolButtonIconOnly)
        button.setAutoRaise(not text)
        button.setAccessibleName(text or name.capitalize())
        button.clicked.connect(lambda _=False: action.trigger())

        def follow() -> None:
            button.setEnabled(action.isEnabled())
            keys = action.shortcut().toString()
            button.setToolTip(f"{action.toolTip()} ({keys})" if keys else action.toolTip())

        action.changed.connect(follow)
        follow()
        return button

    def _make_status(self) -> None:
        self.status_left, self.status_jobs, self.status_right = QLabel(), QLabel(), QLabel()
        for label in (self.status_left, self.status_jobs, self.status_right):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.status_left.setContentsMargins(8, 0, 0, 0)
        self.status_right.setContentsMargins(0, 0, 8, 0)
        self.status_jobs.setContentsMargins(0, 0, 16, 0)  # apart from the sentence about a fader
        self.bell = QToolButton()
        self.bell.setObjectName("notices")
        self.bell.setIcon(icon("bell", "dim"))
        self.bell.setAutoRaise(True)
        self.bell.setAccessibleName("Notifications")
        self.bell.setDefaultAction(self.commands["view.notices"])
        self.bell.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
        self.commands["view.notices"].setIcon(icon("bell", "dim"))
        bar = self.statusBar()
        bar.setSizeGripEnabled(False)
        bar.addWidget(self.status_left, 1)
        bar.addPermanentWidget(self.status_jobs)
        bar.addPermanentWidget(self.status_right)
        bar.addPermanentWidget(self.bell)

    # Layout --------------------------------------------------------------------------------------------------

    def reset_layout(self) -> None:
        """All panels back to their places."""
        left, right = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
        self.setTabPosition(right, self.tabPosition(right).North)
        for dock in self.docks.values():
            dock.setFloating(False)
        self.addDockWidget(left, self.docks["models"])
        for name in DETAILS:
            self.addDockWidget(right, self.docks[name])
        self.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.docks["overlap"])
        self.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.docks["examples"])
        for before, after in pairwise(DETAILS):
            self.tabifyDockWidget(self.docks[before], self.docks[after])
        for name, dock in self.docks.items():
            dock.setVisible(name not in ("export", "overlap", "examples", "sweep", "tune", "runs"))
        self.resizeDocks([self.docks["models"], self.docks["inspector"]], [270, 390], Qt.Orientation.Horizontal)
        self.docks["scores"].raise_()

    def show_panel(self, name: str) -> None:
        """Bring a panel to the front."""
        self.docks[name].show()
        self.docks[name].raise_()

    def panes(self) -> list[QWidget]:
        """The parts of the window that F6 visits, hidden ones included; each has a name for screen readers."""
        page = self.pages.currentWidget()
        found: list[QWidget] = [self.sentence, self.shelf, *([page] if page is not None else [])]
        for dock in self.docks.values():
            pane = dock.widget()
            if pane is not None and not pane.accessibleName():
                pane.setAccessibleName(dock.windowTitle())
            found += [pane] if pane is not None and pane not in found else []
        return found

    def show_page(self, is_empty: bool) -> None:
        """Welcome while there is nothing on the desk, else the canvas."""
        if self.pages.currentWidget() in (self.welcome, self.canvas):  # a feature's own page stays until it is left
            self.pages.setCurrentWidget(self.welcome if is_empty else self.canvas)

    def _restore(self) -> None:
        """Geometry and docks of the last time."""
        settings = self.workspace.settings
        if settings.geometry:
            self.restoreGeometry(QByteArray.fromBase64(settings.geometry.encode()))
        if settings.docks:
            self.restoreState(QByteArray.fromBase64(settings.docks.encode()), _LAYOUT)
            self.docks["export"].hide()

    def remember_layout(self) -> None:
        """Keep geometry and docks for the next time."""
        geometry, docks = (bytes(x.toBase64().data()).decode() for x in (self.saveGeometry(), self.saveState(_LAYOUT)))
        self.workspace.change_settings(geometry=geometry, docks=docks)

    # Events --------------------------------------------------------------------------------------------------

    def childEvent(self, event: QChildEvent) -> None:
        """Bars of tabs are made by Qt whenever docks come together; their words are never cut."""
        super().childEvent(event)
        if event.type() == QEvent.Type.ChildPolished:
            bar = event.child()
            if isinstance(bar, QTabBar):
                self._close_tabs.watch(bar)

    def showEvent(self, event: QShowEvent) -> None:
        """After the first paint, say so."""
        super().showEvent(event)
        if not self.property("painted"):
            self.setProperty("painted", True)
            QTimer.singleShot(0, self._painted)

    def focusNextPrevChild(self, following: bool) -> bool:
        """Tab, but not into panels that lie behind another one's tab: Qt calls those visible."""
        for _ in range(_MOST_STOPS):
            moved, here = super().focusNextPrevChild(following), self.focusWidget()
            if not moved or here is None or not self._is_behind(here):
                return moved
        return False

    def _is_behind(self, widget: QWidget) -> bool:
        """Whether a widget is in a panel whose tab is not in front; those are moved off the window."""
        return any(
            dock.isAncestorOf(widget) and not dock.isFloating() and not self.rect().intersects(dock.geometry())
            for dock in self.docks.values()
        )

    def _painted(self) -> None:
        self.repaint()
        self.firstPaint.emit()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Ask whoever decides."""
        if self.allow_close():
            event.accept()
        else:
            event.ignore()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files anywhere; panels that know better take them first."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Files dropped beside every panel go to the canvas."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.pathsDropped.emit(paths, "canvas")

    def show_error(self, error: MixdownError) -> None:
        """A short notification of an error."""
        text = f"{error.message} {error.hint}".strip()
        self.toasts.show_notice(Notice(text=text, severity="error", key=text))
