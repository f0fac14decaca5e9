"""How long one step of a dragged density line takes: numbers, histogram and weight roles, painted.

QT_QPA_PLATFORM=offscreen python -m tests.benchmarks.bench_drag [--experts 8] [--layers 24] [--steps 100]

The models need not be there: the step works on histograms and counts, whose size does not depend on the weights.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from PySide6.QtWidgets import QApplication

from app.overlap_state import role_view, size_view
from engine.analyse.magnitude_values import COARSE, FINE, Magnitudes
from engine.analyse.values import Masks, Overlap
from engine.files.model import Group, Place
from widgets.plots.bars_view import BarsView
from widgets.plots.histogram_view import HistogramView

LEVELS = np.array([0.2, 0.3, 0.4, 0.5, 0.6])


def values(experts: int, layers: int) -> tuple[Magnitudes, Overlap]:
    """Counts as those of 8 x 86 M weights look."""
    made = np.random.default_rng(0)
    groups = tuple(Group(Place(str(la), kind), (), 0) for la in range(layers) for kind in ("attn", "mlp", "norm"))
    names = tuple(f"expert {t}" for t in range(experts))
    bins = np.exp(-0.5 * np.square((np.arange(FINE) - 14500) / 500))
    fine = np.rint(bins * made.uniform(0.8, 1.2, (experts, FINE)) * 1e5).astype(np.int64)
    sizes = Magnitudes(names, groups, fine, np.zeros((len(groups), experts, COARSE), np.int64))
    shape = (len(LEVELS), len(groups))
    lattice = made.integers(0, 9000, (*shape, 1 << experts))
    active, pairs = made.integers(0, 90000, (*shape, experts + 1)), np.zeros((*shape, experts, experts), np.int64)
    selfish = made.integers(0, 9000, (*shape, experts))
    masks = Masks(LEVELS, active, pairs, selfish, lattice, np.zeros(len(groups), np.int64))
    nothing = np.zeros(len(groups), np.int64)
    return sizes, Overlap(names, groups, nothing, np.zeros((len(groups), experts), np.int64), masks=masks)


def main() -> None:
    """Print the median and the 95th percentile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    app = QApplication([])
    sizes, found = values(given.experts, given.layers)
    layers = [str(la) for la in range(given.layers)]
    histogram, bars, took = HistogramView(), BarsView(), []
    for view in (histogram, bars):
        view.resize(1200, 320)
        view.show()
    for step in range(given.steps + 5):
        start = time.perf_counter()
        histogram.set_state(size_view(sizes, 0.1 + 0.8 * step / given.steps))
        bars.set_state(role_view(found, layers, 0.4, 2))
        app.processEvents()
        for view in (histogram, bars):
            view.repaint()
        took.append(1000 * (time.perf_counter() - start))
    kept = np.array(took[5:])
    print(f"{given.experts} experts, {given.layers} layers, {given.steps} steps: "
          f"p50 {np.median(kept):.1f} ms, p95 {np.percentile(kept, 95):.1f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
