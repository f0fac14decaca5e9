"""Where garbage is collected: in the thread of the window, and nowhere else."""

from __future__ import annotations

import ast
import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QPoint, Qt
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import quiet
from app.collector import CALM_S, EVERY_MS, Collector, install
from app.desk import Desk
from app.jobs import JobRunner
from engine.progress import Token

ROOT = Path(__file__).resolve().parents[2]
MAY_COLLECT = {"app/quiet.py", "app/cli.py", "engine/merge/fallback.py", "engine/merge/forks.py"}


class _Ticking(QObject):
    """A Qt object with a timer, in a cycle with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.me = self
        self.startTimer(1)


def _left(ended_in: list[str]) -> weakref.ref[_Ticking]:
    """One such object as garbage; the name of the thread that ends it is noted."""
    return weakref.ref(_Ticking(), lambda _: ended_in.append(threading.current_thread().name))


def _litter(count: int) -> None:
    """Make garbage that automatic collection would be set off by."""
    for _ in range(count):
        cycle: list[object] = []
        cycle.append(cycle)


def _worker(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()


def test_automatic_collection_would_end_the_windows_objects_in_a_worker(qapp: QApplication) -> None:
    """What all this is for: without it a Qt object is found as garbage by a worker (this one has no timer)."""
    gc.collect()
    ended: list[str] = []
    made = QObject()
    cycle: list[object] = [made]
    cycle.append(cycle)
    kept = weakref.ref(made, lambda _: ended.append(threading.current_thread().name))
    del made, cycle
    was = gc.isenabled()
    gc.enable()
    try:
        _worker(lambda: _litter(200_000))
    finally:
        (gc.enable if was else gc.disable)()
    assert ended == ["worker"] and kept() is None


def test_a_worker_never_ends_an_object_of_the_window(desk: Desk, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not quiet._holders, timeout=10_000)
    ended: list[str] = []
    kept = _left(ended)
    assert not gc.isenabled()
    _worker(lambda: _litter(200_000))
    assert not ended
    qtbot.waitUntil(lambda: kept() is None, timeout=20 * EVERY_MS)
    assert ended == [threading.main_thread().name]


def test_libraries_that_are_loaded_do_not_bring_automatic_collection_back(desk: Desk) -> None:
    with quiet.loading("a library of this test"):
        _litter(10_000)
        assert quiet.collect() == -1  # nothing while it is loaded
    assert not gc.isenabled()
    _litter(10_000)
    assert quiet.collect() >= 0


def test_ages_are_looked_through_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "_full_after", 0.0)
    gc.collect()
    assert quiet.collect() == -1  # nothing new
    seen = []
    for _ in range(200):
        _litter(2 * quiet.YOUNG)
        seen.append(quiet.collect(lambda: False))
    assert set(seen) == {0, 1}
    assert quiet.OLDER * seen.count(1) <= seen.count(0) <= (quiet.OLDER + 1) * seen.count(1)
    _litter(2 * quiet.YOUNG)
    while (age := quiet.collect()) == 0:
        _litter(2 * quiet.YOUNG)
    assert age == 2
    for _ in range(200):  # one has just been: the next waits
        _litter(2 * quiet.YOUNG)
        assert quiet.collect() < 2


def test_a_full_collection_leaves_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "_full_after", 0.0)
    monkeypatch.setattr(gc, "get_count", lambda: (10_000, 11, 11))
    monkeypatch.setattr(gc, "collect", lambda age: time.sleep(0.2) if age == 2 else None)
    before = time.monotonic()
    assert quiet.collect() == 2
    assert quiet._full_after - before >= 0.2 * quiet.SHARE > quiet.LEAST_S
    assert quiet.collect() == 1


def test_one_collector_that_waits_for_the_pointer_to_rest(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    install(qapp)
    install(qapp)
    [found] = qapp.findChildren(Collector)
    place, button, now = QPoint(1, 1), Qt.MouseButton.NoButton, 1000.0
    monkeypatch.setattr(QCursor, "pos", lambda: place)
    monkeypatch.setattr(QApplication, "mouseButtons", lambda: button)
    monkeypatch.setattr("app.collector.time.monotonic", lambda: now)
    assert not found._is_calm()  # it has just come here
    now += CALM_S
    assert found._is_calm()
    place = QPoint(2, 1)
    assert not found._is_calm()
    now += CALM_S
    button = Qt.MouseButton.LeftButton
    assert not found._is_calm()
    button = Qt.MouseButton.NoButton
    assert not found._is_calm()  # a drag has just ended
    now += CALM_S
    assert found._is_calm()


def test_garbage_goes_before_the_event_loop_waits(
    qapp: QApplication, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only by the timer: a third of a second of a busy program is too much at once."""
    install(qapp)
    asked: list[object] = []
    monkeypatch.setattr("app.collector.quiet.collect", asked.append)
    for _ in range(4):
        qtbot.wait(10)
    assert len(asked) >= 4  # the timer alone would not even have asked twice


def test_a_finished_job_is_not_held_by_the_worker(qtbot: QtBot) -> None:
    """What a job's functions hold (a closed dialog, say) must not end when the worker takes the next one."""
    runner = JobRunner()

    class Held:
        """Stands for a dialog."""

    held, ended = Held(), []
    gone = weakref.ref(held, lambda _: ended.append(threading.current_thread().name))

    def work(token: Token, held: Held = held) -> None:
        token.check()

    runner.submit("one", work)
    qtbot.waitUntil(lambda: not runner.is_busy)
    qtbot.wait(50)
    del held, work
    assert gone() is not None
    runner.jobs.clear()
    assert gone() is None and ended == [threading.main_thread().name]
    assert runner.stop()


def test_nobody_else_collects() -> None:
    """A call of the collector anywhere else could end a widget in a worker."""
    found = set()
    for folder in ("app", "engine", "widgets"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("gc.collect", "gc.enable"):
                    found.add(file.relative_to(ROOT).as_posix())
    assert found <= MAY_COLLECT
