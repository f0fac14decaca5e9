"""Models in a process of their own: the same numbers, cancelling never waits, its death costs the window nothing."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import evaluator, preview_host
from app.desk import Desk
from app.lateness import Lateness
from app.preview_host import EvalHost, Evaluating, EvaluatorDied
from app.preview_wire import pack, receive, scores_from_plain, task_from_plain, task_to_plain
from engine.errors import Cancelled, Changed, EvalProblem
from engine.evaluate.task import Task, load_task
from engine.merge.inputs import Inputs, open_inputs
from engine.preview.basis import Cell
from engine.preview.sweep import run_recipes
from engine.preview.tuning import tune
from engine.progress import Progress, Token
from engine.recipe.recipe import Recipe, Rule
from engine.store.cache import ScoreCache
from tests.app.tune_kit import write_family
from widgets.plots.explain_dialog import ExplainDialog

Kit = tuple[Recipe, Inputs, list[Task]]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    recipe = write_family(tmp_path_factory.mktemp("family"))
    return recipe, open_inputs(recipe), [load_task(Path(ref.path)) for ref in recipe.tasks]


@pytest.fixture(scope="module")
def shared_host() -> Iterator[EvalHost]:
    host = EvalHost()
    yield host
    host.close()


@pytest.fixture
def host(shared_host: EvalHost, monkeypatch: pytest.MonkeyPatch) -> EvalHost:
    """A process of its own for models; the same one for all tests, as long as it lives.

    Tests that run networks come first: what is started after those that end the process loads no libraries.
    """
    monkeypatch.setenv(evaluator.VARIABLE, "process")
    monkeypatch.setattr(evaluator, "HOST", shared_host)
    return shared_host


class Counted(Token):
    """Counts how often it was asked."""

    checks = 0

    def check(self) -> None:
        """Ask."""
        self.checks += 1
        super().check()


def test_a_loaded_process_must_stop_sooner_than_one_that_loads() -> None:
    process = Evaluating.__new__(Evaluating)  # what it judges by, without the process
    process.heard = now = preview_host.CLOCK.now()
    for loaded, limit in ((True, preview_host.STUCK_S), (False, preview_host.LOADING * preview_host.STUCK_S)):
        process._is_loaded = loaded
        process._dropped = {1: now - limit + 2}
        assert process.hangs == ""
        process._dropped = {1: now - limit - 0.1}
        assert "did not stop" in process.hangs
    process._dropped, process.heard = {}, now - preview_host.SILENT_S - 1
    assert "stopped answering" in process.hangs


def test_both_ways_give_the_same_numbers(host: EvalHost, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, inputs, tasks = kit
    cell, overrides = Cell((1,), (2,)), {next(iter(inputs.layout.places)): np.array([0.1, 0.2, 0.3])}
    token, found = Counted(), []
    for way in ("process", "thread"):
        monkeypatch.setenv(evaluator.VARIABLE, way)
        live = evaluator.open_live(recipe, inputs, tasks, rows=16, progress=token)
        point = cell.added(live.reference, 0.2)
        scores = evaluator.score_recipe(recipe, inputs, tasks, limit=16)
        assert inputs.base is not None
        own = evaluator.score_checkpoint(inputs.base, recipe, inputs, tasks[1], limit=16, cache=None, progress=token)
        before = live.at(point)
        moved = live.move(point, token, overrides)
        found.append((live, before, live.slopes().values, live.logits, scores, own, moved, live.matters(cell)))
    (there, *first), (here, *second) = found
    assert isinstance(there, evaluator.Remote) and not isinstance(here, evaluator.Remote)
    np.testing.assert_equal(first, second)
    assert (there.report.rows, there.report.tier, there.split) == (here.report.rows, here.report.tier, here.split)
    np.testing.assert_equal(there.tasks[1].labels, here.tasks[1].labels)
    assert there.tasks[0].classes == here.tasks[0].classes and token.text


def test_problems_and_changed_files_are_told(host: EvalHost, kit: Kit, tmp_path: Path) -> None:
    recipe, inputs, tasks = kit
    wrong = replace(tasks[0], data=tmp_path / "gone.safetensors")
    with pytest.raises(EvalProblem, match="cannot be used"):
        evaluator.score_recipe(recipe, inputs, [wrong])
    known = [list(stamp) for stamp in evaluator.stamps_of(inputs)]
    known[0][2] += 1
    about = {**evaluator._about(recipe, inputs, tasks), "stamps": known}
    with pytest.raises(Changed):
        host.call("open", Token(), session=host.number(), rows=8, **about)


def test_cancelling_never_waits_for_the_process(host: EvalHost, kit: Kit, tmp_path: Path) -> None:
    """Even a process that stands still keeps nobody waiting: open, move, scores, sweep and tuner end at once."""
    recipe, inputs, tasks = kit
    live = evaluator.open_live(recipe, inputs, tasks, rows=16)
    mixes = [(i, recipe.with_rules([Rule(expert="e0", value=i / 9)])) for i in range(9)]
    cache = ScoreCache(tmp_path / "scores.sqlite")
    work: dict[str, Callable[[Progress], object]] = {
        "open": lambda p: evaluator.open_live(recipe, inputs, tasks, rows=16, progress=p),
        "fill": lambda p: live.at(live.reference + 0.1, p),
        "slopes": lambda p: live.slopes(p),
        "quick eval": lambda p: evaluator.score_recipe(recipe, inputs, tasks, cache=cache, progress=p),
        "sweep": lambda p: run_recipes(mixes, inputs, tasks, score=evaluator.score_recipe, progress=p),
        "tuner": lambda p: list(tune(live, recipe, progress=p)),
    }
    pid = host.process().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        late = {name: cancelled_after(action) for name, action in work.items()}
    finally:
        os.kill(pid, signal.SIGCONT)
    assert max(late.values()) < 0.25, late
    assert len(live.at(live.reference)) == 2, "it goes on"


def test_a_difference_is_scored_apart_and_stops_at_once(
    host: EvalHost, kit: Kit, desk: Desk, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the process that runs the models stands still."""
    store = desk.workspace.store
    store.reset(kit[0], None)
    store.pin("before")
    store.apply(store.recipe.with_rules([Rule(value=0.25, expert="e0", layer="1")]), "x")
    desk.window.commands.refresh({"pins": True})
    qtbot.waitUntil(lambda: desk.workspace.scoring.can_run, timeout=30_000)
    desk.window.history.pinExplained.emit("before")
    [dialog] = [w for w in desk.window.children() if isinstance(w, ExplainDialog)]
    pid = host.process().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        qtbot.waitUntil(lambda: dialog.score.isEnabled(), timeout=30_000)
        dialog.score.click()
        assert dialog.score.text() == "Stop scoring" and dialog.score.isEnabled()
        qtbot.wait(100)
        [job] = [job for job in desk.workspace.runner.active() if job.key == "explain scores"]
        started = time.monotonic()
        dialog.score.click()
        assert dialog.score.text() == "Score both" and job.dropped and time.monotonic() - started < 0.25
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.setattr("engine.evaluate.mix.score_recipe", lambda *_, **__: pytest.fail("scored in this process"))
    dialog.score.click()
    qtbot.waitUntil(lambda: len(dialog.state.scores) >= 2, timeout=60_000)
    assert dialog.score.text() == "Score both" and len(dialog.state.scores[0]) == 5
    dialog.close()


def test_a_window_hears_on_after_its_process_died(host: EvalHost, kit: Kit, desk: Desk, qtbot: QtBot) -> None:
    desk.preview._opening.setInterval(0)
    desk.workspace.change_settings(live=True)
    desk.workspace.store.reset(kit[0], None)

    def is_full() -> bool:
        return desk.preview.state.filled >= 1 and desk.preview.slopes() is not None

    qtbot.waitUntil(is_full, timeout=60_000)
    first = desk.preview.session()
    assert isinstance(first, evaluator.Remote)
    os.kill(host.process().pid, signal.SIGKILL)
    edited = desk.workspace.recipe.with_rules([Rule(expert="e0", layer="1", value=1.3)])
    desk.workspace.store.apply(edited, "Set a fader")
    qtbot.waitUntil(lambda: desk.preview.session() is not first and is_full(), timeout=60_000)
    assert {e.state for e in desk.preview.estimates.values()} == {"exact"} and desk.preview.state.phase == "ready"


def cancelled_after(action: Callable[[Progress], object]) -> float:
    """Seconds from cancel to the end of a worker's thread."""
    token, ends = Counted(), list[float]()

    def work() -> None:
        with pytest.raises(Cancelled):
            action(token)
        ends.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    while token.checks < 2:
        time.sleep(0.005)
    started = time.monotonic()
    token.cancel()
    thread.join(5)
    return ends[0] - started


def standing(host: EvalHost) -> int:
    """A process that stands still, with its number."""
    pid = host.process().pid
    assert host.call("close", Token(), session=0)[1] == {}
    os.kill(pid, signal.SIGSTOP)
    return pid


def ask(host: EvalHost, token: Progress | None = None) -> None:
    """Something that needs no library."""
    assert host.call("close", token or Token(), session=0)[1] == {}


def test_a_process_that_does_not_stop_is_replaced(host: EvalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = standing(host)
    cancelled_after(lambda p: ask(host, p))
    ask_again = threading.Thread(target=ask, args=(host,))
    monkeypatch.setattr(preview_host, "STUCK_S", 0.2)
    ask_again.start()
    ask_again.join(30)
    assert host.process().pid != pid


def faulted(host: EvalHost, qapp: QApplication, number: signal.Signals) -> tuple[list[Exception], float]:
    """A request in whose middle a fault happens: what it raised, and the longest gap of the event loop in ms."""
    pid, late, errors = standing(host), Lateness(), list[Exception]()
    process = host.process()

    def work() -> None:
        try:
            host.ask(process, "close", Token(), session=0)
        except EvaluatorDied as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    late.reset()
    os.kill(pid, number)
    if number == signal.SIGSEGV:
        os.kill(pid, signal.SIGCONT)  # what is stopped dies of nothing but SIGKILL
    while thread.is_alive():
        qapp.processEvents()
        time.sleep(0.002)
    gap = late.summary()["max"]
    late.deleteLater()
    return errors, gap


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGSTOP])
def test_a_fault_costs_the_request_and_not_the_window(
    host: EvalHost, qapp: QApplication, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(preview_host, "SILENT_S", 0.5)
    for _ in range(5):
        errors, gap = faulted(host, qapp, number)
        if errors:
            break  # else the answer was out before the fault was dealt with
    assert ("SIGSEGV" if number == signal.SIGSEGV else "stopped answering") in str(errors[0]) and gap < 250
    monkeypatch.setattr(preview_host, "SILENT_S", 20.0)
    ask(host)  # the next one just works


def test_what_needs_no_session_is_asked_again_when_the_process_dies(host: EvalHost) -> None:
    standing(host)
    first = host.process()

    class Kills(Token):
        """Kills it once."""

        def check(self) -> None:
            """Ask."""
            if first.is_alive:
                os.kill(first.pid, signal.SIGKILL)
            super().check()

    ask(host, Kills())
    assert host.process() is not first


def test_quick_eval_stops_in_the_window_at_once(
    host: EvalHost, kit: Kit, desk: Desk, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the libraries load, which nothing can interrupt."""
    desk.workspace.store.reset(kit[0], None)
    qtbot.waitUntil(lambda: desk.workspace.scoring.can_run, timeout=30_000)
    begun = threading.Event()

    def loads(*_: object, progress: Token, **__: object) -> None:
        begun.set()
        while not progress.is_cancelled:
            time.sleep(0.01)
        time.sleep(0.6)

    monkeypatch.setattr(evaluator, "score_recipe", loads)
    desk.workspace.scoring.evaluate()
    qtbot.waitUntil(begun.is_set, timeout=30_000)
    qtbot.wait(50)
    assert desk.window.scores.state.is_running
    started = time.monotonic()
    desk.window.scores.stopRequested.emit()
    assert not desk.window.scores.state.is_running
    assert not [job for job in desk.workspace.runner.active() if job.key.startswith("score") and not job.dropped]
    assert time.monotonic() - started < 0.25


def test_messages_come_back_as_they_went() -> None:
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    tables = [table, np.zeros((0, 4))]
    sent = {"id": 3, "a": tables, "nan": float("nan"), "deep": {"b": np.array([True])}, "n": np.int64(7)}
    back = receive(io.BytesIO(pack(sent)))
    assert back is not None and back["id"] == 3 and back["n"] == 7 and np.isnan(back["nan"])
    np.testing.assert_array_equal(back["a"][0], table)
    assert back["a"][1].shape == (0, 4) and back["a"][0].flags.writeable and back["deep"]["b"].dtype == np.bool_
    assert receive(io.BytesIO(pack(sent)[:-1])) is None and receive(io.BytesIO(b"")) is None
    with pytest.raises(ValueError, match="something else"):
        receive(io.BytesIO(b"\xff" * 64))


def test_tasks_survive_the_pipe(kit: Kit) -> None:
    for task in kit[2]:
        back = receive(io.BytesIO(pack({"task": task_to_plain(task)})))
        assert back is not None and task_from_plain(back["task"]) == task
    assert scores_from_plain({}) == {}
