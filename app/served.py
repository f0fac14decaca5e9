"""Tasks of bundles as models: where the restored ones are kept, for the window and the command line alike."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from app import places
from engine.errors import Missing, MixdownError
from engine.files import members
from engine.files.hashing import HashCache
from engine.files.model import Checkpoint
from engine.files.text import printable
from engine.progress import Progress
from engine.recipe.project import load_project

if TYPE_CHECKING:
    from engine.bundle.cache import TaskCache


@lru_cache(maxsize=4)
def _cache_in(folder: Path, hashes: Path) -> TaskCache:
    from engine.bundle.cache import TaskCache  # not while the window starts

    return TaskCache(folder, HashCache(hashes))


def cache() -> TaskCache:
    """The cache of this user's restored tasks."""
    return _cache_in(places.bundle_folder(), places.hash_cache_file())


def serve() -> None:
    """From now on a path like "all.safetensors/digits" opens a task of a bundle."""
    members.serve(lambda file, name: cache().open_member(file, name))


def restored(path: Path, base: Checkpoint | None, progress: Progress | None = None) -> Checkpoint:
    """A task of a bundle, restored if it is not there yet.

    Args:
        path: "BUNDLE.safetensors/TASK".
        base: The base on the desk, if there is one; used if the bundle was made from it.
        progress: Told how far it is.

    Raises:
        Missing: if the bundle is not there.
        Mismatch: if its base is needed and not known.
        MixdownError: as `TaskCache.restore` does.
    """
    from engine.bundle.opening import open_bundle

    inside = members.split(path)
    if inside is None:
        raise Missing("The task bundle is not there any more.", where=printable(path, 400), hint="Locate it again.")
    bundle = open_bundle(inside[0])
    found = cache().base_for(bundle, [base] if base is not None else [])
    return cache().restore(bundle, [inside[1]], found, progress=progress)[0]


def clean(projects: list[Path]) -> list[str]:
    """Remove restored tasks that none of these projects (and of the sessions) uses; the keys that were removed.

    Nothing is removed while a project cannot be read: it may use anything.
    """
    used: list[Path] = []
    for project in [*projects, *places.home().glob("*.mixdown")]:
        if not project.exists():
            continue
        try:
            recipe = load_project(project)
        except MixdownError:
            return []
        used += [Path(ref.path) for ref in (recipe.base, *recipe.experts) if ref is not None]
    with suppress(OSError):
        return cache().clean(used)
    return []
