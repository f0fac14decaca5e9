"""Docks of the whole window."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QTabBar
from pytestqt.qtbot import QtBot

from app.desk import Desk


def test_every_title_fits_when_export_and_tune_are_open(
    desk: Desk, qtbot: QtBot, settled: Callable[[Desk], None]
) -> None:
    window = desk.window
    window.resize(1440, 900)
    desk.handlers.file_demo()
    settled(desk)
    desk.features["mix.tune"]()
    desk.handlers.file_export()

    def bar() -> QTabBar | None:
        bars = [b for b in window.findChildren(QTabBar) if "Export" in [b.tabText(i) for i in range(b.count())]]
        return bars[0] if bars and bars[0].isVisible() and bars[0].count() >= 7 else None

    qtbot.waitUntil(lambda: bar() is not None, timeout=10_000)
    found = bar()
    assert found is not None
    qtbot.waitUntil(lambda: found.sizeHint().width() <= found.width(), timeout=5_000)  # as much as they would like
    assert found.tabRect(0).left() >= 0
    for i in range(found.count()):
        assert found.tabRect(i).width() >= found.fontMetrics().horizontalAdvance(found.tabText(i)), found.tabText(i)
