"""The assembled window, offscreen: recipes, undo, session, clean start and end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit, QMessageBox
from pytestqt.qtbot import QtBot

from app import help_pages, places
from app.actions import ACTIONS
from app.desk import Desk
from engine.recipe.project import load_project
from tests.app.models import base_tensors, expert_tensors, write_family, write_model
from widgets.panels.state import ExportForm

ROOT = Path(__file__).resolve().parents[2]
Settled = Callable[[Desk], None]


@pytest.fixture
def mixed(desk: Desk, tmp_path: Path, settled: Settled) -> Desk:
    base, experts = write_family(tmp_path / "models", 3)
    desk.shelf.drop([str(base), *map(str, experts)], "canvas")
    settled(desk)
    return desk


def test_the_window_needs_no_torch_and_commands_no_qt() -> None:
    code = "import sys, app.desk, engine.methods; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_dropped_family_is_one_undo_step(mixed: Desk) -> None:
    recipe = mixed.workspace.recipe
    assert recipe.base is not None and recipe.base.name == "base" and len(recipe.experts) == 3
    assert mixed.workspace.store.undo_stack.count() == 1
    mixed.handlers.edit_undo()
    assert not mixed.workspace.recipe.experts and mixed.workspace.recipe.base is None
    mixed.handlers.edit_redo()
    assert mixed.workspace.recipe == recipe


def test_live_rows_follow_a_fader_exactly(mixed: Desk, settled: Settled) -> None:
    settled(mixed)
    assert mixed.desk.board is not None and mixed.desk.board.metrics is not None
    ids = [e.id for e in mixed.workspace.recipe.experts]
    column = [c.layer for c in mixed.desk.columns].index("1")
    mixed.window.canvas.coefficientsEdited.emit(((ids[0], column),), (0.4,), "Set", "")
    base = base_tensors()
    names = [n for n in base if ".layers.1." in n]
    deltas = [
        np.concatenate([(expert_tensors(base, i + 1)[n].astype(np.float64) - base[n]).ravel() for n in names])
        for i in range(3)
    ]
    merged = 0.3 * (0.4 * deltas[0] + deltas[1] + deltas[2])
    norm = np.linalg.norm(np.concatenate([base[n].ravel().astype(np.float64) for n in names]))
    assert mixed.desk.board.metrics.relative[column] == pytest.approx(np.linalg.norm(merged) / norm, rel=1e-6)
    assert mixed.desk.board.state.metrics[0].quality == "exact"


def test_expert_without_tensors_of_the_base(desk: Desk, tmp_path: Path, settled: Settled) -> None:
    """Absent tensors mean the base's; it is said, and it can be merged."""
    base = base_tensors()
    home = write_model(tmp_path / "base", base)
    part = expert_tensors(base, 1)
    del part["model.embed_tokens.weight"]
    desk.shelf.drop([str(home)], "base")
    desk.shelf.drop([str(write_model(tmp_path / "part", part))], "canvas")
    settled(desk)
    (finding,) = [f for found in desk.workspace.findings().values() for f in found if f.code == "absent-tensors"]
    assert finding.severity == "info"
    assert desk.workspace.live.gram(desk.workspace.recipe) is not None


def test_session_comes_back_after_a_kill(mixed: Desk, qapp: QApplication, qtbot: QtBot) -> None:
    recipe = mixed.workspace.recipe
    mixed.window.canvas.coefficientsEdited.emit(((recipe.experts[0].id, 0),), (0.9,), "Set", "")
    mixed.history.pin()
    read = mixed.session.restore
    qtbot.waitUntil(lambda: (last := read()) is not None and last.recipe.rules != () and last.pins != {})
    mixed.session.release()
    other = Desk(qapp)  # as if the first had been killed: nobody closed it
    other.start([])
    assert other.workspace.recipe.rules == mixed.workspace.recipe.rules
    assert [e.name for e in other.workspace.recipe.experts] == [e.name for e in recipe.experts]
    assert list(other.workspace.store.pins.values()) == [mixed.workspace.recipe]
    qapp.setProperty("forced", True)
    other.window.close()


def test_project_file_with_pins(mixed: Desk, tmp_path: Path) -> None:
    file = tmp_path / "mix.mixdown"
    mixed.history.pin()
    assert mixed.handlers._save(file)
    assert not mixed.workspace.store.is_edited
    assert "../" not in file.read_text() and '"path": "models/base"' in file.read_text()
    pins = mixed.workspace.store.pins
    mixed.workspace.store.reset(type(mixed.workspace.recipe)(), None)
    mixed.handlers.open_project(str(file))
    assert mixed.workspace.store.pins == pins and mixed.window.windowTitle().startswith("mix ")


def test_broken_project_keeps_the_present_one(mixed: Desk, tmp_path: Path) -> None:
    (tmp_path / "bad.mixdown").write_text('{"format": 1, "recipe": {"experts": [], "experts": []}}')
    before = mixed.workspace.recipe
    mixed.workspace.store.replace_silently(before)
    mixed.workspace.store._saved = before  # nothing to ask about
    mixed.handlers.open_project(str(tmp_path / "bad.mixdown"))
    assert mixed.workspace.recipe == before and "bad.mixdown" in mixed.problem_text()


def test_every_action_has_a_handler_and_is_in_the_palette(desk: Desk) -> None:
    entries = {e.id: e for e in desk.window.commands.entries()}
    assert {a.id for a in ACTIONS} - set(entries) == {"view.palette"}
    assert entries["file.export"].reason and entries["edit.undo"].reason  # the desk is empty
    keys = [k for a in ACTIONS if not a.local for k in a.keys]
    assert len(keys) == len(set(keys))
    for action in ACTIONS:
        if not action.local and action.id not in desk.features:
            assert callable(getattr(desk.handlers, action.id.replace(".", "_", 1)))


def test_selection_box_sets_coefficients(mixed: Desk) -> None:
    mixed.window.canvas.selectionCommitted.emit("chat,code : mlp : 1-2 = 0.25")
    rules = {r.keys: r.value for r in mixed.workspace.recipe.rules}
    ids = [e.id for e in mixed.workspace.recipe.experts]
    assert rules == {(e, "mlp", layer, None): 0.25 for e in ids[:2] for layer in ("1", "2")}
    mixed.window.canvas.selectionCommitted.emit("chat : frobs = 1")
    assert {r.keys: r.value for r in mixed.workspace.recipe.rules} == rules


@pytest.mark.parametrize("name", help_pages.PAGES)
def test_generated_help_is_up_to_date(name: str) -> None:
    written = (places.RESOURCES / "help" / name).read_text("utf-8")
    assert written == help_pages.PAGES[name](), "run: python -m app.help_pages"


def test_second_base_is_asked_about(
    mixed: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: Settled
) -> None:
    other = write_model(tmp_path / "other", base_tensors(5))
    monkeypatch.setattr(mixed.shelf, "_ask_base", lambda _: "")
    before = mixed.workspace.recipe
    mixed.shelf.drop([str(other)], "base")
    settled(mixed)
    assert mixed.workspace.recipe == before
    monkeypatch.setattr(mixed.shelf, "_ask_base", lambda _: "base")
    mixed.shelf.drop([str(other)], "base")
    settled(mixed)
    assert mixed.workspace.recipe.base is not None and mixed.workspace.recipe.base.name == "other"


def test_mergekit_yaml_goes_out_and_comes_back(mixed: Desk, tmp_path: Path, settled: Settled) -> None:
    mixed.window.canvas.selectionCommitted.emit("chat = 0.25")
    before = mixed.workspace.recipe
    mixed.handlers.save_mergekit(str(tmp_path / "mix.yaml"))
    assert "merge_method: task_arithmetic" in (tmp_path / "mix.yaml").read_text()
    mixed.workspace.store.reset(type(before)(), None)
    mixed.shelf.drop([str(tmp_path / "mix.yaml")], "canvas")
    settled(mixed)
    after = mixed.workspace.recipe
    assert [e.path for e in after.experts] == [e.path for e in before.experts] and after.method == before.method
    assert mixed.desk.board is not None
    assert mixed.desk.board.cells.values[0] == pytest.approx(0.25)


def test_mergekit_yaml_that_makes_no_sense_keeps_the_desk(mixed: Desk, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("merge_method: frobnicate\nmodels: []\n")
    before = mixed.workspace.recipe
    mixed.workspace.store._saved = before  # nothing to ask about
    mixed.handlers.open_mergekit(str(tmp_path / "bad.yaml"))
    assert mixed.workspace.recipe == before and "bad.yaml" in mixed.problem_text()


def test_preset_is_one_undo_step(mixed: Desk, settled: Settled) -> None:
    settled(mixed)
    from engine.recipe.presets import PRESETS

    before = mixed.workspace.recipe
    mixed.window.canvas.shapeRequested.emit(f"preset:{PRESETS[0].id}")
    assert mixed.workspace.recipe.rules != before.rules
    assert mixed.workspace.store.undo_stack.undoText() == f"Preset {PRESETS[0].title}"
    mixed.handlers.edit_undo()
    assert mixed.workspace.recipe == before


def test_overlap_views_show_measured_numbers(mixed: Desk, settled: Settled, qtbot: QtBot) -> None:
    mixed.window.docks["overlap"].show()
    qtbot.waitUntil(lambda: mixed.overlap._panel is not None)
    panel = mixed.overlap.panel()
    settled(mixed)
    base = base_tensors()
    deltas = [
        np.concatenate([(expert_tensors(base, i + 1)[n].astype(np.float64) - base[n]).ravel() for n in base])
        for i in range(3)
    ]
    cosine = deltas[0] @ deltas[1] / np.linalg.norm(deltas[0]) / np.linalg.norm(deltas[1])
    qtbot.waitUntil(lambda: panel.frame("cosine").view.state.values.shape == (3, 3))
    assert panel.frame("cosine").view.state.values[0, 1] == pytest.approx(cosine, abs=1e-6)
    panel.show_view("signs")
    settled(mixed)
    qtbot.waitUntil(lambda: panel.frame("signs").view.state.values.size > 0)
    layer = list(panel.frame("signs").view.state.columns).index("1")
    parts = np.stack([np.concatenate([(expert_tensors(base, i + 1)[n] - base[n]).ravel()
                                      for n in base if ".layers.1." in n]) for i in range(3)])  # fmt: skip
    elected = np.sign(parts.sum(0))
    want = ((np.sign(parts) != elected) & (parts != 0) & (elected != 0)).sum(1) / (parts != 0).sum(1)
    assert panel.frame("signs").view.state.values[:, layer] == pytest.approx(want, abs=2e-3)
    panel.frame("signs").view.cellChosen.emit(2, layer)
    assert mixed.window.canvas.selectedCells() == ((mixed.workspace.recipe.experts[2].id, layer),)


def test_model_that_changed_on_disk_is_measured_again(mixed: Desk, tmp_path: Path, settled: Settled) -> None:
    settled(mixed)
    expert = mixed.workspace.recipe.experts[0]
    assert mixed.desk.board is not None
    before = mixed.desk.board.state.experts[0].norm
    base = base_tensors()
    far = {n: (base[n] + 3 * (w - base[n])).astype(np.float32) for n, w in expert_tensors(base, 1).items()}
    write_model(Path(expert.path), far)
    mixed.shelf.drop([expert.path], "canvas")
    settled(mixed)
    assert before is not None and mixed.desk.board.state.experts[0].norm == pytest.approx(3 * before, rel=1e-3)
    assert len(mixed.workspace.recipe.experts) == 3


def test_stranger_beside_a_base_is_told(mixed: Desk, tmp_path: Path, settled: Settled) -> None:
    told: list[str] = []
    mixed.adding.told.connect(lambda text, _: told.append(text))
    mixed.shelf.drop([str(write_model(tmp_path / "other", base_tensors(7)))], "canvas")
    settled(mixed)
    assert told == ["Not related to the base base: other."]


def test_status_says_who_does_not_fit(mixed: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> None:
    odd = expert_tensors(base_tensors(), 9)
    odd["lm_head.weight"] = np.ascontiguousarray(odd["lm_head.weight"][:, :8])
    mixed.shelf.drop([str(write_model(tmp_path / "odd", odd))], "canvas")
    settled(mixed)
    qtbot.waitUntil(lambda: "odd does not fit the base" in mixed.window.status_left.text())


def test_started_with_paths_keeps_the_unsaved_session(mixed: Desk, qapp: QApplication, tmp_path: Path) -> None:
    recipe = mixed.workspace.recipe
    mixed.session.write()
    mixed.session.release()
    other = Desk(qapp)
    other.start([str(tmp_path / "models" / "base")])
    (kept,) = places.home().glob("unsaved *.mixdown")
    assert load_project(kept) == recipe and other.workspace.settings.recent[0] == str(kept)
    qapp.setProperty("forced", True)
    other.window.close()


def test_name_that_no_project_file_can_hold_is_refused(desk: Desk, tmp_path: Path, settled: Settled) -> None:
    desk.shelf.drop([str(write_model(tmp_path / os.fsdecode(b"caf\xe9"), base_tensors()))], "canvas")
    settled(desk)
    assert not desk.workspace.recipe.experts and "not valid UTF-8" in desk.problem_text()


def test_f6_walks_the_panes_and_lands_on_a_control(mixed: Desk) -> None:
    window = mixed.window
    window.canvas.setFocus()
    for pane in (window.scores, window.sentence, window.shelf, window.canvas):
        mixed.handlers.view_next_pane()
        focused = window.focusWidget()
        assert focused is not None and pane.isAncestorOf(focused)


def test_desk_that_was_given_the_keyboard_takes_keys(mixed: Desk, qtbot: QtBot) -> None:
    mixed.window.activateWindow()
    qtbot.waitUntil(mixed.window.isActiveWindow)
    mixed.window.canvas.setFocus()
    focused = mixed.window.focusWidget()
    assert focused is not None
    qtbot.keyClick(focused, Qt.Key.Key_Down)
    qtbot.keyClick(focused, Qt.Key.Key_M)
    assert len(mixed.workspace.recipe.muted) == 1


def test_export_takes_the_keyboard_and_gives_it_back(mixed: Desk) -> None:
    mixed.handlers.file_export()
    focused = mixed.window.focusWidget()
    assert focused is not None and focused.objectName() == "export-target"
    mixed.window.export.closeRequested.emit()
    assert mixed.window.docks["export"].isHidden()
    focused = mixed.window.focusWidget()
    assert focused is not None and mixed.window.canvas.isAncestorOf(focused)


@pytest.mark.parametrize("answer", [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
def test_save_as_asks_before_it_replaces(
    mixed: Desk, tmp_path: Path, qapp: QApplication, answer: QMessageBox.StandardButton
) -> None:
    """Also when the name was typed without its ending."""
    file = tmp_path / "mix.mixdown"
    file.write_text("somebody's work")
    asked, typed = list[str](), list[str]()

    def reply() -> None:
        shown = [w for w in qapp.topLevelWidgets() if w.isVisible()]
        box = next((w for w in shown if isinstance(w, QMessageBox)), None)
        dialog = next((w for w in shown if isinstance(w, QFileDialog)), None)
        if box is not None:
            asked.append(box.text())
            box.button(answer).click()
        elif dialog is not None and asked:
            dialog.reject()
        elif dialog is not None and not typed:
            typed.append(str(tmp_path / "mix"))
            dialog.findChild(QLineEdit).setText(typed[0])
            QTimer.singleShot(0, dialog.accept)  # it asks in a loop of its own

    timer = QTimer(mixed, interval=30)
    timer.timeout.connect(reply)
    timer.start()
    saved = mixed.handlers.file_save_as()
    timer.stop()
    assert len(asked) == 1 and saved == (answer == QMessageBox.StandardButton.Yes)
    assert (file.read_text() == "somebody's work") != saved


def test_buttons_of_an_export_mean_that_export(mixed: Desk, tmp_path: Path, settled: Settled) -> None:
    """Whatever the form says by now."""
    settled(mixed)
    opened: list[str] = []
    mixed.export.openRequested.connect(opened.append)
    mixed.export.export(ExportForm(path=str(tmp_path / "one")))
    settled(mixed)
    (first,) = [j for j in mixed.workspace.runner.jobs if j.key.startswith("export ")]
    mixed.export.export(ExportForm(path=str(tmp_path / "two")))
    settled(mixed)
    mixed.export._form = ExportForm(path=str(tmp_path / "nothing"))
    mixed.export.act_on(first.number, "open_expert")
    mixed.export.act("open_expert")
    assert opened == [str(tmp_path / "one"), str(tmp_path / "two")] and "Exported" in first.message


def test_threshold_line_sets_the_density(mixed: Desk, settled: Settled, qtbot: QtBot) -> None:
    mixed.mix.choose("ties")
    mixed.window.docks["overlap"].show()
    qtbot.waitUntil(lambda: mixed.overlap._panel is not None)
    panel = mixed.overlap.panel()
    panel.show_view("sizes")
    settled(mixed)
    qtbot.waitUntil(lambda: panel.frame("sizes").view.state.counts.size > 0)
    state = panel.frame("sizes").view.state
    base = base_tensors()
    assert (state.counts.sum(1) + state.zeros == sum(w.size for w in base.values())).all()
    panel.densityDragged.emit(0.35, "g1")
    assert dict(mixed.workspace.recipe.params)["density"] == 0.35
    assert mixed.workspace.store.undo_stack.undoText() == "Set density to 0.35"


def test_redo_right_after_undo_is_not_lost(mixed: Desk) -> None:
    """The frame is refreshed a moment later; the keys must work at once."""
    mixed.window.canvas.selectionCommitted.emit("chat = 0.25")
    changed = mixed.workspace.recipe
    mixed.window.commands["edit.undo"].trigger()
    assert mixed.workspace.recipe != changed
    mixed.window.commands["edit.redo"].trigger()
    assert mixed.workspace.recipe == changed
