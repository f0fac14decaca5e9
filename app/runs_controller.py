"""The panel of runs: every export and score of the history; made when it is first shown."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from app import recording, runs_words
from app.handlers import notice
from app.jobs import Job
from app.runs_acts import RunsActs
from app.side_docks import add_dock, show_dock
from engine.errors import MixdownError
from engine.history.lineage import graph, linked, relatives
from engine.history.pareto import front, is_better_up
from engine.history.values import Column, Query
from widgets.panels.runs_state import Family, RunsState

if TYPE_CHECKING:
    from concurrent.futures import Future

    from app.desk import Desk
    from engine.history.history import History, Points
    from engine.history.values import Called, Page
    from widgets.panels.runs import RunsPanel
    from widgets.plots.scatter_panel import ScatterPanel

PAGE = 200
MOST_REVEALED = 2000
"""Rows that are read to show a run chosen in the map or the plot."""
LATER_MS = 5000
"""How long after the start a history that is there is opened, so that damage is told and backups are made."""


class RunsController(QObject):
    """Connects the panel with the history.

    Everything is asked of the recorder's thread; answers come back by a signal, and late ones are dropped.

    Args:
        desk: The assembled desk.
    """

    _arrived = Signal(int, object)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk = desk
        self.dock = add_dock(desk, "runs", "Runs", "overlap")
        self.acts = RunsActs(desk, self)
        self._panel: RunsPanel | None = None
        self._scatter: ScatterPanel | None = None
        self._query = Query(limit=PAGE)
        self._axes, self._ups = ("seconds", "score"), (False, True)
        self._columns: tuple[Column, ...] = ()
        self._page = 0
        self._scope, self._about = "kin", 0
        self._told = ""
        self._soon = QTimer(self, interval=60, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        self._numbers, self._asked = itertools.count(1), dict[int, Callable[[Any], object] | None]()
        self._arrived.connect(self._answer)
        self.dock.visibilityChanged.connect(lambda on: self._show(on))
        desk.export.exported.connect(lambda _: self.changed())
        desk.workspace.runner.jobFinished.connect(self._on_job)
        QTimer.singleShot(LATER_MS, self, self._open_early)

    # Asking the history --------------------------------------------------------------------------------------

    def ask(self, work: Callable[[History], Any], done: Callable[[Any], object] | None = None) -> None:
        """Do something with the history in its thread; `done` gets the answer here. Problems are shown.

        That thread keeps what it was given for a while, and must not be the last to hold anything of the window:
        `work` may hold nothing of it, and `done` stays here.
        """
        number, here = next(self._numbers), weakref.ref(self)
        self._asked[number] = done

        def finished(future: Future[Any]) -> None:
            with suppress(RuntimeError):  # the window is gone
                if (there := here()) is not None:
                    there._arrived.emit(number, future)

        recording.recorder().submit(work).add_done_callback(finished)

    def _answer(self, number: int, future: Future[Any]) -> None:
        done, error = self._asked.pop(number), future.exception()
        if error is None:
            if done is not None:
                done(future.result())
        elif isinstance(error, MixdownError):
            self._tell_once(str(error), "warning")
        else:
            raise error

    def problem(self, error: MixdownError) -> None:
        """Say that something could not be recorded."""
        self._tell_once(str(error))

    def _tell_once(self, text: str, severity: str = "warning") -> None:
        if text and text != self._told:
            self._told = text
            self._desk.window.toasts.show_notice(notice(text, severity, (), "history"))

    def _open_early(self) -> None:
        """Open a history that is there, and say what was found."""
        from app import places

        if places.history_file().exists() or recording.where() != str(places.history_file()):
            self.ask(lambda history: history.status, self._on_status)

    def _on_status(self, status: Any) -> None:
        if status is not None:
            self._tell_once(status.told or status.reason)
            self.acts.hash_outputs()

    # Recording -----------------------------------------------------------------------------------------------

    def _on_job(self, job: Job) -> None:
        """A quick eval that is done goes into the history."""
        mix = self._desk.workspace.scoring.board.mix
        if job.key == "score mix" and job.state == "done" and mix is not None and mix.scores:
            self.acts.record_scores(mix.recipe, tuple(mix.scores.values()), job.elapsed_s)

    def changed(self) -> None:
        """Something was recorded or marked."""
        self._tell_once(recording.take_trouble())
        self._soon.start()
        self.acts.hash_outputs()

    # Showing -------------------------------------------------------------------------------------------------

    @property
    def panel(self) -> RunsPanel:
        """The panel; made when it is first wanted."""
        if self._panel is None:
            from widgets.panels.runs import RunsPanel

            made = self._panel = RunsPanel()
            made.setMinimumHeight(220)
            made.filterChanged.connect(lambda text: self._ask_for(filter=text.strip()))
            made.sortWanted.connect(lambda name, down: self._ask_for(sort=name, descending=down))
            made.columnsChosen.connect(self._choose_columns)
            made.moreWanted.connect(self._more)
            made.commanded.connect(self.acts.do)
            made.pageWanted.connect(lambda _: self._show_page())
            made.selectionMoved.connect(self._follow)
            made.family.chosen.connect(lambda run: self.reveal([run]))
            made.family.opened.connect(self._open_relatives)
            made.family.scopeWanted.connect(self._choose_scope)
        return self._panel

    @property
    def query(self) -> Query:
        """What is listed."""
        return self._query

    def open(self, wanted: bool) -> None:
        """Show or hide the dock; a dock without its panel would not say that it is shown."""
        if wanted:
            if self.dock.widget() is None:
                self.dock.setWidget(self.panel)
            self._soon.start()
            show_dock(self._desk, self.dock, "overlap", "sweep")
        else:
            self.dock.hide()

    def _show(self, visible: bool) -> None:
        self._desk.window.commands.check("view.runs", not self.dock.isHidden())
        if visible or self.dock.isVisible():
            if self.dock.widget() is None:
                self.dock.setWidget(self.panel)
            self._soon.start()

    def _ask_for(self, **changes: Any) -> None:
        self._query = replace(self._query, **changes)
        self.refresh()

    def refresh(self) -> None:
        """Read the first page anew, if anybody sees it."""
        if not self.dock.isVisible():
            return
        self._page += 1
        number, query = self._page, self._query

        def work(history: History) -> tuple[Any, tuple[Column, ...], Page, str]:
            try:
                return history.status, history.columns(), history.page(query), ""
            except MixdownError as error:
                if not query.filter:
                    raise
                from engine.history.values import Page

                return history.status, history.columns(), Page((), 0), f"{error.message} {error.hint}"

        self.ask(work, lambda found: self._listed(number, found))

    def _listed(self, number: int, found: tuple[Any, tuple[Column, ...], Page, str] | None) -> None:
        if number != self._page:
            return
        if found is None:
            self.panel.set_state(RunsState(is_off=True))
            return
        status, self._columns, page, problem = found
        shown = self._desk.workspace.settings.run_columns or runs_words.SHOWN
        self.panel.set_state(RunsState(
            columns=runs_words.columns(self._columns), shown=shown, total=page.total,
            is_filtered=bool(self._query.filter), sort=self._query.sort, descending=self._query.descending,
            problem=problem, note=status.reason, is_read_only=status.is_read_only,
        ))  # fmt: skip
        self.panel.set_rows([runs_words.line(run) for run in page.runs])
        self._show_page()

    def _more(self, offset: int) -> None:
        number, query = self._page, replace(self._query, offset=offset)

        def done(page: Page | None) -> None:
            if page is not None and number == self._page:
                self.panel.model.add_rows(offset, [runs_words.line(run) for run in page.runs])

        self.ask(lambda history: history.page(query), done)

    def _choose_columns(self, names: tuple[str, ...]) -> None:
        self._desk.workspace.change_settings(run_columns=names)
        self.refresh()

    # Scatter and lineage -------------------------------------------------------------------------------------

    def _show_page(self) -> None:
        if self._panel is not None and self._panel.page == "scatter":
            self._show_points()
        elif self._panel is not None and self._panel.page == "family":
            self._show_family()

    def _follow(self) -> None:
        """The selection is ringed in the scatter plot; the map is about it."""
        chosen = self.panel.table.chosen_runs()
        if self._scatter is not None:
            self._scatter.view.select(frozenset(chosen))
        self._about = chosen[0] if chosen else self._about
        if self.panel.page == "family" and chosen and not self.panel.family.show_run(chosen[0]):
            self._show_family()

    def scatter(self) -> ScatterPanel:
        """The plot; made when it is first wanted, because pyqtgraph takes a moment to load."""
        if self._scatter is None:
            from widgets.plots.scatter_panel import ScatterPanel

            made = self._scatter = ScatterPanel()
            made.axesChosen.connect(self._choose_axes)
            made.directionChosen.connect(self._choose_direction)
            made.chosen.connect(self._choose_point)
            made.told.connect(lambda text: self._desk.tell(text, "ok"))
            self.panel.set_page("scatter", made)
        return self._scatter

    def _choose_axes(self, x: str, y: str) -> None:
        self._axes, self._ups = (x, y), (is_better_up(x), is_better_up(y))
        self._show_points()

    def _choose_direction(self, x_up: bool, y_up: bool) -> None:
        self._ups = (x_up, y_up)
        self._show_points()

    def _choose_point(self, run: int, add: bool) -> None:
        self.reveal([*(self.panel.table.chosen_runs() if add else []), run])

    def _show_points(self) -> None:
        (x, y), query = self._axes, self._query
        number = self._page

        def done(found: tuple[Points, dict[int, Called]] | None) -> None:
            if found is not None and number == self._page and (x, y) == self._axes:
                self._plot(*found)

        self.ask(lambda history: (history.points(x, y, query), history.called(query)), done)

    def _plot(self, found: Points, called: Mapping[int, Called]) -> None:
        from widgets.plots.scatter_view import Scatter

        panel, known = self.scatter(), {c.name: c for c in self._columns}
        labels = [runs_words.axis_label(known[name]) if name in known else name for name in self._axes]
        panel.set_axes(runs_words.axes(self._columns), *self._axes, (not self._ups[0], not self._ups[1]))
        ids, x, y = found
        on_front = front(x, y, x_up=self._ups[0], y_up=self._ups[1])
        panel.set_state(Scatter(
            title=f"{len(ids):,} runs", x_label=labels[0], y_label=labels[1], ids=ids, x=x, y=y, front=on_front,
            less=(not self._ups[0], not self._ups[1]),
            names=tuple(called[n].title if n in called else "" for n in ids.tolist()),
            notes=tuple(runs_words.marks(called.get(n)) for n in ids.tolist()),
            meaning="Diamonds: the Pareto front, runs that no other run beats in both.",
        ))  # fmt: skip
        panel.view.select(frozenset(self.panel.table.chosen_runs()))

    def _show_family(self) -> None:
        chosen = self.panel.table.chosen_runs()
        focus = chosen[0] if chosen else self._about
        number, query, scope = self._page, self._query, self._scope if focus else "all"

        def work(history: History) -> Family:
            links = history.links()
            wanted = relatives(links, focus) if scope == "kin" else linked(links)
            fitting = frozenset(history.numbers(query)) if query.filter else frozenset[int]()
            return runs_words.family(graph(history.kin(wanted)), focus, scope, fitting, query.filter)

        def done(made: Family | None) -> None:
            if made is not None and number == self._page:
                self.panel.set_family(made)

        self.ask(work, done)

    def _choose_scope(self, scope: str) -> None:
        self._scope = scope
        self._show_family()

    def _open_relatives(self, run: int) -> None:
        self._scope, self._about = "kin", run
        self.reveal([run])
        self._show_family()

    def reveal(self, runs: list[int]) -> None:
        """Select runs in the table; pages that are not there yet are read first."""
        self._about = runs[-1]
        self.panel.table.choose(runs)
        if set(runs) <= set(self.panel.table.chosen_runs()):
            return
        if len(self.panel.model.rows) >= min(self.panel.state.total, MOST_REVEALED):
            self.acts.tell(f"Run {runs[-1]} does not fit the filter; clear it to see the run in the table.")
            return
        number, query = self._page, replace(self._query, offset=len(self.panel.model.rows), limit=MOST_REVEALED)

        def done(page: Page | None) -> None:
            if page is not None and number == self._page:
                self.panel.model.add_rows(query.offset, [runs_words.line(run) for run in page.runs])
                self.panel.table.choose(runs)

        self.ask(lambda history: history.page(query), done)


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the panel to the desk; its handlers."""
    controller = RunsController(desk)

    def show(checked: bool | None = None) -> None:
        controller.open(controller.dock.isHidden() if checked is None else checked)

    return {"view.runs": show}
