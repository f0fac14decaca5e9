"""A window whose faders are dragged without end, to be killed: `python -m tests.app.drag_session`.

Each step is told on stdout just before it happens: "GESTURE VALUE SECONDS". The first line is "ready".
"""

from __future__ import annotations

import itertools
import os
import time

from PySide6.QtCore import QTimer

from app.gui import make_application

STEPS, STEP_MS, REST_S = 40, 12, 0.08
"""Steps of a gesture, milliseconds between them, and the rest after it."""


def main() -> None:
    """Open the demo, select two rows, drag the first fader."""
    app = make_application([])
    from app import crash
    from app.desk import Desk

    desk = Desk(app)
    crash.install(desk.session.marker)
    desk.workspace.change_settings(auto_eval=False)
    desk.window.firstPaint.disconnect()  # loading torch takes longer than everything that is looked at here
    desk.start([])
    count = itertools.count(1)
    timer = QTimer(desk, interval=STEP_MS)

    def step() -> None:
        board = desk.desk.board
        if board is None:
            return
        number = next(count)
        if number == 1:
            rows = [e.id for e in desk.workspace.recipe.experts]
            desk.desk.select([(rows[0], 0), (rows[1], 1)])
            os.write(1, b"ready\n")
        gesture, value = (number - 1) // STEPS, number / 1_000_000
        if (number - 1) % STEPS == 0:
            time.sleep(REST_S)
        os.write(1, f"{gesture} {value!r} {time.monotonic()!r}\n".encode())
        expert = desk.workspace.recipe.experts[0].id
        desk.window.canvas.coefficientsEdited.emit([(expert, 0)], [value], "Drag", f"drag {gesture}")

    timer.timeout.connect(step)
    timer.start()
    app.exec()


if __name__ == "__main__":
    main()
