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
    assert mixed.board_values()[0][1] == 0.25  # type: ignore[index]  # there is a board
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
