"""manifest.json of an exported folder: every file with its size and hash.

Small files have their SHA-256. A weight file has the root of its hash tree (`engine.export.tree`) instead: its bytes
are hashed once, while they are written in any order, and the SHA-256 of the whole file would need them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import FileProblem, NotSafetensors
from engine.files import strict_json
from engine.files.opening import read_small
from engine.files.text import printable

MANIFEST_NAME = "manifest.json"
MAX_BYTES = 5_000_000
_FORMAT = 1


def manifest_json(weights: Mapping[str, tuple[int, str]], beside: Mapping[str, bytes]) -> bytes:
    """The manifest of a folder.

    Args:
        weights: Size and root of the hash tree of every weight file, by name.
        beside: Content of every other file, by name.
    """
    files: dict[str, dict[str, Any]] = {name: {"bytes": size, "tree": root} for name, (size, root) in weights.items()}
    for name, data in beside.items():
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return _rendered({"format": _FORMAT, "files": dict(sorted(files.items()))})


def changed_manifest(files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A manifest of entries that are known already: `bytes`, and `sha256` or `tree`, by name."""
    return _rendered({"format": _FORMAT, "files": {name: dict(entry) for name, entry in sorted(files.items())}})


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """What the manifest of a folder says about every file, by name: `bytes`, and `sha256` or `tree`.

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
    return files


def _rendered(table: dict[str, Any]) -> bytes:
    """The manifest with the hash of itself."""
    root = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**table, "root": root}, indent=2, ensure_ascii=False) + "\n").encode()


def _is_entry(name: object, entry: object) -> bool:
    """Whether it is a plain file name with a size and one hash."""
    if not strict_json.is_text(name) or not isinstance(entry, dict) or Path(str(name)).name != name:
        return False
    kinds = entry.keys() - {"bytes"}
    return type(entry.get("bytes")) is int and len(kinds) == 1 and kinds <= {"sha256", "tree"}
