"""One window for each user: a later start hands its files over, believes nothing, and survives what a crash left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtNetwork import QLocalSocket
from pytestqt.qtbot import QtBot

from app.instance import LONGEST_PATH, MOST_PATHS, PROTOCOL, Instance, message, read_message, socket_name
from app.version import VERSION

ROOT = Path(__file__).resolve().parent.parent.parent
HAND_OVER = """
import sys, time
from pathlib import Path
from PySide6.QtCore import QCoreApplication
from app.instance import Instance
app = QCoreApplication([])
started = time.monotonic()
instance = Instance(Path(sys.argv[1]))
gave = instance.hand_over(sys.argv[2:])
print(gave, time.monotonic() - started, flush=True)
if not gave and sys.argv[2:3] == ["stay"]:
    time.sleep(60)
"""


@pytest.fixture
def first(qapp: object, tmp_path: Path) -> Iterator[Instance]:
    """The window that runs."""
    instance = Instance(tmp_path)
    assert not instance.hand_over([])
    yield instance
    instance.close()


def later(home: Path, *paths: str) -> subprocess.Popen[str]:
    """Another start."""
    return subprocess.Popen([sys.executable, "-c", HAND_OVER, str(home), *paths], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


def said(child: subprocess.Popen[str]) -> tuple[bool, float]:
    """Whether it handed over, and how long that took."""
    assert child.stdout is not None
    gave, seconds = child.stdout.readline().split()
    return gave == "True", float(seconds)


def test_files_go_to_the_window_that_runs(first: Instance, qtbot: QtBot, tmp_path: Path) -> None:
    with qtbot.waitSignal(first.opened, timeout=10_000) as got:
        child = later(tmp_path, "a b.safetensors", "/x/ü")
    gave, seconds = said(child)
    child.communicate()
    assert gave and seconds < 1 and got.args == [(str(ROOT / "a b.safetensors"), "/x/ü")]


def test_another_user_folder_is_another_window(first: Instance, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    child = later(other)
    assert not said(child)[0]
    child.communicate()


def test_what_a_killed_window_left_keeps_nobody_out(tmp_path: Path, qapp: object) -> None:
    child = later(tmp_path, "stay")
    assert not said(child)[0] and Path(socket_name(tmp_path)).exists()
    child.kill()
    child.communicate()
    assert Path(socket_name(tmp_path)).exists()
    third = Instance(tmp_path)
    started = time.monotonic()
    assert not third.hand_over([]) and time.monotonic() - started < 1
    assert third._server is not None and third._server.isListening()
    third.close()


def test_a_window_that_hangs_keeps_nobody_out(tmp_path: Path, qapp: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.instance.PATIENCE_S", 0.2)
    monkeypatch.setattr("app.instance.ANSWER_MS", 200)
    child = later(tmp_path, "stay")  # listens, and never looks
    assert not said(child)[0]
    second = Instance(tmp_path)
    assert not second.hand_over(["/x"]) and second._server is None
    child.kill()
    child.communicate()


def test_only_the_user_may_connect(first: Instance, tmp_path: Path) -> None:
    assert Path(socket_name(tmp_path)).stat().st_mode & 0o077 == 0


def test_the_name_fits_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    assert len(socket_name(deep)) < 100 and socket_name(deep) != socket_name(tmp_path)


GOOD = ["/a", "/b c/ü.safetensors"]


def test_messages_are_read_back() -> None:
    said, empty = read_message(message(GOOD)), read_message(message([]))
    assert said is not None and said.paths == tuple(GOOD) and said.version == VERSION
    assert empty is not None and empty.paths == ()
    before = read_message(json.dumps({"open": GOOD}).encode())  # what it was before it had a number
    assert before is not None and before.paths == tuple(GOOD) and before.version == ""


@pytest.mark.parametrize("value", [
    {"open": ["relative"]}, {"open": "/a"}, {"open": [1]}, {"open": ["/a\0b"]}, {"open": [""]}, {"run": ["/a"]},
    {"open": ["/a"], "run": "x"}, ["/a"], None, {"open": ["/" + "a" * LONGEST_PATH]},
    {"open": ["/a"] * (MOST_PATHS + 1)}, {"open": ["/a"], "mixdown": PROTOCOL + 1}, {"open": ["/a"], "mixdown": True},
    {"open": ["/a"], "mixdown": "1"}, {"open": ["/a"], "mixdown": -1}, {"open": ["/a"], "version": 3},
])  # fmt: skip
def test_anything_else_than_paths_is_refused(value: object) -> None:
    assert read_message(json.dumps(value).encode()) is None


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n", b"\xff\xfe", b"[" * 5_000, b'{"open":["/a"],"open":[]}'])
def test_anything_else_than_messages_is_refused(data: bytes) -> None:
    assert read_message(data) is None


def test_a_flood_is_cut_off(first: Instance, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.instance.MOST_BYTES", 10_000)
    opened: list[object] = []
    first.opened.connect(opened.append)
    socket = QLocalSocket()
    socket.connectToServer(socket_name(tmp_path))
    assert socket.waitForConnected(1_000)
    socket.write(b"x" * 50_000)
    qtbot.waitUntil(lambda: socket.state() == QLocalSocket.LocalSocketState.UnconnectedState, timeout=3_000)
    assert not opened


VERSIONED = HAND_OVER.replace(
    "app = ",
    """import app.instance as other
other.VERSION, other.PROTOCOL = sys.argv.pop(), int(sys.argv.pop())
app = """,
)


def of_version(home: Path, protocol: int, version: str, *paths: str) -> subprocess.Popen[str]:
    """A start of another version."""
    command = [sys.executable, "-c", VERSIONED, str(home), *paths, str(protocol), version]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


def test_another_version_of_the_same_protocol_hands_over_and_is_named(
    first: Instance, qtbot: QtBot, tmp_path: Path
) -> None:
    got: list[object] = []
    first.opened.connect(got.append)
    with qtbot.waitSignal(first.otherStarted, timeout=10_000) as other:
        child = of_version(tmp_path, PROTOCOL, "9.9.9", "/x")
    assert said(child)[0] and got == [("/x",)] and other.args == ["9.9.9"]
    child.communicate()


def test_a_later_protocol_opens_a_window_of_its_own_at_once(first: Instance, qtbot: QtBot, tmp_path: Path) -> None:
    got: list[object] = []
    first.opened.connect(got.append)
    child = of_version(tmp_path, PROTOCOL + 1, "9.9.9", "/x")
    qtbot.waitUntil(lambda: child.poll() is not None, timeout=20_000)
    gave, seconds = said(child)
    assert not gave and seconds < 1 and not got  # not the three seconds that a window gets that only opens
    child.communicate()


def test_an_earlier_protocol_is_understood(first: Instance, qtbot: QtBot, tmp_path: Path) -> None:
    socket = QLocalSocket()
    with qtbot.waitSignal(first.opened, timeout=5_000) as got:
        socket.connectToServer(socket_name(tmp_path))
        assert socket.waitForConnected(1_000)
        socket.write(b'{"open": ["/x"]}\n')
    qtbot.waitUntil(lambda: socket.bytesAvailable() == 3, timeout=3_000)
    assert got.args == [("/x",)] and bytes(socket.readAll().data()) == b"ok\n"
