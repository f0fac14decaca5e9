"""One window for each user: a later start hands its files to the window that runs, and ends.

The windows of one home folder find each other by a lock file (so that a stale socket is told from a busy window) and a
local socket that only the same user may open. What comes through it is believed to be paths, and nothing else.

Windows of different versions find each other, too. Paths mean the same to all of them, so a window takes those of
another version and says whose they are; a message of a protocol that it does not know it refuses, and the start that
sent it opens a window of its own, with a session file of its own, beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, QTimer, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket
from PySide6.QtWidgets import QWidget

from app import places
from app.version import VERSION
from engine.files.strict_json import BadJson, parse
from engine.files.text import printable

PROTOCOL = 1
"""Raised when a message means something else than before; a window refuses those of a later one. 0 had no number."""
MOST_BYTES = 1 << 20
MOST_PATHS = 2_000
LONGEST_PATH = 4_096
CONNECT_MS, ANSWER_MS = 300, 1_500
PATIENCE_S = 3.0
"""How long a start waits for a window that is only just opening."""
_READ_MS = 2_000
_LONGEST_VERSION = 40
_LONGEST_SOCKET = 100
"""Characters of a socket's path; Unix allows 107."""


def socket_name(home: Path) -> str:
    """Where the window of a home folder listens: a folder that only this user may write to, if there is one."""
    key = hashlib.sha256(str(home.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    name = f"mixdown-{key}"
    if sys.platform == "win32":
        return name
    for folder in (os.environ.get("XDG_RUNTIME_DIR", ""), str(home)):
        if folder and Path(folder).is_dir() and len(path := str(Path(folder) / name)) <= _LONGEST_SOCKET:
            return path
    return f"{name}-{os.getuid()}"


def message(paths: Sequence[str]) -> bytes:
    """What is sent: one line."""
    return json.dumps({"mixdown": PROTOCOL, "version": VERSION, "open": list(paths)}).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Message:
    """What a later start says: the paths that it was given, and its version ("" from before it was said)."""

    paths: tuple[str, ...]
    version: str = ""


def read_message(data: bytes) -> Message | None:
    """A message; None if it is anything else than a few absolute paths, or of a protocol that is not known here."""
    if len(data) > MOST_BYTES:
        return None
    try:
        value = parse(data, depth=3)
    except BadJson:
        return None
    if not isinstance(value, dict) or not value.keys() <= {"mixdown", "version", "open"}:
        return None
    found, protocol, version = value.get("open"), value.get("mixdown", 0), value.get("version", "")
    if type(protocol) is not int or not 0 <= protocol <= PROTOCOL or not isinstance(version, str):
        return None
    if not isinstance(found, list) or len(found) > MOST_PATHS:
        return None
    good = all(isinstance(p, str) and 0 < len(p) <= LONGEST_PATH and "\0" not in p and Path(p).is_absolute()
               for p in found)  # fmt: skip
    return Message(tuple(found), printable(version, _LONGEST_VERSION)) if good else None


class Instance(QObject):
    """This start, among those of the same user.

    Args:
        home: The folder that makes starts belong together.

    Signals:
        opened: Paths that a later start was given; perhaps none.
        otherStarted: The version of a later start that is not this one's.
    """

    opened = Signal(object)
    otherStarted = Signal(str)

    def __init__(self, home: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._name = socket_name(home)
        self._lock = QLockFile(str(home / "window.lock"))
        self._lock.setStaleLockTime(0)  # only a process that has ended gives it up
        self._server: QLocalServer | None = None

    def hand_over(self, paths: Sequence[str]) -> bool:
        """Give the paths to the window that runs; False if this start shall open one (and listen from now on)."""
        limit = time.monotonic() + PATIENCE_S
        while not self._lock.tryLock(0):
            if self._lock.error() != QLockFile.LockError.LockFailedError:
                return False  # no locks here
            answer = self._send(message([str(Path(p).absolute()) for p in paths]))
            if answer.startswith("ok"):
                return True
            if answer:
                return False  # it answers and does not want them: a window that knows another protocol
            if time.monotonic() > limit:
                return False  # a window that does not answer must not keep this one from opening
            time.sleep(0.05)
        self._listen()
        return False

    def close(self) -> None:
        """Listen no longer; the next start opens a window."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._lock.unlock()

    def _listen(self) -> None:
        server = QLocalServer(self)
        server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        QLocalServer.removeServer(self._name)  # we hold the lock: whoever made it has ended
        if server.listen(self._name):
            server.newConnection.connect(self._on_connection)
            self._server = server

    def _send(self, data: bytes) -> str:
        """What the window answers ("ok" and its version, if it took the message); "" if it does not."""
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(CONNECT_MS):
            return ""
        socket.write(data)
        limit = time.monotonic() + ANSWER_MS / 1000
        answer = b""
        while b"\n" not in answer and time.monotonic() < limit:
            if socket.bytesAvailable() or socket.waitForReadyRead(100):
                answer += bytes(socket.readAll().data())
            elif socket.state() != QLocalSocket.LocalSocketState.ConnectedState:
                break
        socket.abort()
        return answer.partition(b"\n")[0].decode("ascii", "replace") if b"\n" in answer else ""

    def _on_connection(self) -> None:
        server = self._server
        while server is not None and (socket := server.nextPendingConnection()) is not None:
            got = bytearray()
            socket.readyRead.connect(partial(self._read, socket, got))
            socket.disconnected.connect(socket.deleteLater)
            QTimer.singleShot(_READ_MS, socket, socket.abort)  # nobody holds a connection open
            self._read(socket, got)

    def _read(self, socket: QLocalSocket, got: bytearray) -> None:
        got += bytes(socket.readAll().data())
        line, newline, _ = bytes(got).partition(b"\n")
        if not newline and len(got) <= MOST_BYTES:
            return
        said = read_message(line) if newline else None
        got.clear()
        socket.write(b"ok\n" if said is not None else b"no\n")
        socket.flush()
        socket.disconnectFromServer()
        if said is None:
            return
        self.opened.emit(said.paths)
        if said.version and said.version != VERSION:
            self.otherStarted.emit(said.version)


def listen_or_leave(paths: Sequence[str]) -> Instance | None:
    """The instance whose window is to be opened; None if a window that runs has taken the paths."""
    instance = Instance(places.home())
    return None if instance.hand_over(paths) else instance


def raise_window(window: QWidget) -> None:
    """Bring a window to the front; the desktop may only make it ask for attention."""
    if window.isMinimized():
        window.showNormal()
    window.show()
    window.raise_()
    window.activateWindow()
