"""Task files of strangers: what is read, what is refused; and the laws of the interval."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from engine.errors import EvalProblem, FileProblem
from engine.evaluate.data import read_classifier, read_examples
from engine.evaluate.metrics import wilson
from engine.evaluate.score import Score, average, difference, normalised, significant
from engine.evaluate.task import load_task, parse_task
from tests.engine.evaluate_kit import CLASSES, ROWS, WIDTH, Project

Z = 1.959963984540054


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def changed(project: Project, field: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(project.raw)
    *path, last = field.split(".")
    inner = raw
    for step in path:
        inner = inner[step]
    inner[last] = value
    return raw


def test_a_good_task_is_read_as_written(project: Project) -> None:
    task = project.task(project.raw)
    assert (task.name, task.kind, len(task.labels), task.expert) == ("digits", "image", CLASSES, "one")
    assert task.data == project.folder / "digits.safetensors" and task.head.file == project.folder / "head.safetensors"
    rows = read_examples(task, "test", 7)
    assert rows.inputs.shape == (7, 1, 28, 28) and np.array_equal(rows.inputs[:, 0], project.images[:7])
    assert np.array_equal(rows.labels, project.labels[:7])
    assert np.array_equal(read_classifier(task).weight, project.head["weight"].numpy())


@pytest.mark.parametrize("field", ["data.file", "head.file"])
@pytest.mark.parametrize(
    "path",
    ["../../secret.safetensors", "/etc/passwd", "../digits.json", "C:\\x.safetensors", "C:x.safetensors", "..",
     "a\0.safetensors", "..\\digits.safetensors", "link.safetensors", "linked/secret.safetensors", ""],
)  # fmt: skip
def test_paths_that_leave_the_project_are_refused(project: Project, field: str, path: str) -> None:
    secret = project.folder.parent / "secret.safetensors"
    save_file({"weight": torch.ones(CLASSES, WIDTH)}, secret)
    tasks = project.folder / "tasks"
    for link, target in ((tasks / "link.safetensors", secret), (tasks / "linked", project.folder.parent)):
        if not link.is_symlink():
            link.symlink_to(target)
    with pytest.raises(EvalProblem):
        project.task(changed(project, field, path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("format", "1"),
        ("labels", []),
        ("labels", "0123456789"),
        ("labels", ["a"] * 10_001),
        ("metric", "__class__"),
        ("data.kind", "pickle"),
        ("data.kind", ["image"]),
        ("data", None),
        ("head.pool", "max"),
        ("head.normalise", 1),
        ("input.std", [0.0]),
        ("input.std", [-1.0]),
        ("input.mean", [0.1, 0.2]),
        ("input.scale", "1/255"),
        ("input.mean", [10**400]),
        ("extra", "field"),
        ("head.script", "rm"),
        ("name", "x" * 201),
        ("name", 5),
    ],
)
def test_wrong_fields_are_refused(project: Project, field: str, value: Any) -> None:
    with pytest.raises(EvalProblem) as caught:
        project.task(changed(project, field, value))
    assert caught.value.where.endswith("digits.task.json") and caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"a": NaN}', '{"a": Infinity}', '{"name": 1, "name": 2}', "[" * 100_000, "9" * 5_000,
     '"\ud800"'.encode("utf-8", "surrogatepass").decode("latin-1")],
    ids=range(10),
)  # fmt: skip
def test_damaged_json_is_refused(project: Project, text: str) -> None:
    with pytest.raises(EvalProblem):
        project.task(text)


def test_numbers_that_are_not_finite_are_refused(project: Project) -> None:
    for number in ("NaN", "-Infinity", "1e999"):
        with pytest.raises(EvalProblem):
            project.task(json.dumps(project.raw).replace("0.13", number))


def test_a_pipe_does_not_hang(project: Project) -> None:
    import os

    pipe = project.folder / "tasks" / "pipe.task.json"
    os.mkfifo(pipe)
    with pytest.raises(FileProblem):
        load_task(pipe)


def spoiled(name: str, tensor: torch.Tensor | None) -> Callable[[dict[str, torch.Tensor]], None]:
    def spoil(rows: dict[str, torch.Tensor]) -> None:
        rows.pop(name)
        if tensor is not None:
            rows[name] = tensor

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        spoiled("test.labels", None),
        spoiled("test.images", None),
        spoiled("test.labels", torch.full((ROWS,), torch.nan)),
        spoiled("test.labels", torch.full((ROWS,), CLASSES)),
        spoiled("test.labels", torch.full((ROWS,), -1)),
        spoiled("test.labels", torch.zeros(ROWS, 2, dtype=torch.int64)),
        spoiled("test.labels", torch.zeros(0, dtype=torch.int64)),
        spoiled("test.labels", torch.zeros(ROWS - 1, dtype=torch.int64)),
        spoiled("test.images", torch.zeros(ROWS, 0, 28, dtype=torch.uint8)),
        spoiled("test.images", torch.zeros(ROWS, 3, 28, 28, dtype=torch.uint8)),
        spoiled("test.images", torch.zeros(ROWS, 28, 28, dtype=torch.int64)),
        spoiled("test.images", torch.zeros(ROWS, dtype=torch.uint8)),
        spoiled("test.images", torch.full((ROWS, 28, 28), torch.inf)),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, project: Project, spoil: Any) -> None:
    rows = {"test.images": torch.from_numpy(project.images), "test.labels": torch.from_numpy(project.labels)}
    spoil(rows)
    save_file(rows, tmp_path / "digits.safetensors")
    (tmp_path / "tasks").mkdir()
    path = tmp_path / "tasks" / "x.task.json"
    path.write_text(json.dumps(project.raw))
    with pytest.raises(EvalProblem) as caught:
        read_examples(load_task(path), "test")
    assert caught.value.hint or caught.value.where


def test_a_header_that_promises_terabytes_is_refused(tmp_path: Path, project: Project) -> None:
    header = {
        "test.labels": {"dtype": "I64", "shape": [1 << 40], "data_offsets": [0, 1 << 43]},
        "test.images": {"dtype": "U8", "shape": [1 << 40, 7], "data_offsets": [1 << 43, 15 << 40]},
    }
    raw = json.dumps(header).encode()
    (tmp_path / "digits.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw)
    path = tmp_path / "x.task.json"
    path.write_text(json.dumps(changed(project, "data.file", "digits.safetensors")))
    with pytest.raises(EvalProblem, match="Digits"):
        read_examples(load_task(path), "test")


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        (torch.ones(CLASSES + 1, WIDTH), torch.zeros(CLASSES)),
        (torch.ones(CLASSES), torch.zeros(CLASSES)),
        (torch.ones(CLASSES, WIDTH), torch.zeros(1)),
        (torch.full((CLASSES, WIDTH), torch.nan), torch.zeros(CLASSES)),
        (torch.ones(CLASSES, WIDTH, dtype=torch.int32), torch.zeros(CLASSES)),
    ],
)
def test_heads_that_do_not_fit_are_refused(
    tmp_path: Path, project: Project, weight: torch.Tensor, bias: torch.Tensor
) -> None:
    save_file({"weight": weight, "bias": bias}, tmp_path / "head.safetensors")
    path = tmp_path / "x.task.json"
    path.write_text(json.dumps(changed(project, "head.file", "head.safetensors")))
    with pytest.raises(EvalProblem):
        read_classifier(load_task(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("format", "name", "title", "metric", "labels", "data", "data.kind", "data.file", "data.val", "input",
          "input.scale", "input.mean", "input.std", "head", "head.file", "head.bias", "head.pool")  # fmt: skip


@given(st.sampled_from(FIELDS), JSON)
def test_any_field_may_be_anything(project: Project, field: str, value: Any) -> None:
    try:
        task = parse_task(changed(project, field, value), project.folder / "tasks" / "x.task.json")
    except EvalProblem:
        return
    assert task.data.is_relative_to(project.folder) and task.head.file.is_relative_to(project.folder)
    assert all(math.isfinite(number) for number in (task.scale, *task.mean, *task.std))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_solve_their_equation(pair: tuple[int, int]) -> None:
    correct, count = pair
    share = correct / count
    low, high = wilson(correct, count)
    assert 0 <= low <= share <= high <= 1 and low < high
    for bound in (low, high):  # the shares p from which the count is just z standard errors away
        error = math.sqrt(bound * (1 - bound) / count)
        assert math.isclose(abs(share - bound), Z * error, rel_tol=1e-6, abs_tol=1e-7)
    mirrored = wilson(count - correct, count)
    assert math.isclose(mirrored[0], 1 - high, abs_tol=1e-12) and math.isclose(mirrored[1], 1 - low, abs_tol=1e-12)
    assert wilson(correct * 4, count * 4)[1] - wilson(correct * 4, count * 4)[0] < high - low


def test_wilson_against_published_figures() -> None:
    assert np.allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)  # Newcombe 1998, Stat. Med. 17:857, table I
    assert np.allclose(wilson(0, 20), (0, 0.1611), atol=5e-5)
    assert np.allclose(wilson(1, 29), (0.0061, 0.1718), atol=5e-5)


def scored(correct: int, count: int, task: str = "t", split: Any = "val") -> Score:
    low, high = wilson(correct, count)
    return Score(task=task, split=split, metric="accuracy", value=correct / count, low=low, high=high,
                 correct=correct, count=count)  # fmt: skip


def test_differences_averages_and_shares() -> None:
    low, high = difference(scored(48, 80), scored(56, 70))
    assert np.allclose((low, high), (0.0524, 0.3339), atol=5e-5)  # Newcombe 1998, Stat. Med. 17:873, table II (a)
    assert significant(scored(48, 80), scored(56, 70)) and not significant(scored(50, 100), scored(52, 100))
    experts = {"a": scored(100, 100, "a"), "b": scored(90, 100, "b")}
    mean = average([scored(50, 100, "a"), scored(90, 100, "b")], experts)
    assert math.isclose(mean.value, 0.7) and mean.normalised is not None and math.isclose(mean.normalised, 0.75)
    assert mean.margin < scored(50, 100).margin and mean.count == 200
    assert average([scored(1, 2)], {}).normalised is None and normalised(scored(1, 2), scored(0, 2)) is None
    with pytest.raises(EvalProblem):
        average([scored(1, 2), scored(1, 2, "b", "test")])
    with pytest.raises(EvalProblem):
        difference(scored(1, 2), scored(1, 2, split="test"))


def test_folder_given_as_a_task_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(EvalProblem) as caught:
        load_task(tmp_path)
    assert "safetensors" not in str(caught.value) and ".task.json" in caught.value.hint
