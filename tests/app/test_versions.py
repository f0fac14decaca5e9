"""Two versions of Mixdown and one user folder: nothing of the other's is lost or written over."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app import places
from app.desk import Desk
from app.instance import Instance
from app.journal import Journal, State, digest, line_of, replay
from app.project import ProjectStore
from app.session import Session
from app.settings import load_settings, save_settings
from engine.history import inbox
from engine.history.migrate import NEWER, VERSION_TABLE
from engine.recipe.project import save_project
from engine.recipe.recipe import ModelRef, Recipe

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = Recipe(experts=(ModelRef(id="e1", name="chat", path="/m/chat"),))
RECORDING = """
import sys
from app import recording
from engine.recipe.recipe import ModelRef, Recipe
def run(gain):
    recipe = Recipe(experts=(ModelRef(id="e1", name="chat", path="/m", sha256="a" * 64),), gains=(("e1", gain),))
    print("told:", recording.record(recording.score_facts(recipe, (), 1.0, "cpu")), flush=True)
run(2.0)
sys.stdin.readline()
run(3.0)
"""
WINDOW = """
import sys
import app.instance as instance
instance.VERSION, instance.PROTOCOL = sys.argv[1], int(sys.argv[2])
from app.gui import open_window
sys.exit(open_window(sys.argv[3:]))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user folder of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("MIXDOWN_HOME", str(folder))
    monkeypatch.delenv("MIXDOWN_HISTORY", raising=False)
    (folder / "settings.json").write_text(json.dumps({"welcomed": True, "auto_eval": False, "live": False}))
    return folder


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own with this user folder."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"})  # fmt: skip


def test_a_history_that_a_newer_version_upgrades_while_it_is_open_gets_no_more_rows(home: Path) -> None:
    older = started(RECORDING)
    assert older.stdin is not None and older.stdout is not None
    assert older.stdout.readline().strip() == "told:"
    file = home / "history.sqlite"
    with closing(sqlite3.connect(file)) as newer:
        newer.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'r9999'")
        newer.execute("ALTER TABLE runs ADD COLUMN future TEXT DEFAULT 'x'")
        newer.commit()
    before = file.read_bytes()
    told, _ = older.communicate("go\n", timeout=60)
    assert NEWER in told and file.read_bytes() == before
    waiting = list(inbox.folder_of(file).glob(f"*{inbox.SUFFIX}"))
    assert len(waiting) == 1 and "3.0" in waiting[0].read_text()  # for the version that may write


def test_runs_of_a_newer_version_go_on_waiting(tmp_path: Path) -> None:
    theirs, ours = tmp_path / f"a{inbox.SUFFIX}", tmp_path / f"b{inbox.SUFFIX}"
    theirs.write_text(json.dumps({"format": inbox.FORMAT + 1, "future": 1}))
    ours.write_text(json.dumps({"format": inbox.FORMAT, "future": 1}))
    told = inbox.take(tmp_path, lambda _: None)
    assert theirs.exists() and len(told) == 1 and not ours.exists()


def test_preferences_of_a_newer_version_survive_an_older_one(home: Path) -> None:
    file = home / "settings.json"
    file.write_text(json.dumps({"theme": "dark", "future": {"a": [1]}, "eval_rows": 5}))
    from dataclasses import replace

    assert save_settings(replace(load_settings(file), theme="light", eval_rows=300), file) == ""
    assert json.loads(file.read_text()) == {"theme": "light", "future": {"a": [1]}}


def test_a_session_of_a_newer_version_is_kept_and_said(home: Path, qapp: object) -> None:
    file = places.session_file()
    save_project(WORK, file)
    newer = json.dumps({**json.loads(file.read_text()), "format": 2})
    file.write_text(newer)
    file.with_suffix(".journal").write_bytes(line_of({"base": digest(file), "format": 2}))
    session = Session(ProjectStore())
    try:
        assert session.restore() is None and "newer Mixdown" in session.left
        kept = list(home.glob("unread *.mixdown"))
        assert [k.read_text() for k in kept] == [newer] and kept[0].with_suffix(".journal").exists()
        assert kept[0].name in session.left and not file.exists()
    finally:
        session.release()


def test_a_journal_of_another_format_is_not_replayed_but_kept(home: Path, qapp: object) -> None:
    file = places.session_file()
    save_project(WORK, file)
    log = file.with_suffix(".journal")
    raw = line_of({"base": digest(file), "format": 2}) + line_of({"recipe": {"seed": 7}})
    log.write_bytes(raw)
    assert replay(State(WORK), digest(file), log) == (State(WORK), True)
    log.write_bytes(raw.replace(line_of({"base": digest(file), "format": 2}), line_of({"base": digest(file)})))
    assert replay(State(WORK), digest(file), log)[0].recipe.seed == 7  # from before it was said
    log.write_bytes(raw)
    session = Session(ProjectStore())
    try:
        last = session.restore()
        assert last is not None and last.recipe == WORK and "journal-damaged" in session.left
        assert file.with_suffix(".journal-damaged").read_bytes() == raw
    finally:
        session.release()


def test_a_journal_says_its_format(tmp_path: Path) -> None:
    file = tmp_path / "s.mixdown"
    journal = Journal(file, lambda state: save_project(state.recipe, file))
    journal.put(State(WORK))
    assert journal.flush()
    journal.stop()
    assert b'"format":1' in journal.path.read_bytes().splitlines()[0]


def test_the_window_says_that_another_version_was_started(desk: Desk, qtbot: QtBot, tmp_path: Path) -> None:
    from app.gui import _serve

    instance = Instance(tmp_path)
    _serve(instance, desk)
    instance.otherStarted.emit("9.9.9")
    qtbot.waitUntil(lambda: any("Mixdown 9.9.9 was started" in n.text for n in desk.window.toasts.notices()))


@pytest.mark.skipif(not hasattr(signal, "SIGTERM") or sys.platform == "win32", reason="POSIX")
def test_two_windows_of_different_protocols_live_side_by_side(home: Path) -> None:
    windows = [started(WINDOW, "1.0", "1")]
    try:
        slot(windows[0], home, 1)
        windows.append(started(WINDOW, "9.0", "2", "/nowhere"))
        slot(windows[1], home, 2)
        handed = started(WINDOW, "1.1", "1")  # the first window still takes what it understands
        handed.communicate(timeout=30)
        assert handed.returncode == 0 and all(window.poll() is None for window in windows)
        for window in windows:
            window.send_signal(signal.SIGTERM)
        assert [window.wait(15) for window in windows] == [0, 0]
    finally:
        for window in windows:
            window.kill()
            window.communicate()
    assert not list(home.glob("*.running"))


def slot(window: subprocess.Popen[str], home: Path, number: int) -> None:
    """Wait until a window uses the session of a slot."""
    marker, end = places.session_file(number).with_suffix(".running"), time.monotonic() + 40
    while not marker.exists():
        assert window.poll() is None and time.monotonic() < end
        time.sleep(0.05)
