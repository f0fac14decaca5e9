"""A history whose pages lose bytes, and one that is killed while its tables are upgraded."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from engine.errors import MixdownError
from engine.history import keeping, migrate
from engine.history.history import History
from engine.history.schema import HEAD
from engine.history.values import Facts, Query

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = 4096
OLD_ROWS = 300
INSERT = ("INSERT INTO runs (uid, kind, created, key, method, title, recipe, search, base, experts, device, versions,"
          " output_path, output_sha256, output_bytes, score_unit, digest) VALUES (:uid, 'export', 1, 'k', 'ties',"
          " 'Old', '{}', 'old', '', 0, '', '{}', '', '', 0, '', '')")  # fmt: skip
OPEN = "import sys; from engine.history.history import History; print('go', flush=True); History(sys.argv[1])"


def facts(number: int) -> Facts:
    return Facts(kind="export", recipe=f'{{"gain": {number}}}', key=f"k{number}", method="ties", title=f"Run {number}",
                 device="cpu", seconds=float(number))  # fmt: skip


def seen(file: Path) -> tuple[tuple[object, ...], ...]:
    """All rows as they are shown."""
    runs = History(file).page(Query(limit=1_000)).runs
    return tuple((r.id, r.facts.title, r.facts.seconds, r.facts.recipe, r.is_intact) for r in runs)


def test_a_flipped_byte_in_any_page_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    whole, rng = tmp_path / "whole.sqlite", random.Random(3)
    history = History(whole)
    for number in range(40):
        history.record(facts(number))
    history.close()
    for backup in keeping.backups(whole):
        backup.unlink()
    right, pages = seen(whole), whole.stat().st_size // PAGE
    for backup in keeping.backups(whole):
        backup.unlink()
    assert len(right) == 40 and pages > 10
    silent, whole_bytes = [], whole.read_bytes()
    places = [page * PAGE + rng.randrange(PAGE) for page in range(pages)]
    places += [whole_bytes.index(b"Run %d" % number) + 4 for number in (5, 17, 39)]  # a text that is shown
    for place in places:
        file = tmp_path / f"at{place}" / "history.sqlite"
        file.parent.mkdir()
        raw = bytearray(whole_bytes)
        raw[place] ^= 1 << rng.randrange(3)
        file.write_bytes(raw)
        try:
            found = History(file)
            if not found.status.told and not found.status.reason and not _said(found, right):
                silent.append(place)
        except MixdownError:
            continue  # said in words
        shutil.rmtree(file.parent)
    assert silent == []


def _said(history: History, right: tuple[tuple[object, ...], ...]) -> bool:
    """Whether what is shown is right, or says of each wrong row that it is damaged."""
    found = {row[0]: row for row in seen(history.file or Path())}
    return all(row[0] in found and (found[row[0]] == row or not found[row[0]][-1]) for row in right)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A history of the first revision, with rows."""
    file = tmp_path / "old.sqlite"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        assert migrate.upgrade(connection, "r0001") == ""
        connection.execute(text(INSERT), [{"uid": f"u{number}"} for number in range(OLD_ROWS)])
    engine.dispose()
    return file


def revision(file: Path) -> tuple[str, int]:
    """Which tables there are, and how many rows."""
    with closing(sqlite3.connect(file)) as raw:
        return (raw.execute(f"SELECT version_num FROM {migrate.VERSION_TABLE}").fetchone()[0],
                raw.execute("SELECT count(*) FROM runs").fetchone()[0])  # fmt: skip


def test_an_old_history_is_copied_before_it_is_upgraded(old: Path) -> None:
    kept = old.with_name(f"{old.name}.before-{HEAD}")
    History(old).close()
    assert revision(old) == (HEAD, OLD_ROWS) and revision(kept) == ("r0001", OLD_ROWS)
    before = kept.read_bytes()
    History(old).record(facts(1))
    assert kept.read_bytes() == before and not list(old.parent.glob(".*partial*"))


def test_no_disk_for_the_copy_leaves_the_old_tables(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "_copy", full)
    with pytest.raises(MixdownError):
        History(old)
    assert revision(old) == ("r0001", OLD_ROWS) and not list(old.parent.glob(".*partial*"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_killed_while_it_is_upgraded_it_is_old_or_new(old: Path, kills: int) -> None:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", OPEN, str(shutil.copy(old, old.with_name("timed.sqlite")))], cwd=ROOT,
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    longest = time.monotonic() - started
    for number in range(kills):
        file = old.with_name(f"killed{number}.sqlite")
        shutil.copy(old, file)
        child = subprocess.Popen([sys.executable, "-c", OPEN, str(file)], cwd=ROOT, stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"go\n"
        time.sleep(min(1.0, longest) * number / kills * 0.5)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert keeping.problem_of(file) == ""
        assert revision(file) in (("r0001", OLD_ROWS), (HEAD, OLD_ROWS))
        History(file).close()
        assert revision(file) == (HEAD, OLD_ROWS)
        assert revision(file.with_name(f"{file.name}.before-{HEAD}"))[0] == "r0001"
