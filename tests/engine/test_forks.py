"""Merging in processes: the same bytes, errors and stops as in threads, and nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from engine.errors import Cancelled, NotFinite
from engine.export.folder import export
from engine.merge import forks, run
from engine.merge.compute import Computer
from engine.merge.fallback import SMALLER
from engine.merge.sink import Buffer, MemorySink
from engine.progress import Token
from tests.engine.merge_cases import Family, digest, family, save

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setattr(forks, "_allowed", True)
    monkeypatch.setattr(forks, "WORTHWHILE_BYTES", 0)
    return family(tmp_path / "models")


class Watched(MemorySink):
    """A sink that does something at its first bytes, and knows which processes there were."""

    def __init__(self, family: Family, act: object = None) -> None:
        super().__init__(family.plan)
        self.act = act
        self.seen: set[int] = set()

    def write(self, job_index: int, byte_offset: int, buffer: Buffer) -> None:
        children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
        self.seen.update(child.pid for child in children)
        if callable(self.act):
            act, self.act = self.act, None
            act()
        super().write(job_index, byte_offset, buffer)

    @property
    def left(self) -> list[int]:
        """Processes that are still there, zombies included."""
        return [pid for pid in self.seen if psutil.pid_exists(pid)]


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "breadcrumbs", "tsv_m", "slerp"])
def test_the_same_bytes_as_in_threads(models: Family, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = models.with_method(method).plan
    monkeypatch.setattr(forks, "_SLOT_BYTES", 5000)  # so that chunks go in pieces
    sink = Watched(models.with_method(method))
    forked = run.merge(plan, sink, threads=2, chunk=4096)
    monkeypatch.setattr(forks, "_allowed", False)
    expected, told = MemorySink(plan), Token()
    threads = run.merge(plan, expected, threads=2, chunk=4096, progress=told)
    assert len(sink.seen) == 2 and not sink.left
    assert digest(sink.tensors) == digest(expected.tensors)
    assert (forked.notes, forked.threads) == (threads.notes, threads.threads)
    assert told.done == pytest.approx(plan.bytes_in, rel=0.01)


def test_an_export_is_the_same_file(models: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = models.with_method("ties").plan
    export(plan, tmp_path / "a.safetensors", threads=2)
    monkeypatch.setattr(forks, "_allowed", False)
    export(plan, tmp_path / "b.safetensors", threads=2)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_errors_keep_their_place_and_hint(models: Family, tmp_path: Path) -> None:
    state = models.experts[0]
    state["model.layers.0.mlp.up_proj.weight"][3, 3] = float("nan")
    expert = models.recipe.experts[0]
    save(state, Path(expert.path) if expert.path.endswith(".safetensors") else Path(expert.path) / "model.safetensors")
    sink = Watched(models.with_method("ties"))
    with pytest.raises(NotFinite, match="NaN") as caught:
        run.merge(models.with_method("ties").plan, sink, threads=2)
    assert caught.value.where == "model.layers.0.mlp.up_proj.weight" and "Remove this model" in caught.value.hint
    assert not sink.left


def test_a_bug_says_where_it_is(models: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("no such thing", lambda: None)  # cannot be pickled

    monkeypatch.setattr(Computer, "chunk", broken)
    with pytest.raises(RuntimeError, match="no such thing") as caught:
        run.merge(models.with_method("linear").plan, Watched(models), threads=2)
    assert "in broken" in "".join(caught.value.__notes__)


def test_a_process_that_the_system_ends_is_replaced_by_less_memory(
    models: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.merge import fallback

    plan = models.with_method("ties").plan
    ended: list[int] = []

    def end() -> None:
        ended.extend(child.pid for child in psutil.Process().children())
        os.kill(ended[0], signal.SIGKILL)

    sink = Watched(models.with_method("ties"), end)
    report = fallback.merge(plan, sink, threads=4)
    monkeypatch.setattr(forks, "_allowed", False)
    assert len(ended) == 4 and report.notes[SMALLER] == 1
    assert digest(sink.tensors) == digest(run.merged_state(plan)) and not sink.left


@pytest.mark.parametrize("stopped", [False, True])
def test_cancel_does_not_wait_for_a_process(models: Family, stopped: bool) -> None:
    token, since = Token(), [0.0]

    def cancel() -> None:
        for child in psutil.Process().children() if stopped else []:
            os.kill(child.pid, signal.SIGSTOP)
        since[0] = time.monotonic()
        threading.Timer(0.05, token.cancel).start()
        time.sleep(0.1)

    sink = Watched(models.with_method("ties"), cancel)
    with pytest.raises(Cancelled):
        run.merge(models.with_method("ties").plan, sink, threads=2, progress=token)
    assert time.monotonic() - since[0] < 1.0
    assert not sink.left


def test_where_no_process_is_to_be_had_the_threads_do_it(models: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    plan = models.with_method("ties").plan
    monkeypatch.setattr(os, "fork", full)
    sink = Watched(models.with_method("ties"))
    run.merge(plan, sink, threads=2)
    assert not sink.seen and digest(sink.tensors) == digest(run.merged_state(plan))


def test_only_where_it_is_allowed_and_worthwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    large = forks.WORTHWHILE_BYTES
    monkeypatch.setattr(forks, "_allowed", False)  # another test's command may have said yes
    assert not forks.are_wanted("cpu", 2, large)
    forks.allow()
    try:
        assert forks.are_wanted("cpu", 2, large)
        assert not forks.are_wanted("cuda", 2, large)
        assert not forks.are_wanted("cpu", 1, large)
        assert not forks.are_wanted("cpu", 2, large - 1)
    finally:
        monkeypatch.setattr(forks, "_allowed", False)


_DIES = """
import os, sys, time, torch
from engine.merge import forks, run
from engine.merge.sink import MemorySink
from tests.engine.merge_cases import family
from pathlib import Path
forks.allow(); forks.WORTHWHILE_BYTES = 0
made = family(Path(sys.argv[1]))
class Slow(MemorySink):
    def write(self, *given):
        print("writes", flush=True); time.sleep(60)
run.merge(made.plan, Slow(made.plan), threads=2)
"""


def test_they_end_with_their_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DIES, str(tmp_path / "models")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "writes\n"
        children = psutil.Process(parent.pid).children()
        parent.kill()
        gone, alive = psutil.wait_procs(children, timeout=5)
    assert len(gone) == 2 and not alive


def test_a_post_processed_merge_in_processes(models: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    made = models.with_method("task_arithmetic")
    made = replace(made, recipe=replace(made.recipe, params=(("post", "svc"),)))
    sink = Watched(made)
    run.merge(made.plan, sink, threads=2)
    monkeypatch.setattr(forks, "_allowed", False)
    assert sink.seen and digest(sink.tensors) == digest(run.merged_state(made.plan))
    assert torch.get_num_threads() >= 1
