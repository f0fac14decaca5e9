"""Runs that commands leave for the history: on disk at once, taken in once, never lost, never executed twice."""

from __future__ import annotations

import importlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app import cli, recording
from app.cli import MODULES
from engine.errors import WriteProblem
from engine.evaluate.score import Score
from engine.history import connect, inbox
from engine.history.history import History
from engine.history.values import Facts, Input, Query
from tests.app.models import write_family

SCORE = Score(task="digits", split="val", metric="accuracy", value=0.5, low=0.4, high=0.6, correct=50, count=100)


def facts(number: int = 1) -> Facts:
    return Facts(
        kind="export", recipe=f'{{"n": {number}}}', key=f"{number:064d}", method="ties", title="naïve \u202e <b>",
        params=(("density", 0.2), ("rescale", False)), inputs=(Input(role="base", name="b", path="/b"),),
        scores=(SCORE,), seconds=1.5, versions=(("torch", "2"),), output_sha256="a" * 64, created=1000.0 + number,
    )  # fmt: skip


def test_what_waits_comes_back_as_it_was(tmp_path: Path) -> None:
    got: list[Facts] = []
    for number in (3, 1, 2):
        inbox.put(tmp_path / "in", facts(number))
    assert inbox.take(tmp_path / "in", got.append) == []
    assert [f.created for f in got] == [1001.0, 1002.0, 1003.0], "oldest first"
    assert got[0] == replace(facts(1), uid=got[0].uid)
    assert not list((tmp_path / "in").iterdir())


def test_a_run_that_cannot_be_recorded_goes_on_waiting(tmp_path: Path) -> None:
    inbox.put(tmp_path, facts())

    def full(_: Facts) -> None:
        raise WriteProblem("full")

    with pytest.raises(WriteProblem):
        inbox.take(tmp_path, full)
    history = History(tmp_path / "h.sqlite")
    inbox.take(tmp_path, history.record)
    assert history.page(Query()).total == 1


def test_killed_between_recording_and_deleting_it_is_there_once(tmp_path: Path) -> None:
    inbox.put(tmp_path, facts())
    copy = next(tmp_path.glob("*.run.json")).read_bytes()
    history = History(tmp_path / "h.sqlite")
    inbox.take(tmp_path, history.record)
    (tmp_path / f"again{inbox.SUFFIX}").write_bytes(copy)
    inbox.take(tmp_path, history.record)
    assert history.page(Query()).total == 1


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b'{"kind": "export"}', b"\xff", b'{"a": 1, "a": 2}'])
def test_what_is_not_a_run_is_set_aside_and_said(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / f"x{inbox.SUFFIX}").write_bytes(bad)
    inbox.put(tmp_path, facts())
    got: list[Facts] = []
    assert "x.run.json" in inbox.take(tmp_path, got.append)[0]
    assert len(got) == 1
    assert (tmp_path / f"x{inbox.SUFFIX}{inbox.REJECTED}").read_bytes() == bad


def test_a_merge_leaves_its_run_and_history_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(recording.VARIABLE, str(tmp_path / "h.sqlite"))
    base, (first, second, *_) = write_family(tmp_path)
    arguments = ["merge", "--base", str(base), "--expert", str(first), "--expert", str(second), "--json"]
    assert cli.run([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "h.sqlite.inbox").iterdir())) == 1
    assert not (tmp_path / "h.sqlite").exists(), "no database was opened"
    capsys.readouterr()
    assert cli.run(["history", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)
    assert str(tmp_path / "out") in json.dumps(runs)
    assert not list((tmp_path / "h.sqlite.inbox").iterdir())


@pytest.mark.parametrize("place", ["h.sqlite", "away/h.sqlite", "sqlite:///away/h.sqlite"])
def test_a_run_waits_while_the_history_is_locked_or_away_and_is_there_once(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another program holds, a disk that is not mounted, and a database by URL that is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connect, "_WAIT_S", 0.2)
    monkeypatch.setattr(recording, "_recorders", {})
    monkeypatch.setattr(recording, "_RETRY_S", 0.0)
    given = place.replace("///", f"///{tmp_path}/") if "://" in place else str(tmp_path / place)
    monkeypatch.setenv(recording.VARIABLE, given)
    file, away = tmp_path / place.removeprefix("sqlite:///"), tmp_path / "away"
    if "away" in place:
        away.write_text("not mounted")
        told = recording.record(facts())
        away.unlink()
    else:
        assert recording.record(facts(2)) == ""
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            told = recording.record(facts())
            other.execute("ROLLBACK")
    assert "not in the history yet" in told and "It waits" in told, told
    wanted = 1 if "away" in place else 2
    for _ in range(2):
        page = recording.recorder().submit(lambda history: history.page(Query())).result()
        assert page is not None and page.total == wanted
    assert not [p for folder in recording._inboxes(given) if folder.exists() for p in folder.iterdir()]


def test_every_command_is_where_the_table_says() -> None:
    for module, commands in MODULES.items():
        assert commands == importlib.import_module(f"app.{module}").COMMANDS, module
