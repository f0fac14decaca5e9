"""The origin of models on the disk: their content, their manifest and what somebody here vouches for."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from engine.errors import FileProblem, Mismatch
from engine.export.manifest import MANIFEST_NAME, read_manifest
from engine.files.hashing import HashCache, content_hash_of, file_hashes
from engine.files.model import Checkpoint
from engine.files.text import listed, printable
from engine.merge.inputs import Inputs
from engine.progress import Progress
from engine.recipe.origin import Origin, judged
from engine.recipe.recipe import Recipe

_HASH = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{64}(?![0-9A-Za-z])", re.ASCII)


def origin_of(checkpoint: Checkpoint, sha256: str, confirmed: Container[str], name: str = "") -> Origin:
    """What is known about the origin of an opened model.

    Args:
        checkpoint: The model.
        sha256: Its content hash, as `engine.files.hashing.content_hash` says it; "" while it is not known.
        confirmed: Content hashes that somebody here vouches for.
        name: What it is called; its own name if that is empty.
    """
    agrees = manifest_agrees(checkpoint, sha256) if sha256 else None
    return judged(checkpoint.metadata, name=name or checkpoint.name, sha256=sha256, confirmed=confirmed, agrees=agrees)


def manifest_agrees(checkpoint: Checkpoint, sha256: str) -> bool | None:
    """Whether the weights of an exported folder are the ones that its manifest lists.

    Returns:
        None if it has no manifest of ours, or one of the early ones without hashes of whole files.
    """
    if checkpoint.kind != "folder" or not (checkpoint.path / MANIFEST_NAME).is_file():
        return None
    try:
        entries = read_manifest(checkpoint.path)
    except FileProblem:
        return None if not _is_ours(checkpoint.metadata) else False
    names = sorted(stamp.path.name for stamp in checkpoint.stamps)
    if any("sha256" not in entries.get(name, {"sha256": ""}) for name in names):
        return None
    told = {name: entries.get(name, {}).get("sha256", "") for name in names}
    return content_hash_of(checkpoint, told) == sha256


def confirmed_hash(
    checkpoint: Checkpoint, stated: str, progress: Progress | None = None, cache: HashCache | None = None
) -> str:
    """The content hash of a model whose publisher's SHA-256 are the ones of its files.

    Args:
        checkpoint: The model.
        stated: Any text with the SHA-256 that the publisher states: of every weight file, or of the whole content
            (`sha256sum *.safetensors | sha256sum`).
        progress: Told the bytes read; asked whether to go on.
        cache: Hashes that are known.

    Raises:
        Mismatch: if the text does not hold them.
        FileProblem: if a file cannot be read.
        Cancelled: if the user stopped it.
    """
    told = {word.lower() for word in _HASH.findall(stated)}
    files = file_hashes(checkpoint, progress, cache)
    content = content_hash_of(checkpoint, files)
    absent = [name for name in sorted(files) if files[name] not in told]
    if content in told or not absent:
        return content
    where = printable(checkpoint.path, 400)
    if not told:
        raise Mismatch("There is no SHA-256 in the text.", where=where,
                       hint="It has 64 digits from 0 to 9 and a to f; copy it from the publisher's page.")  # fmt: skip
    raise Mismatch(f"The SHA-256 of {listed(absent)} is another one than stated.", where=where,
                   hint="Get the model again from its publisher; do not use this copy.")  # fmt: skip


def _is_ours(metadata: Mapping[str, Any]) -> bool:
    """Whether a model says that Mixdown wrote it; others may have a manifest.json of their own."""
    return "mixdown" in metadata


def input_origins(recipe: Recipe, inputs: Inputs, confirmed: Container[str]) -> dict[str, Origin]:
    """The origins of a recipe's models, by their ids; the recipe has all content hashes."""
    pairs = [*zip(recipe.experts, inputs.stored_experts, strict=True)]
    if recipe.base is not None and inputs.stored_base is not None:
        pairs.append((recipe.base, inputs.stored_base))
    return {ref.id: origin_of(opened, ref.sha256, confirmed, ref.name) for ref, opened in pairs}
