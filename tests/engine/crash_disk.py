"""A disk that loses its power: records what a program does to it, and makes every state a crash may leave.

What POSIX promises, and no more. Bytes of a file are on the disk once the file was synced; before, each write may be
there, not there, or there in part. Names (made, moved, linked, taken away) are on the disk once their folder was
synced; before, any of them may be, in any order.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECTOR = 512
Tree = dict[str, "bytes | None"]
"""Content by path; None for a folder."""


@dataclass(frozen=True)
class Named:
    """A name that appears (`node`), goes (None), or moves here from `gone`, all at once."""

    folder: int
    name: str
    node: int | None
    gone: tuple[int, str] | None = None


@dataclass(frozen=True)
class Wrote:
    """Bytes of a file, or a new length."""

    node: int
    offset: int
    data: bytes
    length: int | None = None


@dataclass(frozen=True)
class Synced:
    """A file or folder of which all is on the disk."""

    node: int


Step = Named | Wrote | Synced


@dataclass
class Disk:
    """Files and folders by number; the folder 0 is the whole.

    Attributes:
        folders: Names in every folder.
        files: Content of every file.
        steps: Everything that was done since the beginning.
    """

    root: Path
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, bytearray] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    start: tuple[dict[int, dict[str, int]], dict[int, bytes]] = field(default_factory=lambda: ({}, {}))

    def __post_init__(self) -> None:
        self._load(self.root, 0)
        self.start = ({n: dict(f) for n, f in self.folders.items()}, {n: bytes(d) for n, d in self.files.items()})

    def _load(self, path: Path, number: int) -> None:
        for child in path.iterdir():
            node = self.fresh()
            self.folders[number][child.name] = node
            if child.is_dir():
                self.folders[node] = {}
                self._load(child, node)
            else:
                self.files[node] = bytearray(child.read_bytes())

    def fresh(self) -> int:
        """A number that is free."""
        return max([*self.folders, *self.files]) + 1

    def place(self, path: Path) -> tuple[int, str] | None:
        """The folder and name of a path, None outside of the disk."""
        if path == self.root or not path.is_relative_to(self.root):
            return None
        number = 0
        *parents, name = path.relative_to(self.root).parts
        for part in parents:
            number = self.folders[number][part]
        return number, name

    def node(self, path: Path) -> int | None:
        """What a path stands for."""
        if path == self.root:
            return 0
        spot = self.place(path)
        return None if spot is None else self.folders[spot[0]].get(spot[1])

    def do(self, step: Step) -> None:
        """Do a step now, and remember it."""
        self.steps.append(step)
        act(step, self.folders, self.files)

    def states(self, after: int, chance: random.Random, count: int) -> Iterator[Tree]:
        """What may be found when the power goes after so many steps: with nothing and all that was left to the system's
        mercy, and `count` mixtures."""  # fmt: skip
        done = self.steps[:after]
        sure = [self._is_sure(number, done) for number in range(after)]
        for share in (0.0, 1.0, *(chance.random() for _ in range(count))):
            folders = {n: dict(f) for n, f in self.start[0].items()}
            files = {n: bytearray(d) for n, d in self.start[1].items()}
            for step, safe in zip(done, sure, strict=True):
                if isinstance(step, Synced):
                    continue
                if safe or chance.random() < share:
                    act(step, folders, files)
                elif isinstance(step, Wrote) and share and len(step.data) > SECTOR:
                    torn = chance.randrange(len(step.data) // SECTOR) * SECTOR
                    act(Wrote(step.node, step.offset, step.data[:torn]), folders, files)
            yield dict(_tree(folders, files, 0, ""))

    @staticmethod
    def _is_sure(number: int, done: list[Step]) -> bool:
        step = done[number]
        if isinstance(step, Synced):
            return True
        nodes = {step.node} if isinstance(step, Wrote) else {step.folder, *((step.gone[0],) if step.gone else ())}
        return any(isinstance(later, Synced) and later.node in nodes for later in done[number:])


def act(step: Step, folders: dict[int, dict[str, int]], files: dict[int, bytearray]) -> None:
    """Do a step to folders and files."""
    if isinstance(step, Named):
        names = folders.setdefault(step.folder, {})
        if step.gone is not None:
            folders.setdefault(step.gone[0], {}).pop(step.gone[1], None)
        if step.node is None:
            names.pop(step.name, None)
        else:
            names[step.name] = step.node
    elif isinstance(step, Wrote):
        data = files.setdefault(step.node, bytearray())
        if step.length is not None:
            del data[step.length :]
            data.extend(bytes(step.length - len(data)))
        else:
            data.extend(bytes(max(0, step.offset - len(data))))
            data[step.offset : step.offset + len(step.data)] = step.data


def _tree(
    folders: Mapping[int, Mapping[str, int]], files: Mapping[int, bytearray], number: int, prefix: str
) -> Iterator[tuple[str, bytes | None]]:
    for name, node in folders.get(number, {}).items():
        if node in files:
            yield prefix + name, bytes(files[node])
        else:
            yield prefix + name, None
            yield from _tree(folders, files, node, f"{prefix}{name}/")


def tree_of(root: Path) -> Tree:
    """What lies in a folder."""
    return {str(p.relative_to(root)): None if p.is_dir() else p.read_bytes() for p in sorted(root.rglob("*"))}


def put(tree: Tree, root: Path) -> None:
    """Make a state on a real disk."""
    root.mkdir(parents=True)
    for name, data in sorted(tree.items()):
        if data is None:
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)


@contextmanager
def recording(root: Path) -> Iterator[Disk]:
    """Everything that this process does to a folder with the functions of `os`; other ways to write are not seen, so
    compare `tree_of` with the disk's own tree afterwards."""  # fmt: skip
    disk = Disk(root)
    with pytest.MonkeyPatch.context() as patch:
        _Recorder(disk, patch)
        yield disk


class _Recorder:
    """Wraps the functions of `os`."""

    def __init__(self, disk: Disk, patch: pytest.MonkeyPatch) -> None:
        self.disk, self.lock = disk, threading.RLock()
        self.opened: dict[int, int] = {}
        for name in ("open", "close", "write", "pwrite", "ftruncate", "posix_fallocate", "fsync", "fdatasync", "mkdir",
                     "rename", "replace", "link", "unlink", "remove", "rmdir"):  # fmt: skip
            patch.setattr(os, name, self._wrapped(getattr(os, name), getattr(self, f"on_{name}")))

    def _wrapped(self, real: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                result = real(*args, **kwargs)
                note(result, *args, **kwargs)
                return result

        return call

    @staticmethod
    def _path(path: Any, folder: int | None = None) -> Path:
        start = Path(os.readlink(f"/proc/self/fd/{folder}")) if folder is not None else Path.cwd()
        return Path(os.path.normpath(start / os.fsdecode(path)))

    def on_open(self, result: int, path: Any, flags: int, mode: int = 0, *, dir_fd: int | None = None) -> None:
        where = self._path(path, dir_fd)
        spot, node = self.disk.place(where), self.disk.node(where)
        if node is None and spot is not None and flags & os.O_CREAT:
            node = self.disk.fresh()
            self.disk.files[node] = bytearray()
            self.disk.do(Named(spot[0], spot[1], node))
        self.opened.pop(result, None)
        if node is not None:
            self.opened[result] = node
            if flags & os.O_TRUNC:
                self.disk.do(Wrote(node, 0, b"", 0))

    def on_close(self, _: None, descriptor: int) -> None:
        self.opened.pop(descriptor, None)

    def on_write(self, count: int, descriptor: int, data: Any) -> None:
        if (node := self.opened.get(descriptor)) is not None:
            self.disk.do(Wrote(node, os.lseek(descriptor, 0, os.SEEK_CUR) - count, bytes(data)[:count]))

    def on_pwrite(self, count: int, descriptor: int, data: Any, offset: int) -> None:
        if (node := self.opened.get(descriptor)) is not None:
            self.disk.do(Wrote(node, offset, bytes(data)[:count]))

    def on_ftruncate(self, _: None, descriptor: int, length: int) -> None:
        if (node := self.opened.get(descriptor)) is not None:
            self.disk.do(Wrote(node, 0, b"", length))

    def on_posix_fallocate(self, _: None, descriptor: int, offset: int, size: int) -> None:
        node = self.opened.get(descriptor)
        if node is not None and offset + size > len(self.disk.files[node]):
            self.disk.do(Wrote(node, 0, b"", offset + size))

    def on_fsync(self, _: None, descriptor: int) -> None:
        if (node := self.opened.get(descriptor)) is not None:
            self.disk.do(Synced(node))

    on_fdatasync = on_fsync

    def on_mkdir(self, _: None, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if (spot := self.disk.place(self._path(path, dir_fd))) is not None:
            node = self.disk.fresh()
            self.disk.folders[node] = {}
            self.disk.do(Named(spot[0], spot[1], node))

    def on_rename(self, _: None, source: Any, target: Any, **__: Any) -> None:
        old, new = self.disk.place(self._path(source)), self.disk.place(self._path(target))
        node = self.disk.node(self._path(source))
        if new is not None:
            self.disk.do(Named(new[0], new[1], node, old))

    on_replace = on_rename

    def on_link(self, _: None, source: Any, target: Any, **__: Any) -> None:
        if (new := self.disk.place(self._path(target))) is not None:
            self.disk.do(Named(new[0], new[1], self.disk.node(self._path(source))))

    def on_unlink(self, _: None, path: Any, *, dir_fd: int | None = None) -> None:
        if (spot := self.disk.place(self._path(path, dir_fd))) is not None:
            self.disk.do(Named(spot[0], spot[1], None))

    on_remove = on_rmdir = on_unlink
