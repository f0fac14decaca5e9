"""The tensor view on a large matrix: frames while panning, time to the first picture and to all levels, memory.

python -m tests.benchmarks.bench_bitmap [--side 16384] [--experts 3] [--method task_arithmetic] [--folder DIR]

A base and experts of one bfloat16 matrix are made first. A frame is one step of a drag and everything that the
GUI thread does until it is on the screen: taking tiles that arrived, asking for others, drawing. Pans are timed
while the pyramid is made in the background, and again when it is complete.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
NAME = "model.layers.0.mlp.up_proj.weight"
SCALES = ((0.0, "all of it"), (1 / 8, "1:8"), (1 / 3, "1:3"), (1.0, "1:1"), (4.0, "4:1"), (20.0, "20:1, letters"))
FRAMES = 120


def make(folder: Path, side: int, experts: int) -> None:
    """Write base.safetensors and expert1 ..., unless they are there."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / f"expert{experts}.safetensors").exists():
        return
    torch.manual_seed(0)
    base = torch.randn(side, side, dtype=torch.bfloat16).mul_(0.02)
    save_file({NAME: base}, folder / "base.safetensors")
    for t in range(1, experts + 1):
        tau = torch.randn(side, side, dtype=torch.bfloat16)
        save_file({NAME: tau.mul_(tau.abs()).mul_(1e-3).add_(base)}, folder / f"expert{t}.safetensors")


def rss_mb(peak: bool = False) -> float:
    """Resident memory of this process in MB, now or at most."""
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Served:
    """A panel whose tiles a session makes in threads, as in the application."""

    def __init__(self, folder: Path, experts: int, method: str) -> None:
        from app.tensor_work import Look, Session
        from engine.merge.inputs import open_inputs
        from engine.progress import Token
        from engine.recipe.recipe import ModelRef, Recipe
        from widgets.plots.bitmap_panel import BitmapPanel

        files = [folder / f"expert{t}.safetensors" for t in range(1, experts + 1)]
        refs = tuple(ModelRef(id=f"e{t}", name=f"e{t}", path=str(path)) for t, path in enumerate(files, 1))
        base = ModelRef(id="base", name="base", path=str(folder / "base.safetensors"))
        recipe = Recipe(base=base, experts=refs, method=method)
        self.inputs, self.look, self.token = open_inputs(recipe), Look("owner"), Token()
        self.panel, self.session = BitmapPanel(), Session(recipe, self.inputs, NAME)
        self.post = _post()
        self.post.tile.connect(lambda place, made: self.panel.put(place, made))
        self.panel.canvas.tilesWanted.connect(self._wanted)
        self.panel.canvas.moved.connect(self.session.hush)
        self.panel.resize(1500, 600)
        self.panel.show()

    def _wanted(self, places: tuple[tuple[int, int, int], ...]) -> None:
        if self.session.ask(self.look, places):
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        from app.jobs import _step_back

        _step_back()
        self.session.serve(lambda _, place, made: self.post.tile.emit(place, made), self.token)

    def first(self) -> str:
        """Show the first picture; whether it is a sample."""
        from widgets.plots.bitmap_state import Bitmap

        inputs, panel = self.inputs, self.panel
        rows, columns = inputs.base.tensors[NAME].shape if inputs.base else (0, 0)
        panel.set_state(Bitmap(key="k|owner", tensor=NAME, rows=rows, columns=columns, names=inputs.names))
        found = self.session.first(self.look, self.token)
        if found is None:
            return "none"
        panel.put(found.place, found.codes, is_sample=found.is_sample)
        return "sampled" if found.is_sample else "exact"

    def build(self, took: list[float]) -> None:
        """Make the pyramid; in a thread of its own."""
        from app.jobs import _step_back

        _step_back()
        begun = time.perf_counter()
        self.session.build(self.token)
        took.append(time.perf_counter() - begun)


def _post() -> Any:
    """An object whose signal `tile` brings tiles to the thread of the interface."""
    from PySide6.QtCore import QObject, Signal

    class Post(QObject):
        tile = Signal(object, object)

    return Post()


def measure(folder: Path, experts: int, method: str) -> None:
    """Open, build in a thread, pan meanwhile and afterwards, print."""
    import torch
    from PySide6.QtWidgets import QApplication

    from widgets.common.theme import apply_theme

    app = QApplication([])
    apply_theme(app, "dark")
    served = Served(folder, experts, method)
    torch.zeros(1)
    before, started = rss_mb(), time.perf_counter()
    kind = served.first()
    app.processEvents()
    side = served.panel.state.rows
    print(f"{side} x {side}, {experts} experts, {method}, {os.cpu_count()} cores, RSS before {before:.0f} MB")
    print(f"first picture {time.perf_counter() - started:.2f} s ({kind})")
    built: list[float] = []
    thread = threading.Thread(target=served.build, args=(built,), daemon=True)
    thread.start()
    if served.session.pyramid is None:
        time.sleep(0.05)
    pans(app, served.panel, "while the pyramid is made")
    thread.join()
    pyramid = served.session.pyramid
    held = 0.0 if pyramid is None else pyramid.bytes / 2**20
    print(f"full pyramid {built[0]:.1f} s, {held:.0f} MB from level {pyramid.first if pyramid else -1}")
    pans(app, served.panel, "with the pyramid")
    tiles = served.panel.canvas.store.bytes / 2**20
    print(f"tiles {tiles:.0f} MB; RSS {rss_mb():.0f} MB, at most {rss_mb(peak=True):.0f} MB")
    served.session.close()


def pans(app: object, panel: object, when: str) -> None:
    """Drag over the matrix at several zooms; p50, p95 and longest frame in ms, and the time to the exact picture."""
    from PySide6.QtWidgets import QApplication

    from widgets.plots.bitmap_panel import BitmapPanel

    assert isinstance(app, QApplication) and isinstance(panel, BitmapPanel)
    canvas = panel.canvas
    print(f"pan, {when}:")
    for scale, title in SCALES:
        canvas.fit() if not scale else canvas.look_at(canvas.state.rows / 3, canvas.state.columns / 3, scale)
        app.processEvents()
        frames, loads = [], []
        for i in range(FRAMES):
            begun, busy = time.perf_counter(), time.thread_time()
            canvas.pan(-23 if i % 40 < 30 else 40, -11)
            canvas.move_to(*canvas.weight_at(canvas.rect().center().toPointF()))
            app.processEvents()
            canvas.repaint()
            frames.append((time.perf_counter() - begun) * 1000)
            loads.append((time.thread_time() - busy) * 1000)
            time.sleep(max(0.0, 0.016 - frames[-1] / 1000))
        begun = time.perf_counter()
        while canvas.missing() and time.perf_counter() - begun < 3:
            app.processEvents()
            canvas.ask()
            time.sleep(0.002)
        settled = f"{(time.perf_counter() - begun) * 1000:5.0f} ms" if not canvas.missing() else "not yet"
        frames.sort()
        loads.sort()
        print(f"  {title:<14} p50 {frames[len(frames) // 2]:5.1f}  p95 {frames[int(len(frames) * 0.95)]:5.1f}  "
              f"longest {frames[-1]:5.1f} ms   processor p95 {loads[int(len(loads) * 0.95)]:5.1f} ms   "
              f"exact after {settled}")  # fmt: skip


def main() -> None:
    """Make the models and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=16_384)
    parser.add_argument("--experts", type=int, default=3)
    parser.add_argument("--method", default="task_arithmetic")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.gettempdir()) / f"bitmap{arguments.side}"
    make(folder, arguments.side, arguments.experts)
    measure(folder, arguments.experts, arguments.method)


if __name__ == "__main__":
    main()
