"""The machine sleeps, or a shell stops everything: when it goes on, so does the work; nobody is taken for hung."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from app import awake, export_host, preview_host
from app.awake import AwakeClock
from app.preview_host import Evaluating
from engine import patience
from engine.errors import Cancelled
from engine.patience import Patience
from engine.progress import Token

ROOT = Path(__file__).resolve().parents[2]
ASLEEP_S = 5.0
WORK = """
import json, sys, threading
from pathlib import Path
from app import awake, export_host, preview_host
from app.export_host import ExportHost
from app.export_job import ExportJob
from app.preview_host import EvalHost
from app.workbench import open_recipe
from engine.export.options import ExportOptions
from engine.progress import Token
from tests.app.big_models import big_models
export_host.SILENT_S = preview_host.SILENT_S = 3.0
awake.LONGEST_S = 1.0
folder = Path(sys.argv[1])
recipe = big_models(folder / "models", experts=1, tensors=4)
exports, evaluations, token = ExportHost(), EvalHost(), Token()
evaluator = evaluations.process()
evaluations.ask(evaluator, "close", Token(), session=0)
done = []
job = ExportJob(recipe, folder / "home" / "out", ExportOptions(), "cpu", 1)
thread = threading.Thread(target=lambda: done.append(exports.run(job, token)))
thread.start()
while not (token.text == "Merging" and token.total) and thread.is_alive():
    threading.Event().wait(0.002)
token.pause()
print(json.dumps([exports.current.pid, exports.current._process.pid, evaluator.pid]), flush=True)
sys.stdin.readline()
token.resume()
why = evaluator.hangs
evaluations.ask(evaluator, "close", Token(), session=0)
same = evaluations.process() is evaluator
thread.join()
print(json.dumps([why, same, bool(done)]), flush=True)
exports.close(), evaluations.close()
"""


@pytest.mark.soak
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be stopped here")
def test_all_processes_are_stopped_at_once_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as window:
        assert window.stdin is not None and window.stdout is not None
        workers = json.loads(window.stdout.readline())
        for pid in (window.pid, *workers):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(ASLEEP_S)
        os.kill(window.pid, signal.SIGCONT)
        window.stdin.write("\n")
        window.stdin.flush()
        time.sleep(0.3)  # the others get the processor later
        for pid in reversed(workers):
            os.kill(pid, signal.SIGCONT)
        said = window.stdout.readline()
    assert json.loads(said) == ["", True, True], "no verdict, the same evaluator, and the export is done"
    assert (tmp_path / "home" / "out" / "model.safetensors").is_file()
    assert os.listdir(tmp_path / "home") == ["out"]


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def test_the_clock_stands_still_while_the_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Time()
    monkeypatch.setattr(awake, "time", fake)
    clock = AwakeClock()
    fake.now += 500
    assert clock.now() == 1_500, "without a tick it is an ordinary clock"
    monkeypatch.setattr(awake, "TICK_S", 0.005)
    clock.start()
    before = clock.now()
    fake.now += 3_600
    assert clock.now() - before == awake.LONGEST_S, "an hour asleep"
    time.sleep(0.1)  # it has ticked now
    fake.now += 0.5
    assert clock.now() - before == awake.LONGEST_S + 0.5


def test_an_evaluator_is_judged_by_that_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, clock = Time(), AwakeClock()
    monkeypatch.setattr(awake, "time", fake)
    monkeypatch.setattr(preview_host, "CLOCK", clock)
    clock.start()
    process = Evaluating.__new__(Evaluating)  # what it judges by, without the process
    process.heard, process._is_loaded, process._dropped = clock.now(), True, {1: clock.now()}
    fake.now += 3_600
    assert process.hangs == ""


class Sleepy:
    """A worker that is silent in the three looks between which hours pass, and done then."""

    is_ready = True

    def __init__(self, fake: Time) -> None:
        self.messages, self.fake, self.left = self, fake, 3

    def get(self, timeout: float) -> dict[str, Any]:
        self.fake.now += 3_600
        self.left -= 1
        if self.left:
            raise queue.Empty
        raise Cancelled  # the end of the test

    def say(self, line: bytes) -> None:
        pytest.fail(f"told {line!r}")


def test_an_export_is_judged_by_looks_and_not_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Time()
    monkeypatch.setattr(export_host, "time", fake)
    with pytest.raises(Cancelled):
        export_host._followed(cast("export_host._Worker", Sleepy(fake)), Token())


def test_patience_is_used_up_by_waiting_and_not_by_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Time()
    monkeypatch.setattr(patience, "time", fake)
    waiting = Patience(10.0)
    fake.now += 3_600
    assert not waiting.is_over
    for _ in range(95):
        fake.now += 0.1
        over = waiting.is_over
    assert over
