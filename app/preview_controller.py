"""The live preview behind the window: a session in a worker, estimates of every score in the GUI thread.

A session is opened when base, experts and tasks are there, and anew when its key changes. Derivatives are filled in
the background; every recipe change gives new estimates; after release the true scores take their place.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal
from shiboken6 import isValid

from app import preview_work as work
from app.preview_drawn import Drawn
from app.preview_host import EvaluatorDied
from app.preview_state import LiveState, Pairs, Phase, nudged, ready, shared_cell
from app.preview_wants import Gains, Point, wanted
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.preview.basis import Cell, Floats
from engine.preview.curve import Curve
from engine.preview.frame import Frame
from engine.preview.hearing import Session
from engine.preview.surrogate import Estimate, Slopes, Surrogate, estimate
from engine.progress import Token
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from app.settings import Settings

ROWS = 64
OPEN_DELAY_MS = 400
"""Quiet time before a session is opened."""
SETTLE_MS = 150
"""Quiet time after a change that is no gesture before true scores are asked for."""
POLL_MS = 250
EVERY_MS = 25
"""Estimates come at most this often: the window has more to do than to count."""
AGAIN_S, MOST_DEATHS = 300.0, 3
"""A session whose process dies is opened anew, but not more often than this."""
_OPEN, _FILL, _TRUE, _CURVE, _SKETCH = "live open", "live fill", "live truth", "live curve", "live sketch"
_Truth = tuple[bytes, bytes, tuple[Estimate, ...]]


class PreviewController(QObject):
    """Keeps the live preview in step with the recipe.

    Signals:
        changed: The session came, went or got further.
        estimated: There are new scores of the present recipe, or none any more.
        slopesChanged: There are other slopes.
        curveChanged: The curve of the held fader came, got better or went.
    """

    changed = Signal()
    estimated = Signal()
    slopesChanged = Signal()
    curveChanged = Signal()
    _told = Signal(object, object)

    def __init__(self, workspace: Workspace, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._live: Session | None = None
        self._surrogate: Surrogate | None = None
        self._older: Surrogate | None = None
        self._slopes: tuple[Surrogate, Slopes] | None = None
        self._last, self._gain, self._place = 0.0, Gains(), Point()
        self._key: object = None
        self._made_of: object = None
        self._trouble: tuple[object, str] | None = None
        self._measured: _Truth | None = None
        self._placed: bytes = b""
        self._held: tuple[Cell, float, float] | None = None
        self._holding = False
        self._touched: Pairs = ()
        self._phase: Phase = "idle"
        self._reason = ""
        self._deaths = [-AGAIN_S] * MOST_DEATHS
        self.drawn: Drawn | None = None
        self.is_sketch = self.is_overridden = False
        self.estimates: dict[str, Estimate] = {}
        self._make_timers()
        self._told.connect(self._keep_slopes)
        workspace.store.recipeChanged.connect(self._on_recipe)
        workspace.modelsChanged.connect(self._look)
        workspace.scoring.scoresChanged.connect(self._look)
        workspace.library.contentChanged.connect(self._forget)
        workspace.settingsChanged.connect(self._on_settings)
        self._enabled = workspace.settings.live
        self._look()  # there may be a recipe already

    def _make_timers(self) -> None:
        self._opening = QTimer(self, interval=OPEN_DELAY_MS, singleShot=True)
        self._opening.timeout.connect(self._open)
        self._soon = QTimer(self, interval=0, singleShot=True)  # after painting; of several moves one counts
        self._soon.timeout.connect(self._estimate)
        self._settle = QTimer(self, interval=SETTLE_MS, singleShot=True)
        self._settle.timeout.connect(self.measure)
        self._poll = QTimer(self, interval=POLL_MS)
        self._poll.timeout.connect(self._look_at_filling)

    # For other parts -----------------------------------------------------------------------------------------

    def session(self) -> Session | None:
        """The open session, for workers; None while there is none."""
        return self._live

    def surrogate(self) -> Surrogate | None:
        """The newest surrogate."""
        return self._surrogate

    def frame(self) -> Frame | None:
        """What points mean, for the present session."""
        return self._live.frame if self._live is not None else None

    def slopes(self) -> Slopes | None:
        """Slopes of all faders in the point's coordinates."""
        return self._slopes[1] if self._slopes is not None else None

    def gain(self) -> Floats | None:
        """(T, G) change of the point per unit of a fader; None where single faders have no such number."""
        frame = self.frame()
        return self._gain.of(frame, self._workspace.recipe) if frame is not None else None

    @property
    def curve(self) -> Curve | None:
        """Along the held fader."""
        return self.drawn.curve if self.drawn is not None else None

    def point(self) -> Floats | None:
        """(T, G) where the recipe stands."""
        frame = self.frame()
        return self._place.of(frame, self._workspace.recipe) if frame is not None else None

    @property
    def state(self) -> LiveState:
        """How it stands, for the panels."""
        live, surrogate = self._live, self._surrogate
        return LiveState(self._phase, self._reason) if live is None or surrogate is None else ready(
            live, surrogate, self._older)  # fmt: skip

    def best(self, point: Floats) -> Surrogate | None:
        """The surrogate to ask about a point: the newest, unless it waits for a fader that the older one knows."""
        if self._older is not None and self._surrogate is not None and self._surrogate.state(point) == "waiting":
            return self._older
        return self._surrogate

    # Opening -------------------------------------------------------------------------------------------------

    def _look(self, *_: object) -> None:
        """Open, keep or drop the session as the recipe demands."""
        if not self._enabled:
            self._set("off", "")
            return
        key, missing = wanted(self._workspace, self._live)
        if key is None:
            self._drop()
            self._set("idle", missing)
        elif self._trouble is not None and self._trouble[0] == key:
            self._set("unavailable", self._trouble[1])
        elif key != self._key:
            self._drop()
            self._key = key
            self._set("opening", "")
            self._opening.start()

    def _open(self) -> None:
        workspace, key = self._workspace, self._key
        inputs = workspace.inputs()
        if inputs is None or key is None:
            return
        recipe, tasks, old = workspace.recipe, tuple(workspace.scoring.board.tasks.values()), list[Any]()
        workspace.runner.submit(
            "Opening the live preview", lambda token: work.open_session(recipe, inputs, tasks, ROWS, old, token),
            key=_OPEN, background=True, done=lambda made: self._opened(key, made),
            failed=lambda error: self._failed(key, error),
        )  # fmt: skip

    def _opened(self, key: object, made: work.Opened) -> None:
        if key != self._key:
            return
        self._live, self._surrogate, self._placed = made.live, made.surrogate, self._override_bytes()
        self._set("ready", "")
        self._estimate()
        self._fill()
        if self.estimates and next(iter(self.estimates.values())).state != "exact":
            self._settle.start()

    def _failed(self, key: object, error: MixdownError) -> None:
        if key == self._key:
            reason = f"{error.message} {error.hint}".strip()
            self._trouble = key, reason
            self._set("unavailable", reason)

    def _set(self, phase: Phase, reason: str) -> None:
        if (phase, reason) != (self._phase, self._reason):
            self._phase, self._reason = phase, reason
            self.changed.emit()

    def _drop(self) -> None:
        """Let the session go; its memory is given back by a worker."""
        for timer in (self._opening, self._soon, self._settle, self._poll):
            timer.stop()
        if self._key is None and self._live is None:
            return
        runner = self._workspace.runner
        for key in (_OPEN, _FILL, _TRUE, _CURVE):
            runner.cancel_key(key)
        old: list[Any] = [self._live, self._surrogate, self._older, self.curve]
        if self._live is not None:
            runner.submit("Giving back memory", lambda _: old.clear(), lane="files", shown=False)
        self._live = self._surrogate = self._older = self._slopes = self._measured = self.drawn = None
        self._key, self._held, self.estimates = None, None, {}
        for signal in (self.changed, self.estimated, self.slopesChanged, self.curveChanged):
            signal.emit()

    def _forget(self, _: str) -> None:
        """A model's file changed."""
        self._trouble = None
        self._drop()
        self._look()

    def _on_settings(self, settings: Settings) -> None:
        if settings.live != self._enabled:
            self._enabled, self._trouble = settings.live, None
            if not settings.live:
                self._drop()
            self._look()

    # Estimates -----------------------------------------------------------------------------------------------

    def _on_recipe(self, recipe: Recipe) -> None:
        made_of = (recipe.base, recipe.experts, recipe.tasks, recipe.method, recipe.params, recipe.seed)
        if self._live is None or made_of != self._made_of:  # most fader events change nothing of it
            self._made_of = made_of
            self._look()
        if self._live is not None:
            if not self._soon.isActive():
                self._soon.start(max(0, EVERY_MS - int(1000 * (time.monotonic() - self._last))))
            if not self._holding:
                self._settle.start()

    def _override_bytes(self) -> bytes:
        frame = self.frame()
        named = frame.overrides(self._workspace.recipe) if frame is not None else {}
        return b"".join(name.encode() + values.tobytes() for name, values in named.items())

    def _estimate(self) -> None:
        """Scores of the present recipe, by the best means at hand; some milliseconds."""
        point, self._last = self.point(), time.monotonic()
        surrogate = self.best(point) if point is not None else None
        if point is None or surrogate is None:
            return
        placed, known = self._override_bytes(), self._measured
        self.is_overridden = placed != self._placed
        amount = self.curve.amount(point) if self.curve is not None and not self.is_sketch else None
        if known is not None and known[:2] == (point.tobytes(), placed):
            found = known[2]
        elif self.curve is not None and amount is not None and not self.is_overridden:
            found = self.curve.scores(amount, smooth=False)
        else:
            found = estimate(surrogate, point, smooth=False)
        self.estimates = {e.task: e for e in found}
        self.estimated.emit()

    def measure(self) -> None:
        """Ask for the true scores of the recipe as it is now."""
        self._settle.stop()
        live, point = self._live, self.point()
        shown, newest = self.best(point) if point is not None else None, self._surrogate
        if live is None or point is None or shown is None or newest is None:
            return
        placed, overrides = self._override_bytes(), live.frame.overrides(self._workspace.recipe)
        if self._measured is not None and self._measured[:2] == (point.tobytes(), placed):
            return
        anew = placed != self._placed
        self._workspace.runner.submit(
            "Measuring the true scores",
            lambda token: work.measure(live, shown, newest, point, overrides, token, anew=anew),
            key=_TRUE, shown=False, done=lambda made: self._true(made, point, placed), failed=self._lost,
        )  # fmt: skip

    def _true(self, made: work.Measured, point: Floats, placed: bytes) -> None:
        self._measured = point.tobytes(), placed, made.estimates
        if made.fresh is not None:
            self._older, self._surrogate, self._placed = self._surrogate, made.fresh, placed
            self._fill()
        self._estimate()
        self.changed.emit()

    def _lost(self, error: MixdownError) -> None:
        """The session cannot go on: open another one if only its process died, else leave it to quick eval."""
        key, reason, now = self._key, f"{error.message} {error.hint}".strip(), time.monotonic()
        self._drop()
        if isinstance(error, EvaluatorDied) and now - self._deaths[0] > AGAIN_S:
            self._deaths = [*self._deaths[1:], now]
            self._look()
            return
        self._key, self._trouble = key, (key, reason)
        self._set("unavailable", reason)

    # Filling -------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Go on with the derivatives; what is touched comes first."""
        live, surrogate, touched = self._live, self._surrogate, self._touched
        if live is None or surrogate is None:
            return

        def fill(token: Token) -> Slopes:
            held = self._slopes
            slopes = held[1] if held is not None and held[0] is surrogate else None
            return work.fill_session(live, surrogate, touched, slopes, self._tell, token)

        self._poll.start()
        self._workspace.runner.submit(
            "Preparing live scores", fill, key=_FILL, background=True, shown=False,
            done=lambda slopes: self._filled(surrogate, slopes), failed=self._lost,
        )  # fmt: skip

    def _tell(self, surrogate: Surrogate, slopes: Slopes) -> None:
        """From the worker; a window that was closed hears nothing."""
        if isValid(self):
            self._told.emit(surrogate, slopes)

    def _keep_slopes(self, surrogate: Surrogate, slopes: Slopes) -> None:
        if surrogate is self._surrogate:
            self._slopes = surrogate, slopes
            self.slopesChanged.emit()

    def _filled(self, surrogate: Surrogate, slopes: Slopes) -> None:
        if surrogate is not self._surrogate:
            return
        self._older = None if surrogate.filled >= 1 else self._older
        self._poll.stop()
        self._keep_slopes(surrogate, slopes)
        self._estimate()
        self.changed.emit()

    def _look_at_filling(self) -> None:
        """While derivatives come in: numbers that wait may be ready."""
        if any(e.state == "waiting" for e in self.estimates.values()):
            self._estimate()
        self.changed.emit()

    # A held fader --------------------------------------------------------------------------------------------

    def press(self, pairs: Pairs, low: float, high: float) -> None:
        """A fader is taken: its derivative comes first, and the curve along its range.

        Args:
            pairs: What moves with it.
            low: Change of the fader down to the lower end of its range, at most 0.
            high: The same up to the upper end, at least 0.
        """
        self._holding = True
        self._settle.stop()
        live, surrogate, point, gain = self._live, self._surrogate, self.point(), self.gain()
        if live is None or surrogate is None or point is None:
            return
        self._touched, near = pairs, nudged(point, pairs)
        if waits := surrogate.state(near) == "waiting":
            self._fill()
        shared = shared_cell(pairs, gain) if gain is not None else None
        if shared is None:
            return
        cell, unit = shared
        start, end = sorted((low * unit, high * unit))
        self._held = cell, start, end
        source = self._older if waits else surrogate
        if source is not None and (source is surrogate or source.state(near) != "waiting"):
            self._workspace.runner.submit(
                "Sketching a fader", lambda _: work.sketch(source, point, cell, start, end), key=_SKETCH, lane="files",
                shown=False, done=lambda drawn: self._followed(drawn, sketch=True), failed=lambda _: None,
            )  # fmt: skip
        self._workspace.runner.submit(
            "Following a fader", lambda token: work.follow(live, point, cell, start, end, token), key=_CURVE,
            shown=False, done=self._followed, failed=lambda _: None,
        )  # fmt: skip

    def _followed(self, drawn: Drawn, *, sketch: bool = False) -> None:
        if self._holding and (self.curve is None or not sketch):
            self.drawn, self.is_sketch = drawn, sketch
            self.curveChanged.emit()
            self._estimate()

    def release(self) -> None:
        """The fader was let go: the true scores are wanted."""
        if not self._holding:
            return
        self._holding, self._held = False, None
        for key in (_CURVE, _SKETCH):
            self._workspace.runner.cancel_key(key)
        if self.drawn is not None:
            self.drawn = None
            self.curveChanged.emit()
        self.measure()
