"""What is at the target already: nothing, an earlier export, somebody's files, or the litter of a killed export."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from engine.errors import FileProblem
from engine.export.disk import is_mounted, sync_folder
from engine.export.manifest import MANIFEST_NAME
from engine.export.shards import INDEX_NAME, KEY
from engine.files.folder import is_sidecar
from engine.files.header import read_header
from engine.files.text import listed

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # there are no advisory locks there

SUFFIX = ".safetensors"
CARD_NAME = "README.md"
GRAPH_MARK = b"\x12\x07mixdown"
"""How an ONNX file of ours begins: its producer, as protobuf writes it."""
_LITTER = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|replaced)-[0-9a-f]{12}", re.DOTALL)
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors", re.ASCII)
_OURS = frozenset({INDEX_NAME, CARD_NAME, MANIFEST_NAME})
_GRAPHS = frozenset({"model.onnx", "model.onnx.data"})
_FIXED = frozenset({errno.EXDEV, errno.EBUSY, errno.EROFS})
_IGNORED = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})

Kind = Literal["nothing", "export", "foreign"]


@dataclass(frozen=True, slots=True)
class Existing:
    """What stands at a path.

    Attributes:
        kind: "nothing" (or an empty folder), "export" (written by Mixdown) or "foreign" (anything else).
        what: For "foreign", what it is, for a sentence.
    """

    kind: Kind
    what: str = ""


@dataclass(frozen=True, slots=True)
class Litter:
    """What a killed export left behind.

    Attributes:
        path: The hidden file or folder.
        target: What the export was called.
        kind: "partial" for an unfinished export, "replaced" for an older one that was moved aside.
    """

    path: Path
    target: Path
    kind: Literal["partial", "replaced"]

    @property
    def is_precious(self) -> bool:
        """Whether it is the only copy of the user's older export, to be put back rather than deleted."""
        return self.kind == "replaced" and not os.path.lexists(self.target)


def examine(target: Path) -> Existing:
    """Tell what stands at the target of an export; only headers are read."""
    if not os.path.lexists(target):
        return Existing("nothing")
    if target.is_symlink():
        return Existing("foreign", "a link")
    if target.is_dir() and target.suffix == SUFFIX:
        return Existing("foreign", "a folder")
    if target.is_dir():
        return _examine_folder(target)
    if not target.is_file():
        return Existing("foreign", "a pipe, socket or device")
    if target.suffix == SUFFIX and _is_ours(target):
        return Existing("export")
    return Existing("foreign", "a file that Mixdown did not write")


def find_litter(folder: Path) -> tuple[Litter, ...]:
    """What killed exports left in a folder; those of programs that still run are not listed."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    matches = [(name, match) for name in names if (match := _LITTER.fullmatch(name))]
    found = (Litter(folder / name, folder / m["name"], m["kind"]) for name, m in matches)  # type: ignore[arg-type]  # by the pattern
    return tuple(litter for litter in found if not _in_use(litter.path))


def remove_litter(folder: Path, name: str = "") -> tuple[Litter, ...]:
    """Clean up after killed exports: put older exports back, delete unfinished ones.

    Args:
        folder: Where the exports were made.
        name: Only that of the target with this name; empty for all.

    Returns:
        What was found. Something that cannot be removed is left alone.
    """
    found = tuple(litter for litter in find_litter(folder) if not name or litter.target.name == name)
    for litter in found:
        with suppress(OSError):
            if litter.is_precious:
                litter.path.rename(litter.target)
            else:
                delete(litter.path)
    if found:
        with suppress(OSError):
            sync_folder(folder)
    return found


class Workspace:
    """A hidden folder beside the target in which an export is prepared; use as a context manager.

    On leaving, whatever is still in it is deleted. It is locked, so that other programs can tell it from litter.

    Attributes:
        path: The folder.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._made = _missing_parents(target.parent)
        self._lock = -1
        self.path = hidden(target, "partial")

    def __enter__(self) -> Workspace:
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            for folder in self._made:  # their names must be on the disk, or a power cut takes the export with them
                sync_folder(folder.parent)
            self.path.mkdir()
        except OSError:
            self._remove_parents()
            raise
        self._lock = _locked(self.path)
        try:
            _try_last_step(self.path, self._target)
        except OSError as error:
            self.__exit__(OSError, error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # litter, which the next export removes
            delete(self.path)
        if self._lock >= 0:
            os.close(self._lock)
        if error is not None:
            self._remove_parents()

    def _remove_parents(self) -> None:
        for folder in self._made:
            with suppress(OSError):  # never made, or somebody else uses it now
                folder.rmdir()


def hidden(target: Path, kind: Literal["partial", "replaced"]) -> Path:
    """A new hidden name beside the target."""
    return target.with_name(f".{target.name}.{kind}-{uuid.uuid4().hex[:12]}")


def delete(path: Path) -> None:
    """Delete a file, a link or a whole folder (links in it are not followed).

    Raises:
        OSError: if that is not possible.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put_in_place(made: Path, target: Path) -> None:
    """Give a finished file or folder its name; what has that name is replaced, and put back on failure.

    Raises:
        OSError: if it is not possible; the target is as before.
    """
    is_folder, existed = made.is_dir(), os.path.lexists(target)
    aside = hidden(target, "replaced")
    if existed:
        _set_aside(target, aside, is_folder)
    try:
        made.replace(target)
        sync_folder(target.parent)
    except BaseException:
        if (is_folder or not existed) and not os.path.lexists(made):
            target.rename(made)
        if os.path.lexists(aside):
            aside.replace(target)
            aside.unlink(missing_ok=True)  # two names of one file are left alone by the system
        raise
    with suppress(OSError):  # the export is done; what cannot be deleted is litter for the next start
        delete(aside)


def _set_aside(target: Path, aside: Path, is_folder: bool) -> None:
    """Keep what is at the target under a hidden name.

    A file keeps its name, too, so that it is replaced in one step; folders cannot be.
    """
    if is_folder:
        target.rename(aside)
        return
    with suppress(OSError):  # a file system without links: then only the step itself protects the old file
        os.link(target, aside)


def _try_last_step(workspace: Path, target: Path) -> None:
    """Make sure, before hours of work, that a finished export can be given its name at the end; nothing is changed.

    Nobody but the system knows: a container's image, and what is mounted from the same disk, have the device number of
    the folder they are in, but cannot be moved.

    Raises:
        OSError: as it would be raised at the end.
    """
    made, place = workspace / "made", hidden(target, "partial")
    made.mkdir()
    made.replace(place)
    with suppress(FileNotFoundError):  # another window tidies up
        place.rmdir()
    if target.is_dir() and not target.is_symlink():
        _try_moving(target)
    elif is_mounted(target):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(target))


def _try_moving(folder: Path) -> None:
    """Try to move a folder to the place of one that is not empty, which is the last thing that is refused.

    File systems have many words for that; only those that say that the folder cannot be moved at all count.

    Raises:
        OSError: if it is on another disk, mounted, or cannot be written.
    """
    taken, lock = hidden(folder, "replaced"), -1
    try:
        (taken / "taken").mkdir(parents=True)
        lock = _locked(taken)
        folder.rename(taken)
    except OSError as error:
        if error.errno in _FIXED or not taken.exists():
            raise
    finally:
        if taken.is_dir() and not (taken / "taken").is_dir() and not os.path.lexists(folder):
            taken.rename(folder)  # moved all the same, by a strange file system
        else:
            delete(taken)
        if lock >= 0:
            os.close(lock)


def _examine_folder(folder: Path) -> Existing:
    try:
        names = sorted(name for name in os.listdir(folder) if name not in _IGNORED)
    except OSError:
        return Existing("foreign", "a folder that cannot be read")
    weights = [name for name in names if _WEIGHTS.fullmatch(name) or name == "model.onnx"]
    others = [n for n in names if n not in {*weights, *_OURS, *_GRAPHS} and not is_sidecar(n)]
    if not names:
        return Existing("nothing")
    if not weights or not all(_is_ours(folder / name) for name in weights):
        return Existing("foreign", "a folder that Mixdown did not write")
    if others:
        return Existing("foreign", f"an export with other files in it ({listed(others)})")
    return Existing("export")


def _is_ours(path: Path) -> bool:
    if path.is_symlink():
        return False
    if path.suffix == ".onnx":
        return is_our_graph(path)
    try:
        return KEY in read_header(path).metadata
    except FileProblem:
        return False


def is_our_graph(path: Path) -> bool:
    """Whether an ONNX file says in its first bytes that Mixdown wrote it."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return GRAPH_MARK in file.read(32)
    except OSError:
        return False


def _locked(folder: Path) -> int:
    """A descriptor that tells other programs that a hidden folder is in use; -1 where there are no such locks."""
    if fcntl is None:
        return -1
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # no locks on this file system
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _in_use(path: Path) -> bool:
    """Whether a running program holds the lock of a workspace."""
    if fcntl is None or path.is_symlink() or not path.is_dir():
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _missing_parents(folder: Path) -> list[Path]:
    """The folders that have to be made, innermost first."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    return missing
