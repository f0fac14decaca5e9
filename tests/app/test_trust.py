"""Trust in the window: hostile drops, pickles converted from the error card, exports opened as projects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot
from safetensors.torch import load_file

from app.cli import run
from app.desk import Desk
from app.export_job import ExportJob, perform
from app.trust import Trust
from engine.errors import FileProblem
from engine.export.options import ExportOptions
from engine.files.hashing import file_hashes
from engine.progress import Token
from tests.app.models import base_tensors, expert_tensors, write_family
from tests.hostile.corpus import CASES

Settled = Callable[[Desk], None]
DROPPED = ["header-length-2-63", "entry-shape-2-64-zero", "name-html", "name-bidi", "name-escape", "index-parent",
           "link-device", "config-auto-map", "format-gguf", "pickle-mkdir-zip", "pickle-stack-global-memo-bare",
           "disguise-html-name", "archive-deflate-bomb", "value-nan", "metadata-html", "link-fifo"]  # fmt: skip


@pytest.fixture
def mixed(desk: Desk, tmp_path: Path, settled: Settled) -> Desk:
    """A desk with a base and two experts."""
    base, experts = write_family(tmp_path / "good", 2)
    desk.shelf.drop([str(base), *map(str, experts)], "canvas")
    settled(desk)
    return desk


def test_hostile_drops_leave_the_desk_as_it_was(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    before = [e.path for e in mixed.workspace.recipe.experts]
    for name in DROPPED:
        folder = tmp_path / name
        folder.mkdir()
        mixed.shelf.drop([str(CASES[name].make(folder))], "canvas")
    settled(mixed)
    assert [e.path for e in mixed.workspace.recipe.experts][:2] == before
    assert mixed.window.isVisible() and not list(tmp_path.rglob("canary"))
    shown = 0
    while mixed.problem_text():
        shown += 1
        state = mixed.window.card.state
        assert state is not None and state.title and state.hint
        labels = [label for label in mixed.window.card.findChildren(QLabel) if label.text()]
        assert all(label.textFormat() == Qt.TextFormat.PlainText for label in labels)
        assert not any(mark in label.text() for label in labels for mark in ("\x1b", "\u202e"))
        mixed.window.card.dismissed.emit()
    assert shown >= 8
    expert = mixed.workspace.recipe.experts[0].id
    mixed.window.canvas.coefficientsEdited.emit(((expert, 1),), (0.25,), "Set chat", "")
    assert mixed.board_values()[0][1] == 0.25
    qtbot.wait(10)
    assert mixed.window.isVisible()


def test_a_pickle_is_converted_from_its_card(mixed: Desk, tmp_path: Path, settled: Settled) -> None:
    tensors = {n: torch.from_numpy(a) for n, a in expert_tensors(base_tensors(), 9).items()}
    torch.save(tensors, tmp_path / "late.pt")
    mixed.shelf.drop([str(tmp_path / "late.pt")], "canvas")
    settled(mixed)
    assert "late.pt" in mixed.problem_text() and len(mixed.workspace.recipe.experts) == 2
    button = next(b for b in mixed.window.card.findChildren(QPushButton) if b.text() == "Convert safely")
    button.click()
    settled(mixed)
    assert [e.name for e in mixed.workspace.recipe.experts] == ["chat", "code", "late"]
    made = load_file(tmp_path / "late.safetensors")
    assert all(torch.equal(made[n], t) for n, t in tensors.items())


def test_a_hostile_pickle_is_not_converted(mixed: Desk, tmp_path: Path, settled: Settled) -> None:
    (tmp_path / "x").mkdir()
    path = CASES["pickle-mkdir-zip"].make(tmp_path / "x")
    mixed.window.card.actionTriggered.emit(f"convert-pickle:{path}")
    settled(mixed)
    assert "cannot be converted" in mixed.problem_text() and "state dict" in mixed.problem_text()
    assert [p.name for p in (tmp_path / "x").iterdir()] == [path.name]


def test_an_export_is_opened_as_the_project_it_was(desk: Desk, tmp_path: Path, settled: Settled) -> None:
    base, experts = write_family(tmp_path / "good", 2)
    out = tmp_path / "good" / "merged"
    flags = ["--method", "ties", "--param", "density=0.3", "--set", "chat : attn = 0.7"]
    assert run(["merge", "--base", str(base), "--expert", str(experts[0]), "--expert", str(experts[1]),
                "--out", str(out), *flags, "--json"]) == 0  # fmt: skip
    desk.shelf.drop([str(out)], "canvas")
    settled(desk)
    texts = [n.text for n in desk.window.toasts.notices() if n.actions]
    assert any("merged was merged with Mixdown" in text for text in texts)
    desk.window.toasts.actionTriggered.emit(f"origin {out}", "open_project")
    settled(desk)
    recipe = desk.workspace.recipe
    assert recipe.base is not None and recipe.base.path == str(base)
    assert sorted(e.path for e in recipe.experts) == sorted(map(str, experts))
    assert recipe.method == "ties" and dict(recipe.params)["density"] == 0.3
    assert [(r.kind, r.value) for r in recipe.rules] == [("attn", 0.7)]


def test_sources_are_named_on_the_shelf_and_confirmed_by_their_hash(
    mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot
) -> None:
    assert shelf_words(mixed) == ["unverified"] * 3
    trust = mixed.window.findChild(Trust)
    assert trust is not None
    base = mixed.workspace.recipe.base
    assert base is not None
    digest = mixed.workspace.library.entry(base.path).checkpoint
    assert digest is not None
    trust.ask_hash = lambda _: "0" * 64
    mixed.window.shelf.confirmRequested.emit(base.id)
    settled(mixed)
    assert "not confirmed" in mixed.problem_text() and shelf_words(mixed) == ["unverified"] * 3
    mixed.window.card.dismissed.emit()
    trust.ask_hash = lambda _: next(iter(file_hashes(digest).values()))
    mixed.window.shelf.confirmRequested.emit(base.id)
    settled(mixed)
    qtbot.waitUntil(lambda: shelf_words(mixed) == ["verified", "unverified", "unverified"])
    text = mixed.window.shelf.state.base
    assert text is not None and "confirmed on this computer" in text.check_text


def test_the_window_exports_the_taint_and_shows_it_again(mixed: Desk, tmp_path: Path, settled: Settled) -> None:
    out = tmp_path / "child"
    job = ExportJob(mixed.workspace.hashed_recipe(), out, ExportOptions())
    inputs = mixed.workspace.inputs()
    assert inputs is not None
    perform(job, inputs, Token())
    mixed.shelf.drop([str(out)], "add")
    settled(mixed)
    assert shelf_words(mixed)[-1] == "tainted"
    assert "3 unverified sources" in mixed.window.shelf.state.experts[-1].check_text


def shelf_words(desk: Desk) -> list[str]:
    """What the cards say about the origin, the base first."""
    desk.shelf.refresh()
    state = desk.window.shelf.state
    return [card.origin for card in (state.base, *state.experts) if card is not None]


@pytest.mark.parametrize("version", ["2.9.1", "2.10.0", "3.0"])
def test_old_packages_are_said_in_the_window(
    version: str, mixed: Desk, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.doctor.installed_versions", lambda: {"torch": version, "safetensors": "0.8.0"})
    trust = mixed.window.findChild(Trust)
    assert trust is not None
    trust.look_at_versions()
    settled(mixed)
    texts = [notice.text for notice in mixed.window.toasts.notices()]
    assert any("torch 2.9.1 has known security holes" in text for text in texts) == (version == "2.9.1")


def test_a_check_that_fails_is_no_check_that_passed(
    desk: Desk, tmp_path: Path, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise FileProblem("The scanner gave up.", hint="Try again.")

    monkeypatch.setattr("app.library.check_values", broken)
    base, experts = write_family(tmp_path / "good", 1)
    desk.shelf.drop([str(base), *map(str, experts)], "canvas")
    settled(desk)
    cards = desk.window.shelf.state
    assert [card.check for card in (cards.base, *cards.experts) if card is not None] == ["error"] * 2
    assert shelf_words(desk) == ["", ""] and desk.workspace.inputs() is None
