"""A cancelled export does not wait for the disk: its files are gone at once, whatever sync is still running."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest
import torch

from engine.errors import Cancelled
from engine.export import writer
from engine.export.folder import export
from engine.export.shards import make_shards
from engine.export.writer import WeightWriter
from engine.progress import Token
from tests.engine.merge_cases import Family, family

SYNC_S = 3.0


@pytest.fixture
def models(tmp_path: Path) -> Family:
    return family(tmp_path / "models", dtype=torch.float32)


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_slow_disk_does_not_hold_a_cancelled_export(
    models: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """In the middle of the merge (fdatasync) and in the last sync (fsync)."""
    in_sync, slow = threading.Event(), getattr(os, call)

    def sync(descriptor: int) -> None:
        if threading.current_thread().name == "flush":
            in_sync.set()
            time.sleep(SYNC_S)
        slow(descriptor)

    monkeypatch.setattr(os, call, sync)
    monkeypatch.setattr(writer, "_FLUSH_BYTES", 1 << 12 if call == "fdatasync" else 1 << 40)
    token, ended, out = Token(), [0.0], tmp_path / "out"
    out.mkdir()

    def work() -> None:
        with pytest.raises(Cancelled):
            export(models.with_method("task_arithmetic", 0.4).plan, out / "model", progress=token, threads=2)
        ended[0] = time.monotonic()

    thread = threading.Thread(target=work)
    thread.start()
    assert in_sync.wait(10)
    started = time.monotonic()
    token.cancel()
    thread.join()
    assert ended[0] - started < SYNC_S / 3
    assert not list(out.iterdir())
    time.sleep(0)


def test_a_writer_that_is_stopped_takes_its_files_back_at_once(models: Family, tmp_path: Path) -> None:
    shards = make_shards(models.with_method("task_arithmetic", 0.4).plan, {}, limit=1 << 14)
    assert len(shards) > 1
    stopped = WeightWriter(tmp_path, shards).__enter__()
    assert all((tmp_path / shard.name).exists() for shard in shards)
    stopped.__exit__(Cancelled, Cancelled(), None)
    assert not any((tmp_path / shard.name).exists() for shard in shards)


def test_an_error_of_an_early_sync_reaches_the_last(
    models: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells it only once: the fsync after it would succeed."""
    told = threading.Event()

    def broken(descriptor: int) -> None:
        told.set()
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fdatasync", broken)
    monkeypatch.setattr(writer, "_FLUSH_BYTES", 1 << 12)
    plan, token = models.with_method("task_arithmetic", 0.4).plan, Token()
    sink = WeightWriter(tmp_path, make_shards(plan, {}, limit=1 << 30)).__enter__()
    for index, job in enumerate(plan.jobs):
        sink.write(index, 0, memoryview(bytes(job.bytes_out)))
    assert told.wait(10)
    sink.seal()
    patience = threading.Timer(10, token.cancel)
    patience.start()
    with pytest.raises(OSError, match="broken"):
        sink.finish(token)
    patience.cancel()
    sink.__exit__(OSError, OSError(), None)


def test_no_descriptor_is_left_open(models: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = models.with_method("task_arithmetic", 0.4).plan
    export(plan, tmp_path / "warm.safetensors", threads=1)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        token = Token()
        token.cancel()
        with pytest.raises(Cancelled):
            export(plan, tmp_path / "model", progress=token, threads=1)
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1
