"""Which runner scores: follows the preference, and measures torch against onnxruntime when nothing else is to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal
from shiboken6 import isValid

from app import places
from app.settings import Settings
from engine.errors import MixdownError
from engine.graphs.policy import RUNNERS
from engine.graphs.values import CHOICES, Choice, Measured, Spec

if TYPE_CHECKING:
    from app.desk import Desk
    from app.workspace import Workspace
    from engine.progress import Token


REST_MS = 15_000
"""Quiet time after the last score before runners are measured: it keeps a core busy for some ten seconds."""


class RunnerController(QObject):
    """Keeps `RUNNERS` in step with the preferences.

    Signals:
        unmeasured: A `Spec` that was scored by torch because nothing is known about it; any thread.
    """

    unmeasured = Signal(object)

    def __init__(self, workspace: Workspace, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._specs: list[Spec] = []
        self._rest = QTimer(self, interval=REST_MS, singleShot=True)
        self._rest.timeout.connect(self._measure)
        self.unmeasured.connect(self._wait)
        workspace.settingsChanged.connect(self._follow)
        workspace.scoring.scoresChanged.connect(self._postpone)
        RUNNERS.on_unmeasured = self._tell
        self._follow(workspace.settings)

    def _follow(self, settings: Settings) -> None:
        wanted: Choice = next((key for key, _ in CHOICES if key == settings.runner), "auto")
        RUNNERS.use(wanted, places.graph_folder())

    def _tell(self, spec: Spec) -> None:
        """From any thread; a window that was closed hears nothing."""
        if isValid(self):
            self.unmeasured.emit(spec)

    def _wait(self, spec: Spec) -> None:
        self._specs.append(spec)
        self._rest.start()

    def _postpone(self) -> None:
        if self._rest.isActive():
            self._rest.start()

    def _measure(self) -> None:
        """Measure in the background, once for each architecture; a failure leaves torch in charge."""
        for spec in self._specs:
            self._start(spec)
        self._specs.clear()

    def _start(self, spec: Spec) -> None:
        def work(token: Token) -> Measured | None:
            return RUNNERS.prepare(spec, token)

        self._workspace.runner.submit(
            "Comparing torch and onnxruntime", work, key=f"runner {spec.key}", background=True, shown=False,
            done=self._measured, failed=self._failed,
        )  # fmt: skip

    def _measured(self, found: Measured | None) -> None:
        if found is not None:
            self._workspace.scoring.scoresChanged.emit()

    def _failed(self, error: MixdownError) -> None:
        """Nothing to say: torch scores as before."""


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the runner's choice; it brings no actions."""
    RunnerController(desk.workspace, desk)
    return {}
