"""manifest.json of an exported folder: every file with its size and SHA-256.

A weight file also has the root of its hash tree (`engine.export.tree`), by which a damaged tensor can be named. The
SHA-256 of the whole file is what other programs compare (sha256sum, model hubs). It cannot be taken while the file is
written, as the header, which comes first, holds the hashes of everything behind it: so `file_hashes` reads the finished
files once more, all at the same time and out of the system's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine.errors import FileProblem, NotSafetensors
from engine.files import strict_json
from engine.files.buffers import page_aligned
from engine.files.opening import read_small
from engine.files.text import printable
from engine.progress import Progress

MANIFEST_NAME = "manifest.json"
MAX_BYTES = 5_000_000
_FORMAT = 1
_PIECE = 4 << 20
_MOST_THREADS = 8


def manifest_json(
    weights: Mapping[str, tuple[int, str, str]],
    beside: Mapping[str, bytes],
    sources: Sequence[Mapping[str, str]] | None = None,
) -> bytes:
    """The manifest of a folder.

    Args:
        weights: Size, root of the hash tree and SHA-256 of every weight file, by name.
        beside: Content of every other file, by name.
        sources: Ancestors that nobody vouches for (`engine.recipe.origin`); None to say nothing about them.
    """
    files: dict[str, dict[str, Any]] = {
        name: {"bytes": size, "tree": root, "sha256": sha256} for name, (size, root, sha256) in weights.items()
    }
    for name, data in beside.items():
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return changed_manifest(files, sources)


def file_hashes(files: Sequence[Path], progress: Progress) -> dict[str, str]:
    """The SHA-256 of whole files by name, read one beside the other.

    Args:
        files: Files that are written.
        progress: Told the bytes read; asked whether to go on.

    Raises:
        OSError: if a file cannot be read.
        Cancelled: if the user stopped it.
    """
    progress.begin(sum(file.stat().st_size for file in files), "Hashing the files")
    with ThreadPoolExecutor(max(1, min(len(files), os.cpu_count() or 1, _MOST_THREADS)), "hash") as pool:
        found = pool.map(lambda file: _file_hash(file, progress), files)
        return dict(zip((file.name for file in files), found, strict=True))


def _file_hash(file: Path, progress: Progress) -> str:
    digest, buffer = hashlib.sha256(), page_aligned(_PIECE).data
    with file.open("rb", buffering=0) as stream:
        while got := stream.readinto(buffer):
            progress.check()
            digest.update(buffer[:got])
            progress.advance(got)
    return digest.hexdigest()


def changed_manifest(
    files: Mapping[str, Mapping[str, Any]], sources: Sequence[Mapping[str, str]] | None = None
) -> bytes:
    """A manifest of entries that are known already: `bytes`, `sha256` and `tree`, by name."""
    told = {} if sources is None else {"sources": [dict(source) for source in sources]}
    return _rendered({"format": _FORMAT, **told, "files": {name: dict(files[name]) for name in sorted(files)}})


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """What the manifest of a folder says about every file, by name: `bytes`, `sha256`, and `tree` for weights.

    Exports of earlier versions have no `sha256` for weights.

    Raises:
        FileProblem: if it cannot be read or is not byte by byte as it was written.
    """
    return read_whole(folder)[0]


def read_whole(folder: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]] | None]:
    """What the manifest of a folder says about its files, and the sources that it names (None: it says nothing).

    Raises:
        FileProblem: if it cannot be read or is not byte by byte as it was written.
    """
    path = folder / MANIFEST_NAME
    where, hint = printable(path, 400), "The manifest is damaged or was edited; export the model again."
    try:
        raw = read_small(path, MAX_BYTES)
        data = strict_json.parse(raw, depth=4)
    except strict_json.BadJson as error:
        raise NotSafetensors(f"The manifest cannot be used: {printable(error)}.", where=where, hint=hint) from error
    files = data.get("files") if isinstance(data, dict) and data.get("format") == _FORMAT else None
    if not isinstance(files, dict) or not all(_is_entry(name, entry) for name, entry in files.items()):
        raise NotSafetensors("The manifest does not list files.", where=where, hint=hint)
    if _rendered({key: value for key, value in data.items() if key != "root"}) != raw:
        raise FileProblem("The manifest is not as it was written.", where=where, hint=hint)
    sources = data.get("sources")
    return files, sources if isinstance(sources, list) and all(isinstance(s, dict) for s in sources) else None


def _rendered(table: dict[str, Any]) -> bytes:
    """The manifest with the hash of itself."""
    root = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**table, "root": root}, indent=2, ensure_ascii=False) + "\n").encode()


def _is_entry(name: object, entry: object) -> bool:
    """Whether it is a plain file name with a size and a hash or two."""
    if not strict_json.is_text(name) or not isinstance(entry, dict) or Path(str(name)).name != name:
        return False
    kinds = entry.keys() - {"bytes"}
    return type(entry.get("bytes")) is int and len(kinds) > 0 and kinds <= {"sha256", "tree"} and all(
        isinstance(entry[kind], str) for kind in kinds)  # fmt: skip
