"""Runs on their way into a history: one small file each, so that a command need not open a database.

A file is on the disk before `put` returns. Whoever opens the history takes it in and deletes it afterwards; as every
run has a `uid`, a run that is taken twice is there once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.errors import MixdownError, WriteProblem
from engine.evaluate.score import Score
from engine.files import strict_json
from engine.files.durable import write_durably
from engine.history.values import Facts, Input

SUFFIX = ".run.json"
REJECTED = ".rejected"
FORMAT = 1
"""Of the files; one of a later format goes on waiting for the Mixdown that wrote it."""


def folder_of(history: Path) -> Path:
    """Where runs wait for the history of this file."""
    return history.with_name(f"{history.name}.inbox")


def put(folder: Path, facts: Facts) -> None:
    """Let a run wait; when this returns it is on the disk.

    Raises:
        WriteProblem: if it could not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteProblem(f"The folder cannot be made: {error.strerror}.", where=str(folder)) from error
    write_durably(
        folder / f"{facts.uid}{SUFFIX}", json.dumps({"format": FORMAT, **asdict(facts)}, ensure_ascii=True).encode()
    )


def take(folder: Path, record: Callable[[Facts], object]) -> list[str]:
    """Hand over what waits, oldest first; a run that could not be recorded goes on waiting.

    Args:
        folder: See `folder_of`.
        record: Puts a run into the history for good, or raises.

    Returns:
        A sentence for each file that is not a run; it is renamed, not deleted.

    Raises:
        MixdownError: what `record` raised; later files are still there.
    """
    told: list[str] = []
    found: list[tuple[Facts, Path]] = []
    with suppress(OSError):
        for path in folder.glob(f"*{SUFFIX}"):
            try:
                facts = _read(path)
                if facts is not None:
                    found.append((facts, path))
            except (OSError, ValueError, TypeError, KeyError, MixdownError):
                with suppress(OSError):
                    path.replace(path.with_name(path.name + REJECTED))
                told.append(f"{path.name} in the history's inbox is not a run; it was set aside.")
    for run, path in sorted(found, key=lambda pair: pair[0].created):
        record(run)
        path.unlink(missing_ok=True)
    return told


def _read(path: Path) -> Facts | None:
    data: dict[str, Any] = dict(strict_json.parse(path.read_bytes()))
    if data.pop("format", FORMAT) > FORMAT:
        return None
    return Facts(**{
        **data,
        "params": tuple((str(name), value) for name, value in data["params"]),
        "inputs": tuple(Input(**given) for given in data["inputs"]),
        "scores": tuple(Score(**given) for given in data["scores"]),
        "versions": tuple((str(name), str(value)) for name, value in data["versions"]),
        "created": float(data["created"]),
    })  # fmt: skip
