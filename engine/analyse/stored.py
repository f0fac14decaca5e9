"""Analyses on disk, found again by the content of the models: reopening a project shows its views at once.

A file holds arrays and nothing that could run; it may be deleted at any time. The folder is bounded in size, the
oldest files go first.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.analyse.magnitude_values import FINE, Magnitudes
from engine.analyse.values import Masks, Overlap, Products, Signs, arrays_of
from engine.files.hashing import touched
from engine.files.model import Group
from engine.merge.inputs import Inputs
from engine.merge.models import content_state

VERSION = 1
"""Raised whenever an analysis counts something else, so that older files are not found."""

BYTES = 128 << 20
"""Most bytes of the folder."""

_SUFFIX = ".analysis.npz"
_PARTS: Mapping[str, Any] = {"products": Products, "signs": Signs, "masks": Masks}
Found = Overlap | Magnitudes


class Shelf:
    """Analyses in a folder.

    Args:
        folder: Made when something is kept.
        limit: Most bytes.
    """

    def __init__(self, folder: Path, limit: int = BYTES) -> None:
        self.folder, self.limit = folder, limit

    def find(self, kind: str, inputs: Inputs, groups: Sequence[Group]) -> Found | None:
        """What was kept about these models, with the experts in the order of `inputs`; None if nothing.

        Args:
            kind: "overlap" or "magnitudes".
            inputs: Base and experts; their files may lie elsewhere by now.
            groups: Of the base's layout.

        Raises:
            FileProblem: if a model cannot be read.
        """
        key, order = _key(kind, inputs)
        path = self.folder / (key + _SUFFIX)
        arrays = _read(path)
        if arrays is None:
            return None
        try:
            found = _made(kind, arrays, tuple(str(t) for t in range(len(order))), tuple(groups))
        except (KeyError, ValueError, TypeError, IndexError):
            return None
        with suppress(OSError):
            os.utime(path)  # the least recently used go first
        places = [order.index(t) for t in range(len(order))]
        named = found.ordered(places) if isinstance(found, Magnitudes) else found.ordered([str(p) for p in places])
        return _named(named, inputs.names)

    def keep(self, kind: str, inputs: Inputs, found: Found) -> None:
        """Remember an exact analysis; a disk that is full or read-only is no reason to fail.

        Nothing is kept if a model was touched since it was opened: nobody knows what was counted.
        """
        key, order = _key(kind, inputs)
        if any(model is not None and touched(model) for model in (inputs.base, *inputs.experts)):
            return
        names = [found.names[t] for t in order]
        ordered = found.ordered(order) if isinstance(found, Magnitudes) else found.ordered(names)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self.folder, key, _arrays(ordered))
            self._prune()

    def _prune(self) -> None:
        """Delete the least recently used until the others fit."""
        kept = 0
        for status, path in sorted(((p.stat(), p) for p in self.folder.glob("*" + _SUFFIX)),
                                   key=lambda pair: -pair[0].st_mtime_ns):  # fmt: skip
            kept += status.st_size
            if kept > self.limit:
                path.unlink(missing_ok=True)


def _key(kind: str, inputs: Inputs) -> tuple[str, list[int]]:
    """Name of the file, and the experts in the order in which it holds them."""
    keys = [content_state(expert) for expert in inputs.experts]
    order = sorted(range(len(keys)), key=lambda t: (keys[t], t))
    base = "" if inputs.base is None else content_state(inputs.base)
    digest = blake2b(repr((VERSION, kind, base, [keys[t] for t in order])).encode(), digest_size=20)
    return digest.hexdigest(), order


def _arrays(found: Found) -> dict[str, NDArray[Any]]:
    if isinstance(found, Magnitudes):
        used = np.flatnonzero(found.fine.any(0))
        return {"bins": used, "fine": found.fine[:, used], "coarse": found.coarse}
    arrays = {"sizes": found.sizes, "zeros": found.zeros}
    for name in _PARTS:
        part = getattr(found, name)
        if part is not None:
            arrays |= {f"{name}.{field}": values for field, values in arrays_of(part).items()}
    return arrays


def _made(kind: str, arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...], groups: tuple[Group, ...]) -> Found:
    """The value that `_arrays` took apart."""
    if kind == "magnitudes":
        fine = np.zeros((len(names), FINE), np.int64)
        fine[:, arrays["bins"]] = arrays["fine"]
        if arrays["coarse"].shape[:2] != (len(groups), len(names)):
            raise ValueError("another layout")
        return Magnitudes(names, groups, fine, arrays["coarse"])
    parts: dict[str, Any] = {}
    for name, value in _PARTS.items():
        wanted = [field.name for field in fields(value)]
        own = {key.partition(".")[2]: array for key, array in arrays.items() if key.startswith(f"{name}.")}
        if own:
            parts[name] = value(**{field: own.get(field) for field in wanted})
    if arrays["zeros"].shape != (len(groups), len(names)):
        raise ValueError("another layout")
    return Overlap(names, groups, arrays["sizes"], arrays["zeros"], **parts)


def _named(found: Found, names: Sequence[str]) -> Found:
    return replace(found, names=tuple(names))


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file; None if there is none or it is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(folder: Path, key: str, arrays: dict[str, NDArray[Any]]) -> None:
    """Write a file so that it is there as a whole or not at all."""
    handle, partial = tempfile.mkstemp(suffix=".partial", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # arrays by name
        Path(partial).replace(folder / (key + _SUFFIX))
    finally:
        Path(partial).unlink(missing_ok=True)
