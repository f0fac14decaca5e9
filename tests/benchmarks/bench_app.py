"""The running application: start, drop, export beside a bare copy, and how late the event loop is meanwhile.

    python -m tests.benchmarks.bench_app [--models FOLDER]

FOLDER holds base, expert1, expert2, expert3 as written by ../shared/bench/make_synth.py; without it small
models are made. Everything is measured in one run, so that the ratios mean something on a noisy machine.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QCoreApplication, QEvent, QEventLoop, QObject, QPointF, Qt, QTimer
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget

from app.desk import Desk
from app.gui import make_application
from app.lateness import Lateness
from tests.app.models import write_family
from widgets.panels.state import ExportForm

BLOCK = 1 << 22


def turn(until: Callable[[], object], timeout_s: float = 300) -> float:
    """Run the event loop until something holds; returns the seconds it took."""
    started, loop, timer = time.perf_counter(), QEventLoop(), QTimer(interval=2)

    def look() -> None:
        if until() or time.perf_counter() - started > timeout_s:
            loop.quit()

    timer.timeout.connect(look)
    timer.start()
    loop.exec()
    timer.stop()
    if not until():
        raise TimeoutError
    return time.perf_counter() - started


def start_ms(folder: Path, runs: int = 5) -> tuple[list[float], float, bool]:
    """First paint after process start, several times in fresh processes with an empty home.

    Python keeps compiled modules unless PYTHONDONTWRITEBYTECODE forbids it; here it may, as on a user's machine.

    Returns:
        Milliseconds of `runs` starts, of the very first one (which compiles every module), whether torch was loaded.
    """
    found, torch_in = [], False
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(runs + 1):
        with tempfile.TemporaryDirectory() as home:
            env = {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "MIXDOWN_HOME": home,
                   "STARTED": str(time.time())}  # fmt: skip
            command = [sys.executable, "-m", "tests.benchmarks.start_window"]
            out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()
        found.append(float(out[0]))
        torch_in = torch_in or out[1] == "True"
    return found[1:], found[0], torch_in


def drop_ms(desk: Desk, models: list[Path]) -> list[float]:
    """From the drop to the painted row, for each expert."""
    found = []
    for path in models:
        before = len(desk.workspace.recipe.experts)
        watch = PaintWatch(desk, before)
        started = time.perf_counter()
        desk.window.shelf.filesDropped.emit([str(path)], "add")
        turn(lambda w=watch: w.painted)
        found.append((watch.painted - started) * 1000)
        desk.app.removeEventFilter(watch)
    return found


class PaintWatch(QObject):
    """Notes when the canvas is painted for the first time with more than so many rows."""

    def __init__(self, desk: Desk, rows: int) -> None:
        super().__init__()
        self._desk, self._rows, self.painted = desk, rows, 0.0
        desk.app.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at every event, change none."""
        if event.type() == QEvent.Type.Paint and not self.painted and isinstance(watched, QWidget):
            board = self._desk.desk.board
            if (
                board is not None
                and len(board.state.experts) > self._rows
                and self._desk.window.canvas.isAncestorOf(watched)
            ):
                QTimer.singleShot(0, self._note)
        return False

    def _note(self) -> None:
        self.painted = self.painted or time.perf_counter()  # after the whole paint, at the next turn of the loop


def bare_copy_s(models: list[Path], out: Path) -> float:
    """Read all bytes of all models and write as many as one model has, with fsync: the floor of a merge."""
    started = time.perf_counter()
    buffer, first = bytearray(BLOCK), True
    with out.open("wb", buffering=0) as target:
        for model in models:
            for file in sorted(model.glob("*.safetensors")):
                with file.open("rb", buffering=0) as source:
                    while count := source.readinto(buffer):
                        if first:
                            target.write(memoryview(buffer)[:count])
            first = False
        os.fsync(target.fileno())
    return time.perf_counter() - started


def export_s(desk: Desk, out: Path) -> float:
    """Export with the panel's form; hashing has been done by the library before."""
    shutil.rmtree(out, ignore_errors=True)
    ends: list[object] = []
    desk.export.exported.connect(ends.append)
    desk.export.failed.connect(lambda error: (_ for _ in ()).throw(error))
    desk.export.export(replace(ExportForm(), path=str(out)))
    return turn(lambda: ends)


def fader_ms(folder: Path) -> list[float]:
    """Real mouse moves on one fader of 8 experts x 34 layers in the whole application, painting included."""
    base, experts = write_family(folder / "wide", 8, layers=32)
    desk = Desk(make_or_get())
    desk.start([])
    desk.window.resize(1600, 1000)
    desk.window.shelf.filesDropped.emit([str(base)], "base")
    turn(lambda: desk.workspace.recipe.base is not None)
    desk.window.shelf.filesDropped.emit([str(e) for e in experts], "add")
    turn(
        lambda: len(desk.workspace.recipe.experts) == 8 and desk.workspace.live.gram(desk.workspace.recipe) is not None
    )
    turn(lambda: not desk.workspace.runner.is_busy)
    assert len(desk.desk.columns) == 34, len(desk.desk.columns)
    canvas, expert = desk.window.canvas, desk.workspace.recipe.experts[3].id
    viewport = canvas.window().childAt(canvas.window().mapFromGlobal(canvas.faderPoint(expert, 5, 1.0)))
    found = []
    for step in range(202):
        at = canvas.faderPoint(expert, 5, 1.0 + 0.8 * math.sin(step / 17))
        kind = QEvent.Type.MouseButtonPress if step == 0 else QEvent.Type.MouseMove
        place = QPointF(viewport.mapFromGlobal(at))
        left = Qt.MouseButton.LeftButton
        event = QMouseEvent(kind, place, QPointF(at), left if step == 0 else Qt.MouseButton.NoButton, left,
                            Qt.KeyboardModifier.NoModifier)  # fmt: skip
        started = time.perf_counter()
        QCoreApplication.sendEvent(viewport, event)
        QCoreApplication.processEvents()
        found.append((time.perf_counter() - started) * 1000)
        time.sleep(0.004)
    assert len({round(v, 3) for v in desk.board_values()[3]}) > 1, "the fader did not move"
    desk.app.setProperty("forced", True)
    desk.window.close()
    return found[2:]


def make_or_get() -> QApplication:
    """The one application of this process."""
    app = QApplication.instance()
    return app if isinstance(app, QApplication) else make_application([])


def report(name: str, value: float, limit: float, unit: str) -> None:
    """One line: what, how much, the target, whether it is met."""
    print(f"{name:<52} {value:8.2f} {unit:<4} target <= {limit:g} {unit:<4} {'ok' if value <= limit else 'MISSED'}")


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--models", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MIXDOWN_HOME"] = str(folder / "home")
        if given.models:
            base, experts = given.models / "base", [given.models / f"expert{i}" for i in (1, 2, 3)]
        else:
            base, experts = write_family(folder / "models", 3)
        starts, first, torch_in = start_ms(folder)
        report("window painted after process start (median of 5)", statistics.median(starts) / 1000, 1.5, "s")
        print(f"  the very first start, which compiles the modules: {first / 1000:.2f} s")
        print(f"{'torch loaded before the first paint':<52} {torch_in}")
        _running(folder, base, experts)


def _running(folder: Path, base: Path, experts: list[Path]) -> None:
    """Everything in one running application."""
    (folder / "home").mkdir(exist_ok=True)
    (folder / "home" / "settings.json").write_text('{"welcomed": true, "auto_eval": false}')
    moves = fader_ms(folder)
    report("fader event with paint, 8 x 34, whole app, p95", statistics.quantiles(moves, n=20)[18], 4, "ms")
    print(f"  median {statistics.median(moves):.2f} ms, {len(moves)} moves")
    (folder / "home" / "session.mixdown").unlink(missing_ok=True)
    desk = Desk(make_or_get())
    desk.start([])
    turn(lambda: "torch" in sys.modules and not desk.workspace.runner.is_busy)
    desk.window.shelf.filesDropped.emit([str(base)], "base")
    turn(lambda: desk.workspace.recipe.base is not None)
    drops = drop_ms(desk, experts)
    report("drop to painted row (median of 3)", statistics.median(drops), 100, "ms")
    print(f"  {', '.join(f'{ms:.0f}' for ms in drops)} ms, while the weights of the earlier ones are being read")
    turn(lambda: not desk.workspace.runner.is_busy and desk.workspace.live.gram(desk.workspace.recipe) is not None)
    lateness = Lateness()
    copies, exports = [], []
    for _ in range(3):
        copies.append(bare_copy_s([base, *experts], folder / "copy.bin"))
        lateness.reset() if not exports else None
        exports.append(export_s(desk, folder / "out"))
    ratio = statistics.median(exports) / statistics.median(copies)
    print(f"bare read-all + write-out {statistics.median(copies):.2f} s (median of 3)")
    print(f"export {statistics.median(exports):.2f} s (median of 3)")
    report("export / bare copy", ratio, 2.0, "x")
    report(
        "peak resident memory of the application", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 600, "MB"
    )
    lateness.reset()
    export_s(desk, folder / "out")
    late = lateness.summary()
    report("event-loop lateness while a merge runs, p99", late["p99"], 16, "ms")
    print(
        f"  median {late['p50']:.2f} ms, p95 {late['p95']:.2f} ms, max {late['max']:.1f} ms, {late['count']:.0f} beats"
    )
    desk.app.setProperty("forced", True)
    desk.window.close()


if __name__ == "__main__":
    main()
