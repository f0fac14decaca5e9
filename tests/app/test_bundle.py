"""Task bundles in the window: export with forecast and table, dropping one, projects with its tasks."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from app import places, served
from app.bundle_drop import BundleDrop
from app.bundle_export import BundleExport
from app.cli import run
from app.demo import demo_recipe
from app.desk import Desk
from engine.bundle.cache import TaskCache
from engine.bundle.compress import BundleOptions, compress
from engine.bundle.opening import open_bundle
from engine.bundle.restore import restored_state
from engine.errors import FileProblem
from engine.files.checkpoint import open_checkpoint
from engine.files.members import NotRestored, member_path, split
from engine.files.reading import Reader
from engine.merge.inputs import make_inputs
from tests.app.models import write_family

Settled = Callable[[Desk], None]


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, list[Path]]:
    return write_family(tmp_path / "models", 3)


def bundle_of(models: tuple[Path, list[Path]], out: Path, **options: object) -> Path:
    base, experts = models
    inputs = make_inputs(open_checkpoint(base), [open_checkpoint(e) for e in experts], [e.name for e in experts])
    return compress(inputs, out, options=BundleOptions(**options)).path


def drop(desk: Desk, *paths: Path) -> None:
    """A real drop on what the window shows: the welcome page or the canvas."""
    mime, page = QMimeData(), desk.window.pages.currentWidget()
    assert page is not None
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    at, buttons, keys = page.rect().center(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(at, Qt.DropAction.CopyAction, mime, buttons, keys)
    QApplication.sendEvent(page, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(page, QDropEvent(QPointF(at), Qt.DropAction.CopyAction, mime, buttons, keys))
    QApplication.processEvents()  # the wish comes after the drag


def part(desk: Desk, kind: type) -> object:
    found = desk.findChild(kind)
    assert found is not None
    return found


def names(desk: Desk) -> list[str]:
    return [e.name for e in desk.workspace.recipe.experts]


def test_exported_bundle_is_that_of_the_command_line(
    desk: Desk, models: tuple[Path, list[Path]], tmp_path: Path, settled: Settled, qtbot: QtBot
) -> None:
    base, experts = models
    desk.shelf.drop([str(base), *map(str, experts)], "canvas")
    settled(desk)
    desk.window.commands.trigger("file.bundle")
    export = part(desk, BundleExport)
    assert isinstance(export, BundleExport) and export.dialog.isVisible()
    tasks = tuple(replace(t, level=0.3 if t.name == "code" else t.level) for t in export.dialog.form().tasks)
    out = tmp_path / "window.safetensors"
    export.dialog.set_form(replace(export.dialog.form(), path=str(out), eight=True, tasks=tasks))
    export.refresh()
    sizes = export.dialog.state.sizes
    assert sizes is not None and not export.dialog.state.reason
    assert sizes.experts_bytes == sum(open_checkpoint(e).size_bytes for e in experts)
    qtbot.keyClick(export.dialog, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    settled(desk)
    flags = [f for e in experts for f in ("--expert", str(e))]
    other = tmp_path / "command.safetensors"
    assert run(["compress", "--base", str(base), *flags, "--bits", "8", "--lambda", "code=0.3", "--json",
                "--out", str(other)]) == 0  # fmt: skip
    assert out.read_bytes() == other.read_bytes()
    assert out.stat().st_size <= sizes.file_bytes < 1.5 * out.stat().st_size
    results = {r.name: r for r in export.dialog.state.results}
    assert results["code"].level == 0.3 and results["chat"].level == 0.4 and results["chat"].restored is None
    assert "bits a parameter" in export.dialog.state.summary


@pytest.mark.soak  # loads the evaluator in a worker of the window; the command line's test has the figures
def test_bundle_with_data_chooses_lambda_and_shows_what_is_kept(desk: Desk, tmp_path: Path, settled: Settled) -> None:
    recipe = demo_recipe()
    recipe = replace(recipe, experts=recipe.experts[:2], tasks=recipe.tasks)
    desk.workspace.change_settings(eval_rows=24)
    desk.workspace.store.reset(recipe, None)
    settled(desk)
    export = part(desk, BundleExport)
    assert isinstance(export, BundleExport)
    export.open()
    form = export.dialog.form()
    first, second = form.tasks
    assert first.is_tuned and second.is_tuned and Path(first.chosen).name == f"{first.name}.task.json"
    form = replace(form, path=str(tmp_path / "all.safetensors"), tasks=(first, replace(second, chosen="", level=0.5)))
    export.export(form)
    settled(desk)
    one, two = sorted(export.dialog.state.results, key=lambda r: r.name != first.name)
    assert one.tuned and one.level in (0.2, 0.3, 0.4, 0.5, 0.6) and not two.tuned and two.level == 0.5
    assert one.rows == 24 and one.restored and one.expert and one.kept == pytest.approx(one.restored / one.expert)
    assert "of their experts' scores on 24 test rows" in export.dialog.state.summary
    button = export.dialog.findChild(QPushButton, "bundle-copy")
    assert button is not None and button.isVisible()
    button.click()
    table = list(csv.DictReader(io.StringIO(QGuiApplication.clipboard().text())))
    assert [r["kept"] for r in table] == ["" if r.kept is None else str(r.kept) for r in export.dialog.state.results]
    assert open_bundle(tmp_path / "all.safetensors").manifest.tasks[0].sha256


@pytest.mark.parametrize("rows", [(0, 1, 2), (2, 1, 0)])
def test_a_dropped_bundle_has_the_rows_and_so_the_colours_of_the_desk_that_made_it(
    desk: Desk, models: tuple[Path, list[Path]], tmp_path: Path, settled: Settled, rows: tuple[int, ...]
) -> None:
    base, experts = models
    path = bundle_of((base, [experts[r] for r in rows]), tmp_path / "all.safetensors", include_base=True)
    drop(desk, path)
    settled(desk)
    assert names(desk) == [experts[r].name for r in rows]


def test_dropped_bundle_is_base_and_experts_in_one_step(
    desk: Desk, models: tuple[Path, list[Path]], tmp_path: Path, settled: Settled
) -> None:
    path = bundle_of(models, tmp_path / "all.safetensors", include_base=True, bits=8)
    drop(desk, path)
    settled(desk)
    recipe = desk.workspace.recipe
    assert recipe.base is not None and recipe.base.name == "base" and sorted(names(desk)) == ["chat", "code", "math"]
    assert desk.workspace.store.undo_stack.count() == 1 and not desk.problem_text()
    assert all(split(Path(e.path)) is not None for e in recipe.experts)
    assert desk.workspace.live.gram(recipe) is not None  # the rows are as alive as any
    state = restored_state(open_bundle(path), "chat")
    opened = open_checkpoint(Path(next(e.path for e in recipe.experts if e.name == "chat")))
    with Reader(opened) as reader:
        for name, info in opened.tensors.items():
            assert np.array_equal(reader.read_float32(info), state[name].numpy().ravel())
    desk.handlers.edit_undo()
    assert desk.workspace.recipe.base is None and not names(desk)
    desk.handlers.edit_redo()
    drop(desk, path)
    settled(desk)
    assert len(names(desk)) == 3  # already there


def test_bundle_without_its_base_asks_for_it(
    desk: Desk, models: tuple[Path, list[Path]], tmp_path: Path, settled: Settled
) -> None:
    path = bundle_of(models, tmp_path / "all.safetensors")
    taker = part(desk, BundleDrop)
    assert isinstance(taker, BundleDrop)
    asked: list[tuple[str, str]] = []
    answers: list[Path | None] = [None, models[1][0], models[0]]

    def answer(bundle: str, base: str) -> Path | None:
        asked.append((bundle, base))
        return answers[len(asked) - 1]

    taker.ask_base = answer
    drop(desk, path)
    settled(desk)
    assert asked == [("all.safetensors", "base")] and not names(desk) and not desk.problem_text()
    drop(desk, path)
    settled(desk)
    assert "is not the base" in desk.problem_text() and not names(desk)
    drop(desk, path)
    settled(desk)
    assert len(asked) == 3 and len(names(desk)) == 3
    assert desk.workspace.recipe.base is not None and desk.workspace.recipe.base.path == str(models[0])


def test_projects_with_restored_tasks_reopen(
    desk: Desk, models: tuple[Path, list[Path]], tmp_path: Path, settled: Settled, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle_of(models, tmp_path / "all.safetensors")
    desk.shelf.drop([str(models[0])], "base")
    settled(desk)
    drop(desk, path)
    settled(desk)
    assert len(names(desk)) == 3 and desk.workspace.recipe.base is not None
    project = tmp_path / "mix.mixdown"
    desk.workspace.store.save(project)
    assert "all.safetensors/chat" in project.read_text()  # portable: nothing of this user's folders is in it
    assert str(places.home()) not in project.read_text()
    paths = [e.path for e in desk.workspace.recipe.experts]
    desk.handlers.file_new()
    shutil.rmtree(places.bundle_folder())
    for path_ in paths:
        desk.workspace.library.reload(path_)  # as in a new window
    desk.handlers.open_project(str(project))
    settled(desk)
    assert desk.workspace.inputs() is not None and not desk.problem_text()
    assert desk.workspace.live.gram(desk.workspace.recipe) is not None
    shutil.rmtree(places.bundle_folder())
    assert run(["merge", str(project), "--out", str(tmp_path / "merged"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(tmp_path / "merged")


def test_restored_tasks_that_no_project_uses_are_removed(models: tuple[Path, list[Path]], tmp_path: Path) -> None:
    cache = TaskCache(tmp_path / "cache")
    paths = [bundle_of(models, tmp_path / f"{name}.safetensors", bits=bits) for name, bits in (("one", 8), ("two", 32))]
    base = open_checkpoint(models[0])
    for path in paths:
        cache.restore(open_bundle(path), ["chat"], base)
    assert cache.clean([]) == []  # a window may have opened them just now
    assert len(cache.clean([member_path(paths[0], "chat")], older_than_s=-1)) == 1
    assert cache.open_member(paths[0], "chat").name == "chat"
    with pytest.raises(NotRestored):
        cache.open_member(paths[1], "chat")


def test_names_of_tasks_become_paths_and_back(tmp_path: Path) -> None:
    file = tmp_path / "all.safetensors"
    file.write_bytes(b"")
    for name in ("digits", "a/b", "..", ".hidden", "(base)", "100 %", "é ü", "C:\\x", "end."):
        path = member_path(file, name)
        assert path.parent == file and split(path) == (file, name), name
    assert split(file / "(base)") == (file, "(base)") and split(tmp_path / "x") is None


def test_damaged_bundle_is_told_plainly(desk: Desk, models: tuple[Path, list[Path]], tmp_path: Path,
                                        settled: Settled) -> None:  # fmt: skip
    path = bundle_of(models, tmp_path / "all.safetensors", include_base=True, codec="huffman")
    with path.open("r+b") as file:
        info = next(i for n, i in open_bundle(path).checkpoint.tensors.items() if n.startswith("multi/model.embed"))
        file.seek(info.start)
        file.write(b"\x00\x00\xc0\x7f" * info.numel)  # NaN
    drop(desk, path)
    settled(desk)
    assert "all.safetensors cannot be opened" in desk.problem_text() and not names(desk)
    with pytest.raises(FileProblem):
        served.cache().open_member(path, "chat")
