"""Recording runs: where the history is, what a run looks like, and the one thread of this process that writes it."""

from __future__ import annotations

import hashlib
import os
import platform
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app import places, quiet
from app.settings import load_settings
from app.version import VERSION
from engine.errors import MixdownError
from engine.evaluate.score import Score
from engine.files.checkpoint import open_checkpoint
from engine.files.hashing import HashCache, content_hash
from engine.history import inbox, recipes
from engine.history.titles import title_of
from engine.history.values import Facts
from engine.methods import find
from engine.progress import Progress
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from engine.export.options import Exported
    from engine.history.history import History

VARIABLE = "MIXDOWN_HISTORY"
"""The environment's wish for another place: a file, a URL, or "off"."""

AT_ONCE_BYTES = 64_000_000
"""Outputs up to this size are hashed by the command that wrote them; larger ones when a window has time."""

_RETRY_S = 30.0
_PACKAGES = ("torch", "numpy", "safetensors")
_troubles: list[str] = []
T = TypeVar("T")


def where(given: str = "") -> str:
    """Where the history is: what is given, else the environment's, else the setting's, else the user's own file.

    Returns:
        A path or a URL; "off" when nothing is to be recorded.
    """
    wanted = given or os.environ.get(VARIABLE, "") or load_settings(places.settings_file()).history
    return wanted.strip() or str(places.history_file())


def open_history(given: str = "") -> History | None:
    """The history, None when it is switched off.

    Raises:
        MixdownError: if it cannot be opened.
    """
    place = where(given)
    if place.lower() == "off":
        return None
    with quiet.loading("sqlalchemy"):
        from engine.history.history import History

    history = History(place if "://" in place else Path(place).expanduser())
    _take_in(history, place)
    return history


def _inboxes(place: str) -> tuple[Path, ...]:
    """Where runs wait for the history at a place: beside its file, then in the user's own folder."""
    own = places.history_file()
    ours = own.with_name(f"{own.name}.inbox-{hashlib.sha256(place.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}")
    return (ours,) if "://" in place else (inbox.folder_of(Path(place).expanduser()), ours)


def _take_in(history: History | None, place: str) -> bool:
    """Record what waits for a history since it was asked last; returns whether nothing goes on waiting."""
    if history is None or history.status.is_read_only:
        return True
    try:
        for folder in _inboxes(place):
            _troubles.extend(inbox.take(folder, history.record))
    except MixdownError as error:
        _troubles.append(f"Runs that wait in the inbox are not in the history: {error}")
        return False
    return True


def _wait(facts: Facts, place: str, why: MixdownError) -> str:
    """Let a run wait that the history does not take now; what to tell the user."""
    for folder in _inboxes(place):
        try:
            inbox.put(folder, facts)
        except MixdownError:
            continue
        return (
            f"The {facts.kind} is not in the history yet: {why} It waits and is recorded as soon as that works again."
        )
    return f"The {facts.kind} is not in the history: {why}"


class Recorder:
    """Opens the history in a thread of its own and does there, one after the other, what is asked of it.

    Args:
        open_it: Opens the history; None when it is switched off.
        place: Where it is; "" for the place that is set now.
    """

    def __init__(self, open_it: Callable[[], History | None] = open_history, place: str = "") -> None:
        self._open_it, self._place = open_it, place or where()
        self._take_after = 0.0
        self._queue: queue.SimpleQueue[tuple[Callable[[History], object], Future[object]]] = queue.SimpleQueue()
        self._history: History | None = None
        self._failed: tuple[float, MixdownError] | None = None
        self._idle = threading.Condition()
        self._waiting = 0
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[History], T]) -> Future[T | None]:
        """Do something with the history, after everything submitted before; None when it is switched off."""
        future: Future[T | None] = Future()
        with self._idle:
            self._waiting += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="mixdown-history", daemon=True)
                self._thread.start()
        self._queue.put((work, future))  # type: ignore[arg-type]  # the future takes what the work gives
        return future

    def flush(self, timeout_s: float = 3.0) -> bool:
        """Wait until everything submitted is done; returns whether that was in time."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._waiting, timeout_s)

    def _serve(self) -> None:
        while True:
            work, future = self._queue.get()
            try:
                history = self._opened()
                if time.monotonic() >= self._take_after and not _take_in(history, self._place):
                    self._take_after = time.monotonic() + _RETRY_S
                future.set_result(None if history is None else work(history))
            except Exception as error:  # a bug must not end the thread; whoever waits is told
                future.set_exception(error)
            del work, future  # not only when the next work comes, in an hour
            with self._idle:
                self._waiting -= 1
                self._idle.notify_all()

    def _opened(self) -> History | None:
        """The history; one that could not be opened is tried again after a while."""
        if self._history is None:
            if self._failed is not None and time.monotonic() - self._failed[0] < _RETRY_S:
                raise self._failed[1]
            try:
                self._history = self._open_it()
                self._failed = None
            except MixdownError as error:
                self._failed = time.monotonic(), error
                raise
        return self._history


_recorders: dict[str, Recorder] = {}
_lock = threading.Lock()


def recorder() -> Recorder:
    """This process's recorder for the place that is set now."""
    with _lock:
        place = where()
        return _recorders.setdefault(place, Recorder(place=place))


def record_export(recipe: Recipe, done: Exported, device: str, scores: Iterable[Score] = ()) -> str:
    """Write a finished export into the history, and wait until it is there; never raises for the history's sake.

    Args:
        recipe: With the content hashes of its inputs.
        done: What was written.
        device: What it was computed on.
        scores: Scores of the recipe that are known.

    Returns:
        What went wrong, "" for nothing.
    """
    trouble = record(export_facts(recipe, done, device, tuple(scores)))
    if trouble:
        _troubles.append(trouble)
    return trouble


def record(facts: Facts) -> str:
    """Write a run into the history, and wait until it is there; where that fails it waits in a file instead.

    Returns:
        What went wrong, "" for nothing.
    """
    place = where()
    try:
        recorder().submit(lambda history: history.record(facts)).result()
    except MixdownError as error:
        return _wait(facts, place, error)
    return ""


def leave_export(recipe: Recipe, done: Exported, device: str, progress: Progress) -> str:
    """The same for a command, which leaves a file for the history instead of loading a database (0.4 s).

    The history takes it in when it is next opened; that of a team, which lies on a server, is written at once.
    Small outputs are hashed here, so that merges of merges know their parents; large ones when a window has time.

    Returns:
        What went wrong, "" for nothing.
    """
    place = where()
    if place.lower() == "off":
        return ""
    facts = export_facts(recipe, done, device)
    try:
        if done.bytes <= AT_ONCE_BYTES:
            sha256 = content_hash(open_checkpoint(done.path), progress, HashCache(places.hash_cache_file()))
            facts = replace(facts, output_sha256=sha256)
    except MixdownError:
        pass  # the export is there; its hash is found out later
    if "://" in place:
        return record(facts)
    try:
        inbox.put(_inboxes(place)[0], facts)
    except MixdownError as error:
        return _wait(facts, place, error)
    return ""


def take_trouble() -> str:
    """What went wrong with recording since the last time this was asked; "" for nothing."""
    found = " ".join(dict.fromkeys(_troubles))
    _troubles.clear()
    return found


def export_facts(recipe: Recipe, done: Exported, device: str, scores: tuple[Score, ...] = ()) -> Facts:
    """A finished export as the history keeps it."""
    return Facts(
        kind="export", recipe=recipes.canonical(recipe), key=recipes.key_of(recipe), method=recipe.method,
        title=title_of(recipe), params=_params(recipe), inputs=recipes.inputs_of(recipe), scores=scores,
        seconds=done.seconds, device=device, versions=versions(), output_path=str(done.path.absolute()),
        output_bytes=done.bytes,
    )  # fmt: skip


def score_facts(recipe: Recipe, scores: tuple[Score, ...], seconds: float | None, device: str) -> Facts:
    """A quick eval as the history keeps it."""
    return Facts(
        kind="score", recipe=recipes.canonical(recipe), key=recipes.key_of(recipe), method=recipe.method,
        title=title_of(recipe), params=_params(recipe), inputs=recipes.inputs_of(recipe), scores=scores,
        seconds=seconds, device=device, versions=versions(),
    )  # fmt: skip


def _params(recipe: Recipe) -> tuple[tuple[str, float | int | bool | str], ...]:
    return tuple(sorted({**find(recipe.method).complete(dict(recipe.params)), **dict(recipe.params)}.items()))


def versions() -> tuple[tuple[str, str], ...]:
    """Mixdown, Python and the libraries that a merge's bytes depend on."""
    import importlib.metadata  # brings the e-mail package along: not while the window starts

    found = [("Mixdown", VERSION), ("Python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)
