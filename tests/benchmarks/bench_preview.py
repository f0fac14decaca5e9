"""The live preview in the running application, on bench8-text: how fast a fader's move is heard.

    python -m tests.benchmarks.bench_preview [--moves 100] [--rows 64]

Real mouse moves on one fader of the whole window, offscreen. Time is taken from the event to the new estimates of all
tasks, and to the repainted scores panel; lateness of the event loop while derivatives are filled, while a fader
moves, and from release to the true scores.
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
        turn(lambda then=old: panel.state is not then, 5)  # type: ignore[misc]  # the default binds
        desk.app.processEvents()
        painted.append((time.perf_counter() - started) * 1000)
        if len(found) > count:
            break
    return found[1:], painted[1:]


def late(name: str, lateness: Lateness) -> None:
    """Report the event loop's lateness so far and forget it."""
    summary = lateness.summary()
    report(f"lateness {name}, p99", summary["p99"], 16, "ms")
    print(f"  median {summary['p50']:.2f}, p95 {summary['p95']:.2f}, max {summary['max']:.1f} ms, "
          f"{summary['count']:.0f} beats")  # fmt: skip
    lateness.reset()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--rows", type=int, default=64)
    given = parser.parse_args()
    preview_controller.ROWS = given.rows
    evaluator.serve_window()  # as the program does; MIXDOWN_EVAL=thread is the other way
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        home.mkdir()
        os.environ["MIXDOWN_HOME"] = str(home)
        (home / "settings.json").write_text('{"welcomed": true, "auto_eval": false}')
        _run(Path(name), given.moves)


def _run(folder: Path, count: int) -> None:
    desk = Desk(make_or_get())
    desk.start([])
    desk.window.resize(1600, 1000)
    turn(lambda: not desk.workspace.runner.is_busy)
    lateness, preview = Lateness(), desk.preview
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
    turn(lambda: preview.state.filled >= 1, 900)
    print(f"surrogate full after {time.perf_counter() - started:.1f} s, {preview.state.bytes / 2**20:.0f} MiB in all")
    late("while filling", lateness)
    turn(lambda: not desk.workspace.runner.is_busy)
    lateness.reset()
    pause(3.0)
    late("while nothing happens (the machine's own)", lateness)
    busy = time.thread_time()
    heard, painted = moves_ms(desk, count)
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
    desk.app.setProperty("forced", True)
    desk.window.close()
    preview_host.HOST.close()


if __name__ == "__main__":
    main()
