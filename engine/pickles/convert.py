"""Converting a pickled state dict safely: everything that looks at the pickle happens in another process."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from engine.errors import FileProblem, NotEnoughDisk, UnsafePickle, WriteProblem
from engine.export.disk import explained, sync, sync_folder
from engine.export.existing import hidden
from engine.export.preflight import free_space, normalised
from engine.files.header import read_header
from engine.files.opening import open_regular
from engine.files.text import control_in, printable
from engine.patience import Patience
from engine.progress import Progress, Silent

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
"""Names of pickles that may be state dicts."""
TIMEOUT_S = 600.0
TORCH_FLOOR = (2, 10)
"""Oldest torch whose safe loading is not known to be broken; `main.py doctor` names it, too."""
_ROOT = Path(__file__).resolve().parent.parent.parent
_START = "import sys; sys.path.insert(0, {root!r}); from engine.pickles.child import main; main()"


@dataclass(frozen=True, slots=True)
class Converted:
    """A finished conversion.

    Attributes:
        path: The safetensors file.
        tensors: Number of its tensors.
        bytes: Its size.
        left_out: Entries of the pickle that were no tensors (epoch, optimizer, ...).
        walls: What the system could do to keep the process in ("namespace", "seccomp"), besides limits and hooks.
    """

    path: Path
    tensors: int
    bytes: int
    left_out: int
    walls: tuple[str, ...]


def convert(
    source: Path,
    target: Path,
    *,
    replace: bool = False,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_S,
) -> Converted:
    """Write the tensors of a .pt, .ckpt or .bin file as a safetensors file, bit by bit the same.

    The pickle is opened by a separate process that has limits of memory, time and file size, no network, no
    environment and an empty folder. It first checks that the pickle is a plain state dict, without running it.

    Args:
        source: The pickle.
        target: The .safetensors file to make.
        replace: Whether it may be there already.
        progress: Told the bytes written; cancels.
        timeout: Seconds after which the process is stopped.

    Raises:
        UnsafePickle: if it is anything else than a plain state dict, or takes too much.
        WriteProblem: if the target is there or cannot be written.
        Cancelled: if the user stopped it.
    """
    progress, target = progress or Silent(), normalised(target)
    where = printable(source, 400)
    _refuse_old_torch(where)
    if target.suffix != ".safetensors" or target.is_dir() or (os.path.lexists(target) and not replace):
        raise WriteProblem("It is there already, or does not end in .safetensors.",
                           where=printable(target, 400), hint="Choose a new name with that ending.")  # fmt: skip
    if control := control_in(target.name):
        raise WriteProblem(f"The name holds the control character {control}.", where=printable(target, 400),
                           hint="Choose a name without it.")  # fmt: skip
    descriptor, stamp = open_regular(source)
    made = hidden(target, "partial")
    try:
        if free_space(target) < stamp.size:
            raise NotEnoughDisk(f"About {stamp.size / 1e6:,.1f} MB are needed; there is less free space.",
                                where=printable(target, 400), hint="Free some space or take another disk.")  # fmt: skip
        told = _in_child(descriptor, made, where, progress, timeout)
        tensors = _checked(made, told, where)
        made.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise explained(error, target) from error
    finally:
        os.close(descriptor)
        with suppress(OSError):
            made.unlink(missing_ok=True)
    return Converted(target, tensors, target.stat().st_size, told["left_out"], tuple(told["walls"]))


def _refuse_old_torch(where: str) -> None:
    """Old torch (before 2.10) runs code of a pickle though it is told not to (CVE-2025-32434, CVE-2026-24747)."""
    version = importlib.metadata.version("torch")
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < TORCH_FLOOR:
        needed = ".".join(map(str, TORCH_FLOOR))
        raise UnsafePickle(f"torch {version} is too old to open pickles safely.", where=where,
                           hint=f"Install torch {needed} or newer (main.py doctor), or get the .safetensors version "
                           "of the model.")  # fmt: skip


def _in_child(source: int, made: Path, where: str, progress: Progress, timeout: float) -> dict[str, Any]:
    """Run the process and follow what it says."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    out = os.open(made, flags, 0o666)
    try:
        with tempfile.TemporaryDirectory(prefix="mixdown-") as empty:
            code = _START.format(root=str(_ROOT))
            command = [sys.executable, "-I", "-B", "-c", code, str(source), str(out), str(int(timeout) + 1)]
            child = subprocess.Popen(
                command, cwd=empty, env=_environment(empty), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, pass_fds=(source, out), start_new_session=True,
            )  # fmt: skip
            try:
                told = _follow(child, progress, timeout, where)
            finally:
                child.kill()
                child.wait()
        sync(out)
    finally:
        os.close(out)
    if "error" in told:
        raise UnsafePickle(printable(told["error"], 400), where=where, hint=printable(told.get("hint", ""), 300))
    if child.returncode not in (0, None) and "tensors" not in told:
        raise UnsafePickle("Reading it took more memory or time than a model of its size may; it was stopped.",
                           where=where, hint="Get the .safetensors version of the model.")  # fmt: skip
    return told


def _environment(home: str) -> dict[str, str]:
    """Nothing of the user's."""
    kept = {key: os.environ[key] for key in ("SYSTEMROOT",) if key in os.environ}
    return {**kept, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _follow(child: subprocess.Popen[bytes], progress: Progress, timeout: float, where: str) -> dict[str, Any]:
    """Everything that the process said, until it ends."""
    lines: Queue[bytes | None] = Queue()
    threading.Thread(target=_read_lines, args=(child, lines), name="pickle", daemon=True).start()
    told: dict[str, Any] = {"walls": [], "left_out": 0}
    patience, begun, done = Patience(timeout), False, 0
    while True:
        progress.check()
        if patience.is_over:
            raise UnsafePickle(f"Reading it took more than {timeout:g} seconds; it was stopped.", where=where,
                               hint="Allow more time, or get the .safetensors version of the model.")  # fmt: skip
        try:
            line = lines.get(timeout=0.1)
        except Empty:
            continue
        if line is None:
            child.wait()
            return told
        said = _parsed(line)
        if "total" in said and not begun:
            progress.begin(int(said["total"]), "Converting")
            begun = True
        if "total" in said:
            progress.advance(max(0, int(said["done"]) - done))
            done = int(said["done"])
        told |= said


def _read_lines(child: subprocess.Popen[bytes], lines: Queue[bytes | None]) -> None:
    assert child.stdout is not None
    with child.stdout as stream:
        while line := stream.readline(10_000):
            lines.put(line)
    lines.put(None)


def _parsed(line: bytes) -> dict[str, Any]:
    """What the process said, if it is what it may say: it is not trusted."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    kinds: dict[str, type] = {"error": str, "hint": str, "tensors": int, "bytes": int, "left_out": int, "done": int,
                              "total": int, "walls": list}  # fmt: skip
    return {k: v for k, v in said.items() if isinstance(v, kinds.get(k, ()))} if isinstance(said, dict) else {}


def _checked(made: Path, told: dict[str, Any], where: str) -> int:
    """The result must be a right safetensors file with as many tensors as the process says."""
    try:
        found = len(read_header(made).tensors)
    except FileProblem as problem:
        raise UnsafePickle(f"No model came out of it: {problem.message}", where=where,
                           hint="Get the .safetensors version of the model.") from problem  # fmt: skip
    if found != told.get("tensors"):
        raise UnsafePickle("It is not clear what came out of it.", where=where, hint="Get another copy of the file.")
    return found
