"""Tensor and spectrum belong to the one selection, by real keys: what is chosen here is marked there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.desk import Desk
from tests.app.test_tensor_views import _loaded, _shown
from widgets.plots.spectrum_view import SpectrumView

Settled = Callable[[Desk], None]


def test_enter_in_the_spectrum_selects_and_escape_clears(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    _loaded(desk, tmp_path, settled)
    panel = _shown(desk, qtbot, "spectrum", settled)
    view = panel.frame("spectrum").view
    assert isinstance(view, SpectrumView)
    qtbot.waitUntil(lambda: view.state.values.size > 0, timeout=20_000)
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Right, Qt.Key.Key_Return):
        QTest.keyClick(view.heat, key)
    chosen = desk.overlap.links.current
    assert chosen is not None and len(chosen.places.experts) >= 1 and len(chosen.places.layers) == 1
    for name in ("tensor", "roles", "sizes", "spectrum"):
        assert panel.frame(name).view._marks.experts, name
    QTest.keyClick(view.heat, Qt.Key.Key_Escape)
    assert desk.overlap.links.current is None and not view._marks.experts


def test_a_click_on_a_line_selects_the_expert_s_matrix_everywhere(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    """By the real mouse: what is muted then is this matrix of this expert and nothing else."""
    _loaded(desk, tmp_path, settled)
    panel = _shown(desk, qtbot, "spectrum", settled)
    view = panel.frame("spectrum").view
    qtbot.waitUntil(lambda: view.state.values.size > 0, timeout=20_000)
    tensor, expert = panel.frame("spectrum").parentWidget().bar.tensors.currentData(), desk.workspace.recipe.experts[1]
    view.fit()
    logs, box = view.logs(), view.plot.getPlotItem().getViewBox()
    gaps = np.abs(logs[1] - np.delete(logs, 1, axis=0)).min(axis=0)
    at = int(np.nanargmax(gaps))  # where the line is alone
    spot = view.plot.mapFromScene(box.mapViewToScene(QPointF(at + 1, logs[1, at])))
    QTest.mouseClick(view.plot.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    chosen = desk.overlap.links.current
    assert chosen is not None and chosen.places.experts == (expert.id,) and chosen.places.tensors == (tensor,)
    assert {e for e, _ in desk.window.canvas.selectedCells()} == {expert.id} and view._marks.experts == {1}
    assert tensor in panel.bar.state.text and panel.frame("sizes").view._marks.experts == {1}
    before = desk.workspace.recipe
    desk.features["select.mute"]()
    assert [(r.expert, r.tensor, r.value) for r in desk.workspace.recipe.rules] == [(expert.id, tensor, 0.0)]
    desk.handlers.edit_undo()
    assert desk.workspace.recipe == before


def test_a_selection_made_elsewhere_moves_the_spectrum_to_its_layer(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    _loaded(desk, tmp_path, settled)
    panel = _shown(desk, qtbot, "spectrum", settled)
    view = panel.frame("spectrum").view
    qtbot.waitUntil(lambda: view.state.values.size > 0, timeout=20_000)
    panel.cellChosen.emit(1, "1")
    bar = panel.frame("spectrum").parentWidget().bar
    qtbot.waitUntil(lambda: bar.tensors.currentText().startswith("1 ·"), timeout=10_000)
    assert view._marks.experts == {1}
