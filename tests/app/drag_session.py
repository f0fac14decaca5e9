"""Windows whose faders are dragged without end, to be killed: `python -m tests.app.drag_session`.

Every line of stdin is the data folder of another window. Each is a fork of a process that has imported everything, so
that a window costs half the time. It writes into FOLDER.told: its process, "ready", and each step just before it
happens: "GESTURE VALUE SECONDS".
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
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


def serve() -> None:
    """Fork a window for every line."""
    import app.desk
    import app.features  # noqa: F401  # all that a window needs

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        home = line.rstrip("\n")
        if os.fork() == 0:
            try:
                os.environ["MIXDOWN_HOME"] = home
                os.dup2(os.open(f"{home}.told", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 1)
                os.write(1, f"{os.getpid()}\n".encode())
                main()
            finally:
                os._exit(1)


if __name__ == "__main__":
    serve()
