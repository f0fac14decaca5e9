"""Too little memory: the merge goes on in smaller pieces, then on the CPU, and gives the same bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.errors import NotEnoughMemory
from engine.export.folder import ExportOptions, export
from engine.export.shards import make_shards
from engine.export.writer import WeightWriter
from engine.merge import fallback, run
from engine.merge.fallback import ON_CPU, SMALLER, attempts, is_out_of_memory
from engine.merge.load import Loader
from engine.progress import Silent
from tests.engine.merge_cases import Family, family

ERRORS: tuple[Callable[[], BaseException], ...] = (
    MemoryError,
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
)


@pytest.fixture
def models(tmp_path: Path) -> Family:
    return family(tmp_path / "models", dtype=torch.float32)


def allocator(monkeypatch: pytest.MonkeyPatch, room: int, error: Callable[[], BaseException]) -> list[int]:
    """A computer in which every chunk of more than `room` elements runs out of memory, after some were written."""
    asked: list[int] = []
    load = Loader.load

    def small(self: Loader, job: object, start: int, stop: int) -> object:
        asked.append(self.chunk)
        if self.chunk > room and len(asked) > 3:
            raise error()
        return load(self, job, start, stop)

    monkeypatch.setattr(Loader, "load", small)
    return asked


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_ties"])
@pytest.mark.parametrize("error", ERRORS)
def test_same_bytes_in_less_memory(
    models: Family, method: str, error: Callable[[], BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = models.with_method(method, 0.4).plan
    monkeypatch.setattr(run, "CHUNK", 1 << 14)
    monkeypatch.setattr(fallback.merge, "__kwdefaults__", {**fallback.merge.__kwdefaults__, "chunk": 1 << 14})
    whole = export(plan, tmp_path / "a.safetensors", options=ExportOptions(), threads=2)
    asked = allocator(monkeypatch, 1 << 13, error)
    less = export(plan, tmp_path / "b.safetensors", options=ExportOptions(), threads=2)
    assert max(asked) > 1 << 13 > 0 and min(asked) <= 1 << 13
    assert less.notes[SMALLER] >= 1 and SMALLER not in whole.notes
    assert whole.path.read_bytes() == less.path.read_bytes()


def test_a_gpu_without_memory_gives_way_to_the_cpu(models: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, merge, tried = models.with_method("task_arithmetic", 0.4).plan, run.merge, []

    def lost(plan: object, sink: object, *, device: str, **rest: object) -> object:
        tried.append((device, rest["chunk"]))
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return merge(plan, sink, device=device, **rest)

    expected = run.merged_state(plan)
    monkeypatch.setattr(run, "merge", lost)
    found = fallback.merged_state(plan, device="cuda")
    assert [d for d, _ in tried] == ["cuda"] * 4 + ["cpu"] and tried[3][1] * 8 == tried[0][1]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_was_surveyed_on_a_gpu_is_not_used_on_the_cpu(models: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, merge, used = models.with_method("ties", 0.4).plan, run.merge, []

    def lost(plan: object, sink: object, *, device: str, stats: object, **rest: object) -> object:
        used.append((device, stats))
        if device != "cpu":
            raise RuntimeError("CUDA error: unknown error")
        return merge(plan, sink, device=device, stats=stats, **rest)

    surveyed = run.survey(plan)
    monkeypatch.setattr(run, "merge", lost)
    fallback.merged_state(plan, device="cuda", stats=surveyed)
    assert surveyed is not None and used == [("cuda", surveyed), ("cpu", None)]


def test_files_that_are_written_again_are_compared_with_what_was_written_last(models: Family, tmp_path: Path) -> None:
    plan = models.with_method("task_arithmetic", 0.4).plan
    with WeightWriter(tmp_path, make_shards(plan, {}, limit=1 << 30)) as writer:
        for byte in (b"1", b"2"):  # another device may round a method of class B to other bytes
            writer.restart()
            for index, job in enumerate(plan.jobs):
                writer.write(index, 0, memoryview(byte * job.bytes_out))
        writer.seal()
        writer.finish()
        writer.check_samples(Silent())


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be asked to")
def test_samples_come_from_the_disk_and_not_from_memory(
    models: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every piece is dropped from the cache, its first and last page whole, just before it is read."""
    plan, dropped, advise, read = (
        models.with_method("task_arithmetic", 0.4).plan,
        list[range](),
        os.posix_fadvise,
        os.preadv,
    )
    pieces: list[range] = []

    def note(descriptor: int, offset: int, size: int, advice: int) -> None:
        if advice == os.POSIX_FADV_DONTNEED:
            dropped.append(range(offset, offset + size))
        advise(descriptor, offset, size, advice)

    def piece(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        pieces.append(range(offset, offset + len(buffers[0])))
        last = dropped[-1]
        assert last.start <= offset and offset + len(buffers[0]) <= last.stop
        assert last.start % 65536 == 0 and last.stop - pieces[-1].stop >= 65536
        return read(descriptor, buffers, offset)

    with WeightWriter(tmp_path, make_shards(plan, {}, limit=1 << 30)) as writer:
        for index, job in enumerate(plan.jobs):
            writer.write(index, 0, memoryview(b"1" * job.bytes_out))
        writer.seal()
        writer.finish()
        monkeypatch.setattr(os, "posix_fadvise", note)
        monkeypatch.setattr(os, "preadv", piece)
        writer.check_samples(Silent())
    assert len(dropped) == len(pieces) >= len(plan.jobs) > 0


def test_a_lost_gpu_is_not_tried_again(models: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, merge = [], run.merge

    def lost(plan: object, sink: object, *, device: str, **rest: object) -> object:
        tried.append(device)
        if device != "cpu":
            raise RuntimeError("CUDA error: unknown error")
        return merge(plan, sink, device=device, **rest)

    monkeypatch.setattr(run, "merge", lost)
    from engine.merge.sink import MemorySink

    plan = models.with_method("task_arithmetic", 0.4).plan
    report = fallback.merge(plan, MemorySink(plan), device="cuda")
    assert tried == ["cuda", "cpu"] and report.notes[ON_CPU] == 1


def test_it_gives_up_with_a_clear_error_and_nothing_left(
    models: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocator(monkeypatch, 0, MemoryError)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(NotEnoughMemory, match="too little memory"):
        export(models.with_method("task_arithmetic", 0.4).plan, out / "model", threads=2)
    assert not list(out.iterdir())


def test_other_errors_are_not_tried_again(models: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def broken(*_: object, **__: object) -> None:
        tried.append(1)
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(run, "merge", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        fallback.merged_state(models.with_method("task_arithmetic", 0.4).plan)
    assert len(tried) == 1 and not is_out_of_memory(OSError(errno.ENOMEM, "no"))


def test_what_is_tried() -> None:
    made = [(a.device, a.chunk, a.threads) for a in attempts("cuda", 16, 4)]
    assert made == [("cuda", 16, 4), ("cuda", 8, 2), ("cuda", 4, 1), ("cuda", 2, 1),
                    ("cpu", 16, 4), ("cpu", 8, 2), ("cpu", 4, 1), ("cpu", 2, 1)]  # fmt: skip
