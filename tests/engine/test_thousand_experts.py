"""A thousand experts: what they need is said from headers alone, at once, and before any weight is read."""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from engine.errors import FileProblem, NotEnoughMemory
from engine.export import preflight as preflight_module
from engine.export.folder import export
from engine.export.preflight import preflight
from engine.files.checkpoint import open_checkpoint
from engine.files.reading import Reader
from engine.merge.inputs import open_inputs
from engine.merge.plan import Plan, make_plan
from engine.progress import Token
from engine.recipe.recipe import ModelRef, Recipe
from tests.engine.file_maker import save

COUNT = 1_000
SHAPES = {"embed.weight": [64_000, 8_192], "norm.weight": [8_192]}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelRef, ...]:
    """A base and a thousand experts of 1 GB each that take no room on the disk."""
    folder, offset, header = tmp_path_factory.mktemp("many"), 0, {}
    for name, shape in SHAPES.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header).encode()
    for number in range(COUNT + 1):
        with (folder / f"m{number}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(raw)) + raw + struct.pack("<H", number))
            file.truncate(8 + len(raw) + offset)
    return tuple(ModelRef(id=f"e{n}", name=f"e{n}", path=str(folder / f"m{n}.safetensors")) for n in range(COUNT + 1))


def plan_of(refs: tuple[ModelRef, ...], method: str) -> Plan:
    recipe = Recipe(base=refs[0], experts=refs[1:], method=method)
    return make_plan(recipe, open_inputs(recipe))


def test_the_estimate_is_quick_and_takes_no_memory(many: tuple[ModelRef, ...], tmp_path: Path) -> None:
    plan = plan_of(many, "task_arithmetic")
    tracemalloc.start()
    started = time.process_time()
    found = preflight(plan, tmp_path / "out", threads=2)
    taken, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2 and peak < 50e6, "headers only"
    assert found.peak_memory_bytes < 1e9, "chunks get shorter, the memory not larger"
    assert found.bytes_out > 1e9 and found.forecast_s > 60


def test_what_no_memory_holds_is_refused_with_both_numbers(
    many: tuple[ModelRef, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untouched(Token):
        def begin(self, total: int, text: str, unit: str = "bytes") -> None:
            pytest.fail(f"{text} began")

    plan = plan_of(many, "iso_c")
    with pytest.raises(NotEnoughMemory) as raised:
        export(plan, tmp_path / "sub" / "out", progress=Untouched())
    said = str(raised.value)
    assert "embed.weight" in said and "of 1,001 models at once" in said and "this computer has" in said
    assert "2,103.44 GB" in said, "4 bytes for each of 524 million weights, of all models, the result and the method"
    assert raised.value.hint and not (tmp_path / "sub").exists()
    found = preflight(plan, tmp_path / "out", threads=2)
    assert [(f.severity, f.code) for f in found.findings] == [("error", "memory")] and not found.is_ready
    monkeypatch.setattr(preflight_module, "_memory", lambda *_: None)
    assert preflight(plan, tmp_path / "out", threads=2).is_ready, "a system that does not say is given a try"


@pytest.fixture
def few_files() -> Iterator[None]:
    """As a system that lets a process have only a few files open at first (macOS: 256)."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)  # the lowest number that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 8, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
def test_more_models_than_a_process_may_have_files_open(tmp_path: Path) -> None:
    path = save(tmp_path / "m.safetensors", {"a": np.ones(4, np.float32)})
    model = open_checkpoint(path)
    with ExitStack() as held:
        for _ in range(40):
            reader = held.enter_context(Reader(model))
            assert reader.read_float32(model.tensors["a"]).tolist() == [1, 1, 1, 1]


@pytest.mark.usefixtures("few_files")
def test_a_limit_that_cannot_be_raised_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_checkpoint(save(tmp_path / "m.safetensors", {"a": np.ones(4, np.float32)}))
    monkeypatch.setattr("engine.files.opening._allow_more_files", lambda: False)
    with ExitStack() as held:
        readers = [held.enter_context(Reader(model)) for _ in range(40)]
        with pytest.raises(FileProblem, match="Too many files") as raised:
            sum(reader.read(model.tensors["a"]).size for reader in readers)
        assert "ulimit" in raised.value.hint
