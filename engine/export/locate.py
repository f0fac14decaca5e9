"""Finding the inputs of an exported model again: by content hash, in folders that the user names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import FileProblem
from engine.files.checkpoint import expand, open_checkpoint
from engine.files.hashing import HashCache, content_hash
from engine.files.model import Checkpoint
from engine.progress import Progress, Silent
from engine.recipe.recipe import ModelRef, Recipe

MOST_CANDIDATES = 500


def locate(
    recipe: Recipe, folders: Sequence[Path], progress: Progress | None = None, cache: HashCache | None = None
) -> tuple[Recipe, tuple[str, ...]]:
    """Give the models of a recipe their paths.

    Models of the right name are hashed first; the others only while some are still wanted.

    Args:
        recipe: Whose models have content hashes.
        folders: Where to look: model files, model folders, and folders of them.
        progress: Told the bytes that are hashed; asked whether to go on.
        cache: Hashes that are known.

    Returns:
        The recipe with a path for every model that was found, and the names of those that were not.
    """
    progress = progress or Silent()
    refs = [ref for ref in (recipe.base, *recipe.experts) if ref is not None]
    wanted = {ref.sha256 for ref in refs if ref.sha256}
    found: dict[str, str] = {}
    names = {ref.name for ref in refs}
    for checkpoint in sorted(_candidates(folders), key=lambda ck: ck.name not in names):
        if wanted <= found.keys():
            break
        progress.check()
        try:
            found.setdefault(content_hash(checkpoint, progress, cache), str(checkpoint.path))
        except FileProblem:
            continue

    def placed(ref: ModelRef) -> ModelRef:
        return replace(ref, path=found.get(ref.sha256, ""))

    base = placed(recipe.base) if recipe.base is not None else None
    made = replace(recipe, base=base, experts=tuple(placed(ref) for ref in recipe.experts))
    return made, tuple(ref.name for ref in refs if ref.sha256 not in found)


def _candidates(folders: Iterable[Path]) -> Iterator[Checkpoint]:
    """Everything there that opens; both as a folder and as the file in it, as hashes of these differ."""
    for path in expand(folders)[:MOST_CANDIDATES]:
        try:
            checkpoint = open_checkpoint(path)
        except FileProblem:
            continue
        yield checkpoint
        if checkpoint.kind == "folder" and len(checkpoint.stamps) == 1:
            yield open_checkpoint(checkpoint.stamps[0].path)
