"""What the disk can and cannot do, and its errors in plain words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from engine.errors import MixdownError, NotEnoughDisk, WriteProblem
from engine.files.durable import fsync_folder, is_unsupported, sync
from engine.files.text import printable

__all__ = ["explained", "is_mounted", "is_unsupported", "network_filesystem", "sync", "sync_folder"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REASONS = {
    errno.EROFS: "The disk is read-only.",
    errno.EACCES: "You have no permission to write here.",
    errno.EPERM: "You have no permission to write here.",
    errno.EFBIG: "The file would be larger than this disk or system allows.",
    errno.ENAMETOOLONG: "The name is too long.",
    errno.EIO: "The disk reports an error.",
    errno.EXDEV: "What is there cannot be moved aside: it lies on another disk, or is part of a container's image.",
    errno.EBUSY: "It is in use by another program, or a disk is mounted there.",
}


_FAR = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "davfs", "fuse.sshfs", "fuse.rclone"})
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the table of mounts writes spaces
_MOUNTS = Path("/proc/self/mounts")


def network_filesystem(folder: Path) -> str:
    """The kind of a network file system that a folder lies on ("nfs4"), or "" if it is local or nobody says."""
    best, kind = -1, ""
    for mounted, what in _mounts():
        if folder.is_relative_to(mounted) and len(mounted.parts) >= best:  # a later mount hides an earlier one
            best, kind = len(mounted.parts), what
    return kind if kind in _FAR else ""


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at a path: a disk, or a folder or file from elsewhere on the same disk."""
    return os.path.ismount(path) or any(mounted == path for mounted, _ in _mounts())


def _mounts() -> Iterator[tuple[Path, str]]:
    """Where something is mounted and what kind of file system it is; nothing where the system does not say."""
    try:
        lines = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for fields in (line.split(" ") for line in lines):
        if len(fields) >= 3:
            yield Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[1])), fields[2]


def explained(error: OSError, target: Path) -> MixdownError:
    """What a failed write means for the user."""
    where = printable(target, 400)
    if error.errno in _FULL:
        return NotEnoughDisk(
            "The disk became full; nothing was left behind.",
            where=where,
            hint="Free some space or choose another disk.",
        )
    reason = _REASONS.get(error.errno or 0, f"It cannot be written: {printable(error.strerror or error)}.")
    return WriteProblem(reason, where=where, hint="Check the disk and your permissions, or choose another place.")


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system can."""
    try:
        fsync_folder(folder)
    except OSError as error:
        if not is_unsupported(error):
            raise
