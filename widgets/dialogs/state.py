"""What the dialogs show: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PaletteEntry:
    """One command of the palette.

    Attributes:
        id: Handle in signals.
        title: What it does ("Export merged model…").
        menu: Where the menus have it ("File").
        keys: Shortcut as text ("Ctrl+E"), "" for none.
        help: One sentence.
        reason: Why it cannot run now; "" when it can.
    """

    id: str
    title: str
    menu: str = ""
    keys: str = ""
    help: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem told as what, why and what next.

    Attributes:
        title: What happened, one line ("math can't be merged with tiny-base").
        why: Why, in plain sentences.
        hint: What to do next.
        actions: (id, label) buttons, the best first.
        details: Technical text that can be opened and copied.
        severity: Colour, icon and word.
    """

    title: str
    why: str = ""
    hint: str = ""
    actions: tuple[tuple[str, str], ...] = ()
    details: str = ""
    severity: Literal["info", "warning", "error"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentProject:
    """A project used before."""

    path: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencesState:
    """The preferences' values and what can be chosen.

    Attributes:
        theme: "system", "dark", "light" or "contrast".
        auto_eval: Whether quick eval starts by itself.
        eval_rows: Most rows of a task in quick eval.
        device: "auto", "cpu" or "cuda".
        devices: (id, label) pairs.
        runner: Who scores: "auto", "torch" or "onnxruntime".
        runners: (id, label) pairs.
        threads: Threads of a merge, 0 for one for each core.
        cores: Cores of this machine.
    """

    theme: str = "system"
    auto_eval: bool = True
    eval_rows: int = 300
    device: str = "auto"
    devices: tuple[tuple[str, str], ...] = (("auto", "Automatic"), ("cpu", "CPU"))
    runner: str = "auto"
    runners: tuple[tuple[str, str], ...] = (("auto", "Automatic: the faster one"), ("torch", "torch"))
    threads: int = 0
    cores: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingExport:
    """What lies at the target of an export.

    Attributes:
        path: The folder.
        summary: What it is ("Mixdown export, TIES, 3 experts").
        size_bytes: Its size, None when unknown.
        changed: When it was written, as text.
        is_export: Whether Mixdown made it; if not, replacing needs more care.
    """

    path: str
    summary: str = ""
    size_bytes: int | None = None
    changed: str = ""
    is_export: bool = False
