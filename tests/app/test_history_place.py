"""The place of the history: tried before it is used, nobody's file is harmed, no password is shown; and its backups."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from PySide6.QtWidgets import QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app import doctor, history_place, places, recording
from app.desk import Desk
from app.runs_controller import RunsController
from app.settings import Settings, load_settings, save_settings
from engine.errors import MixdownError
from engine.history import keeping, migrate
from engine.history.choice import HIDDEN, tried, without_password
from engine.history.history import History
from tests.engine.history_kills import facts
from widgets.dialogs.preferences import PreferencesDialog

TEAM = "postgresql://ada:geheim%21@db.example/mixdown?host=/nowhere"


@pytest.fixture
def dialog(desk: Desk, qtbot: QtBot) -> Iterator[PreferencesDialog]:
    made = PreferencesDialog(parent=desk.window)
    qtbot.addWidget(made)
    history_place.connect_preferences(desk.workspace, made)
    made.show()
    return made


def choose(dialog: PreferencesDialog, kind: str, address: str = "") -> None:
    """As the user does."""
    dialog.history.kind.setCurrentIndex(dialog.history.kind.findData(kind))
    if address:
        dialog.history.address.setText(address)
        dialog.history.address.textEdited.emit(address)
        dialog.history.test.click()


def all_text(dialog: PreferencesDialog) -> str:
    """Everything that the dialog says."""
    fields = dialog.findChildren(QLineEdit)
    return " ".join(text for w in (*dialog.findChildren(QLabel), *fields) for text in (w.text(), w.toolTip()))


def test_a_file_is_tried_and_used(
    desk: Desk, dialog: PreferencesDialog, qtbot: QtBot, tmp_path: Path, settled: Callable[[Desk], None]
) -> None:
    History(tmp_path / "team.sqlite").record(facts(1))
    choose(dialog, "place", str(tmp_path / "team.sqlite"))
    qtbot.waitUntil(lambda: "1 run there" in dialog.history.note.text(), timeout=10_000)
    assert load_settings(places.settings_file()).history == str(tmp_path / "team.sqlite") == recording.where()
    choose(dialog, "off")
    assert desk.workspace.settings.history == "off" and recording.open_history() is None
    choose(dialog, "own")
    assert recording.where() == str(places.history_file()) and not dialog.history.address.isVisible()


def test_an_address_that_fails_changes_nothing_and_keeps_its_secret(
    desk: Desk, dialog: PreferencesDialog, qtbot: QtBot
) -> None:
    pytest.importorskip("psycopg")
    choose(dialog, "place", TEAM)
    dialog.history.address.clear()  # only what is said about it counts
    qtbot.waitUntil(lambda: "does not answer" in dialog.history.note.text(), timeout=20_000)
    assert desk.workspace.settings.history == "" and "geheim" not in all_text(dialog)


def test_a_password_is_kept_but_never_shown_again(desk: Desk, qtbot: QtBot) -> None:
    desk.workspace.change_settings(history=TEAM)
    made = PreferencesDialog(parent=desk.window)
    qtbot.addWidget(made)
    history_place.connect_preferences(desk.workspace, made)
    assert "geheim" not in all_text(made) and f"ada:{HIDDEN}@db.example" in made.history.address.text()
    assert places.settings_file().stat().st_mode & 0o077 == 0
    with pytest.raises(MixdownError, match="does not answer") as told:  # it went out with the real password
        tried(made.history.address.text(), TEAM)
    assert "geheim" not in str(told.value)
    with pytest.raises(MixdownError, match="password is not known"):
        tried(without_password(TEAM).replace("db.example", "evil.example"), TEAM)


def test_other_peoples_files_are_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").write_bytes(b"years of work" * 99)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE photos (x)")
        other.commit()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    files = [str(tmp_path / name) for name in ("thesis.odt", "other.db", "", "no/h.sqlite")]
    for text in (*files, f"sqlite:///{tmp_path}/other.db", "here.sqlite", "postgresql://ada@host", "nonsense://x/y",
                 "http://x/y", "postgresql://h/db?password=geheim", "://"):  # fmt: skip
        with pytest.raises(MixdownError) as told:
            tried(text)
        assert told.value.hint and "geheim" not in str(told.value), text
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert tried(str(tmp_path / "new.sqlite")).runs == 0


def test_backups_are_made_while_the_window_is_open_and_trouble_is_said_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    file = places.history_file()
    recording.recorder().submit(lambda history: history.record(facts(1))).result()
    backups = desk.window.findChild(history_place.Backups)
    assert backups is not None and backups._timer.isActive() and backups._timer.interval() <= 3_600_000
    backups.back_up().result()
    first = keeping.backups(file)
    os.utime(first[0], (time.time() - 7200, time.time() - 7200))
    recording.recorder().submit(lambda history: history.record(facts(2))).result()
    backups.back_up().result()
    assert len(History(keeping.backups(file)[0]).runs((1, 2))) == 2
    os.utime(keeping.backups(file)[0], (1, 1))
    monkeypatch.setattr(keeping, "_copy", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for _ in range(2):
        recording.recorder().submit(lambda history: history.set_note(1, "x")).result()
        with pytest.raises(MixdownError):
            backups.back_up().result()
    qtbot.waitUntil(lambda: any("No backup" in n.text for n in desk.window.toasts.notices()))
    assert len([n for n in desk.window.toasts.notices() if "No backup" in n.text]) == 1


def test_backups_a_day_apart_are_kept(tmp_path: Path) -> None:
    file, now = tmp_path / "h.sqlite", time.time()
    history = History(file)
    for hour in range(0, 100, 3):
        history.record(facts(hour + 1))
        os.utime(file, (now + 3600 * hour, now + 3600 * hour))
        if (made := keeping.back_up(file, every_s=-1e12)) is not None:
            os.utime(made, (now + 3600 * hour - 1, now + 3600 * hour - 1))
    hours = [round((p.stat().st_mtime - now) / 3600) for p in keeping.backups(file)]
    assert hours[0] == 99 and all(a - b >= 24 for a, b in pairwise(hours[1:])) and len(hours) >= 4


@pytest.mark.parametrize("jump_s", [400 * 86400, -400 * 86400])
def test_a_clock_that_jumped_neither_stops_backups_nor_loses_them(jump_s: float, tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    History(file).record(facts(1))
    keeping.back_up(file)
    History(file).record(facts(2))
    there = time.time() + jump_s
    os.utime(keeping.backups(file)[0], (there, there))  # it was made while the clock was wrong
    History(file).record(facts(3))
    assert len(History(keeping.backups(file)[0]).runs((1, 2))) == 2, "made anew when the history was opened"
    assert abs(keeping.backups(file)[0].stat().st_mtime - time.time()) < 60
    before = keeping.backups(file)[0].stat().st_mtime_ns
    History(file).record(facts(4))
    assert keeping.backups(file)[0].stat().st_mtime_ns == before, "and then not before an hour is over"


def test_a_history_of_a_newer_mixdown_is_said_in_the_window(desk: Desk, qtbot: QtBot) -> None:
    History(places.history_file()).record(facts(1))
    with closing(sqlite3.connect(places.history_file())) as raw:
        raw.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = 'r9999'")
        raw.commit()
    desk.window.commands.trigger("view.runs")
    assert tried(str(places.history_file())).reason == migrate.NEWER
    controller = desk.findChild(RunsController)
    assert controller is not None

    def said() -> bool:
        return migrate.NEWER in " ".join(label.text() for label in controller.panel.findChildren(QLabel))

    qtbot.waitUntil(said, timeout=10_000)
    controller._open_early()  # and without the panel, some seconds after the start
    qtbot.waitUntil(lambda: any(migrate.NEWER in n.text for n in desk.window.toasts.notices()))


def test_a_data_folder_that_cannot_be_made_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("here")
    home = tmp_path / "file" / "mixdown"
    monkeypatch.setenv("MIXDOWN_HOME", str(home))
    monkeypatch.setattr(recording, "_recorders", {})
    assert places.home() == home and places.sketch_folder().parent == home
    assert load_settings(places.settings_file()) == Settings()
    assert "cannot be" in save_settings(Settings(theme="light"), places.settings_file())
    assert any(str(home) in problem for problem in doctor.examine(home).problems)
    assert "not in the history" in recording.record(facts(1))
