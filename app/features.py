"""Parts of the desk that stand on their own: each one module with an `install` that wires it to the assembled desk.

A feature may return handlers of actions from the table ("mix.tune" -> function); everything else it connects itself.
Few are built before the window is painted; the rest follows in slices while nothing else happens, and all at once
before the user's first key, click or drop (see ADR 0020). So `install` looks at the desk as it is: the first recipe
may be there already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QTimer, Signal

if TYPE_CHECKING:
    from app.desk import Desk

Handler = Callable[..., None]
Step = str | Callable[[], object]
"""Something to do in one moment: a module to load, or a function to call."""

_FIRST_USE = frozenset({
    QEvent.Type.KeyPress, QEvent.Type.MouseButtonPress, QEvent.Type.TouchBegin, QEvent.Type.TabletPress,
    QEvent.Type.DragEnter, QEvent.Type.Wheel,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feature:
    """One part of the desk and when it is built.

    Attributes:
        module: Has `install(desk) -> Mapping[action id, handler]`.
        at_once: Whether it is built with the desk, because it takes part in the start; else after the first paint.
        loads: What the module imports that takes long, each loaded in a slice of its own before it.
    """

    module: str
    at_once: bool = False
    loads: tuple[str, ...] = ()


FEATURES: tuple[Feature, ...] = (
    Feature("app.recovery", at_once=True),
    Feature("app.bundle_drop", at_once=True),
    Feature("app.intake"),
    Feature("app.trust"),
    Feature("app.preview_views"),
    Feature("app.selection_actions"),
    Feature("app.tensor_views", loads=("engine.analyse.bitmap", "app.tensor_work", "app.spectrum_views")),
    Feature("app.stack_view"),
    Feature(
        "app.bundle_export",
        loads=(
            "engine.bundle.manifest",
            "engine.bundle.opening",
            "widgets.dialogs.bundle_state",
        ),
    ),
    Feature("app.explain_controller"),
    Feature("app.compare_controller", loads=("widgets.compare.state", "app.compare_state", "app.compare_hold")),
    Feature("app.task_wizard", loads=("engine.evaluate.look", "engine.evaluate.make", "app.task_wizard_words")),
    Feature("app.runner_controller"),
    Feature("app.runs_controller", loads=("engine.history.lineage", "app.runs_words", "app.runs_acts")),
    Feature("app.history_place"),
    Feature("app.sweep_controller", loads=("widgets.plots.sweep_state", "app.sweep_state", "app.sweep_axes")),
    Feature("app.tune_controller", loads=("widgets.plots.tune_state", "app.tune_state")),
)
"""Every feature, in the order in which they are built."""


class Features(QObject):
    """Builds the features of one desk and knows the handlers of their actions.

    Args:
        desk: The assembled desk; features that are wanted at once are built now.

    Signals:
        completed: All features are there.
    """

    completed = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk = desk
        self._handlers: dict[str, Handler] = {}
        for feature in FEATURES:
            if feature.at_once:
                self._build(feature.module)
        self._steps: deque[Step] = deque(desk.late_steps())
        for feature in FEATURES:
            if not feature.at_once:
                self._steps += (*feature.loads, partial(self._build, feature.module))
        self._idle = QTimer(self, interval=0)
        self._idle.timeout.connect(self.build_next)
        desk.window.firstPaint.connect(self.begin)

    def __getitem__(self, action_id: str) -> Handler:
        """The handler of an action; whoever asks before all features are there waits for them.

        Raises:
            KeyError: if no feature brings the action.
        """
        self.complete()
        return self._handlers[action_id]

    def __contains__(self, action_id: object) -> bool:
        """Whether a feature brings the action."""
        self.complete()
        return action_id in self._handlers

    @property
    def is_complete(self) -> bool:
        """Whether all features are there."""
        return not self._steps

    def begin(self) -> None:
        """From now on build one after the other while the window has nothing else to do."""
        if self._steps:
            self._idle.start()
            handle = self._desk.window.windowHandle()
            if handle is not None:
                handle.installEventFilter(self)

    def first(self, *steps: Step) -> None:
        """Do something else after the first paint, before everything that waits already."""
        self._steps.extendleft(reversed(steps))

    def when_complete(self, act: Callable[[], object]) -> None:
        """Do something that all features may have to hear of, in a later turn of the event loop."""
        if self.is_complete:
            QTimer.singleShot(0, self, act)
        else:
            self.completed.connect(act)

    def build_next(self) -> None:
        """Load or build the next piece."""
        if not self._steps:
            return
        step = self._steps.popleft()
        import_module(step) if isinstance(step, str) else step()
        if not self._steps:
            self._finish()

    def complete(self) -> None:
        """Build at once what is missing."""
        while self._steps:
            self.build_next()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Nothing the user does finds a window that is not complete."""
        if event.type() in _FIRST_USE:
            self.complete()
        return False

    def _build(self, module: str) -> None:
        self._handlers |= import_module(module).install(self._desk)

    def _finish(self) -> None:
        self._idle.stop()
        handle = self._desk.window.windowHandle()
        if handle is not None:
            handle.removeEventFilter(self)
        self.completed.emit()
