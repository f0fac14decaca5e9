"""A window in which faders are moved and mixes exported again and again.

`python -m tests.app.endurance MOVES MERGES`, with the live preview on. The first quarter warms everything up (caches,
memory pools, torch), and the preview's derivatives are all there at both readings, so that only what stays is counted.
Prints JSON: megabytes after the first quarter and at the end, open files, length of the undo stack.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication

from app.gui import make_application


def memory() -> float:
    """Resident megabytes, after everything that is free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def pause(milliseconds: int) -> None:
    """Events are handled for so long (`QTest.qWait` would keep the interpreter from the workers all the while)."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def main() -> None:
    """Open the demo, warm up, go on, tell."""
    moves, merges = int(sys.argv[1]), int(sys.argv[2])
    app = make_application([])
    from app import jobs
    from app.desk import Desk

    jobs.NICE = 0  # on a busy machine workers that step back would hardly get on

    desk = Desk(app)
    desk.workspace.change_settings(auto_eval=False, live=True)
    desk.start([])
    while desk.desk.board is None or desk.workspace.runner.is_busy:
        pause(20)
    with tempfile.TemporaryDirectory() as folder:
        first = max(1, moves // 4), max(1, merges // 4)
        _work(desk, app, Path(folder), *first)
        _wait_for_preview(desk)
        before, files = memory(), len(os.listdir("/proc/self/fd"))
        _work(desk, app, Path(folder), moves - first[0], merges - first[1])
        _wait_for_preview(desk)
        after = memory()
    sys.stdout.write(json.dumps({
        "before_mb": before, "after_mb": after, "growth": after / before - 1, "files_before": files,
        "files_after": len(os.listdir("/proc/self/fd")), "steps": desk.workspace.store.undo_stack.count(),
        "jobs": len(desk.workspace.runner.jobs),
    }))  # fmt: skip
    sys.stdout.flush()
    os._exit(0)


def _wait_for_preview(desk: object) -> None:
    """Until every derivative of the live preview is there."""
    from app.desk import Desk

    assert isinstance(desk, Desk)
    while desk.preview.state.filled < 1:
        pause(50)


def _work(desk: object, app: QApplication, folder: Path, moves: int, merges: int) -> None:
    """So many moves, and the merges spread among them."""
    from app.desk import Desk

    assert isinstance(desk, Desk)
    chance, every = random.Random(moves), max(1, moves // merges)
    done = 0
    for number in range(moves):
        experts = desk.workspace.recipe.experts
        cell = (chance.choice(experts).id, chance.randrange(3))
        desk.window.canvas.coefficientsEdited.emit([cell], [chance.random()], "Move", f"{moves} {number}")
        app.processEvents()
        if number % every == every - 1 and done < merges:
            _merge(desk, folder)
            done += 1
    while done < merges:
        _merge(desk, folder)
        done += 1


def _merge(desk: object, folder: Path) -> None:
    """One export of the mix, in the window's worker, replacing the one before."""
    from app import export_job
    from app.desk import Desk
    from app.workbench import open_recipe
    from engine.export.options import ExportOptions
    from engine.progress import Token

    assert isinstance(desk, Desk)
    recipe, ended = desk.workspace.recipe, list[object]()
    job = export_job.ExportJob(recipe, folder / "merged", ExportOptions(replace=True), "cpu", 1)

    def work(token: Token) -> object:
        return export_job.perform(job, open_recipe(recipe).inputs, token)

    desk.workspace.runner.submit("Exporting", work, done=ended.append, failed=ended.append)
    while not ended:
        pause(5)
    assert not isinstance(ended[0], Exception), ended[0]
    sys.stderr.write(".")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
