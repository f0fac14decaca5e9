"""Tensor and spectrum belong to the one selection, by real keys: what is chosen here is marked there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
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
