"""The checkpoints that the project refers to: opened in the background from their headers, checked, hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, QTimer, Signal

from app import places
from app.jobs import JobRunner
from engine.errors import FileProblem, MixdownError
from engine.files.checkpoint import open_checkpoint
from engine.files.checks import check, check_values
from engine.files.hashing import HashCache, content_hash
from engine.files.layout import describe
from engine.files.model import Checkpoint, Finding, Layout
from engine.files.text import printable
from engine.progress import Token
from engine.recipe.origin import NOT_CHECKED, Origin
from engine.store.confirmed import Confirmed

READ_DELAY_MS = 250
"""The row is painted first; then all bytes are read for hashes and NaN."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known about one path.

    Attributes:
        path: File or folder.
        state: "reading" until the header is read; then "ready" or "failed".
        checkpoint: From the headers.
        layout: Layers and kinds.
        sha256: Content hash, "" until it is known.
        values: Findings of the scan for NaN and infinity; None until it is done.
        origin: Who vouches for it.
        error: Why it could not be opened.
    """

    path: str
    state: Literal["reading", "ready", "failed"] = "reading"
    checkpoint: Checkpoint | None = None
    layout: Layout | None = None
    sha256: str = ""
    values: tuple[Finding, ...] | None = None
    origin: Origin = NOT_CHECKED
    error: MixdownError | None = None


class Library(QObject):
    """Keeps one `Entry` for each path that was asked for.

    Signals:
        entryChanged: The path whose entry has news.
        contentChanged: A path whose files are not the ones that were opened before.
    """

    entryChanged = Signal(str)
    contentChanged = Signal(str)

    def __init__(self, runner: JobRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self._entries: dict[str, Entry] = {}
        self._checks: dict[tuple[str, str], tuple[Finding, ...]] = {}
        self.hashes = HashCache(places.hash_cache_file())

    def entry(self, path: str) -> Entry:
        """What is known; asks for it if nothing is."""
        if path not in self._entries:
            self.reload(path)
        return self._entries[path]

    def adopt(self, checkpoint: Checkpoint, layout: Layout) -> bool:
        """Take a checkpoint that was just opened, so that its row needs no second reading.

        Returns:
            Whether its files have changed since they were opened before.
        """
        path = str(checkpoint.path)
        old = self._entries[path].checkpoint if path in self._entries else None
        changed = old is not None and _state(old) != _state(checkpoint)
        self._entries[path] = Entry(path, "ready", checkpoint, layout)
        self._drop_checks(path)
        if changed:
            self.contentChanged.emit(path)
        self.entryChanged.emit(path)
        QTimer.singleShot(READ_DELAY_MS, self, lambda: self._read_all(path))
        return changed

    def reload(self, path: str) -> None:
        """Open a path again, for instance after its file changed."""
        self._entries[path] = Entry(path)
        self._drop_checks(path)

        def work(token: Token) -> tuple[Checkpoint, Layout]:
            checkpoint = open_checkpoint(Path(path))
            return checkpoint, describe(checkpoint.tensors, checkpoint.config)

        self._runner.submit(
            f"Reading the header of {Path(path).name}", work, lane="files", shown=False, key=f"open {path}",
            done=lambda opened: self.adopt(*opened), failed=lambda error: self._failed(path, error),
        )  # fmt: skip

    def ready(self, paths: Iterable[str]) -> list[Entry] | None:
        """The entries of all paths if every one is open, else None."""
        entries = [self.entry(p) for p in paths]
        return entries if all(e.state == "ready" for e in entries) else None

    def findings(self, base: str | None, expert: str) -> tuple[Finding, ...]:
        """What the checks say about an expert: its own values, and how it fits the base."""
        entry = self.entry(expert)
        own = entry.values or ()
        if base is None or entry.checkpoint is None:
            return own
        ancestor = self.entry(base).checkpoint
        if ancestor is None:
            return own
        if (base, expert) not in self._checks:
            self._checks[base, expert] = check(ancestor, entry.checkpoint)
        return (*self._checks[base, expert], *own)

    def judge_again(self) -> None:
        """Ask once more who vouches for each model, after one was confirmed."""
        opened = {p: (e.checkpoint, e.sha256) for p, e in self._entries.items() if e.checkpoint and e.sha256}

        def work(token: Token) -> dict[str, Origin]:
            from engine.export.origins import origin_of

            known = Confirmed(places.confirmed_file()).known()
            return {path: origin_of(checkpoint, sha256, known) for path, (checkpoint, sha256) in opened.items()}

        def done(origins: dict[str, Origin]) -> None:
            for path, origin in origins.items():
                entry = self._entries.get(path)
                if entry is not None and entry.sha256 == opened[path][1] and entry.origin != origin:
                    self._entries[path] = replace(entry, origin=origin)
                    self.entryChanged.emit(path)

        self._runner.submit("Asking who vouches for the models", work, lane="files", shown=False, done=done,
                            key="origins")  # fmt: skip

    def _failed(self, path: str, error: MixdownError) -> None:
        self._entries[path] = replace(self._entries[path], state="failed", error=error)
        self.entryChanged.emit(path)

    def _drop_checks(self, path: str) -> None:
        self._checks = {pair: found for pair, found in self._checks.items() if path not in pair}

    def _read_all(self, path: str) -> None:
        """Read all bytes once in the background: the content hash, then NaN and infinity."""
        checkpoint = self._entries[path].checkpoint
        if checkpoint is None or self._entries[path].values is not None:
            return
        opened = checkpoint

        def work(token: Token) -> tuple[str, tuple[Finding, ...], Origin]:
            from engine.export.origins import origin_of

            sha256 = content_hash(opened, token, self.hashes)
            origin = origin_of(opened, sha256, Confirmed(places.confirmed_file()).known())
            return sha256, check_values(opened, token), origin

        def done(known: tuple[str, tuple[Finding, ...], Origin]) -> None:
            self._entries[path] = replace(self._entries[path], sha256=known[0], values=known[1], origin=known[2])
            self.entryChanged.emit(path)

        self._runner.submit(f"Checking the weights of {checkpoint.name}", work, lane="files", key=f"read {path}",
                            done=done, failed=lambda error: self._failed(path, error), background=True)  # fmt: skip


def _state(checkpoint: Checkpoint) -> tuple[object, ...]:
    """What the files were when they were opened; one that was written into may have got its old time again."""
    return checkpoint.stamps, tuple(stamp.ctime_ns for stamp in checkpoint.stamps)


Opened = list[tuple[Checkpoint, Layout]]
Problems = list[tuple[Path, MixdownError]]


def open_many(paths: list[Path], expand: Callable[[Iterable[Path]], list[Path]]) -> tuple[Opened, Problems]:
    """Open everything that a drop means; problems of single files do not stop the others."""
    opened: Opened = []
    problems: Problems = []
    for path in expand(paths):
        try:
            _refuse_unwritable(path)
            checkpoint = open_checkpoint(path)
            opened.append((checkpoint, describe(checkpoint.tensors, checkpoint.config)))
        except MixdownError as error:
            problems.append((path, error))
    return opened, problems


def _refuse_unwritable(path: Path) -> None:
    """A path that is not text cannot be written into a project file: the recipe could not be saved any more."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise FileProblem("This name is not valid UTF-8 text.", where=printable(path, 400),
                          hint="Rename the file or folder, then drop it again.") from None  # fmt: skip
