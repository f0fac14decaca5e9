"""Tasks of bundles as models to open: restored once into a private folder, under a key of the bundle's content.

The path of such a model is "BUNDLE.safetensors/TASK" (see `engine.files.members`), that of a base which the bundle
includes is "BUNDLE.safetensors/(base)". Everything in the folder can be made again from the bundle.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from engine.bundle.carried import read_carried
from engine.bundle.manifest import Manifest
from engine.bundle.opening import Bundle, open_bundle
from engine.errors import FileProblem, Missing
from engine.files import strict_json
from engine.files.checkpoint import open_checkpoint
from engine.files.durable import write_durably
from engine.files.folder import find_sidecars
from engine.files.hashing import HashCache, content_hash, fingerprint
from engine.files.members import NotRestored, member_path
from engine.files.model import Checkpoint, FileStamp
from engine.files.opening import read_small
from engine.files.text import printable
from engine.progress import Progress, Renamed, Silent

BASE_MEMBER = "(base)"
"""Name of an included base among a bundle's members; a task of this name is written %28base)."""

_ABOUT, _BASES = "bundle.json", "bases.json"
_MOST_BASES, _SMALL = 64, 1_000_000
_SETTLE_S = 3600.0


class TaskCache:
    """The folder of restored tasks. Thread-safe.

    Args:
        folder: Where they are kept; made when first needed.
        hashes: Content hashes that are known.
    """

    def __init__(self, folder: Path, hashes: HashCache | None = None) -> None:
        self._folder, self._hashes = folder, hashes
        self._lock = threading.Lock()
        self._known: dict[tuple[FileStamp, int], str] = {}

    def open_member(self, file: Path, name: str) -> Checkpoint:
        """A task of a bundle, or its base, as a model; from headers alone.

        Raises:
            NotRestored: if the task has to be restored first.
            BadRecipe: if there is no such task.
            FileProblem: if the bundle cannot be read.
        """
        bundle = open_bundle(file)
        if name == BASE_MEMBER:
            return self.included_base(bundle)
        folder = self._task_folder(bundle, name)
        if not folder.is_dir():
            raise NotRestored(f"The task {printable(name, 80)} is not restored yet.", where=printable(file, 400),
                              hint="Restore it with main.py restore, or open the bundle in the window.")  # fmt: skip
        with suppress(OSError):
            os.utime(folder.parent)  # in use
        return replace(open_checkpoint(folder), path=member_path(file.absolute(), name))

    def included_base(self, bundle: Bundle) -> Checkpoint:
        """The base that a bundle includes, read from the bundle itself.

        Raises:
            Missing: if it includes none.
        """
        base = bundle.base()
        if base is None:
            raise Missing("The bundle does not include its base.", where=printable(bundle.path, 400),
                          hint=f"Add the model {printable(bundle.manifest.base_name, 80)} itself.")  # fmt: skip
        folder = self._key_folder(bundle) / "base"
        return replace(base, path=bundle.path.absolute() / BASE_MEMBER, kind="folder",
                       sidecars=find_sidecars(folder) if folder.is_dir() else ())  # fmt: skip

    def restore(
        self,
        bundle: Bundle,
        tasks: Sequence[str],
        base: Checkpoint | None,
        *,
        progress: Progress | None = None,
        threads: int | None = None,
    ) -> list[Checkpoint]:
        """Restore tasks that are not there yet; what is complete stays, whatever happens to the others.

        Args:
            bundle: An opened bundle.
            tasks: Names of tasks.
            base: The base, unless the bundle includes it.
            progress: Told how far it is; pauses and cancels.
            threads: Worker threads; None for one a core.

        Returns:
            The models, in the order of `tasks`.

        Raises:
            Mismatch: if the base is absent or another model.
            NotSafetensors: if the bundle is damaged.
            NotEnoughDisk: if the restored tasks do not fit.
            Cancelled: if the user stopped it.
        """
        from engine.bundle.restore import restore
        from engine.export.options import ExportOptions

        progress = progress or Silent()
        self._note(bundle)
        for task in tasks:
            folder = self._task_folder(bundle, task)
            if not folder.is_dir():
                told = Renamed(progress, f"Restoring {printable(task, 60)}")
                restore(bundle, task, folder, base=base, progress=told, threads=threads, cache=self._hashes,
                        options=ExportOptions(card=False, verify=False, replace=True),
                        sha256=self._hash(bundle))  # fmt: skip
        if base is not None:
            self.remember_base(base)
        return [self.open_member(bundle.path, task) for task in tasks]

    def remember_base(self, base: Checkpoint) -> None:
        """Note where a base is, so that bundles that only refer to it need not ask again."""
        with self._lock:
            known = self._bases()
            known.pop(print_ := fingerprint(base), None)
            known[print_] = str(base.path.absolute())
            self._folder.mkdir(parents=True, exist_ok=True)
            kept = dict(list(known.items())[-_MOST_BASES:])
            write_durably(self._folder / _BASES, json.dumps(kept, indent=0).encode("utf-8", "surrogateescape"))

    def known_base(self, manifest: Manifest) -> Checkpoint | None:
        """The base of a bundle where it was seen before, if it is still there and the same."""
        path = self._bases().get(manifest.base_print)
        if path is None:
            return None
        with suppress(FileProblem, OSError):
            base = open_checkpoint(Path(path))
            return base if fingerprint(base) == manifest.base_print else None
        return None

    def base_for(self, bundle: Bundle, candidates: Iterable[Checkpoint]) -> Checkpoint | None:
        """The base to restore with: the first candidate that is it, or where it was seen before.

        Returns:
            None if the bundle includes its base, or if nobody knows where the base is.
        """
        if bundle.manifest.included:
            return None
        for candidate in candidates:
            with suppress(FileProblem):
                if fingerprint(candidate) == bundle.manifest.base_print:
                    return candidate
        return self.known_base(bundle.manifest)

    def clean(self, used: Iterable[Path], older_than_s: float = _SETTLE_S) -> list[str]:
        """Remove what no project uses and nobody opened lately; it can be restored again.

        Args:
            used: Paths of the models of all projects.
            older_than_s: What was opened within this time stays: a window may use it that saved nothing yet.

        Returns:
            The keys that were removed.
        """
        bundles = {str(path.parent) for path in used}
        removed = []
        for folder in sorted(entry for entry in self._folder.glob("*") if entry.is_dir()):
            about = _read_json(folder / _ABOUT)
            paths = about.get("paths", []) if isinstance(about, dict) else []
            is_used = any(isinstance(path, str) and path in bundles for path in paths)
            if not is_used and time.time() - folder.stat().st_mtime > older_than_s:
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
        return removed

    def _bases(self) -> dict[str, str]:
        found = _read_json(self._folder / _BASES)
        table = found if isinstance(found, dict) else {}
        return {key: path for key, path in table.items() if isinstance(path, str)}

    def _note(self, bundle: Bundle) -> None:
        """Make the bundle's folder, say whose it is, and unpack its small files."""
        folder = self._key_folder(bundle)
        folder.mkdir(parents=True, exist_ok=True)
        about = _read_json(folder / _ABOUT)
        paths = list(about.get("paths", [])) if isinstance(about, dict) else []
        if str(bundle.path.absolute()) not in paths:
            paths.append(str(bundle.path.absolute()))
        write_durably(folder / _ABOUT, json.dumps({"paths": paths}).encode("utf-8", "surrogateescape"))
        if bundle.manifest.included and not (folder / "base").is_dir():
            made = folder / "base"
            made.mkdir()
            for name, data in read_carried(bundle).items():
                (made / name).write_bytes(data)

    def _task_folder(self, bundle: Bundle, task: str) -> Path:
        return self._key_folder(bundle) / f"task-{bundle.manifest.number(task)}"

    def _key_folder(self, bundle: Bundle) -> Path:
        return self._folder / self._hash(bundle)[:32]

    def _hash(self, bundle: Bundle) -> str:
        """Content hash of a bundle; one that was written into counts as another, whatever its time says."""
        stamp = bundle.checkpoint.stamps[0]
        state = (stamp, stamp.ctime_ns)
        with self._lock:
            known = self._known.get(state)
        if known is None:
            known = content_hash(bundle.checkpoint, cache=self._hashes)
            with self._lock:
                self._known[state] = known
        return known


def _read_json(path: Path) -> object:
    """A small JSON file; None if it is not there or damaged."""
    try:
        return strict_json.parse(read_small(path, _SMALL), depth=4)
    except (FileProblem, strict_json.BadJson, OSError):
        return None
