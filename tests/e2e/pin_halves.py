"""The list of pins beside two halves to drop them on: says where to press and what was dropped, one JSON a line."""

from __future__ import annotations

import json
import sys

from PySide6.QtCore import QPoint, QTimer
from PySide6.QtWidgets import QApplication, QHBoxLayout, QWidget

from widgets.compare.targets import DropTargets
from widgets.compare.tray import RecipeTray
from widgets.panels.history import HistoryPanel
from widgets.panels.state import HistoryState, PinRow


def say(*words: object) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    app = QApplication(sys.argv[:1])
    window, pins, middle, tray = QWidget(), HistoryPanel(), QWidget(), RecipeTray()
    layout = QHBoxLayout(window)
    for part in (pins, tray, middle):
        layout.addWidget(part, 1)
    pins.set_state(HistoryState(pins=(PinRow(name="one"), PinRow(name="two"))))
    tray.set_names(("Now", "one"), 0, 1)
    targets = DropTargets(middle)
    targets.dropped.connect(lambda side, name: say(side, name))
    for source in (pins.pinDragging, tray.dragging):
        source.connect(lambda on: targets.show_names("Now", "one") if on else targets.hide())
    pins.pinChosen.connect(lambda name: say("chosen", name))
    window.setGeometry(50, 50, 1000, 500)
    window.show()

    def tell() -> None:
        lists = ((pins._pins, 1), (tray, 1))
        starts = [v.viewport().mapToGlobal(v.visualRect(v.model().index(row, 0)).center()) for v, row in lists]
        ends = [middle.mapToGlobal(QPoint(middle.width() * part // 4, 200)) for part in (1, 3)]
        say(*[(p.x(), p.y()) for p in (*starts, *ends)])

    QTimer.singleShot(500, tell)
    app.exec()
