"""Tabs of docks."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication, QTabBar
from pytestqt.qtbot import QtBot

from widgets.common.style import stylesheet
from widgets.common.tabs import CloseTabs
from widgets.common.theme import theme

TITLES = ("Inspector", "Scores", "Method", "History", "Jobs", "Export", "Tune")


def test_tabs_move_closer_before_a_title_is_cut(qtbot: QtBot) -> None:
    bar = QTabBar()
    qtbot.addWidget(bar)
    bar.setStyleSheet(stylesheet(theme()))
    close = CloseTabs()
    close.watch(bar)
    for title in TITLES[:5]:
        bar.addTab(title)
    bar.resize(bar.sizeHint().width() + 1, 30)
    bar.show()
    wide = bar.sizeHint().width()
    assert not bar.property("tight") and bar.tabRect(4).right() <= bar.width()
    bar.resize(wide - 20, 30)
    assert bar.property("tight") and bar.tabRect(0).left() >= 0 and bar.tabRect(4).right() <= bar.width()
    bar.addTab(TITLES[5])
    QApplication.processEvents()
    bar.resize(wide * 2, 30)
    assert not bar.property("tight")
