"""A whole desk, offscreen, with real workers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.desk import Desk
from tests.app.desks import closed


@pytest.fixture
def desk(qtbot: QtBot, qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """An empty desk that is shown; closed again afterwards, without questions."""
    monkeypatch.setattr("app.library.READ_DELAY_MS", 0)
    monkeypatch.setattr("app.live.START_DELAY_MS", 0)
    home = Path(os.environ["MIXDOWN_HOME"])
    (home / "settings.json").write_text(
        json.dumps({"welcomed": True, "theme": "dark", "auto_eval": False, "live": False})
    )
    made = Desk(qapp)
    made.start([])
    made.features.complete()  # what the first key or click does
    qtbot.waitExposed(made.window)
    yield made
    closed(made)


@pytest.fixture
def settled(qtbot: QtBot) -> Callable[[Desk], None]:
    """Wait until no job runs or waits."""

    def wait(desk: Desk) -> None:
        calm = 0
        while calm < 4:  # the end of one job may start the next
            qtbot.waitUntil(lambda: not desk.workspace.runner.is_busy, timeout=30_000)
            qtbot.wait(25)
            calm = 0 if desk.workspace.runner.is_busy else calm + 1

    return wait
