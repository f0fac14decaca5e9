"""Tuning: a tuner moves the faders on the desk; the user pauses, pins, keeps or reverts. One step to undo."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt, QTimer, Signal

from app import tune_state
from app.side_docks import show_dock
from app.sweep_dock import JobDock
from app.sweep_state import bare
from app.tune_state import Run, Seen
from app.tune_work import Held, Order, run_order, test_scores
from engine.errors import MixdownError
from engine.evaluate.score import Score
from engine.methods import find
from engine.progress import Token
from engine.recipe.recipe import Recipe
from engine.recipe.resolve import group_spots, resolve
from engine.tuners import Step, find_tuner, tuners
from widgets.plots.tune_state import Phase, TuneState, TuneWish

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.methods.spec import Value
    from widgets.plots.tune_panel import TunePanel

KEY = "tune"
FRAME_MS = 60
"""A step stays on the desk at least this long, so that the faders can be followed."""
SETTLE_MS = 500
"""Quiet time after the user moved a fader before tuning goes on around it."""
SHOW_MS = 150
_runs = itertools.count(1)


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Add the tuner panel and its action."""
    return {"mix.tune": TuneController(desk).open}


class TuneController(JobDock):
    """Connects the tuner panel with the workspace.

    Args:
        desk: The assembled desk.

    Signals:
        finished: The `Run`, when it ended by itself or by the user.
    """

    finished = Signal(object)
    _stepped = Signal(object, object, object)
    _opened = Signal(object, object, int)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, "tune", "Tune", "jobs", key=KEY, every_ms=SHOW_MS)
        self._panel: TunePanel | None = None
        self.current: Run | None = None
        self._order: Order | None = None
        self._held = Held()
        self._queue: deque[Seen] = deque()
        self._gesture, self._shown = "", Recipe()
        self._running = self._applying = self._over = self._testing = False
        self._tuner, self._values = next(iter(tuners())), dict[str, "Value"]()
        self._note, self._count = "", 0
        self._drawn: tuple[int, ...] = ()
        self._chart = TuneState().chart
        self._frame = QTimer(self, interval=FRAME_MS)
        self._frame.timeout.connect(self._animate)
        self._settle = QTimer(self, interval=SETTLE_MS, singleShot=True)
        self._settle.timeout.connect(self._go_on)
        self._stepped.connect(self._on_step, Qt.ConnectionType.QueuedConnection)
        self._opened.connect(self._on_opened, Qt.ConnectionType.QueuedConnection)
        self._workspace.store.recipeChanged.connect(self._on_recipe)

    # Panel ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Show the panel and give it the keyboard."""
        panel = self.panel()
        show_dock(self._desk, self.dock, "jobs")
        self.refresh()
        panel.tuner.setFocus(Qt.FocusReason.TabFocusReason)

    def panel(self) -> TunePanel:
        """The panel; made when it is first wanted, because pyqtgraph takes a moment to load."""
        if self._panel is None:
            from widgets.plots.tune_panel import TunePanel

            panel = self._panel = TunePanel()
            panel.setMinimumWidth(350)
            panel.startWanted.connect(self.start)
            panel.pauseWanted.connect(self.pause)
            panel.keepWanted.connect(self.keep)
            panel.revertWanted.connect(self.revert)
            panel.testWanted.connect(self.check_test)
            panel.tunerChosen.connect(self._choose_tuner)
            panel.paramEdited.connect(self._edit)
            self._take(panel)
        return self._panel

    def _choose_tuner(self, tuner: str) -> None:
        self._tuner, self._values = tuner, {}
        self.refresh()

    def _edit(self, name: str, value: Value) -> None:
        self._values[name] = value
        self.refresh()

    def refresh(self) -> None:
        """Show how it stands."""
        if not self.dock.isVisible():
            return
        run, tuner, phase = self.current, find_tuner(self._tuner), self.phase
        state = TuneState(
            tuners=tuple((t.id, t.title) for t in tuners().values()), tuner=tuner.id, summary=tuner.summary,
            paper=tuner.paper, params=tuner.params, values=tuner.complete(self._values), tasks=self._titles(),
            phase=phase, status=self._status(phase), reason=self._reason(),
        )  # fmt: skip
        if run is not None:
            drawn = (id(run), len(run.steps))
            if drawn != self._drawn:
                self._drawn, self._chart = drawn, tune_state.chart(run)
            can_test = phase == "done" and run.best is not None and run.test is None and not self._testing
            state = replace(
                state, chart=self._chart, rows=tune_state.table(run), pinned=tune_state.held(run.pinned),
                basis=tune_state.basis(run), test=tune_state.test_words(run, is_reading=self._testing),
                can_test=can_test, can_keep=bool(run.steps) and phase != "idle",
            )  # fmt: skip
        self.panel().set_state(state)

    @property
    def phase(self) -> Phase:
        """Whether it runs."""
        if self._running:
            job = self._job()
            return "paused" if job is not None and job.token.is_paused else "running"
        return "done" if self.current is not None and self._over else "idle"

    def _status(self, phase: Phase) -> str:
        if phase in ("idle", "done"):
            return self._note
        job = self._job()
        if self._settle.isActive() or job is None:
            return "Waiting until the fader that you hold is let go…"
        if phase == "paused":
            return "Paused. Faders that you move now are pinned when it goes on."
        token = job.token
        if job.state == "waiting" or not token.text:
            return "Waiting for another job…" if job.state == "waiting" else "Reading the models…"
        share = f" {100 * token.done / token.total:.0f} %" if token.total else ""
        return f"{token.text}{share} · {len(self.current.steps) if self.current else 0} steps so far"

    # Running -------------------------------------------------------------------------------------------------

    def start(self, wish: TuneWish) -> None:
        """Tune from where the faders are."""
        workspace, tasks = self._workspace, self._tasks()
        inputs, ticked, self._note = self._ready(wish.tasks)
        chosen = tuple(t.name for t in ticked)
        if inputs is None or self._note:
            self.refresh()
            return
        title = find_tuner(wish.tuner).title
        words = f"{title}, {wish.rows} rows of each task, seed {wish.seed}"
        self.current = Run(start=workspace.recipe, titles={t.name: t.name for t in tasks}, chosen=chosen,
                           rows=wish.rows, words=words)  # fmt: skip
        self._order = Order(recipe=workspace.recipe, inputs=inputs, tasks=tasks, chosen=chosen, tuner=wish.tuner,
                            params=wish.params, rows=wish.rows, seed=wish.seed,
                            by_layer=wish.blocks == "layer")  # fmt: skip
        self._held, self._count, self._note = Held(), 0, ""
        self._submit()

    def _submit(self) -> None:
        """Start the tuner from the desk's recipe, around the pinned faders."""
        run, order = self.current, self._order
        if run is None or order is None:
            return
        order = replace(order, recipe=self._workspace.recipe, pinned=run.pinned)
        self._queue.clear()
        self._running, self._over = True, False
        self._gesture, self._shown = f"tune {next(_runs)}", order.recipe
        gesture, held = self._gesture, self._held

        def work(token: Token) -> None:
            run_order(order, held, token, lambda notes, rows: self._opened.emit(gesture, notes, rows),
                      lambda step, recipe: self._stepped.emit(gesture, step, recipe))  # fmt: skip

        self._workspace.runner.submit("Tuning the faders", work, key=KEY, done=lambda _: self._ended(gesture),
                                      failed=lambda error: self._failed(gesture, error))  # fmt: skip
        self._frame.start()
        self.refresh()

    def _on_opened(self, gesture: str, notes: tuple[str, ...], rows: int) -> None:
        run = self.current
        if run is not None and gesture == self._gesture:
            run.words = run.words.replace(f"{run.rows} rows", f"{rows} rows")
            run.rows, run.notes = rows, notes

    def _on_step(self, gesture: str, step: Step, recipe: Recipe) -> None:
        """A step arrived; it is shown when its turn comes."""
        if gesture != self._gesture or self.current is None or not self._running:
            return
        seen = Seen(number=self._count, recipe=recipe, estimated=step.estimated, true=step.true,
                    accepted=step.accepted, note=step.note, value=step.value)  # fmt: skip
        self._count += 1
        self.current.add(seen)
        self._queue.append(seen)
        self._later()

    def _animate(self) -> None:
        """Show the next step; when all were shown and the tuner is done, the best."""
        if self._queue:
            step = self._queue.popleft()
            if step.accepted:
                self._put(step.recipe)
            elif self.current is not None and self.current.best is not None:
                self._put(self.current.best.recipe)
        elif not self._running:
            self._frame.stop()
            self._finish("Done: the faders show the best mix that was measured.")

    def _put(self, recipe: Recipe) -> None:
        """Set the desk's faders as part of the one step to undo; models and tasks stay what they are now."""
        now = self._workspace.recipe
        made = replace(now, rules=recipe.rules)
        self._applying, self._shown = True, made
        try:
            self._workspace.store.apply(made, "Tune the faders", self._gesture)
        finally:
            self._applying = False

    def _ended(self, gesture: str) -> None:
        if gesture == self._gesture:
            self._running = False  # the rest of the queue is still shown

    def _failed(self, gesture: str, error: MixdownError) -> None:
        if gesture == self._gesture:
            self._halt()
            self._finish(self._said(error))

    def _halt(self) -> None:
        """Stop worker and animation."""
        self._running = False
        self._frame.stop()
        self._settle.stop()
        self._queue.clear()
        self._workspace.runner.cancel_key(KEY)

    def _finish(self, note: str) -> None:
        """The run is over; what was best is on the desk."""
        run = self.current
        self._running, self._over, self._note = False, True, note
        self._held = Held()  # lets go of the session's memory
        if run is not None and run.best is not None:
            self._put(run.best.recipe)
        self.finished.emit(run)
        self.refresh()

    def keep(self) -> None:
        """Stop; the desk shows the best mix measured so far."""
        if self.phase in ("running", "paused"):
            self._halt()
            self._finish("Stopped: the faders show the best mix measured so far.")

    def revert(self) -> None:
        """Stop; the desk shows what it did before."""
        run = self.current
        self._halt()
        if run is None:
            return
        self._applying = True
        try:
            self._workspace.store.abandon_gesture(self._gesture)
            rules = run.start.rules
            if self._workspace.recipe.rules != rules:  # faders were moved by hand in between
                self._workspace.store.apply(replace(self._workspace.recipe, rules=rules), "Revert the tuning")
        finally:
            self._applying = False
        self.current, self._over, self._held = None, False, Held()
        self._chart, self._drawn = TuneState().chart, ()
        self._note = "Reverted: the faders are where they were."
        self.finished.emit(None)
        self.refresh()

    # The user's hand -----------------------------------------------------------------------------------------

    def _on_recipe(self, recipe: Recipe) -> None:
        """Somebody else changed the recipe while it runs: a fader taken by hand is pinned, all else stops it."""
        run, layout = self.current, self._workspace.layout
        if self._applying or not self._running or run is None or layout is None:
            return
        before, now = bare(self._shown), bare(recipe)
        if now == before:
            return
        if replace(now, rules=()) != replace(before, rules=()) or now == bare(run.start):
            self._halt()
            self._over, self._held, self._note = False, Held(), "Stopped: the recipe was changed."
            self.current = None
            self._later()
            return
        spots, default = group_spots(layout), find(recipe.method).coefficient
        moved = np.abs(resolve(recipe, spots, default) - resolve(self._shown, spots, default)) > 1e-9
        run.pinned = moved if run.pinned is None else run.pinned | moved
        run.best = None  # what was best does not hold that fader
        self._shown, self._gesture = recipe, ""  # what still arrives of the old steps does not count
        self._queue.clear()
        job = self._job()
        if job is None or not job.token.is_paused:
            self._workspace.runner.cancel_key(KEY)
        self._settle.start()

    def _go_on(self) -> None:
        """Tune on around what the user holds; not while it is paused."""
        if not self._running:
            return
        job = self._job()
        paused = job is not None and job.token.is_paused
        self._workspace.runner.cancel_key(KEY)
        self._submit()
        if paused:
            self.pause()

    # Test rows -----------------------------------------------------------------------------------------------

    def check_test(self) -> None:
        """Score start and result once on the test rows."""
        run, order = self.current, self._order
        if run is None or run.best is None or order is None or run.test is not None:
            return
        before, after = run.start, replace(run.start, rules=run.best.recipe.rules)
        tasks = tuple(t for t in order.tasks if t.name in {e.task for e in run.before})
        self._testing = True
        self._workspace.runner.submit(
            "Checking the tuned mix on test rows",
            lambda token: test_scores(before, after, order.inputs, tasks, token), key="tune test",
            done=lambda found: self._tested(run, found), failed=self._test_failed,
        )  # fmt: skip
        self.refresh()

    def _tested(self, run: Run, found: tuple[dict[str, Score], dict[str, Score]]) -> None:
        run.test, self._testing = found, False
        self.refresh()

    def _test_failed(self, error: MixdownError) -> None:
        self._testing = False
        self._note = self._said(error)
        self.refresh()
