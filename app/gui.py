"""Opening the window: application, fonts, crash hooks, one event loop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QLocale, QObject, QTimer, Signal
from PySide6.QtGui import QFont, QFontDatabase
from PySide6.QtWidgets import QApplication

from app import places, quiet
from app.problems import install_crash_hooks
from app.version import VERSION
from widgets.common.icons import app_icon

if TYPE_CHECKING:
    from app.desk import Desk
    from app.instance import Instance

os.environ.setdefault("HF_HUB_OFFLINE", "1")

NEW_WINDOW = "--new-window"
"""Opens another window instead of handing the files to the one that runs."""


class _Teller(QObject):
    """Carries news of a crash to the GUI thread."""

    crashed = Signal(str)


def make_application(arguments: Sequence[str]) -> QApplication:
    """The application with its name, fonts and icon."""
    quiet.hold(quiet.STARTING)  # until the window is there
    sys.setswitchinterval(0.002)  # the GUI thread gets its turn sooner while workers compute
    app = QApplication(["mixdown", *arguments])
    app.setApplicationName("Mixdown")
    app.setApplicationVersion(VERSION)
    app.setDesktopFileName("mixdown")
    QLocale.setDefault(QLocale.c())
    for file in sorted((places.RESOURCES / "fonts").glob("*.otf")):
        QFontDatabase.addApplicationFont(str(file))
    font = QFont("Inter")
    font.setPointSizeF(9.75)  # 13 px at 96 dpi
    app.setFont(font)
    app.setWindowIcon(app_icon())
    return app


def has_display() -> bool:
    """Whether Qt can find a screen; asked first, because Qt aborts the process when it cannot."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return sys.platform != "linux" or any(os.environ.get(name) for name in names)


def open_window(arguments: Sequence[str]) -> int:
    """Show the desk and run until it is closed; arguments are paths to open."""
    if not has_display():
        sys.stderr.write("mixdown: there is no display here. The commands work without one: main.py --help\n")
        return 1
    app = make_application(arguments)
    paths = [a for a in arguments if not a.startswith("-")]
    instance = None
    if NEW_WINDOW not in arguments:
        from app.instance import listen_or_leave

        instance = listen_or_leave(paths)
        if instance is None:
            return 0  # the window that runs has the files now
    from app import crash, plugins
    from app.desk import Desk

    loaded = plugins.load()  # before the desk lists the methods
    desk = Desk(app)
    crash.install(desk.session.marker)
    desk.features.first("app.preview_host", "app.evaluator", "app.export_host", lambda: _serve_models(app))
    if instance is not None:
        _serve(instance, desk)
    teller = _Teller()
    told = "Something went wrong inside Mixdown: {}. Your work is safe; details are in {}."
    teller.crashed.connect(lambda text: desk.tell(told.format(text, places.log_file()), "error", "crash"))
    install_crash_hooks(teller.crashed.emit)
    _quit_on_signals(app)
    from app.probe import install_probe

    install_probe(desk)
    desk.start(paths)
    for problem in loaded.problems:
        desk.tell(f"{problem[:1].upper()}{problem[1:]}", "warning", "plugin")
    code = app.exec()
    if desk.workspace.runner.is_alive:  # a worker that loads a library cannot be stopped, only left behind
        os._exit(code)
    return code


def _serve(instance: Instance, desk: Desk) -> None:
    """Open what later starts were given in this window, and make way when it closes."""
    from app.instance import raise_window

    def opened(paths: Sequence[str]) -> None:
        raise_window(desk.window)
        if paths:
            desk.features.when_complete(lambda: desk.shelf.drop(list(paths), "canvas"))

    def other(version: str) -> None:
        desk.tell(f"Mixdown {version} was started, but this window is Mixdown {VERSION}: what was opened is here. "
                  "Close this window to use the other version.", "info", "version")  # fmt: skip

    instance.opened.connect(opened)
    instance.otherStarted.connect(other)
    desk.app.aboutToQuit.connect(instance.close)


def _serve_models(app: QApplication) -> None:
    """Models run and are written in processes of their own; they end with the window."""
    from app import evaluator, export_host, preview_host

    evaluator.serve_window()
    app.aboutToQuit.connect(export_host.HOST.close)
    app.aboutToQuit.connect(preview_host.HOST.close)


def _quit_on_signals(app: QApplication) -> None:
    """Ctrl+C and SIGTERM close the window; the timer lets Python see them."""

    def stop(*_: object) -> None:
        app.setProperty("forced", True)  # nobody is there to answer questions
        app.closeAllWindows()
        app.quit()
        QTimer.singleShot(0, app.quit)  # before the event loop runs, `quit` is lost: the window would stay for ever

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    timer = QTimer(app, interval=200)
    timer.timeout.connect(lambda: None)
    timer.start()
