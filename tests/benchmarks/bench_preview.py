"""The live preview in the running application, on bench8-text: how fast a fader's move is heard.

    python -m tests.benchmarks.bench_preview [--moves 100] [--rows 64] [--seconds 10] [--quick]

Real mouse moves on one fader of the whole window, offscreen. Time is taken from the event to the new estimates of all
tasks, and to the repainted scores panel; lateness of the event loop while derivatives are filled, while a fader
moves, from release to the true scores, and while a fader moves beside a sweep and beside the tuner.

Lateness counts all that keeps a 5 ms beat waiting, other programs too. "Own" is the processor time that the window's
thread itself used between two beats: other programs do not change it much, and lateness cannot be less.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent

from app import evaluator, preview_controller, preview_host
from app.desk import Desk
from app.lateness import Lateness
from app.sweep_controller import SweepController
from app.tune_controller import TuneController
from engine.recipe.recipe import TaskRef
from tests.benchmarks.bench8 import FOLDER, bench_recipe, published
from tests.benchmarks.bench_app import make_or_get, report, turn

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton


def write_tasks(folder: Path) -> tuple[TaskRef, ...]:
    """Task files of the benchmark, beside links to its data."""
    for name in ("eval", "heads"):
        (folder / name).mkdir(parents=True)
        for file in (FOLDER / name).glob("*.safetensors"):
            os.link(file, folder / name / file.name) if _same_disk(file, folder) else _copy(file, folder / name)
    found = []
    for name, about in published()["tasks"].items():
        rows = {f"{split}{end}": f"{name}.{split}.{what}" for split in ("val", "test")
                for end, what in (("", "ids"), ("_labels", "label"), ("_lengths", "len"))}  # fmt: skip
        raw: dict[str, Any] = {
            "format": 1, "name": name, "title": name, "labels": about["labels"], "metric": "accuracy",
            "data": {"kind": "tokens", "file": "eval/tokens.safetensors", **rows},
            "head": {"file": f"heads/{name}.safetensors", "weight": "weight", "pool": "mean", "normalise": True},
            "expert": name,
        }  # fmt: skip
        path = folder / f"{name}.task.json"
        path.write_text(json.dumps(raw))
        found.append(TaskRef(name=name, path=str(path)))
    return tuple(found)


def _same_disk(file: Path, folder: Path) -> bool:
    return file.stat().st_dev == folder.stat().st_dev


def _copy(file: Path, folder: Path) -> None:
    (folder / file.name).write_bytes(file.read_bytes())


def send(desk: Desk, kind: QEvent.Type, at: QPoint, button: Qt.MouseButton) -> None:
    """One real mouse event on the table of faders."""
    view = desk.window.canvas.table.viewport()
    event = QMouseEvent(kind, QPointF(view.mapFromGlobal(at)), QPointF(at), button, LEFT,
                        Qt.KeyboardModifier.NoModifier)  # fmt: skip
    desk.app.sendEvent(view, event)


def pause(seconds: float) -> None:
    """Let the event loop run for a while: a mouse tells 125 places a second."""
    until = time.perf_counter() + seconds
    turn(lambda: time.perf_counter() > until)


def moves_ms(desk: Desk, count: int) -> tuple[list[float], list[float]]:
    """From each mouse move to new estimates, and to the end of the turn in which the scores panel shows them."""
    canvas, expert, preview = desk.window.canvas, desk.workspace.recipe.experts[3].id, desk.preview
    heard: list[float] = []
    preview.estimated.connect(lambda: heard.append(time.perf_counter()))
    panel, painted = desk.window.scores, list[float]()
    send(desk, QEvent.Type.MouseButtonPress, canvas.faderPoint(expert, 3, 1.0), LEFT)
    found = []
    for step in range(20 * count):
        at = canvas.faderPoint(expert, 3, 1.0 + 0.8 * math.sin((step + 1) / 7))
        pause(0.008)
        heard.clear()
        old = panel.state
        before, started = desk.workspace.recipe, time.perf_counter()
        send(desk, QEvent.Type.MouseMove, at, NONE)
        if desk.workspace.recipe == before:  # less than a step
            continue
        turn(lambda: heard, 5)
        found.append((heard[0] - started) * 1000)
        turn(lambda then=old: panel.state is not then, 5)
        desk.app.processEvents()
        painted.append((time.perf_counter() - started) * 1000)
        if len(found) > count:
            break
    return found[1:], painted[1:]


class Beats(Lateness):
    """Lateness, and how much of it the window's thread itself worked."""

    def __init__(self) -> None:
        self.own: list[float] = []
        self._worked = time.thread_time()
        super().__init__()

    def reset(self) -> None:
        """Forget what was recorded."""
        super().reset()
        self.own.clear()
        self._worked = time.thread_time()

    def _beat(self) -> None:
        super()._beat()
        now = time.thread_time()
        self.own.append((now - self._worked) * 1000)
        self._worked = now


def late(name: str, lateness: Beats) -> None:
    """Report the event loop's lateness so far and forget it."""
    summary, own = lateness.summary(), sorted(lateness.own or [0.0])
    report(f"lateness {name}, p99", summary["p99"], 16, "ms")
    print(f"  median {summary['p50']:.2f}, p95 {summary['p95']:.2f}, max {summary['max']:.1f} ms, "
          f"{summary['count']:.0f} beats", flush=True)  # fmt: skip
    worst = [own[int(len(own) * share)] for share in (0.95, 0.99)]
    print(f"  own work: p95 {worst[0]:.1f}, p99 {worst[1]:.1f}, max {own[-1]:.1f} ms", flush=True)
    lateness.reset()


def drag(desk: Desk, seconds: float) -> None:
    """Move a fader up and down as a mouse does, and let it go."""
    canvas, expert = desk.window.canvas, desk.workspace.recipe.experts[3].id
    send(desk, QEvent.Type.MouseButtonPress, canvas.faderPoint(expert, 3, 1.0), LEFT)
    until, step = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        step += 1
        pause(0.008)
        send(desk, QEvent.Type.MouseMove, canvas.faderPoint(expert, 3, 1.0 + 0.8 * math.sin(step / 7)), NONE)
    send(desk, QEvent.Type.MouseButtonRelease, canvas.faderPoint(expert, 3, 1.2), LEFT)


def beside_a_sweep(desk: Desk, lateness: Beats, seconds: float) -> None:
    """A grid of mixes is measured while a fader moves."""
    sweep = desk.findChild(SweepController)
    assert sweep is not None
    sweep.open()
    sweep.panel().form.run.click()
    turn(lambda: sweep.cells is not None and sweep.cells.found, 300)
    pause(0.5)
    lateness.reset()
    drag(desk, seconds)
    cells = sweep.cells
    print(f"sweep: {len(cells.found) if cells is not None else 0} mixes measured")
    late("while a fader moves beside a sweep", lateness)
    sweep.stop()
    sweep.dock.hide()
    turn(lambda: not desk.workspace.runner.is_busy, 120)


def beside_the_tuner(desk: Desk, lateness: Beats, seconds: float) -> None:
    """The tuner runs: once with its own moves only, then with a hand on a fader, which it pins."""
    tuner = desk.findChild(TuneController)
    assert tuner is not None
    tuner.open()
    tuner.panel().rows.setValue(16)
    tuner.panel().start.click()
    turn(lambda: tuner.current is not None and tuner.current.steps, 600)
    lateness.reset()
    pause(seconds)
    print(f"tuner: {len(tuner.current.steps) if tuner.current is not None else 0} steps")
    late("while the tuner moves the faders", lateness)
    drag(desk, seconds)
    late("while a fader moves beside the tuner", lateness)
    tuner.keep()
    turn(lambda: not desk.workspace.runner.is_busy, 300)  # derivatives are filled anew at the tuned point


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10, help="of dragging beside a sweep and the tuner")
    parser.add_argument("--quick", action="store_true", help="do not wait until all derivatives are there")
    given = parser.parse_args()
    preview_controller.ROWS = given.rows
    evaluator.serve_window()  # as the program does; MIXDOWN_EVAL=thread is the other way
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        home.mkdir()
        os.environ["MIXDOWN_HOME"] = str(home)
        (home / "settings.json").write_text('{"welcomed": true, "auto_eval": false}')
        _run(Path(name), given)


def _run(folder: Path, given: argparse.Namespace) -> None:
    desk = Desk(make_or_get())
    desk.start([])
    desk.features.complete()  # as the first key or click does
    desk.window.resize(1600, 1000)
    turn(lambda: not desk.workspace.runner.is_busy)
    lateness, preview = Beats(), desk.preview
    started = time.perf_counter()
    desk.workspace.store.reset(replace(bench_recipe(), tasks=write_tasks(folder / "tasks")), None)
    turn(lambda: preview.session() is not None or preview.state.phase == "unavailable", 300)
    print(preview.state.line, flush=True)
    live = preview.session()
    assert live is not None
    print(f"{len(live.tasks)} tasks, {live.report.rows} rows each, {live.reference.shape} faders; "
          f"session open after {time.perf_counter() - started:.1f} s, {live.report.bytes / 2**20:.0f} MiB")  # fmt: skip
    late("while opening", lateness)
    started = time.perf_counter()
    turn(lambda: preview.slopes() is not None, 300)
    print(f"slopes of all faders after {time.perf_counter() - started:.1f} s")
    turn(lambda: preview.state.filled >= (0.1 if given.quick else 1), 1800)
    took, size = time.perf_counter() - started, preview.state.bytes / 2**20
    print(f"surrogate {100 * preview.state.filled:.0f} % after {took:.1f} s, {size:.0f} MiB in all")
    late("while filling", lateness)
    if not given.quick:
        turn(lambda: not desk.workspace.runner.is_busy)
    lateness.reset()
    pause(3.0)
    late("while nothing happens (the machine's own)", lateness)
    busy = time.thread_time()
    heard, painted = moves_ms(desk, given.moves)
    print(f"{(time.thread_time() - busy) / len(heard) * 1000:.1f} ms of the window's own processor time for a move")
    for label, values, limit in (("event to estimates", heard, 50), ("event to painted panel", painted, 50)):
        report(f"{label}, {len(values)} moves, p95", statistics.quantiles(values, n=20)[18], limit, "ms")
        print(f"  median {statistics.median(values):.2f}, max {max(values):.2f} ms")
    late("while a fader moves", lateness)
    started = time.perf_counter()
    expert = desk.workspace.recipe.experts[3].id
    send(desk, QEvent.Type.MouseButtonRelease, desk.window.canvas.faderPoint(expert, 3, 1.2), LEFT)
    turn(lambda: all(e.state == "exact" for e in preview.estimates.values()), 120)
    print(f"true scores {time.perf_counter() - started:.2f} s after release; {preview.state.line}")
    late("from release to the true scores", lateness)
    beside_a_sweep(desk, lateness, given.seconds)
    beside_the_tuner(desk, lateness, given.seconds)
    desk.app.setProperty("forced", True)
    desk.window.close()
    preview_host.HOST.close()


if __name__ == "__main__":
    main()
