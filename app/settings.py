"""Preferences: typed, applied at once, and only what differs from the defaults is written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from engine.errors import MixdownError
from engine.files.durable import write_durably


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every preference, with its default.

    Attributes:
        theme: "system", "dark", "light" or "contrast".
        auto_eval: Whether quick eval starts by itself after a change.
        live: Whether scores are estimated while faders move.
        eval_rows: Most validation rows a task uses in quick eval.
        device: "cpu" or "cuda"; "auto" takes CUDA when there is one.
        runner: Who scores: "torch", "onnxruntime" or "auto", the one that was faster.
        threads: Worker threads of a merge; 0 means one for each core.
        export_folder: Where the export panel starts.
        recent: Recently used projects, newest first.
        welcomed: Whether the first start is over.
        geometry: Window geometry, base64.
        docks: Dock layout, base64.
        view: Face of the desk.
        grouping: Grouping of the desk's columns.
        commands: Commands last chosen in the palette, newest first.
        history: Where runs are recorded: "" for the user's own file, another file, a database's URL, or "off".
        run_columns: Columns of the table of runs; () for the usual ones.
        plugins: Whether the Python files in the plug-in folder are loaded at start.
    """

    theme: str = "system"
    auto_eval: bool = True
    live: bool = True
    eval_rows: int = 300
    device: str = "auto"
    runner: str = "auto"
    threads: int = 0
    export_folder: str = ""
    recent: tuple[str, ...] = ()
    welcomed: bool = False
    geometry: str = ""
    docks: str = ""
    view: str = "faders"
    grouping: str = "layer"
    commands: tuple[str, ...] = ()
    history: str = ""
    run_columns: tuple[str, ...] = ()
    plugins: bool = False


def load_settings(path: Path) -> Settings:
    """Settings from a file; what is missing, damaged or of the wrong type is at its default."""
    raw = _raw(path)
    defaults, known = Settings(), dict[str, Any]()
    for field in fields(Settings):
        value, default = raw.get(field.name), getattr(defaults, field.name)
        if isinstance(default, tuple) and isinstance(value, list):
            value = tuple(v for v in value if isinstance(v, str))
        if type(value) is type(default):
            known[field.name] = value
    return replace(defaults, **known)


def _raw(path: Path) -> dict[str, Any]:
    """What a file says, {} for nothing that is of use."""
    try:
        raw: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def save_settings(settings: Settings, path: Path) -> str:
    """Write what differs from the defaults; preferences that only a newer Mixdown knows are left as they are.

    Returns:
        A problem as text instead of raising, "" when it went well.
    """
    defaults = asdict(Settings())
    changed = {k: v for k, v in asdict(settings).items() if v != defaults[k]}
    changed = {**{k: v for k, v in _raw(path).items() if k not in defaults}, **changed}
    try:
        write_durably(path, json.dumps(changed, indent=1).encode() + b"\n", mode=0o600)
    except MixdownError as error:
        return str(error)
    return ""
