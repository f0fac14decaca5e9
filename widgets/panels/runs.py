"""Runs: every export and score as a table, a scatter plot and a map of merges of merges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QKeySequence, QShortcut
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QLineEdit, QMenu, QStackedWidget, QToolButton, QWidget

from widgets.common.text import PlainLabel, button_text
from widgets.panels.panel_parts import EmptyHint, NoteLine, column, dim, icon_button
from widgets.panels.runs_family import FamilyView
from widgets.panels.runs_model import RunsModel
from widgets.panels.runs_state import HINT, RunsState
from widgets.panels.runs_table import RunsTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from widgets.panels.runs_state import Family, RunLine

_PAGES = (("table", "Table"), ("scatter", "Scatter"), ("family", "Lineage"))
_COMMANDS = (
    ("use", "faders", "Use recipe", "Put the run's recipe on the desk; undo brings yours back (Enter)"),
    ("rerun", "retry", "Run again", "Make the same model again, beside the old one, and compare the bytes (R)"),
    ("compare", "ab", "Compare", "Explain the difference of two runs: recipes, weights, scores (C)"),
    ("beside", "beside", "Side by side", "Two desks, A − B, scores with the interval of their difference (B)"),
    ("folder", "folder", "Open folder", "Show the run's output in the file manager"),
    ("star", "star", "Star", "Star the selected runs, or take their stars away (S)"),
    ("tag", "tag", "Tag…", "Put words on the selected runs (T)"),
    ("note", "rename", "Note…", "Say something about the run (N)"),
    ("delete", "remove", "Delete", "Take the selected runs off the list; undo brings them back (Del)"),
)
"""Command, icon, name, help."""


class RunsPanel(QWidget):
    """The panel; whoever owns it answers its wishes.

    Signals:
        filterChanged: The filter's text, after a moment.
        sortWanted: (column name, descending).
        columnsChosen: Names of the columns to show.
        moreWanted: Number of rows that are there.
        selectionMoved: The selected runs changed.
        commanded: (command, run numbers); see `_COMMANDS`, and "csv".
        pageWanted: "table", "scatter" or "family" came to the front.
    """

    filterChanged = Signal(str)
    sortWanted = Signal(str, bool)
    columnsChosen = Signal(tuple)
    moreWanted = Signal(int)
    selectionMoved = Signal()
    commanded = Signal(str, list)
    pageWanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("runs")
        self.state = RunsState()
        self.model = RunsModel(self)
        self.table, self.family = RunsTable(self.model), FamilyView()
        self._empty = EmptyHint("history", "No runs yet", "Export a mix (Ctrl+E) or score one (Ctrl+Return): "
                                "it is recorded here by itself.")  # fmt: skip
        self._note, self._count = NoteLine(), dim(PlainLabel(""))
        self._soon = QTimer(self, interval=200, singleShot=True)
        self._soon.timeout.connect(lambda: self.filterChanged.emit(self.filter.text()))
        self.pages = QStackedWidget()
        self._holders: dict[str, QWidget] = {"table": self.table, "scatter": QWidget(), "family": self.family}
        for page in self._holders.values():
            self.pages.addWidget(page)
        layout = column(self, 6, 8)
        layout.addLayout(self._make_top())
        layout.addWidget(self._note)
        layout.addWidget(self.pages, 1)
        layout.addWidget(self._empty, 1)
        self._connect()
        self.set_state(self.state)

    def _connect(self) -> None:
        self.model.moreWanted.connect(self.moreWanted)
        self.model.starToggled.connect(lambda run, _: self.commanded.emit("star", [run]))
        self.model.modelReset.connect(self.selectionMoved)
        self.table.chosen.connect(lambda run: self.commanded.emit("use", [run]))
        self.table.pressed_key.connect(self._command)
        self.table.sortWanted.connect(self.sortWanted)
        self.table.menuWanted.connect(self._menu)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self.selectionMoved.emit())
        self.selectionMoved.connect(self._show_commands)
        find = QShortcut(QKeySequence.StandardKey.Find, self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
        find.activated.connect(self.filter.setFocus)

    def _make_top(self) -> QHBoxLayout:
        bar = QHBoxLayout()
        bar.setSpacing(4)
        self._tabs = QButtonGroup(self)
        for at, (name, title) in enumerate(_PAGES):
            button = QToolButton()
            button.setText(title)
            button.setCheckable(True)
            button.setAutoRaise(True)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.setObjectName(f"runs-{name}")
            self._tabs.addButton(button, at)
            bar.addWidget(button)
        self._tabs.button(0).setChecked(True)
        self._tabs.idClicked.connect(lambda at: self.show_page(_PAGES[at][0]))
        self.filter = QLineEdit()
        self.filter.setObjectName("runs-filter")
        self.filter.setClearButtonEnabled(True)
        self.filter.setPlaceholderText(f"Filter: {HINT}")
        self.filter.setAccessibleName("Filter runs")
        self.filter.textChanged.connect(lambda _: self._soon.start())
        bar.addWidget(self.filter, 1)
        bar.addSpacing(4)
        bar.addWidget(self._count)
        bar.addSpacing(8)
        self._buttons: dict[str, QToolButton] = {}
        for name, image, title, hint in _COMMANDS:
            button = self._buttons[name] = icon_button(title, image, hint)
            button.setObjectName(f"runs-{name}")
            button.clicked.connect(lambda _=False, n=name: self._command(n))
            bar.addWidget(button)
        self._columns = icon_button("Columns", "settings", "Which columns the table shows")
        self._columns.clicked.connect(self._choose_columns)
        save = icon_button("Save as CSV", "export", "Save the listed runs as CSV")
        save.clicked.connect(lambda: self.commanded.emit("csv", []))
        self._on_lists = (self._columns, save)
        for button in self._on_lists:
            bar.addWidget(button)
        return bar

    # What is shown -------------------------------------------------------------------------------------------

    def set_state(self, state: RunsState) -> None:
        """Show another state of the whole."""
        self.state = state
        self.table.show_columns(state)
        has_any = bool(state.total or state.is_filtered or state.problem)
        self.pages.setVisible(has_any)
        self._empty.setVisible(not has_any)
        if state.is_off:
            self._empty.set_hint("The history is switched off, so runs are not recorded.")
        for widget in (*self._on_lists, self.filter):
            widget.setEnabled(has_any)
        noun = "run" if state.total == 1 else "runs"
        self._count.setText("" if not has_any else "no run fits" if not state.total else f"{state.total:,} {noun}")
        text = state.problem or state.note
        self._note.setVisible(bool(text))
        if text:
            self._note.show_note("error" if state.problem else "warning", text)
        self._show_commands()

    def set_rows(self, rows: Sequence[RunLine]) -> None:
        """Show the first page; the selection stays where it can."""
        chosen = self.table.chosen_runs()
        self.model.set_rows(rows, self.state.total)
        if chosen and not self.table.chosen_runs():
            self.table.choose(chosen)

    def set_family(self, family: Family) -> None:
        """Show another map."""
        self.family.set_state(family)

    def set_page(self, name: str, widget: QWidget) -> None:
        """Put a page in its place; the scatter plot is made when it is first wanted."""
        old = self._holders[name]
        at = self.pages.indexOf(old)
        shown = self.pages.currentWidget() is old
        self.pages.removeWidget(old)
        old.deleteLater()
        self.pages.insertWidget(at, widget)
        self._holders[name] = widget
        if shown:
            self.pages.setCurrentWidget(widget)

    def show_page(self, name: str) -> None:
        """Bring a page to the front."""
        at = [n for n, _ in _PAGES].index(name)
        self._tabs.button(at).setChecked(True)
        self.pages.setCurrentWidget(self._holders[name])
        self.pageWanted.emit(name)

    @property
    def page(self) -> str:
        """The page in front."""
        return _PAGES[self._tabs.checkedId()][0]

    def _show_commands(self) -> None:
        chosen = self.table.chosen_runs()
        lines = [line for line in self.model.rows if line.id in set(chosen)] if len(chosen) == 1 else []
        is_one, may_write = len(chosen) == 1, not self.state.is_read_only
        can = {"use": is_one, "rerun": is_one, "compare": len(chosen) in (1, 2),
               "beside": len(chosen) in (1, 2), "note": is_one and may_write,
               "folder": bool(lines and lines[0].has_output)}  # fmt: skip
        for name, button in self._buttons.items():
            marks = name in ("star", "tag", "delete")
            button.setEnabled(bool(chosen) and not self.state.is_read_only if marks else can[name])

    # Wishes --------------------------------------------------------------------------------------------------

    def _command(self, name: str) -> None:
        if self._buttons[name].isEnabled():
            self.commanded.emit(name, self.table.chosen_runs())

    def _menu(self, at: QPoint) -> None:
        if not self.table.chosen_runs():
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for name, _, title, hint in _COMMANDS:
            made = menu.addAction(title)
            made.triggered.connect(lambda _=False, n=name: self._command(n))
            made.setEnabled(self._buttons[name].isEnabled())
            made.setToolTip(hint)
        menu.popup(at)

    def _choose_columns(self) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for col in self.state.columns:
            made = QAction(button_text(col.title), menu, checkable=True)
            made.setChecked(col.name in self.state.shown)
            made.triggered.connect(lambda on, n=col.name: self._turn(n, on))
            menu.addAction(made)
        menu.popup(self._columns.mapToGlobal(self._columns.rect().bottomLeft()))

    def _turn(self, name: str, on: bool) -> None:
        wanted = {*self.state.shown, name} if on else {*self.state.shown} - {name}
        if wanted:
            self.columnsChosen.emit(tuple(c.name for c in self.state.columns if c.name in wanted))
