"""After a bad end: the desk comes back, the selection too, what differs is compared, and the crash can be copied."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import crash, places
from app.crash import report_of, scrubbed
from app.demo import demo_recipe
from app.desk import Desk
from app.project import ProjectStore
from app.recovery import Recovery
from app.recovery_words import differences
from app.session import Session
from engine.recipe.project import load_project, save_project
from engine.recipe.recipe import ModelRef, Recipe, Rule, TaskRef
from tests.app.desks import closed
from widgets.dialogs.error_card import ErrorCard
from widgets.dialogs.recover import RecoverDialog

ROOT = Path(__file__).resolve().parent.parent.parent
Start = Callable[[], Desk]


@pytest.fixture
def start(qapp: QApplication, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> object:
    """Start a desk; nothing loads torch."""
    made: list[Desk] = []

    def one() -> Desk:
        desk = Desk(qapp)
        desk.window.firstPaint.disconnect(desk.workspace.warm_up)
        made.append(desk)
        desk.start([])
        qtbot.waitExposed(desk.window)
        return desk

    yield one
    closed(*made)


def killed(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill at this moment leaves in the home folder: the next start finds a copy of it."""
    home = session.file.parent
    copy = home.with_name(f"{home.name} after the kill")  # as deep as it was: paths in projects are relative
    passing = shutil.ignore_patterns("*.lock", "*.partial")  # files that may be gone before they are copied
    shutil.copytree(home, copy, ignore=passing)
    monkeypatch.setenv("MIXDOWN_HOME", str(copy))


def recovery_of(desk: Desk) -> Recovery:
    found = desk.findChild(Recovery)
    assert isinstance(found, Recovery)
    return found


def test_desk_and_selection_come_back_after_a_kill(start: Start, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start()
    first.workspace.store.reset(demo_recipe(), None)
    qtbot.waitUntil(lambda: first.desk.board is not None, timeout=20_000)
    rows = [e.id for e in first.workspace.recipe.experts]
    first.window.canvas.coefficientsEdited.emit([(rows[0], 2)], [0.77], "Set", "")
    first.desk.select([(rows[0], 2), (rows[3], 5)])
    session = first.session
    qtbot.waitUntil(lambda: session.restore() is not None and bool(session.restore().view.cells), timeout=5_000)
    killed(session, monkeypatch)
    second = start()
    assert second.session.ended_badly == "" and second.workspace.recipe == first.workspace.recipe
    qtbot.waitUntil(lambda: bool(second.window.canvas.selectedCells()), timeout=20_000)
    assert second.window.canvas.selectedCells() == ((rows[0], 2), (rows[3], 5))
    texts = [n.text for n in second.window.toasts.notices()]
    assert any("did not end properly" in text and "today" in text for text in texts)


def test_a_proper_end_tells_nothing(start: Start, qapp: QApplication, qtbot: QtBot) -> None:
    first = start()
    first.workspace.store.reset(demo_recipe(), None)
    qapp.setProperty("forced", True)
    assert first.window.close()
    qapp.setProperty("forced", False)
    second = start()
    qtbot.wait(50)
    assert second.session.ended_badly is None and second.workspace.recipe == demo_recipe()
    assert not second.window.toasts.notices() and second.problem_text() == ""


def project(folder: Path) -> tuple[Path, Recipe]:
    """A saved project, and later work on it that lies in the session only."""
    saved = demo_recipe()
    file = folder / "mix.mixdown"
    store = ProjectStore()
    store.reset(saved, None)
    store.save(file)
    session = Session(store)
    later = saved.with_rules([Rule(value=0.9, expert=saved.experts[0].id, layer="1")]).with_muted(
        saved.experts[1].id, True
    )
    store.apply(later, "Later")
    session.journal.flush()
    session.journal.stop()
    assert session._lock is not None
    session._lock.unlock()  # it was killed: its mark stays
    return file, later


def test_a_project_saved_later_is_compared_at_once(start: Start, qtbot: QtBot, tmp_path: Path) -> None:
    file, later = project(tmp_path)
    session = places.session_file()
    other = demo_recipe().with_gain(demo_recipe().experts[2].id, 2)
    save_project(other, file)  # another program
    os.utime(file, (session.stat().st_mtime + 60,) * 2)
    desk = start()
    recovery = recovery_of(desk)
    qtbot.waitUntil(lambda: recovery.dialog is not None, timeout=5_000)
    dialog = recovery.dialog
    assert isinstance(dialog, RecoverDialog) and desk.workspace.recipe == later
    said = {dialog.table.item(r, 0).text() for r in range(dialog.table.rowCount())}
    names = [e.name for e in later.experts]
    assert {f"{names[0]} · layer 1", f"{names[1]} sound", f"{names[2]} gain"} <= said
    dialog.findChild(type(dialog._keep), "recover-both").click()
    assert desk.workspace.recipe == other and not desk.workspace.store.is_edited
    kept = next(places.home().glob("unsaved *.mixdown"))
    assert load_project(kept) == later
    desk.workspace.store.undo_stack.undo()
    assert desk.workspace.recipe == later


def test_an_older_project_is_offered_for_comparison(start: Start, qtbot: QtBot, tmp_path: Path) -> None:
    file, later = project(tmp_path)
    os.utime(file, (1_000_000_000,) * 2)
    desk = start()
    toasts = desk.window.toasts
    qtbot.waitUntil(lambda: bool(toasts.notices()), timeout=5_000)
    notice = next(n for n in toasts.notices() if "later than mix.mixdown" in n.text)
    assert recovery_of(desk).dialog is None and desk.workspace.recipe == later
    toasts.actionTriggered.emit(notice.key, "compare")
    dialog = recovery_of(desk).dialog
    assert dialog is not None
    dialog.reject()  # Esc keeps what was recovered
    assert desk.workspace.recipe == later


def test_a_crash_is_shown_with_its_report(start: Start, qtbot: QtBot) -> None:
    code = ("import ctypes, sys; from pathlib import Path; from app import crash; crash.install(Path(sys.argv[1]));"
            " ctypes.string_at(0)")  # fmt: skip
    marker = places.session_file().with_suffix(".running")
    marker.touch()
    child = subprocess.run([sys.executable, "-c", code, str(marker)], cwd=ROOT, stderr=subprocess.DEVNULL, check=False)
    assert child.returncode == -11
    desk = start()
    qtbot.waitUntil(lambda: desk.problem_text() != "", timeout=5_000)
    assert "ended unexpectedly" in desk.problem_text() and "Segmentation fault" in desk.problem_text()
    card = desk.window.card
    assert isinstance(card, ErrorCard)
    card.first_button().click()
    text = QGuiApplication.clipboard().text()
    assert "Segmentation fault" in text and "ctypes" in text and str(ROOT) not in text and "/root/" not in text
    assert len(list((places.home() / "crashes").iterdir())) == 1


@pytest.mark.parametrize("secret", [
    "cannot open /home/anna/Models/secret model.safetensors", "C:\\Users\\anna\\x.bin is bad",
    "PosixPath('/home/anna/my models/a.safetensors')", 'File "/home/anna/code/tool.py", line 3, in x',
    "/Users/anna/a b/c d.json: The file is damaged.", "'~/anna/x'",
])  # fmt: skip
def test_reports_hold_no_personal_paths(secret: str) -> None:
    made = scrubbed(secret)
    assert "anna" not in made and "secret" not in made and "models/" not in made.lower() and "<path>" in made


def test_reports_keep_what_helps() -> None:
    text = f'File "{ROOT}/app/desk.py", line 3\nFile "/x/site-packages/torch/nn.py", line 7\nratio 3/4 and/or'
    made = scrubbed(text)
    assert 'File "mixdown/app/desk.py"' in made and 'File "site-packages/torch/nn.py"' in made
    assert "ratio 3/4 and/or" in made


def test_only_a_few_reports_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        monkeypatch.setattr(crash.time, "strftime", lambda _, n=number: f"2026010{n}-000000")
        report_of("Fatal Python error: Aborted")
    kept = sorted(f.name for f in (places.home() / "crashes").iterdir())
    assert len(kept) == crash.MOST_REPORTS and kept[-1] == "crash-20260107-000000.txt"


def test_what_differs_is_said_in_words() -> None:
    a, b = ModelRef(id="e1", name="chat", path="/a"), ModelRef(id="e2", name="code", path="/b")
    saved = Recipe(experts=(a,), method="ties", params=(("density", 0.2),))
    after = Recipe(experts=(a, b), method="ties", params=(("density", 0.5),), rules=(Rule(value=0.7, expert="e1"),),
                   tasks=(TaskRef(name="digits", path="/t"),))  # fmt: skip
    rows = differences(saved, {"one": saved}, after, {"one": after})
    assert {("expert code", "–", "on the desk"), ("density", "0.2", "0.5"), ("chat", "–", "0.7"),
            ("task digits", "–", "used"), ("pin one", "kept", "another recipe")} <= set(rows)  # fmt: skip
    assert not differences(saved, {}, saved, {})
