"""The task wizard, from a dropped file to a score in the panel; and the same by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QTableWidget

from app import cli
from app.desk import Desk
from app.task_wizard import TaskWizardController
from engine.evaluate.data import read_examples
from engine.evaluate.mix import score_checkpoint
from engine.evaluate.task import load_task
from engine.files.checkpoint import open_checkpoint
from engine.recipe.recipe import ModelRef, Recipe
from tests.engine import task_kit as kit

DEMO = Path(__file__).resolve().parents[2] / "resources" / "demo"


@pytest.fixture
def loaded(desk: Desk, tmp_path: Path) -> Desk:
    """A desk with a tiny BERT as base and as its own expert."""
    kit.bert(tmp_path / "base", seed=1)
    kit.bert(tmp_path / "reviews", seed=1)
    base = ModelRef(id="b", name="base", path=str(tmp_path / "base"))
    expert = ModelRef(id="e", name="reviews", path=str(tmp_path / "reviews"))
    desk.workspace.store.apply(Recipe(base=base, experts=(expert,)), "Open")
    return desk


def test_from_a_dropped_file_to_a_score(loaded: Desk, qtbot: Any, tmp_path: Path) -> None:
    desk = loaded
    data = kit.write_csv(tmp_path / "reviews.csv", ("sentence", "label"), kit.reviews(120))
    desk.shelf.drop([str(data)], "canvas")
    controller = desk.findChild(TaskWizardController)
    wizard = controller._dialog
    assert wizard is not None
    forward = wizard.findChild(QPushButton, "task-next")
    qtbot.waitUntil(lambda: forward.isEnabled() and bool(wizard.state.tried), timeout=10000)
    assert "2 labels: " in wizard.findChild(QLabel, "task-facts").text()
    assert wizard.findChild(QTableWidget, "task-preview").rowCount() == 10
    assert "tokens" in wizard.state.tried[0]
    for step in range(1, 5):
        qtbot.keyClick(wizard, Qt.Key.Key_Right, Qt.KeyboardModifier.AltModifier)
        assert wizard.step == step
    qtbot.keyClick(wizard, Qt.Key.Key_Left, Qt.KeyboardModifier.AltModifier)
    assert wizard.step == 3
    qtbot.mouseClick(forward, Qt.MouseButton.LeftButton)
    name = wizard.findChild(QLineEdit, "task-name")
    name.selectAll()
    qtbot.keyClicks(name, " ")
    assert not forward.isEnabled()
    assert wizard.state.problems[4] == "Give the task a name."
    name.selectAll()
    qtbot.keyClicks(name, "kind words")
    assert wizard.state.out == str(tmp_path / "kind-words.task.json")
    with qtbot.waitSignal(controller.made, timeout=20000):
        qtbot.mouseClick(forward, Qt.MouseButton.LeftButton)
    ref = desk.workspace.recipe.tasks[0]
    assert (ref.name, len(ref.sha256)) == ("kind words", 64)
    qtbot.waitUntil(lambda: desk.workspace.scoring.can_run, timeout=10000)
    desk.workspace.scoring.evaluate()
    qtbot.waitUntil(lambda: desk.workspace.scoring.board.mix is not None, timeout=30000)
    score = desk.workspace.scoring.board.mix.scores["kind words"]
    assert score.count > 20
    assert score.low < score.value < score.high


def test_a_bad_file_is_told_in_the_wizard(loaded: Desk, qtbot: Any, tmp_path: Path) -> None:
    desk = loaded
    data = tmp_path / "bad.csv"
    data.write_text("text,label\nhello,a\nbroken\n")
    controller = desk.findChild(TaskWizardController)
    controller.open(str(data))
    wizard = controller._dialog
    assert wizard is not None
    qtbot.waitUntil(lambda: "Row 2" in wizard.state.problems[0], timeout=10000)
    assert not wizard.findChild(QPushButton, "task-next").isEnabled()
    assert "Row 2: 1 cell instead of 2" in wizard.findChild(QLabel, "task-problem").text()
    wizard.reject()


def test_the_command_line_makes_shows_and_scores_a_task(tmp_path: Path, capsys: Any) -> None:
    kit.gpt(tmp_path / "gpt")
    data = kit.write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text, _ in kit.reviews(80)])
    out = tmp_path / "t.task.json"
    made = ["task", "new", "--data", str(data), "--model", str(tmp_path / "gpt"), "--metric", "bits_per_byte",
            "--out", str(out)]  # fmt: skip
    assert cli.run(made) == 0
    assert "Split in halves" in capsys.readouterr().out
    assert cli.run(made) == 1
    assert "already" in capsys.readouterr().err
    assert cli.run(["task", "show", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["family"], shown["metric"], shown["higher_is_better"]) == ("lm", "bits_per_byte", False)
    assert shown["data_unchanged"] is True
    assert cli.run(["eval", str(tmp_path / "gpt"), "--task", str(out)]) == 0
    assert "bit/B" in capsys.readouterr().out


@pytest.mark.skipif(not (DEMO / "demo.json").exists(), reason="no demo")
def test_a_folder_of_images_scores_as_the_arrays_it_came_from(tmp_path: Path, capsys: Any) -> None:
    original = load_task(DEMO / "tasks" / "garments.task.json")
    rows = read_examples(original, "test", 60)
    for at, (image, label) in enumerate(zip(rows.inputs, rows.labels, strict=True)):
        folder = tmp_path / "garments" / ("val" if at % 2 else "test") / f"{label:02d} {original.labels[label]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / f"{at}.png")
    for split in ("val", "test"):
        for at, label in enumerate(original.labels):
            (tmp_path / "garments" / split / f"{at:02d} {label}").mkdir(exist_ok=True)
    demo = json.loads((DEMO / "demo.json").read_text())
    base = DEMO / demo["base"] if isinstance(demo["base"], str) else DEMO / demo["base"]["path"]
    out = tmp_path / "own.task.json"
    assert cli.run(["task", "new", "--data", str(tmp_path / "garments"), "--model", str(base), "--head", "file",
                    "--head-file", str(original.head.file), "--out", str(out), "--size", "28"]) == 0  # fmt: skip
    capsys.readouterr()
    raw = json.loads(out.read_text())
    raw["input"] = {"scale": original.scale, "mean": list(original.mean), "std": list(original.std)}
    raw["head"]["normalise"], raw["head"]["pool"] = original.head.normalise, original.head.pool
    out.write_text(json.dumps(raw))
    task = load_task(out)
    own = read_examples(task, "test")
    wanted = {rows.inputs[i].tobytes(): int(rows.labels[i]) for i in range(60)}
    assert [wanted[image.tobytes()] for image in own.inputs] == own.labels.tolist()
    model = open_checkpoint(base)
    both = [score_checkpoint(model, None, task, split=s).correct for s in ("val", "test")]
    assert sum(both) == score_checkpoint(model, None, original, split="test", limit=60).correct
    assert np.unique(own.labels).size > 3
