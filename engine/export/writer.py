"""Writing weight files: space first, tensors in any order, header last, then fsync.

Until its header is written the first eight bytes of a file are zero, so that no program takes a torn file for a
model. A helper thread asks the disk to take bytes while the next ones are computed. The threads that write also hash.
"""

from __future__ import annotations

import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from engine.errors import WriteProblem
from engine.export.disk import is_unsupported, sync
from engine.export.shards import Shard, sealed
from engine.export.tree import Leaves
from engine.merge.sink import Buffer
from engine.progress import Progress, Silent

_FLUSH_BYTES = 64 << 20
_LOOK_S = 0.05
_SAMPLED_TENSORS = 16
_SAMPLED_BYTES = 4 << 20  # of each of them


class WeightWriter:
    """The sink that writes weight files into a folder; use as a context manager.

    Args:
        folder: Where the files are made; they must not exist.
        shards: What to write.
        sample: Whether to remember checksums of some tensors for `check_samples`.
    """

    def __init__(self, folder: Path, shards: tuple[Shard, ...], *, sample: bool = True) -> None:
        self._folder = folder
        self._shards = shards
        self._descriptors: list[int] = []
        self._where = {job: (k, start) for k, shard in enumerate(shards) for job, start in shard.places.items()}
        ends = {job: end for shard in shards for job, end in _ends(shard).items()}
        self._leaves = Leaves({job: ends[job] - start for job, (_, start) in self._where.items()})
        self._sampled = frozenset(_spread(sorted(self._where))) if sample else frozenset()
        self._sums: list[tuple[int, int, int, int]] = []  # shard, offset, bytes, checksum
        self._room = dict.fromkeys(self._sampled, _SAMPLED_BYTES)
        self._lock = threading.Lock()
        self._flusher = _Flusher()

    def __enter__(self) -> WeightWriter:
        try:
            for shard in self._shards:
                descriptor = os.open(self._folder / shard.name, _FLAGS, 0o666)
                self._descriptors.append(descriptor)
                _reserve(descriptor, shard.size)
        except BaseException:
            self._close()
            raise
        self._flusher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and os.name == "posix":
            self._discard()
            return
        self._flusher.stop()
        self._close()

    def write(self, job_index: int, byte_offset: int, buffer: Buffer) -> None:
        """Write bytes of one tensor; called from several threads."""
        number, start = self._where[job_index]
        data = (buffer.data if isinstance(buffer, np.ndarray) else buffer).cast("B")
        if job_index in self._sampled:
            self._remember(job_index, byte_offset, data)
        _write_at(self._descriptors[number], data, start + byte_offset)
        self._leaves.add(job_index, byte_offset, data)
        self._flusher.wrote(self._descriptors[number], len(data))

    def restart(self) -> None:
        """Forget what was taken so far: every tensor is written again from its start."""
        self._leaves = Leaves({job: self._leaves.size(job) for job in self._where})
        self._sums, self._room = [], dict.fromkeys(self._sampled, _SAMPLED_BYTES)

    def seal(self) -> dict[str, str]:
        """Write the headers and ask the disk to take everything; `finish` waits for it.

        Returns:
            The root of every file's hash tree, by file name.
        """
        roots = {}
        for shard, descriptor in zip(self._shards, self._descriptors, strict=True):
            header, roots[shard.name] = sealed(shard, {job: self._leaves.text(job) for job in shard.places})
            _write_at(descriptor, memoryview(header)[8:], 8)
            _write_at(descriptor, memoryview(header)[:8], 0)
            self._flusher.ask(descriptor)
        return roots

    def finish(self, progress: Progress | None = None) -> None:
        """Wait until the disk has everything, headers included.

        Args:
            progress: Asked while waiting, so that a slow disk does not keep a cancelled export alive.
        """
        for descriptor in self._descriptors:
            self._flusher.wait(descriptor, progress or Silent())
        self._flusher.stop()
        self._flusher.check()

    def check_samples(self, progress: Progress) -> None:
        """Read the remembered pieces back from the disk and compare.

        Raises:
            WriteProblem: if the disk gives back other bytes.
        """
        progress.begin(sum(size for _, _, size, _ in self._sums), "Reading the model back")
        handles: dict[int, int] = {}
        try:
            for number, offset, size, expected in sorted(self._sums):
                progress.check()
                if number not in handles:
                    handles[number] = _reopen(self._folder / self._shards[number].name)
                _forget(handles[number], offset, size)
                if _sum_at(handles[number], offset, size) != expected:
                    raise WriteProblem(
                        f"The disk gives back other bytes than were written (near byte {offset:,}).",
                        where=self._shards[number].name,
                        hint="The disk or the memory is faulty; export to another disk.",
                    )
                progress.advance(size)
        finally:
            for handle in handles.values():
                os.close(handle)

    def _remember(self, job: int, byte_offset: int, data: memoryview) -> None:
        with self._lock:
            if self._room[job] < len(data):
                return
            self._room[job] -= len(data)
        number, start = self._where[job]
        checksum = zlib.crc32(data)
        with self._lock:
            self._sums.append((number, start + byte_offset, len(data), checksum))

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _discard(self) -> None:
        """Take back what was written, at once: names first, then bytes, so that a sync that runs has nothing to do."""
        for shard, descriptor in zip(self._shards, self._descriptors, strict=False):
            with suppress(OSError):
                (self._folder / shard.name).unlink()
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
        descriptors, self._descriptors = self._descriptors, []
        self._flusher.abandon(descriptors)


_PAGE = 1 << 16  # the largest that systems have
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def write_file(path: Path, data: bytes) -> None:
    """Make one small file and wait until the disk has it."""
    descriptor = os.open(path, _FLAGS, 0o666)
    try:
        _write_at(descriptor, memoryview(data), 0)
        sync(descriptor)
    finally:
        os.close(descriptor)


class _Flusher:
    """Asks the disk to take written bytes early, so that the last fsync is short."""

    def __init__(self) -> None:
        self._pending: dict[int, int] = {}
        self._final: set[int] = set()
        self._orphans: list[int] = []
        self._ready = threading.Condition()
        self._stopped = self._busy = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the helper thread."""
        self._thread = threading.Thread(target=self._run, name="flush", daemon=True)
        self._thread.start()

    def wrote(self, descriptor: int, size: int) -> None:
        """Say that bytes were written."""
        with self._ready:
            self._pending[descriptor] = self._pending.get(descriptor, 0) + size
            if self._pending[descriptor] >= _FLUSH_BYTES:
                self._ready.notify_all()

    def ask(self, descriptor: int) -> None:
        """Begin to sync all of a file, to which nothing more is written."""
        with self._ready:
            self._final.add(descriptor)
            self._ready.notify_all()

    def wait(self, descriptor: int, progress: Progress) -> None:
        """Wait until the disk has all of a file; a cancelled job stops waiting."""
        while True:
            with self._ready:
                if self._ready.wait_for(lambda: self._error is not None or descriptor not in self._final, _LOOK_S):
                    break
            progress.check()
        self.check()

    def stop(self) -> None:
        """Wait for the helper to end; its error is kept for `check`."""
        with self._ready:
            self._stopped = True
            self._ready.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def abandon(self, descriptors: list[int]) -> None:
        """Wait for nothing: a sync that runs goes on in the helper, which closes the files afterwards."""
        with self._ready:
            self._stopped = True
            if self._busy:
                self._orphans, descriptors = descriptors, []
            self._ready.notify_all()
        for descriptor in descriptors:
            os.close(descriptor)

    def check(self) -> None:
        """Raise what the disk reported to the helper."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._stopped or self._due() is not None)
                descriptor = self._due()
                if self._stopped or descriptor is None:
                    return
                is_last = descriptor in self._final
                self._pending[descriptor] = 0
                self._busy = True
            error = _synced(descriptor, whole=is_last)
            with self._ready:
                self._busy = False
                self._error = error
                if is_last:
                    self._final.discard(descriptor)
                for orphan in self._orphans:
                    os.close(orphan)
                self._ready.notify_all()
                if error is not None:  # the system tells it only once, so a later fsync might succeed
                    return

    def _due(self) -> int | None:
        late = [descriptor for descriptor, size in self._pending.items() if size >= _FLUSH_BYTES]
        return next(iter([*self._final, *late]), None)


def _synced(descriptor: int, *, whole: bool) -> OSError | None:
    """Sync a file; returns the error of a disk that can be synced and failed."""
    try:
        (os.fsync if whole else getattr(os, "fdatasync", os.fsync))(descriptor)
    except OSError as error:
        return None if is_unsupported(error) else error
    return None


def _ends(shard: Shard) -> dict[int, int]:
    """Job index to the absolute offset after its last byte."""
    first = len(shard.header)
    sizes = (entry["data_offsets"][1] for entry in shard.tensors.values())
    return {job: first + end for job, end in zip(shard.places, sizes, strict=True)}


def _reserve(descriptor: int, size: int) -> None:
    """Take the disk space now, so that a full disk is noticed before the work."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if not is_unsupported(error):
                raise
        else:
            return
    os.ftruncate(descriptor, size)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = _pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


_seek_lock = threading.Lock()


def _pwrite(descriptor: int, data: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _seek_lock:  # Windows has no positioned write
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def _spread(jobs: list[int]) -> list[int]:
    """At most `_SAMPLED_TENSORS` of the jobs, first and last included."""
    if len(jobs) <= _SAMPLED_TENSORS:
        return jobs
    last = len(jobs) - 1
    return [jobs[k * last // (_SAMPLED_TENSORS - 1)] for k in range(_SAMPLED_TENSORS)]


def _reopen(path: Path) -> int:
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def _forget(descriptor: int, offset: int, size: int) -> None:
    """Where the system can be asked to, have it read these bytes from the disk again; the rest may be in use."""
    if hasattr(os, "posix_fadvise"):
        first = offset // _PAGE * _PAGE  # only whole pages are dropped
        with suppress(OSError):
            os.posix_fadvise(descriptor, first, offset + size + _PAGE - first, os.POSIX_FADV_DONTNEED)


def _sum_at(descriptor: int, offset: int, size: int) -> int:
    view, done = np.empty(size, np.uint8).data, 0
    while done < size:
        if hasattr(os, "preadv"):
            got = os.preadv(descriptor, [view[done:]], offset + done)
        else:
            os.lseek(descriptor, offset + done, os.SEEK_SET)
            part = os.read(descriptor, size - done)
            view[done : done + len(part)] = part
            got = len(part)
        if got == 0:
            return -1
        done += got
    return zlib.crc32(view)
