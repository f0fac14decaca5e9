"""Opening files that others made: only regular files, never blocking, links only where a cache needs them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from engine.errors import FileProblem, Missing, NotSafetensors, Truncated
from engine.files.model import FileStamp
from engine.files.text import printable

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]  # it is asked before it is used

_MOST_FILES = 1 << 16
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_COMMON: dict[type[Exception], str] = {
    PermissionError: "You have no permission to read it.",
    IsADirectoryError: "It is a folder, not a file.",
}


def open_regular(path: Path) -> tuple[int, FileStamp]:
    """Open an ordinary file for reading.

    Returns:
        The file descriptor, which the caller closes, and the stamp of what was opened.

    Raises:
        Missing: if there is no such file.
        NotSafetensors: if it is a folder, pipe, socket or device.
        FileProblem: if it cannot be read.
    """
    where = printable(path, 400)
    try:
        _require_regular(path.stat().st_mode, where)  # before opening: opening a device may have effects
        descriptor = _opened(path)
    except FileNotFoundError as error:
        raise Missing("The file is not there.", where=where, hint="It may have been moved; choose it again.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _refused(error, where) from error
    try:
        status = os.fstat(descriptor)
        _require_regular(status.st_mode, where)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, stamp_of(path, status)


def _opened(path: Path) -> int:
    """A descriptor of a file; a merge of a thousand models holds more of them than a process may have at first."""
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        if error.errno != errno.EMFILE or not _allow_more_files():
            raise
        return os.open(path, _FLAGS)


def _allow_more_files() -> bool:
    """Raise the number of files that this process may hold open as far as the system lets it."""
    if resource is None:
        return False
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    if now == resource.RLIM_INFINITY or wanted <= now:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (OSError, ValueError):
        return False
    return True


def stamp_of(path: Path, status: os.stat_result) -> FileStamp:
    """The identity of a file from what `stat` says about it."""
    return FileStamp(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_small(path: Path, limit: int) -> bytes:
    """A whole file of at most `limit` bytes.

    Raises:
        FileProblem: if it is larger, or cannot be opened or read.
    """
    descriptor, stamp = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        if stamp.size > limit:
            raise NotSafetensors(
                f"The file has {stamp.size:,} bytes; at most {limit:,} are expected here.",
                where=printable(path, 400),
                hint="This is not the small text file that its name promises; get the model again.",
            )
        data = file.read(limit + 1)
    if len(data) < stamp.size:
        raise Truncated("The file became shorter while it was read.", where=printable(path, 400), hint="Try again.")
    return data


def is_safe_member(folder: Path, name: str) -> bool:
    """Whether a file of a model folder may be opened.

    It must be a regular file, or one link to a regular file in the same folder or in the `blobs` of the
    Hugging Face cache repository that the folder is a snapshot of.
    """
    path = folder / name
    try:
        if not path.is_symlink():
            return path.is_file()
        target = Path(os.path.normpath(folder.resolve() / path.readlink()))
        if target.is_symlink() or not target.is_file():
            return False
        return target.resolve().parent in _allowed_parents(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def _allowed_parents(folder: Path) -> tuple[Path, ...]:
    if folder.parent.name == "snapshots":
        return folder, folder.parent.parent / "blobs"
    return (folder,)


def _require_regular(mode: int, where: str) -> None:
    if stat.S_ISDIR(mode):
        raise NotSafetensors("It is a folder, not a file.", where=where, hint="Choose a .safetensors file.")
    if not stat.S_ISREG(mode):
        raise NotSafetensors("It is a pipe, socket or device, not a file.", where=where,
                             hint="Save what comes through it as a file first.")  # fmt: skip


def _refused(error: Exception, where: str) -> FileProblem:
    if getattr(error, "errno", 0) == errno.EMFILE:
        return FileProblem("Too many files are open.", where=where, hint="Use fewer models, or raise `ulimit -n`.")
    reason = _COMMON.get(type(error)) or f"It cannot be opened: {getattr(error, 'strerror', None) or error}."
    return FileProblem(printable(reason), where=where, hint="Check that the file exists and that you may read it.")
