"""The tensor and spectrum tabs in the assembled window, and a walk through all tabs with the keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QTabWidget, QWidget
from pytestqt.qtbot import QtBot
from safetensors.numpy import load_file

from app.desk import Desk
from engine.recipe.recipe import ModelRef, Recipe
from tests.app.models import WIDTH, write_family
from widgets.common.colours import expert_colour
from widgets.plots.bitmap_panel import BitmapPanel
from widgets.plots.overlap_panel import OverlapPanel
from widgets.plots.spectrum_view import SpectrumView

Settled = Callable[[Desk], None]
UP = "model.layers.1.mlp.up_proj.weight"


def _loaded(desk: Desk, tmp_path: Path, settled: Settled, method: str = "ties") -> list[Path]:
    home, experts = write_family(tmp_path)
    refs = [ModelRef(id=f"e{i}", name=p.name, path=str(p)) for i, p in enumerate(experts)]
    base = ModelRef(id="base", name="base", path=str(home))
    desk.workspace.store.apply(Recipe(base=base, experts=tuple(refs), method=method), "Load", "")
    settled(desk)
    return [home, *experts]


def _shown(desk: Desk, qtbot: QtBot, view: str, settled: Settled) -> OverlapPanel:
    desk.window.docks["overlap"].setVisible(True)
    panel = desk.overlap.panel()
    qtbot.waitUntil(panel.isVisible)
    panel.show_view(view)
    qtbot.wait(250)
    settled(desk)
    return panel


def _tensor(panel: OverlapPanel) -> BitmapPanel:
    view = panel.frame("tensor").view
    assert isinstance(view, BitmapPanel)
    return view


def test_the_tensor_tab_shows_owners_and_reads_the_merge(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    paths = _loaded(desk, tmp_path, settled)
    panel = _shown(desk, qtbot, "tensor", settled)
    page = panel.frame("tensor").parentWidget()
    page.bar.tensorChosen.emit(UP)
    view = _tensor(panel)
    qtbot.waitUntil(lambda: view.state.tensor == UP and view.state.summary is not None, timeout=20_000)
    base, *experts = (load_file(p / "model.safetensors")[UP] for p in paths)
    taus = np.abs(np.stack([e - base for e in experts]))
    qtbot.waitUntil(lambda: not view.canvas.missing(), timeout=5_000)
    assert (view.canvas.store.codes((0, 0, 0)) == taus.argmax(0)).all()
    owned = np.bincount(taus.argmax(0).ravel(), minlength=4) / base.size
    np.testing.assert_allclose(view.state.summary.owned, owned)

    view.canvas.move_to(5, 7)
    qtbot.waitUntil(lambda: "merged" in view.sentence() and "row 5" in view.sentence(), timeout=10_000)
    settled(desk)
    assert f"owner {'ABC'[taus.argmax(0)[5, 7]]}" in view.sentence() and "being measured" not in view.sentence()
    first = view.readout.item(0, 2)
    assert first is not None and first.text() == f"{experts[0][5, 7]:+.3g}".replace("-", "−")

    view.canvas.weightChosen.emit(5, 7)
    chosen = desk.overlap.links.current
    assert chosen is not None and chosen.places.layers == ("1",) and len(chosen.places.experts) == 1
    assert [page.bar.experts.itemText(i)[:2] for i in range(1, 4)] == [
        "A ",
        "B ",
        "C ",
    ] and page.bar.experts.isVisible()
    page.bar.expertChosen.emit(1)  # the same pixels, only their colours change
    assert view.state.title.startswith("Owner, B ") and "Grey" in view.state.meaning and not view.canvas.missing()
    shot = view.canvas.grab().toImage()
    seen = {shot.pixelColor(x, y).name() for x in range(0, shot.width(), 3) for y in range(0, shot.height(), 3)}
    assert expert_colour(1).name() in seen and not {expert_colour(t).name() for t in (0, 2)} & seen
    page.bar.expertChosen.emit(-1)
    page.bar.buttons["kept"].click()
    qtbot.waitUntil(lambda: "density 0.2" in view.state.meaning, timeout=5_000)
    assert view.state.mode == "kept" and len(view.state.table()[1]) > 1


def test_another_recipe_or_method_draws_anew_and_errors_are_said(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    _loaded(desk, tmp_path, settled)
    view = _tensor(_shown(desk, qtbot, "tensor", settled))
    qtbot.waitUntil(lambda: view.state.summary is not None, timeout=20_000)
    key = view.state.key
    desk.workspace.store.apply(desk.workspace.recipe.with_muted("e0", True), "Mute", "")
    qtbot.waitUntil(lambda: view.state.key != key and view.state.summary is not None, timeout=20_000)
    assert view.state.summary.owned[0] == 0 and view.state.summary.owned[1] > 0
    desk.workspace.store.apply(desk.workspace.recipe.with_method("slerp"), "Method", "")
    qtbot.waitUntil(lambda: not view.state.key, timeout=10_000)
    assert "SLERP" in view.state.empty
    desk.workspace.store.apply(Recipe(), "Clear", "")
    qtbot.waitUntil(lambda: "Drop a model" in view.state.empty, timeout=5_000)


def test_the_spectrum_is_that_of_numpy(desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled) -> None:
    paths = _loaded(desk, tmp_path, settled)
    panel = _shown(desk, qtbot, "spectrum", settled)
    view = panel.frame("spectrum").view
    assert isinstance(view, SpectrumView)
    qtbot.waitUntil(lambda: view.state.values.size > 0, timeout=20_000)
    name = panel.frame("spectrum").parentWidget().bar.tensors.currentData()
    base, *experts = (load_file(p / "model.safetensors")[name].astype(np.float64) for p in paths)
    for t, expert in enumerate(experts):
        np.testing.assert_allclose(view.state.values[t], np.linalg.svd(expert - base, compute_uv=False), rtol=1e-4)
    assert view.state.values.shape == (3, WIDTH) and len(view.state.table()[1]) == 3


def test_a_large_matrix_is_only_decomposed_when_asked(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.spectrum_views.AT_ONCE", 10.0)
    _loaded(desk, tmp_path, settled)
    panel = _shown(desk, qtbot, "spectrum", settled)
    view, bar = panel.frame("spectrum").view, panel.frame("spectrum").parentWidget().bar
    assert view.state.values.size == 0 and "Press Measure" in view.state.empty and bar.measure.isVisible()
    bar.measure.click()
    qtbot.waitUntil(lambda: view.state.values.size > 0, timeout=20_000)
    assert not bar.measure.isVisible()


@pytest.mark.parametrize("full", [False, True])
def test_all_tabs_can_be_walked_with_the_keyboard(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled, full: bool
) -> None:
    """Right goes from tab to tab; Tab enters each view and leaves it again; what has the focus has a name."""
    if full:
        _loaded(desk, tmp_path, settled)
    panel = _shown(desk, qtbot, "cosine", settled)
    tabs = panel.findChild(QTabWidget)
    seen: list[str] = []
    for index in range(tabs.count()):
        tabs.tabBar().setFocus()
        seen.append(panel.current)
        settled(desk)
        reached = _tab_through(tabs.currentWidget(), tabs.tabBar(), qtbot)
        assert reached, panel.current
        nameless = [w for w in reached if not (w.accessibleName() or getattr(w, "text", str)())]
        assert not nameless, (panel.current, nameless)
        view = panel.frame(panel.current).view
        if full:
            assert any(w is view or view.isAncestorOf(w) for w in reached), panel.current
        tabs.tabBar().setFocus()
        if index + 1 < tabs.count():
            qtbot.keyClick(tabs.tabBar(), Qt.Key.Key_Right)
    assert seen == ["cosine", "layers", "signs", "masks", "roles", "sizes", "tensor", "spectrum"]


def _tab_through(page: QWidget, start: QWidget, qtbot: QtBot) -> list[QWidget]:
    """Everything inside a page that Tab reaches, until it leaves the page; never stuck."""
    reached: list[QWidget] = []
    start.window().activateWindow()
    qtbot.waitUntil(start.window().isActiveWindow)
    start.setFocus()
    for _ in range(40):
        focus = QApplication.focusWidget()
        assert focus is not None, QApplication.activeWindow()
        qtbot.keyClick(focus, Qt.Key.Key_Tab)
        now = QApplication.focusWidget()
        if now is None or not page.isAncestorOf(now):
            return reached
        assert now not in reached, (now, now.objectName())
        reached.append(now)
    raise AssertionError("Tab never leaves the page")


def test_pixels_follow_the_keyboard(desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled) -> None:
    _loaded(desk, tmp_path, settled)
    view = _tensor(_shown(desk, qtbot, "tensor", settled))
    qtbot.waitUntil(lambda: view.state.rows > 0, timeout=10_000)
    canvas = view.canvas
    canvas.setFocus()
    fitted = canvas.scale
    for key in (Qt.Key.Key_Home, Qt.Key.Key_Down, Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Plus):
        qtbot.keyClick(canvas, key)
    assert canvas.cursor_weight == (1, 2) and canvas.scale > fitted
    chosen: list[tuple[int, int]] = []
    canvas.weightChosen.connect(lambda r, c: chosen.append((r, c)))
    qtbot.keyClick(canvas, Qt.Key.Key_Return)
    qtbot.keyClick(canvas, Qt.Key.Key_0)
    assert chosen == [(1, 2)] and canvas.scale == pytest.approx(fitted)
    assert json.dumps(view.sentence()) != '""'
