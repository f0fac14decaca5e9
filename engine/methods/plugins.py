"""Merge methods from outside the project: installed packages and, if the user wants it, files in a folder.

A plug-in is a Python module that decorates one function with `merge_method`, exactly like the files beside this
one. Installed packages name it in the entry point group `mixdown.methods`; files are `*.py` in a folder that the
user owns. Plug-ins are programs: they can do whatever the user can. So files are loaded only when asked for,
never from the folder of a model, and never one that others may write to.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.declare import foreign
from engine.methods import spec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "mixdown.methods"
"""Entry point group of installed plug-ins."""

_PREFIX = "mixdown_plugin_"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plug-in that was found.

    Attributes:
        name: Of the entry point or file.
        source: Where it came from: "package 1.0" or the file.
        methods: Ids of the methods that it added.
        problem: Why it was not loaded, "" when it was.
    """

    name: str
    source: str
    methods: tuple[str, ...] = ()
    problem: str = ""


_LOADED: dict[str, Plugin] = {}


def load_installed() -> tuple[Plugin, ...]:
    """Load the entry points of installed packages; each is loaded once in a process."""
    found = sorted(_points(), key=lambda point: (point.name, point.value))
    return tuple(_once(f"{point.name} = {point.value}", point.name, _origin(point), _loader(point)) for point in found)


def _points() -> Iterable[EntryPoint]:
    """Entry points of the group, from the metadata of all installed packages."""
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def load_folder(folder: Path) -> tuple[Plugin, ...]:
    """Load all `*.py` files of a folder, by name; each is loaded once in a process.

    Args:
        folder: The user's own folder of plug-ins; it need not be there.
    """
    try:
        files = sorted(p for p in folder.glob("*.py") if not p.name.startswith(("_", ".")))
    except OSError:
        return ()
    return tuple(_once(str(file.absolute()), file.stem, str(file), partial(_run, file)) for file in files)


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def _loader(point: EntryPoint) -> Callable[[], object]:
    return point.load


def _once(key: str, name: str, source: str, load: Callable[[], object]) -> Plugin:
    """Load one plug-in; whatever goes wrong, its methods are taken back and the program goes on."""
    if key in _LOADED:
        return _LOADED[key]
    before = spec.registered()
    try:
        load()
        added = tuple(id_ for id_ in spec.registered() if id_ not in before)
        for id_ in added:
            foreign.check(spec.find(id_), {param.name for param in spec.POST})
        plugin = Plugin(name, source, added)
    except (Exception, SystemExit) as error:
        spec.unregister(id_ for id_ in spec.registered() if id_ not in before)
        plugin = Plugin(name, source, problem=_told(error, source))
    _LOADED[key] = plugin
    return plugin


def _told(error: BaseException, source: str) -> str:
    """What went wrong, and where in the plug-in's file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == source]
    where = f" (line {lines[-1]})" if lines and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {error}{where}"[:500]


def _run(file: Path) -> None:
    """Run a plug-in file as a module of its own.

    Raises:
        PermissionError: if others may write the file or its folder.
    """
    _check_owner(file)
    name = _PREFIX + file.stem
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise ImportError("this is not a Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _check_owner(file: Path) -> None:
    if not hasattr(os, "getuid"):
        return
    for path in (file, file.parent):
        status = path.stat()
        if status.st_uid not in (os.getuid(), 0) or status.st_mode & stat.S_IWOTH:
            raise PermissionError(f"{path} belongs to, or can be written by, someone else")
