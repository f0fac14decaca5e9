"""Every number that an overlap view shows is the one that `main.py overlap --json` prints for the same models."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.cli import run
from app.desk import Desk
from tests.app.models import write_family
from tests.app.test_tensor_views import UP, _loaded, _shown
from widgets.plots.bitmap_panel import BitmapPanel
from widgets.plots.bitmap_state import number
from widgets.plots.frame import PlotFrame
from widgets.plots.state import shown

Settled = Callable[[Desk], None]
PLACES = ((5, 7), (0, 0), (31, 15))


class Sums:
    """The printed groups added up to layers."""

    def __init__(self, report: dict[str, Any], layers: list[str]) -> None:
        self.report = report
        self.columns = np.array([[g["layer"] == layer for g in report["groups"]] for layer in layers], float)

    def of(self, part: str, name: str, level: int | None = None) -> np.ndarray:
        """(C, ...) sums of what was printed for the groups."""
        values = np.array(self.report[part][name])
        return np.tensordot(self.columns, values if level is None else values[level], axes=1)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command line prints."""
    home, experts = write_family(tmp_path_factory.mktemp("printed"))
    flags = ["--method", "ties", "--tensor", UP, *(f"--at={r},{c}" for r, c in PLACES)]
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert (
            run(["overlap", "--base", str(home), *(f"--expert={p}" for p in experts), "--json", "--spectra", *flags])
            == 0
        )
    return json.loads(printed.getvalue())


@pytest.fixture
def view(desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled) -> Callable[[str], PlotFrame]:
    """The frame of a view in the window, with exact numbers."""
    _loaded(desk, tmp_path, settled, "ties")

    def shown_frame(name: str) -> PlotFrame:
        frame = _shown(desk, qtbot, name, settled).frame(name)
        if name not in ("tensor", "spectrum"):
            now = frame.view
            qtbot.waitUntil(lambda: not now.state.is_empty and ", sample" not in now.state.title, timeout=20_000)
            settled(desk)
        return frame

    return shown_frame


def numbers(texts: tuple[str, ...]) -> list[float]:
    """Cells of a table twin as numbers."""
    return [float(text.replace("−", "-").rstrip(" %")) / (100 if text.endswith("%") else 1) for text in texts]


def test_cosines_of_the_model_and_of_layers(report: dict[str, Any], view: Any) -> None:
    frame = view("cosine")
    np.testing.assert_allclose(frame.view.state.values, report["cosine"], rtol=1e-9)
    for line, row in zip(frame.table()[1], report["cosine"], strict=True):
        assert numbers(line[1:]) == pytest.approx(row, abs=0.0051)
    frame = view("layers")
    matrix = Sums(report, list(frame.view.state.columns)).of("products", "matrix")
    norms = np.sqrt(np.einsum("ctt->ct", matrix))
    cosines = matrix / (norms[:, :, None] * norms[:, None, :])
    for (a, b), values in zip(frame.view.state.row_experts, frame.view.state.values, strict=True):
        np.testing.assert_allclose(values, cosines[:, a, b], rtol=1e-9)


def test_sign_conflicts_masks_and_roles(report: dict[str, Any], view: Any) -> None:
    frame = view("signs")
    sums = Sums(report, list(frame.view.state.columns))
    conflict = sums.of("signs", "opposed") / sums.of("signs", "changed")
    np.testing.assert_allclose(frame.view.state.values, conflict.T, rtol=1e-12)
    heavy = sums.of("signs", "opposed_mass") / sums.of("signs", "mass")
    for line, way, values in zip(frame.table()[1], ("weights", "magnitude"), (conflict, heavy), strict=False):
        assert line[1:] == (way, *(shown(value, "%") for value in values[:, 0]))
    words = frame.view.sentence(1, 2)
    assert all(shown(float(values[2, 1]), "%") in words for values in (conflict, heavy))
    frame.weigh.click()
    np.testing.assert_allclose(frame.view.state.values, heavy.T, rtol=1e-12)
    assert "weighted by magnitude" in frame.view.state.title and not np.allclose(heavy, conflict)
    assert len(frame.csv().splitlines()) == 1 + 2 * len(frame.view.state.rows)
    frame.weigh.click()
    np.testing.assert_allclose(frame.view.state.values, conflict.T, rtol=1e-12)

    frame, level = view("masks"), report["masks"]["strictness"].index(0.4)
    assert "λ = 0.4, exact" in frame.view.state.title
    known = dict(report["roles"][level]["intersections"])
    assert {i: int(n) for i, n in enumerate(frame.view.state.counts) if i and n} == known
    nobody = sum(report["sizes"]) - sum(known.values())
    assert sorted(int(line[1]) for line in frame.table()[1]) == sorted([*known.values(), *([nobody] if nobody else [])])

    frame = view("roles")
    active, own = sums.of("masks", "active", level), sums.of("masks", "selfish", level)
    shares = np.concatenate([active[:, :1], own, active[:, 2:]], axis=1) / active.sum(1, keepdims=True)
    assert frame.view.state.columns == tuple(frame.table()[1][c][0] for c in range(len(shares)))
    np.testing.assert_allclose(frame.view.state.values, shares, rtol=1e-12)
    assert frame.table()[1][1][1:] == tuple(shown(value, "%") for value in shares[1])


def test_magnitudes_and_where_the_density_cuts(report: dict[str, Any], view: Any) -> None:
    frame, known = view("sizes"), report["magnitudes"]
    state = frame.view.state
    assert state.counts.tolist() == known["counts"] and state.edges.tolist() == known["edges"]
    assert state.zeros.tolist() == known["zeros"] and state.thresholds.tolist() == known["threshold"]
    assert state.density == 0.2 == known["density"][0]
    body = frame.table()[1]
    assert [[int(line[2 + t]) for line in body] for t in range(3)] == known["counts"]


def test_spectrum_and_tensor_with_its_read_out(report: dict[str, Any], view: Any, desk: Desk, qtbot: QtBot) -> None:
    panel, frame = desk.overlap.panel(), view("tensor")
    panel.frame("tensor").parentWidget().bar.tensorChosen.emit(UP)
    shape: Any = frame.view
    known = report["tensor"]
    assert isinstance(frame.view, BitmapPanel)
    qtbot.waitUntil(lambda: shape.state.tensor == UP and shape.state.summary is not None, timeout=20_000)
    for name in ("owned", "kept", "mean", "conflict"):
        np.testing.assert_allclose(getattr(shape.state.summary, name), known[name], rtol=1e-6, err_msg=name)
    for weight in known["weights"]:
        shape.canvas.move_to(weight["row"], weight["column"])
        place = (weight["row"], weight["column"])
        qtbot.waitUntil(
            lambda at=place: shape._reading is not None and (shape._reading.row, shape._reading.column) == at,
            timeout=10_000,
        )
        found = shape._reading
        assert (list(found.experts), list(found.deltas)) == (weight["experts"], weight["tau"])
        assert (found.base, list(found.kept), found.sign, found.owner, found.merged) == tuple(
            weight[key] for key in ("base", "kept", "sign", "owner", "merged")
        )
        texts = [[shape.readout.item(t, c).text() for t in range(3)] for c in (2, 3, 4)]
        assert texts[:2] == [[number(value) for value in weight[key]] for key in ("experts", "tau")]
        assert texts[2] == ["kept" if kept else "trimmed" for kept in weight["kept"]]

    frame = view("spectrum")
    qtbot.waitUntil(lambda: frame.view.state.values.size > 0, timeout=20_000)
    state, [matrix] = frame.view.state, [m for m in report["spectra"] if m["tensor"] == UP]
    np.testing.assert_allclose(state.values, matrix["values"], rtol=1e-6)
    np.testing.assert_allclose(state.effective, matrix["effective_rank"], rtol=1e-6)
    np.testing.assert_allclose(state.overlap, matrix["overlap"], rtol=1e-5, atol=1e-7)
    for line, sigma, rank in zip(frame.table()[1], matrix["values"], matrix["effective_rank"], strict=True):
        assert line[1] == f"{rank:.1f}" and line[6:] == tuple(f"{value:.4g}" for value in sigma)
