"""What is left of a crash: a report without personal paths, kept for the next start."""

from __future__ import annotations

import faulthandler
import getpass
import os
import platform
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

from app import places
from app.version import VERSION
from widgets.dialogs.state import Problem

MOST_REPORTS = 5
_MOST_LOG = 20_000
_ROOT = Path(__file__).resolve().parent.parent
_WORD = r"""[^\s"'<>|:,;()]"""
_PATH = re.compile(
    rf"""(?<![\w/.<>-])(?:[A-Za-z]:[\\/]|\\\\|/){_WORD}+"""
    rf"""(?:[ ]{_WORD}*[\\/]{_WORD}*)*(?:[ ]{_WORD}+\.(?:safetensors|json|pt|ckpt|bin|mixdown|ya?ml|onnx|csv|jsonl))?"""
)
_QUOTED = re.compile(r"""(['"])(?:/|[A-Za-z]:[\\/]|\\\\|~/)[^'"\n]*\1""")
_FATAL = re.compile(r"^Fatal Python error: (.+)$|^Windows fatal exception: (.+)$", re.MULTILINE)
_FILE_LINE = re.compile(r'File "([^"]*)"')


@dataclass(frozen=True, slots=True)
class Report:
    """How the window before this one ended.

    Attributes:
        reason: In a few words ("Segmentation fault"); "" when nothing says why: a kill, or the power failed.
        text: Everything that is known, without personal paths.
        file: Where the text is kept.
    """

    reason: str
    text: str
    file: Path | None = None


def install(marker: Path) -> None:
    """From now on fatal errors of Python, of its libraries and of Qt are written into the session's marker."""
    try:
        file = marker.open("a", encoding="utf-8")
    except OSError:
        return
    faulthandler.enable(file=file, all_threads=True)
    before = qInstallMessageHandler(None)

    def told(kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        if kind == QtMsgType.QtFatalMsg:
            with suppress(OSError, ValueError):
                file.write(f"Fatal Python error: Qt: {text}\n")
                file.flush()
        if before is not None:
            before(kind, context, text)
        else:
            with suppress(OSError, ValueError):
                sys.stderr.write(f"{text}\n")

    qInstallMessageHandler(told)


def report_of(marked: str, log: Path | None = None, since: float = 0.0) -> Report:
    """The report on a session whose window did not close it.

    Args:
        marked: What the marker held.
        log: The log of errors that nobody caught.
        since: Only if the log was written after that, seconds since 1970, its end belongs to this session.
    """
    match = _FATAL.search(marked)
    reason = next((g for g in match.groups() if g), "") if match else ""
    parts = [f"Mixdown {VERSION}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"]
    parts.append(marked.strip() or "Nothing was recorded: it was ended from outside, or the power failed.")
    with suppress(OSError):
        if log is not None and log.stat().st_mtime >= since:
            parts.append("Errors before that:\n" + log.read_text("utf-8", errors="replace")[-_MOST_LOG:].strip())
    text = scrubbed("\n\n".join(parts))
    return Report(reason=scrubbed(reason), text=text, file=_keep(text) if reason else None)


def _keep(text: str) -> Path | None:
    """Write the report beside the earlier ones; the oldest go."""
    try:
        folder = places.home() / "crashes"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        for old in sorted(folder.glob("crash-*.txt"))[:-MOST_REPORTS]:
            old.unlink()
    except OSError:
        return None
    return file


def scrubbed(text: str) -> str:
    """Text without personal paths and the user's name; files of Mixdown and of its libraries keep their own."""
    text = _FILE_LINE.sub(lambda m: f'File "{_own(m[1])}"', text)
    text = _QUOTED.sub(lambda m: f"{m[1]}{_own(m[0][1:-1])}{m[1]}", text)
    text = _PATH.sub(lambda m: _own(m[0]), text)
    with suppress(OSError, KeyError, ImportError):
        name = getpass.getuser()
        if len(name) > 2 and name != "root":
            text = re.sub(rf"\b{re.escape(name)}\b", "USER", text)
    return text


def _own(path: str) -> str:
    """A path of code as it lies in Mixdown or a library; any other is replaced."""
    flat = path.replace("\\", "/")
    for mark in ("/site-packages/", "/dist-packages/"):
        if mark in flat:
            return flat[flat.index(mark) + 1 :]
    root = _ROOT.as_posix()
    if flat.startswith(f"{root}/"):
        return f"mixdown/{flat[len(root) + 1 :]}" if flat.endswith((".py", ".md")) else "<path>"
    library = Path(os.__file__).parent.as_posix()
    if flat.startswith(f"{library}/"):
        return f"python/{flat[len(library) + 1 :]}"
    return path if path.startswith(("<", "mixdown/", "python/", "site-packages/")) or "/" not in flat else "<path>"


def as_card(report: Report) -> Problem:
    """The card of a crash."""
    return Problem(
        title="Mixdown ended unexpectedly",
        why=f"The last time it stopped with: {report.reason}. Your desk is back as it was.",
        hint="Copy this report and send it to whoever looks after Mixdown. It holds no names of your files.",
        details=report.text,
        severity="warning",
    )
