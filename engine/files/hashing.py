"""Telling checkpoints apart by content: a quick fingerprint from samples, and a full hash that is remembered."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from engine.errors import Changed, FileProblem, Truncated, WriteProblem
from engine.files import strict_json
from engine.files.buffers import page_aligned
from engine.files.durable import write_durably
from engine.files.model import Checkpoint, FileStamp
from engine.files.opening import open_regular, read_small, stamp_of
from engine.files.reading import Reader
from engine.files.sampling import read_spots, spots
from engine.files.text import printable
from engine.progress import Checked, Progress, Silent

_RUN_BYTES = 1_024
_MOST_RUNS, _RUNS_IN_ALL = 4, 16_384
_CHUNK = 4 << 20
_SETTLED_NS = 2_000_000_000  # file systems tell times apart to 2 s at worst (FAT)
_CACHE_LIMIT, _CACHE_BYTES = 4_096, 4_000_000
_ATTEMPTS = 3
_DISK = "Check the disk or copy the file to another one."
_AGAIN = "Drop the model again to use the file as it is now."
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def fingerprint(checkpoint: Checkpoint) -> str:
    """A cheap content key: names, types, shapes and up to 4 KiB of every tensor.

    It does not depend on paths, metadata or how the tensors are spread over files. Models that differ only
    in bytes that are not sampled share a fingerprint; `content_hash` tells these apart.

    Returns:
        32 hexadecimal digits.

    Raises:
        FileProblem: if the files cannot be read or have changed.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"mixdown-print1")
    runs = max(1, min(_MOST_RUNS, _RUNS_IN_ALL // max(1, len(checkpoint.tensors))))
    with Reader(checkpoint) as reader:
        for name in sorted(checkpoint.tensors):
            info = checkpoint.tensors[name]
            digest.update(json.dumps([name, info.dtype, info.shape]).encode())
            run = max(1, _RUN_BYTES * info.numel // max(1, info.size_bytes))
            digest.update(read_spots(reader, info, spots(info.numel, run, runs)).data)
    return digest.hexdigest()


class HashCache:
    """SHA-256 of files that were read before, keyed by their stamps, in a small JSON file.

    Thread-safe. A damaged cache file counts as empty; one that cannot be written is kept in memory only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, str] | None = None

    def get(self, stamp: FileStamp) -> str | None:
        """The hash of exactly this state of a file, or None."""
        with self._lock:
            return self._entries().get(_key(stamp))

    def put(self, stamp: FileStamp, sha256: str) -> None:
        """Remember a hash, unless the file is so fresh that a later change might keep its time."""
        if time.time_ns() - stamp.mtime_ns < _SETTLED_NS:
            return
        with self._lock:
            known = {**self._entries(), **self._load()}  # another process may have added to it
            known.pop(_key(stamp), None)
            known[_key(stamp)] = sha256
            self._known = dict(list(known.items())[-_CACHE_LIMIT:])
            try:
                write_durably(self._path, json.dumps({"format": 1, "sha256": self._known}, indent=0).encode())
            except WriteProblem:
                return

    def _entries(self) -> dict[str, str]:
        if self._known is None:
            self._known = self._load()
        return self._known

    def _load(self) -> dict[str, str]:
        try:
            data = strict_json.parse(read_small(self._path, _CACHE_BYTES), depth=3)
        except (FileProblem, strict_json.BadJson, OSError):
            return {}
        found = data.get("sha256") if isinstance(data, dict) and data.get("format") == 1 else None
        if not isinstance(found, dict):
            return {}
        return {key: value for key, value in found.items() if isinstance(value, str) and _SHA256.fullmatch(value)}


def content_hash(checkpoint: Checkpoint, progress: Progress | None = None, cache: HashCache | None = None) -> str:
    r"""SHA-256 of a model's weights.

    Returns:
        For a single file its SHA-256; for a folder the SHA-256 of the lines "<sha256>  <file name>\n" of its
        safetensors files in name order, as `sha256sum *.safetensors | sha256sum` prints it.

    Raises:
        FileProblem: if a file cannot be read, is shorter than it was or has changed.
        Cancelled: if the user stopped it.
    """
    return content_hash_of(checkpoint, file_hashes(checkpoint, progress, cache))


def content_hash_of(checkpoint: Checkpoint, found: Mapping[str, str]) -> str:
    """What `content_hash` is if the files of a model have these hashes, by file name."""
    if checkpoint.kind == "file" and len(found) == 1:
        return next(iter(found.values()))
    lines = "".join(f"{found[name]}  {name}\n" for name in sorted(found))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def file_hashes(
    checkpoint: Checkpoint, progress: Progress | None = None, cache: HashCache | None = None
) -> dict[str, str]:
    """SHA-256 of each safetensors file of a model, by file name.

    Raises:
        FileProblem: if a file cannot be read, is shorter than it was or has changed.
        Cancelled: if the user stopped it.
    """
    progress = progress or Silent()
    progress.begin(sum(stamp.size for stamp in checkpoint.stamps), f"Hashing {printable(checkpoint.name, 80)}")
    found = {}
    for stamp in checkpoint.stamps:
        known = cache.get(as_it_is(stamp)) if cache else None
        if known is None:
            known, read = _settled_hash(stamp, progress)
            if cache:
                cache.put(read, known)
        else:
            progress.advance(stamp.size)
        found[stamp.path.name] = known
    return found


def recheck(
    checkpoint: Checkpoint, sha256: str, progress: Progress | None = None, cache: HashCache | None = None
) -> None:
    """Make sure, after its weights were used, that a model still has the content that was hashed before.

    Its size and time say so, except where a program wrote into a file and gave it its old time again. The time of the
    last change of the status cannot be set; where that is another one, the content is hashed again, as files that were
    only linked or given other permissions are as good as before.

    Args:
        checkpoint: As it was opened.
        sha256: Its content hash; "" if it is not known, so that another status alone raises.
        progress: Told the bytes read, if any are; asked whether to go on.
        cache: Hashes that are known.

    Raises:
        Changed: if the content is another one now.
        FileProblem: if a file cannot be read any more.
        Cancelled: if the user stopped it.
    """
    with Reader(checkpoint) as reader:
        reader.check_unchanged()
    stamp = touched(checkpoint)
    if stamp is not None and not sha256:
        raise Changed("The file was touched while it was in use, and nobody knows whether its content is the same.",
                      where=printable(stamp.path, 400), hint="Try again.")  # fmt: skip
    if stamp is not None and content_hash(checkpoint, progress, cache) != sha256:
        raise Changed("The file was changed while it was in use, and given its old time again.",
                      where=printable(stamp.path, 400), hint=_AGAIN)  # fmt: skip


def known_hash(checkpoint: Checkpoint, cache: HashCache | None) -> str:
    """The content hash of a model whose files are all known in their present state, else ""; nothing is read."""
    found = {stamp.path.name: cache.get(as_it_is(stamp)) if cache else None for stamp in checkpoint.stamps}
    known = {name: sha256 for name, sha256 in found.items() if sha256 is not None}
    return content_hash_of(checkpoint, known) if len(known) == len(found) else ""


def touched(checkpoint: Checkpoint) -> FileStamp | None:
    """The first file of a model whose status is not the one in which it was opened, though size and time are."""
    return next((stamp for stamp in checkpoint.stamps if as_it_is(stamp).ctime_ns != stamp.ctime_ns), None)


def as_it_is(stamp: FileStamp) -> FileStamp:
    """The stamp that a file would get now, if it is the same file still; else the given one."""
    try:
        now = stamp_of(stamp.path, stamp.path.stat())
    except OSError:
        return stamp
    return now if now == stamp else stamp


def _settled_hash(stamp: FileStamp, progress: Progress) -> tuple[str, FileStamp]:
    """SHA-256 of the file that the stamp was taken of, and the state it is in.

    A file whose status changes meanwhile is read again: it may hold something else now, with its old time.
    """
    for attempt in range(_ATTEMPTS):
        sha256, first, last = _file_hash(stamp, Checked(progress) if attempt else progress)
        if first.ctime_ns == last.ctime_ns:
            return sha256, last
    raise Changed("The file is being changed.", where=printable(stamp.path, 400), hint=_AGAIN)


def _file_hash(stamp: FileStamp, progress: Progress) -> tuple[str, FileStamp, FileStamp]:
    """SHA-256 of the file that the stamp was taken of, and its stamps before and after that was read."""
    digest, left = hashlib.sha256(), stamp.size
    where = printable(stamp.path, 400)
    descriptor, now = open_regular(stamp.path)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        buffer = page_aligned(min(_CHUNK, max(1, left))).data
        while left and now == stamp:
            progress.check()
            try:
                got = file.readinto(buffer[: min(left, len(buffer))])
            except OSError as error:
                raise FileProblem(f"The disk cannot be read: {error.strerror}.", where=where, hint=_DISK) from error
            if not got:
                raise Truncated("The file became shorter while it was read.", where=where, hint="Get the file again.")
            digest.update(buffer[:got])
            progress.advance(got)
            left -= got
        last = stamp_of(stamp.path, os.fstat(file.fileno()))
    if now != stamp or last != stamp:
        raise Changed("The file was changed after it was opened.", where=where, hint=_AGAIN)
    return digest.hexdigest(), now, last


def _key(stamp: FileStamp) -> str:
    """Everything that says it is the same file in the same state; a file that was renamed is hashed once more."""
    return f"{stamp.device}:{stamp.inode}:{stamp.size}:{stamp.mtime_ns}:{stamp.ctime_ns}"
