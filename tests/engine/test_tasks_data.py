"""A stranger's data files: what is understood of them, and how each kind of damage is told."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import EvalProblem
from engine.evaluate import pictures, table
from engine.evaluate.look import look
from engine.evaluate.make import make_task
from engine.evaluate.plan import TaskPlan
from engine.evaluate.splitting import content, part
from engine.evaluate.table import read_table
from engine.evaluate.task import load_task, parse_task
from tests.engine import task_kit as kit


@pytest.mark.parametrize(("name", "raw", "said"), [
    ("a.csv", b"text,label\nfine,a\n\xff\xfe,b\n", "Line 3 is not UTF-8"),
    ("a.csv", b"text,label\nfine,a\nshort\n", "Row 2: 1 cell instead of 2"),
    ("a.csv", b"text,text\nfine,a\n", "each once"),
    ("a.csv", b'text,label\n"open,a\n', "Row 1: "),
    ("a.csv", b"text,label\n", "no rows"),
    ("a.jsonl", b'{"text": "a"}\n{"text": NaN}\n', "Row 2: "),
    ("a.jsonl", b'{"text": "a"}\n[1]\n', "Row 2: a JSON object"),
    ("a.jsonl", b'{"a": 1, "a": 2}\n', "Row 1: "),
    ("a.jsonl.gz", b"no gzip", "no valid gzip"),
    ("a.xlsx", b"PK", "not known"),
    ("a.parquet", b"PAR1", "pyarrow|damaged"),
])  # fmt: skip
def test_damage_is_told_with_its_row(tmp_path: Path, name: str, raw: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(EvalProblem, match=said):
        read_table(path)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_ROWS", 3)
    rows = kit.write_csv(tmp_path / "a.csv", ("text",), [("x",)] * 4)
    with pytest.raises(EvalProblem, match="more than 3 rows"):
        read_table(rows)
    monkeypatch.setattr(table, "MAX_FILE", 1000)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(b" " * 5000))
    with pytest.raises(EvalProblem, match="unpacks to more"):
        read_table(packed)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    Image.new("L", (20, 20)).save(tmp_path / "large.png")
    with pytest.raises(EvalProblem, match="20 × 20 pixels"):
        pictures.decode(tmp_path / "large.png", (4, 4), 1)


def test_arrays_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((4, 2, 2), np.uint8), labels=np.array([0, 1, object(), 1], dtype=object))
    with pytest.raises(EvalProblem, match="never read"):
        look(path)
    splits = {
        f"{s}.{n}": v
        for s in ("val", "test")
        for n, v in (
            ("images", np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4) + (s == "test")),
            ("labels", np.arange(6) % 3),
        )
    }
    np.savez(path, **splits)
    found = look(path)
    assert (found.count, dict(found.splits), found.plan.text) == (12, {"val": 6, "test": 6}, "{split}.images")


def test_a_folder_keeps_to_itself(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("L", (4, 4)).save(secret)
    for name in ("cats", "dogs"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        Image.new("L", (4, 6)).save(folder / "1.png")
        (folder / "link.png").symlink_to(secret)
        (folder / "notes.txt").write_text("x")
    (tmp_path / "data" / "birds").symlink_to(tmp_path / "data" / "cats")
    found = look(tmp_path / "data")
    assert (found.count, dict(found.sizes)) == (2, {"4×6": 2})
    (tmp_path / "data" / "cats" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    with pytest.raises(EvalProblem, match="no image"):
        look(tmp_path / "data")


def test_splits_are_apart_and_do_not_move() -> None:
    texts = [f"text {i % 90}" for i in range(120)]  # thirty rows are there twice
    keys = [content(text) for text in texts]
    first = part(keys, [], 5, 1000)
    assert not {keys[i] for i in first.val} & {keys[i] for i in first.test}
    assert sorted(first.val + first.test) == list(range(120))
    shuffled = part(keys[::-1], [], 5, 1000)
    assert [texts[i] for i in first.val] == [texts[::-1][i] for i in shuffled.val]  # whatever the file's order
    assert part(keys, [], 6, 1000).val != first.val
    assert content("A  b") == content("a B")
    given = part(keys, ["train"] * 100 + ["test"] * 20, 0, 10)
    assert not {keys[i] for i in given.val} & {keys[i] for i in given.test}
    assert any("left out" in note for note in given.notes)
    assert (len(given.val), len(given.test)) == (10, 10)


def test_columns_are_understood(tmp_path: Path) -> None:
    rows = [(text, label, "test" if i % 2 else "dev") for i, (text, label) in enumerate(kit.reviews(60))]
    found = look(kit.write_csv(tmp_path / "a.csv", ("sentence", "mood", "split"), rows))
    assert (found.plan.family, found.plan.text, found.plan.label, found.plan.split) == (
        "class", "sentence", "mood", "split")  # fmt: skip
    assert dict(found.splits) == {"val": 30, "test": 30}
    assert sum(count for _, count in found.labels) == 60
    assert len(found.preview) == 10
    raw = [{"question": "which one", "A": "x", "B": "y", "C": "z", "answer": "B"} for _ in range(9)]
    quiz = look(kit.write_jsonl(tmp_path / "q.jsonl", raw)).plan
    assert (quiz.family, quiz.options, quiz.label) == ("choice", ("A", "B", "C"), "answer")


def test_a_wrong_cell_is_named(tmp_path: Path) -> None:
    kit.save_tokenizer(tmp_path / "model", "bert")
    data = kit.write_csv(tmp_path / "a.csv", ("text", "label"), [("the cat", "1.5"), ("the dog", "much"), ("", "2")])
    plan = TaskPlan(data=data, family="value", text="text", label="label", model=tmp_path / "model", head="model",
                    name="x")  # fmt: skip
    with pytest.raises(EvalProblem, match="Row 3: column 'text' is empty"):
        make_task(plan, tmp_path / "x.task.json")
    kit.write_csv(data, ("text", "label"), [(f"the {s}", "much" if s == "dog" else "1.5") for s in kit.SUBJECTS])
    with pytest.raises(EvalProblem, match="Row 2: column 'label' has 'much'; a number is needed"):
        make_task(plan, tmp_path / "x.task.json")
    assert not list(tmp_path.glob("x.*"))  # nothing is left behind


def test_old_files_load_and_new_ones_are_closed(tmp_path: Path) -> None:
    kit.save_tokenizer(tmp_path / "model", "bert")
    data = kit.write_csv(tmp_path / "a.csv", ("text", "label"), kit.reviews(40))
    plan = TaskPlan(data=data, text="text", label="label", model=tmp_path / "model", head="model", name="x")
    path = make_task(plan, tmp_path / "x.task.json").task.path
    raw = json.loads(path.read_text())
    for change, said in (
        ({"format": 3}, "newer"), ({"metric": "perplexity"}, "does not fit"), ({"metric": "magic"}, "no metric"),
        ({"head": {"type": "none"}}, "cannot have a head"), ({"labels": []}, "go together"),
        ({"extra": 1}, "wrong at"), ({"head": {"type": "model", "file": "../../x.safetensors"}}, "outside"),
    ):  # fmt: skip
        with pytest.raises(EvalProblem, match=said):
            parse_task({**raw, **change}, path)
    old = {"format": 1, "name": "o", "labels": ["a", "b"], "data": dict(raw["data"]),
           "head": {"file": "x.data.safetensors", "weight": "w"}}  # fmt: skip
    assert parse_task(old, path).is_linear
    assert load_task(path).metric == "accuracy"


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["a b", "c"], "label": [1, 0], "choices": [["x", "y"], ["z", "w"]]}),
                        buffer)  # fmt: skip
    path = tmp_path / "a.parquet"
    path.write_bytes(buffer.getvalue())
    found = read_table(path)
    assert found.columns == ("text", "label", "choices")
    assert found.rows[0] == ("a b", 1, ("x", "y"))
