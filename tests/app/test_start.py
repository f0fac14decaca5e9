"""The start: what is loaded and made before the first paint, and that nobody notices what comes after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QTabWidget
from pytestqt.qtbot import QtBot

from app.actions import ACTIONS
from app.desk import Desk
from app.features import FEATURES
from tests.app.desks import closed
from tests.app.models import write_family

ROOT = Path(__file__).resolve().parent.parent.parent
LATE = ("torch", "pyqtgraph", "sqlalchemy", "transformers", "email.message", "engine.bundle.opening",
        "engine.export.shards", "app.evaluator", "app.export_controller", "app.dialogs", "app.overlap_controller",
        "app.preview_controller", "widgets.panels.export_panel",
        *(feature.module for feature in FEATURES if not feature.at_once and feature.module != "app.trust"))  # fmt: skip
"""What the first paint needs nothing of; `app.trust` also words the card of a file that cannot be opened."""


@pytest.fixture
def bare(qtbot: QtBot, qapp: QApplication) -> Iterator[Desk]:
    """A desk as it is at its first paint: no feature has been built that can wait."""
    (Path(os.environ["MIXDOWN_HOME"]) / "settings.json").write_text('{"welcomed": true, "auto_eval": false}')
    made = Desk(qapp)
    made.window.firstPaint.disconnect(made.features.begin)
    yield made
    closed(made)


def test_the_first_paint_loads_nothing_that_can_wait(tmp_path: Path) -> None:
    code = f"""
import sys
from app.gui import make_application
app = make_application([])
from app.desk import Desk
desk = Desk(app)
desk.window.firstPaint.disconnect()
def painted():
    print([m for m in {LATE!r} if m in sys.modules], desk.features.is_complete)
    app.setProperty("forced", True)
    desk.window.close()
    app.quit()
desk.window.firstPaint.connect(painted)
desk.start([])
app.exec()
"""
    env = {**os.environ, "MIXDOWN_HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def test_features_are_built_while_the_window_rests(bare: Desk, qtbot: QtBot) -> None:
    bare.start([])
    qtbot.waitExposed(bare.window)
    qtbot.wait(50)
    assert not bare.features.is_complete and "runs" not in bare.window.docks
    told: list[bool] = []
    bare.features.when_complete(lambda: told.append(bare.features.is_complete))
    bare.features.begin()
    qtbot.waitUntil(lambda: told == [True], timeout=20_000)
    assert {"runs", "sweep", "tune"} <= set(bare.window.docks)
    assert bare.window.docks["export"].widget() is bare.window.export
    bare.features.when_complete(lambda: told.append(True))
    assert told == [True]
    qtbot.waitUntil(lambda: told == [True, True])


def test_the_first_key_finds_a_complete_window(bare: Desk, qtbot: QtBot) -> None:
    bare.start([])
    qtbot.waitExposed(bare.window)
    bare.features.begin()
    bare.features._idle.stop()  # the user is faster
    handle = bare.window.windowHandle()
    assert handle is not None and not bare.features.is_complete
    qtbot.keyClick(handle, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    assert bare.features.is_complete
    qtbot.waitUntil(lambda: not bare.window.docks["runs"].isHidden())


def test_an_action_builds_what_it_needs(bare: Desk) -> None:
    bare.start([])
    bare.window.commands.trigger("view.runs")
    assert bare.features.is_complete and not bare.window.docks["runs"].isHidden()
    known = [a.id for a in ACTIONS if not a.local and not hasattr(bare.handlers, a.id.replace(".", "_", 1))]
    assert known and all(action in bare.features for action in known)


def test_a_broken_feature_does_not_keep_the_others_away(bare: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Desk) -> dict[str, object]:
        raise RuntimeError("no")

    monkeypatch.setattr("app.intake.install", broken)
    with pytest.raises(RuntimeError, match="no"):
        bare.features.complete()
    bare.features.complete()
    assert bare.features.is_complete and "runs" in bare.window.docks


def test_views_that_are_open_at_the_start_get_their_tabs(bare: Desk, qtbot: QtBot) -> None:
    bare.window.docks["overlap"].show()
    bare.start([])
    qtbot.waitExposed(bare.window)
    views = bare.overlap.panel()  # made before the features that add to it
    tabs = views.findChildren(QTabWidget)[0]
    before = tabs.count()
    bare.features.complete()
    titles = [tabs.tabText(i) for i in range(tabs.count())]
    assert bare.window.docks["overlap"].widget() is views
    assert len(titles) > before and {"Tensor", "Spectrum"} <= set(titles)
    assert titles.count("Tensor") == 1


def test_paths_of_the_command_line_wait_for_the_features(bare: Desk, qtbot: QtBot, tmp_path: Path) -> None:
    base, _ = write_family(tmp_path, 1)
    bare.start([str(base)])
    qtbot.waitExposed(bare.window)
    qtbot.wait(100)
    assert not bare.workspace.recipe.experts
    bare.features.complete()
    qtbot.waitUntil(lambda: len(bare.workspace.recipe.experts) == 1, timeout=20_000)
