"""Recipes that restack layers on the command line and on the desk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from app import cli
from app.desk import Desk
from app.export_job import ExportJob, job_from_json, job_to_json, perform, reopened, stamps_of
from app.workbench import open_recipe
from engine.export.options import ExportOptions
from engine.progress import Token
from engine.recipe.mergekit import load_mergekit
from tests.app.models import write_family
from widgets.desk.stack_note import StackNote

Settled = Callable[[Desk], None]

TALL = """
slices:
  - sources: [{model: models/chat, layer_range: [0, 3]}]
  - sources: [{model: models/code, layer_range: [1, 4], parameters: {scale: 0.5}}]
merge_method: passthrough
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The models base, chat and code of four layers, and tall.yaml of six."""
    for path in write_family(tmp_path / "models")[1]:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    (tmp_path / "tall.yaml").write_text(TALL)
    return tmp_path


def test_a_stack_is_merged_verified_and_converted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> None:
        assert (
            cli.run([str(folder / w) if "." in w or w in ("one", "two", "three", "models") else w for w in words]) == 0
        )

    run("merge", "tall.yaml", "--out", "one")
    run("convert", "tall.yaml", "tall.mixdown")
    run("convert", "tall.mixdown", "back.yaml")
    run("merge", "tall.mixdown", "--out", "two")
    run("merge", "back.yaml", "--out", "three")
    one, two, three = (folder / name / "model.safetensors" for name in ("one", "two", "three"))
    assert one.read_bytes() == two.read_bytes()
    first, last = load_file(one), load_file(three)
    assert first.keys() == last.keys() and all(np.array_equal(last[name], value) for name, value in first.items())
    assert json.loads((folder / "one" / "config.json").read_text())["num_hidden_layers"] == 6
    assert "code 1–3 |" in (folder / "one" / "README.md").read_text()
    code = load_file(folder / "models" / "code" / "model.safetensors")
    up = "model.layers.{}.mlp.up_proj.weight"
    assert np.array_equal(first[up.format(5)], code[up.format(3)] * np.float32(0.5))
    capsys.readouterr()
    run("verify", "one", "--inputs", "models", "--all")
    assert "every byte the same" in capsys.readouterr().out


def test_the_desk_shows_a_stack_and_says_where_it_is_edited(desk: Desk, folder: Path, settled: Settled) -> None:
    desk.window.show()
    desk.handlers.open_mergekit(str(folder / "tall.yaml"))
    settled(desk)
    note = desk.window.findChild(StackNote)
    assert note is not None and note.isVisible()
    assert "6 layers: chat 0–2, code 1–3" in note.text() and "edited in the mergekit YAML" in note.text()
    assert [c.label for c in desk.desk.columns] == ["emb", "0", "1", "2", "3", "4", "5", "head"]
    assert desk.board_values() == [[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [0.5] * 4]
    assert desk.desk.board is not None and "mergekit YAML" in desk.desk.board.state.fixed
    assert "none for restacked layers" in desk.window.status_left.text()
    desk.window.canvas.selectionCommitted.emit("code : mlp : 4 = 0.25")
    assert desk.board_values() == [[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [0.5] * 4]  # the layer's other kinds differ
    assert any((rule.layer, rule.kind, rule.value) == ("4", "mlp", 0.25) for rule in desk.workspace.recipe.rules)
    desk.workspace.store.save(folder / "kept.mixdown")
    desk.workspace.store.reset(type(desk.workspace.recipe)(), None)
    settled(desk)
    assert not note.isVisible()
    desk.workspace.store.open(folder / "kept.mixdown")
    settled(desk)
    assert note.isVisible() and len(desk.board_values() or ()) == 2


def test_a_stack_that_lost_an_expert_says_so_and_undo_brings_it_back(
    desk: Desk, folder: Path, settled: Settled
) -> None:
    desk.window.show()
    desk.handlers.open_mergekit(str(folder / "tall.yaml"))
    settled(desk)
    desk.shelf.remove("e2")
    settled(desk)
    note = desk.window.findChild(StackNote)
    assert note is not None and "cannot be stacked" in note.text() and "slice 2" in note.text()
    desk.handlers.edit_undo()
    settled(desk)
    assert "6 layers" in note.text() and len(desk.board_values() or ()) == 2


def test_an_export_of_the_window_is_that_of_the_command_line(folder: Path) -> None:
    recipe = load_mergekit(folder / "tall.yaml").recipe
    inputs = open_recipe(recipe).inputs
    job = ExportJob(recipe, folder / "window", ExportOptions(), "cpu", 1, stamps_of(inputs))
    again = job_from_json(json.loads(json.dumps(job_to_json(job))))
    assert again == job
    perform(again, reopened(again), Token())
    assert cli.run(["merge", str(folder / "tall.yaml"), "--out", str(folder / "line")]) == 0
    one, two = (folder / name / "model.safetensors" for name in ("window", "line"))
    assert one.read_bytes() == two.read_bytes()
