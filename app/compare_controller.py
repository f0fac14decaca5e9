"""The compare layout: chooses the two recipes, fills the page, shares the selection, adopts B."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtWidgets import QDockWidget

from app import compare_state
from app.columns import meant
from app.compare_hold import Holding
from app.compare_scores import CompareScores
from app.jobs import Job
from app.selection import Selection
from engine.compare.rows import Row, union
from engine.errors import MixdownError
from engine.files.model import Layout
from engine.files.text import listed
from engine.history.titles import method_words
from engine.recipe.recipe import Recipe
from widgets.common.format import plural
from widgets.common.text import plain
from widgets.compare.state import CompareState
from widgets.desk.state import Face

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.desk import Desk
    from engine.evaluate.score import Score
    from widgets.compare.page import ComparePage
    from widgets.compare.targets import DropTargets
    from widgets.desk.state import Cell, DeskState

NOW = "Now"
_SIDE_DOCKS = ("models", "inspector", "scores", "method", "history", "jobs", "export")


class CompareController(QObject):
    """Connects the compare layout with the desk.

    Args:
        desk: The assembled desk.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk, self._workspace = desk, desk.workspace
        self._page: ComparePage | None = None
        self._names = [NOW, NOW]
        self._guests: dict[str, Recipe] = {}
        self._rows: tuple[Row, ...] = ()
        self._hidden: list[QDockWidget] = []
        self._is_filled = False
        self._targets: DropTargets | None = None
        self.scores = CompareScores(self._workspace, self.later)
        self.holding = Holding(desk, self._held_state, self._hold_page)
        self._soon = QTimer(self, interval=80, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        self._connect()

    def _connect(self) -> None:
        workspace, window = self._workspace, self._desk.window
        workspace.store.pinsChanged.connect(self._on_pins)
        for signal in (workspace.store.recipeChanged, workspace.live.gramChanged, workspace.modelsChanged,
                       workspace.scoring.scoresChanged, workspace.settingsChanged):  # fmt: skip
            signal.connect(self.later)
        workspace.library.contentChanged.connect(lambda _: self.scores.forget())
        workspace.runner.jobFinished.connect(self._on_job)
        window.canvas.columnExpandToggled.connect(self.later)
        window.canvas.groupingChanged.connect(self.later)
        self._desk.overlap.links.changed.connect(self._on_selection)
        may_close = window.allow_close
        window.allow_close = lambda: self._may_close(may_close)
        self._on_pins()

    def _may_close(self, ask: Callable[[], bool]) -> bool:
        """The docks that were put away come back first: the window remembers its layout when it closes."""
        self.leave()
        return ask()

    def _on_job(self, job: Job) -> None:
        if job.key == "compare scores" and job.state == "cancelled":
            self.scores.is_running = False
            self.later()

    # Which recipes -------------------------------------------------------------------------------------------

    def _all(self) -> list[str]:
        """What can be compared: now, pins (the newest first), runs."""
        return [NOW, *(n for n in reversed(self._workspace.store.pins) if n != NOW), *self._guests]

    def recipe(self, name: str) -> Recipe:
        """A recipe by its name in the lists; the one on the desk when there is no such."""
        known = {**self._guests, **self._workspace.store.pins}
        return self._workspace.recipe if name == NOW else known.get(name, self._workspace.recipe)

    @property
    def names(self) -> tuple[str, str]:
        """Names of A and B."""
        return self._names[0], self._names[1]

    def _on_pins(self) -> None:
        """Names that are gone fall back; B is the newest pin until something was chosen."""
        names = self._all()
        self._names = [n if n in names else NOW for n in self._names]
        if self._names == [NOW, NOW] and len(names) > 1:
            self._names[1] = names[1]
        self._offer_hold()
        self.later()

    def _offer_hold(self) -> None:
        self.holding.show_name(self._held_name())

    def _held_name(self) -> str:
        """The recipe that holding shows on the desk: B, or A where B is the desk's own; "" for none."""
        return next((n for n in reversed(self._names) if n != NOW), "")

    def choose(self, first: str, second: str) -> None:
        """Compare these two, by name."""
        self._names = [first, second]
        self._offer_hold()
        self.refresh()

    def swap(self) -> None:
        """A becomes B."""
        self.choose(self._names[1], self._names[0])

    def adopt(self) -> None:
        """Put B on the desk, as one undoable step; tasks of the desk stay where B has none."""
        name, recipe = self._names[1], self.recipe(self._names[1])
        made = recipe if recipe.tasks else replace(recipe, tasks=self._workspace.recipe.tasks)
        if made == self._workspace.recipe:
            self._desk.tell("B is what the desk holds already.", "info", "compare")
            return
        self._workspace.store.apply(made, f"Adopt {plain(name, 60)}")
        self._desk.tell(f"{plain(name, 60)} is on the desk now. Undo brings your mix back.", "ok", "compare")

    def show_targets(self, dragging: bool) -> None:
        """While a recipe is dragged, the middle of the window is two halves to drop it on."""
        if self._targets is None:
            from widgets.compare.targets import DropTargets

            self._targets = DropTargets(self._desk.window.pages)
            self._targets.dropped.connect(self.place)
        if dragging:
            self._targets.show_names(*self._names)
        else:
            self._targets.hide()

    def place(self, side: int, name: str) -> None:
        """Compare this recipe as A (0) or B (1); the other side stays, or takes what was here where it had it."""
        if name not in self._all():
            self._desk.tell("Only pins and runs of this window can be compared. Pin the recipe here first.", "info",
                            "compare")  # fmt: skip
            return
        names = list(self._names)
        if names[1 - side] == name:
            names[1 - side] = names[side]
        names[side] = name
        self.choose(*names)
        self.open(True)

    def guests(self, recipes: Mapping[str, Recipe], scores: Mapping[Recipe, Mapping[str, Score]]) -> None:
        """Compare recipes from elsewhere, by name: two with each other, one with the desk (as B)."""
        self._guests = {**self._guests, **recipes}
        for recipe, found in scores.items():
            self.scores.note(recipe, found)
        chosen = list(recipes)[:2]
        self._names = chosen if len(chosen) == 2 else [NOW, *chosen]
        self._offer_hold()
        self.open(True)

    # Showing -------------------------------------------------------------------------------------------------

    @property
    def page(self) -> ComparePage:
        """The page; made when it is first wanted, because pyqtgraph takes a moment to load."""
        if self._page is None:
            from widgets.compare.page import ComparePage
            from widgets.plots.difference_heat import DifferenceHeat

            made = self._page = ComparePage(DifferenceHeat())
            made.chosen.connect(lambda a, b: self.choose(made.state.names[a], made.state.names[b]))
            made.swapWanted.connect(self.swap)
            made.adoptWanted.connect(self.adopt)
            made.scoreWanted.connect(lambda: self.scores.run(*map(self.recipe, self._names)))
            made.closeWanted.connect(self.leave)
            made.dragging.connect(self.show_targets)
            made.placed.connect(self.place)
            made.selectionChanged.connect(self._on_page_selection)
            made.columnExpandToggled.connect(self._desk.window.canvas.columnExpandToggled)
            made.groupingStepped.connect(lambda step: self._desk.desk.step_grouping(-step))
            made.told.connect(lambda text: self._desk.tell(text, "ok"))
        return self._page

    @property
    def is_open(self) -> bool:
        """Whether the layout is what the window shows."""
        return self._page is not None and self._desk.window.pages.currentWidget() is self._page

    def open(self, wanted: bool) -> None:
        """Turn the middle of the window into the compare layout, or back; the side panels make room."""
        if not wanted:
            self.leave()
            return
        window = self._desk.window
        if not self.is_open:
            self._hidden = [window.docks[n] for n in _SIDE_DOCKS if not window.docks[n].isHidden()]
            front = [d for d in self._hidden if not d.visibleRegion().isEmpty()]
            self._hidden = [*(d for d in self._hidden if d not in front), *front]
            for dock in self._hidden:
                dock.hide()
            self._settle()
            window.pages.addWidget(self.page)
            window.pages.setCurrentWidget(self.page)
        window.commands.check("view.compare", True)
        self.refresh()
        self.page.setFocus(Qt.FocusReason.OtherFocusReason)

    def leave(self) -> None:
        """The desk again, with the panels that were there."""
        self.holding.end()
        window = self._desk.window
        window.commands.check("view.compare", False)
        if not self.is_open:
            return
        recipe = self._workspace.recipe
        window.pages.setCurrentWidget(window.canvas)
        window.pages.removeWidget(self.page)  # else the window could never be narrower than both together
        window.show_page(recipe.base is None and not recipe.experts)
        self._settle()
        for dock in self._hidden:
            dock.show()
            dock.raise_()
        self._hidden = []
        window.canvas.setFocus()

    def _settle(self) -> None:
        """Lay the window out now: else it grows to hold the layout and the side panels at once, and stays so."""
        window = self._desk.window
        layouts = [part.layout() for part in (window.pages, window.centralWidget(), window) if part is not None]
        for layout in layouts:
            if layout is not None:
                layout.invalidate()
                layout.activate()

    def later(self, *_: object) -> None:
        """Refresh soon, if anybody sees it."""
        if self.is_open and not self._soon.isActive():
            self._soon.start()

    def refresh(self) -> None:
        """Compare again and show it."""
        if not self.is_open:
            return
        names, workspace = self._all(), self._workspace
        was_filled, self._is_filled = self._is_filled, bool(workspace.recipe.base or workspace.recipe.experts)
        if was_filled and not self._is_filled:
            self.leave()  # the desk was emptied
            return
        self._names = [n if n in names else NOW for n in self._names]
        first, second = map(self.recipe, self._names)
        problem, layout = self._problem(first, second), self._workspace.layout
        note = problem or self._missing(first, second)
        self._rows = union(first, second, workspace.recipe)
        state = CompareState(
            names=tuple(names), first=names.index(self._names[0]), second=names.index(self._names[1]),
            left_words=_words(first, len(self._rows)), right_words=_words(second, len(self._rows)), problem=note,
            changes=compare_state.changes(first, second, self._rows, None if problem else layout),
            scores=compare_state.score_list(self.scores.table(first, second), self._score_hint(first, second)),
            can_score=self.scores.can_run(first, second) and not self.scores.is_paired(first, second),
            is_scoring=self.scores.is_running, score_hint=self._score_hint(first, second),
            can_adopt=second != workspace.recipe,
        )  # fmt: skip
        self.page.set_face(_face(workspace.settings.view))
        self.page.set_state(self._with_desks(state, first, second, layout) if layout and not problem else state)
        self._on_selection(self._desk.overlap.links.current)

    def _with_desks(self, state: CompareState, first: Recipe, second: Recipe, layout: Layout) -> CompareState:
        shown, cols = self._workspace.recipe, self._desk.desk.columns
        left, right = compare_state.desks(first, second, self._rows, shown, layout, cols, self._workspace.live.gram)
        return replace(state, left=left, right=right,
                       heat=compare_state.heat(first, second, self._rows, shown, layout, cols))  # fmt: skip

    def _problem(self, first: Recipe, second: Recipe) -> str:
        """Why the desks of two recipes cannot be shown, or ""."""
        base = self._workspace.recipe.base
        if base is None or self._workspace.layout is None or not self._desk.desk.columns:
            return "Put a base and its experts on the desk to see recipes side by side."
        if any(r.base is not None and r.base.path != base.path for r in (first, second)):
            other = next(r.base.name for r in (first, second) if r.base is not None and r.base.path != base.path)
            return f"Only merges of the base on the desk can be seen side by side. This one's is {plain(other, 60)}."
        return ""

    def _missing(self, first: Recipe, second: Recipe) -> str:
        """Which experts are not on the desk, so that they are neither measured nor scored; "" for none."""
        here = {ref.path for ref in self._workspace.recipe.experts}
        away = dict.fromkeys(plain(e.name, 40) for r in (first, second) for e in r.experts if e.path not in here)
        return f"Put {listed(list(away))} on the desk to see the merged rows and to score both." if away else ""

    def _score_hint(self, first: Recipe, second: Recipe) -> str:
        if not self._workspace.scoring.board.tasks:
            return "Add a quick-eval task (Ctrl+T) to score both."
        if self.scores.is_paired(first, second):
            return "Both are scored on the same rows."
        if not self.scores.can_run(first, second):
            return self._missing(first, second) or "Both need a base and experts whose files can be read."
        return "Run both over the same rows of every task: the intervals of the difference become paired and narrower."

    # Selection -----------------------------------------------------------------------------------------------

    def _on_page_selection(self, cells: Sequence[Cell]) -> None:
        """What was chosen on either side, or between them, is everybody's selection."""
        layout = self._workspace.layout
        if layout is None:
            return
        ids = [row.id for row in self._rows]
        places = meant(cells, self._desk.desk.columns, layout, ids) if cells else None
        self._desk.overlap.links.choose(None if places is None else Selection(places=places))

    def _on_selection(self, selection: Selection | None) -> None:
        if self.is_open:
            self.page.set_cells([] if selection is None else self._desk.desk.cells_of(selection.places))

    # Holding -------------------------------------------------------------------------------------------------

    def _hold_page(self, held: bool) -> bool:
        """Whether the layout took it: it shows B in A's place."""
        if self.is_open and (self.page.state.is_pair or not held):
            self.page.show_held(held)
            return True
        return False

    def _held_state(self) -> tuple[DeskState | None, str]:
        """What the desk shows while the key is held, and its name; or None and what to do."""
        name = self._held_name()
        if not name:
            return None, "Pin a recipe first (Ctrl+P): hold \\ to see it in place of the mix."
        shown, other, layout = self._workspace.recipe, self.recipe(name), self._workspace.layout
        if layout is None or not self._desk.desk.columns:
            return None, "Put a base and its experts on the desk first."
        if other.base is None or shown.base is None or other.base.path != shown.base.path:
            return None, "Only merges of the base on the desk can be seen in its place."
        rows = union(shown, other, shown)
        try:
            _, state = compare_state.desks(shown, other, rows, shown, layout, self._desk.desk.columns,
                                           self._workspace.live.gram)  # fmt: skip
        except MixdownError as error:
            return None, error.message
        words = _words(other)
        return state, plain(name, 60) if method_words(other) in name else f"{plain(name, 40)}: {words}"


def _words(recipe: Recipe, rows: int = 0) -> str:
    """ "4 experts · TIES · density 0.2", or "4 of 5 experts" where the comparison has more rows."""
    own = len(recipe.experts)
    count = f"{own} of {plural(rows, 'expert')}" if rows > own else plural(own, "expert")
    return f"{count} · {method_words(recipe)}"


def _face(text: str) -> Face:
    faces: tuple[Face, ...] = ("faders", "curve", "numbers", "heat")
    return next((face for face in faces if face == text), "faders")


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the layout to the desk; its handlers."""
    controller = CompareController(desk)

    def show(checked: bool | None = None) -> None:
        controller.open(not controller.is_open if checked is None else checked)

    def beside(name: str) -> None:
        controller.choose(NOW, name)
        controller.open(True)

    desk.window.history.pinCompared.connect(beside)
    desk.window.history.pinPlaced.connect(lambda side, name: controller.place(side, name))
    desk.window.history.pinDragging.connect(controller.show_targets)
    return {
        "view.compare": show,
        "mix.hold_b": controller.holding.begin,
        "mix.adopt_b": controller.adopt,
        "mix.swap_ab": controller.swap,
    }
