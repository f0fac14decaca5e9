"""What belongs to the window ends in the window's thread: no worker is ever the last to hold it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from app import jobs, journal, recording
from app.desk import Desk
from app.history_place import Backups
from app.jobs import JobRunner
from app.journal import Journal, State, View
from app.runs_controller import RunsController
from engine.errors import MixdownError
from engine.progress import Token
from engine.recipe.recipe import Recipe

MAIN = threading.main_thread().name


class _Panel(QObject):
    """Something of the window."""


def panel(ended: list[str]) -> _Panel:
    """A Qt object that nobody else holds; the thread that ends it is noted."""
    made = _Panel()
    weakref.finalize(made, lambda: ended.append(threading.current_thread().name))
    return made


@pytest.fixture
def runner(qtbot: QtBot) -> Iterator[JobRunner]:
    made = JobRunner()
    yield made
    assert made.stop()


@pytest.fixture(autouse=True)
def _only_by_counting() -> Iterator[None]:
    """Nothing is collected meanwhile."""
    was = gc.isenabled()
    gc.disable()
    yield
    (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("how", ["done", "cancelled"])
def test_a_worker_that_told_of_a_job_does_not_hold_it_any_more(
    how: str, runner: JobRunner, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    told, go, real = threading.Event(), threading.Event(), runner._tell

    def telling() -> None:
        """The GUI thread is quick, and the worker is not."""
        real()
        told.set()
        go.wait(10)

    monkeypatch.setattr(runner, "_tell", telling)

    def submit() -> None:
        held = panel(ended)

        def work(token: Token) -> str:
            if how == "cancelled":
                token.cancel()
            token.check()
            return str(held.objectName())

        runner.submit("x", work, done=lambda _: held.objectName())

    submit()
    qtbot.waitUntil(lambda: told.is_set() and not runner._ended)
    assert ended == []
    runner.jobs.clear()  # as after many more jobs
    assert ended == [MAIN], "the worker is between telling and its next job"
    go.set()


def test_a_worker_that_hangs_is_not_the_last_to_hold_the_runner(qtbot: QtBot) -> None:
    ended: list[str] = []
    go, begun = threading.Event(), threading.Event()

    def hang(_: Token) -> None:
        begun.set()
        go.wait(10)

    def start() -> list[threading.Thread]:
        runner = JobRunner()
        held = panel(ended)
        runner.submit("x", hang, done=lambda _: held.objectName())
        assert begun.wait(5) and not runner.stop(0.05)
        return runner._threads

    threads = start()
    gc.collect()
    go.set()
    for thread in threads:
        thread.join(5)
    assert ended == []
    while jobs._STUCK:
        jobs._STUCK.pop()
    gc.collect()
    assert ended == [MAIN]


def test_the_thread_of_a_journal_on_a_disk_that_hangs_is_not_the_last_to_hold_it(tmp_path: Path) -> None:
    ended: list[str] = []
    go, begun = threading.Event(), threading.Event()

    def start() -> threading.Thread:
        held = panel(ended)

        def save(state: State) -> None:
            begun.set()
            go.wait(10)
            assert held is not None

        made = Journal(tmp_path / "session.mixdown", save)
        made.put(State(Recipe(), (), None, View()))
        thread = made._thread
        assert begun.wait(5) and thread is not None
        made.stop()
        return thread

    thread = start()
    go.set()
    thread.join(5)
    assert not thread.is_alive() and ended == []
    journal._STUCK.clear()
    gc.collect()
    assert ended == [MAIN]


def idle() -> None:
    """Wait until the history's thread has nothing to do."""
    assert recording.recorder().flush(10)


class Stalling:
    """A recorder whose thread stops for a while when it has told that it is done."""

    def __init__(self) -> None:
        self.real, self.future = recording.recorder(), Future[Any]()
        self.begin, self.told, self.go = threading.Event(), threading.Event(), threading.Event()

    def submit(self, work: Callable[[Any], Any]) -> Stalling:
        """Ask the real one."""
        self.future = self.real.submit(lambda history: (self.begin.wait(10), work(history))[1])
        return self

    def add_done_callback(self, call: Callable[[Any], Any]) -> None:
        """Tell, then stop."""
        self.future.add_done_callback(call)
        self.future.add_done_callback(lambda _: (self.told.set(), self.go.wait(10)))
        self.begin.set()


@pytest.mark.parametrize("wrong", [False, True])
def test_the_thread_of_the_history_holds_nothing_of_the_window(
    desk: Desk, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    runs = desk.findChild(RunsController)
    assert isinstance(runs, RunsController)
    idle()
    ended: list[str] = []
    answered: list[Any] = []

    def work(_: object) -> int:
        if wrong:
            raise MixdownError("The history is away.")
        return 7

    def ask() -> None:
        held = panel(ended)
        runs.ask(work, lambda found: answered.append((found, held.objectName())))

    stalling = Stalling()
    with monkeypatch.context() as patch:
        patch.setattr(recording, "recorder", lambda: stalling)
        ask()
    assert ended == [], "it waits for the answer"
    qtbot.waitUntil(lambda: stalling.told.is_set() and not runs._asked)
    assert answered == ([] if wrong else [(7, "")]) and ended == [MAIN], "while the other thread is not done yet"
    stalling.go.set()
    idle()


def test_what_the_history_was_asked_ends_when_it_has_answered(desk: Desk) -> None:
    """Not an hour later, when it is asked the next time."""
    ended: list[str] = []

    class Big:
        """An answer, or what it is made of."""

    def ask() -> None:
        big = Big()
        weakref.finalize(big, ended.append, "gone")
        assert recording.recorder().submit(lambda _: big).result(10) is big

    ask()
    idle()
    assert ended == ["gone"]


def test_backups_are_not_held_by_the_thread_of_the_history(desk: Desk, qtbot: QtBot) -> None:
    backups = desk.window.findChild(Backups)
    assert isinstance(backups, Backups)
    go = threading.Event()
    recording.recorder().submit(lambda _: go.wait(10))
    future = backups.back_up()
    holders = [cell.cell_contents for call in future._done_callbacks for cell in (call.__closure__ or ())]
    assert holders and not any(isinstance(held, QObject) for held in holders)
    go.set()
    idle()
