"""Small files, written so that a crash, a full disk or a power cut leaves the old or the new one, never half."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from engine.errors import WriteProblem

_UNSUPPORTED = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTSUP})


def is_unsupported(error: OSError) -> bool:
    """Whether the error only says that this file system has no such function."""
    return error.errno in _UNSUPPORTED


def write_durably(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Replace `path` by `data`: temp file in the same folder, fsync, rename, fsync the folder.

    Args:
        path: The file; made if it is not there.
        data: Its new content.
        mode: Who may do what with it, less what the user's mask takes away; 0o600 for what is nobody else's business.

    Raises:
        WriteProblem: if a step fails. The old file is untouched and nothing is left behind; if only the last step
            fails, the message says so: the new file is there, whole, but a power cut may bring the old one back.
    """
    temp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        _write_new(temp, data, mode)
        temp.replace(path)
    except OSError as error:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        raise WriteProblem(
            f"The file cannot be written: {error.strerror or error}.",
            where=str(path),
            hint="Check free space and permissions, or choose another place.",
        ) from error
    try:
        fsync_folder(path.parent)
    except OSError as error:
        if not is_unsupported(error):
            raise WriteProblem(
                f"The file was written, but the disk cannot promise to keep it: {error.strerror or error}.",
                where=str(path),
                hint="Save it to another disk as well, and check this one.",
            ) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Make a file and wait until the disk has it, where the system can."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """fsync; systems that cannot sync a kind of file are let off."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_unsupported(error):
            raise


def fsync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut; ignored where folders cannot be synced (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
