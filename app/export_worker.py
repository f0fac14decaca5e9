"""The process that exports for a window: one job comes in as a line, progress and the result go out as lines.

It loads the engine while it waits, so that a job starts at once. On Linux each job is done by a fork of it: when that
crashes or hangs, this process is still there with everything loaded, and the next job need not wait for torch. It ends
when nobody wants it any more, and when the window is gone: then what a job had written is removed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import select
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any, BinaryIO

from engine.errors import Cancelled, MixdownError
from engine.progress import Token

FLAG = "--export-worker"
"""How the program is started as a worker."""
TELL_S = 0.1
ALIVE_EVERY = 5
"""Every so many `TELL_S` the worker says that it lives, even if nothing has changed."""
IDLE_S = 180.0
"""A spare worker that got no job ends, and gives its memory back."""
IDLE_CODE = 75
LAST_S = 2.5
"""How long a job may take to clean up after the window is gone."""
NICE = 10
_PR_SET_PDEATHSIG = 1
_CAN_FORK = sys.platform == "linux"
"""Elsewhere the systems' own libraries do not survive a fork: there a worker does one job and ends."""


class _Channel:
    """The pipes to the window."""

    def __init__(self, into: BinaryIO, out: BinaryIO) -> None:
        self._into, self._out = into, out
        self._lock = threading.Lock()

    def tell(self, **message: Any) -> None:
        """Send a line; a window that is gone is noticed by the listener."""
        line = json.dumps(message).encode("ascii") + b"\n"
        with self._lock, suppress(OSError, ValueError):
            self._out.write(line)
            self._out.flush()

    def line(self) -> bytes:
        """The next line of the window; b"" when it is gone."""
        try:
            return self._into.readline()
        except OSError:
            return b""

    def job(self) -> bytes:
        """The next job; b"" when the window is gone, or ends this process when there is none for too long."""
        while True:
            if sys.platform != "win32" and not select.select([self._into], [], [], IDLE_S)[0]:
                os._exit(IDLE_CODE)
            line = self.line()
            if not line or line.startswith(b"{"):  # else it is about a job that has ended
                return line


def main() -> int:
    """Wait for jobs, have them done and tell how they ended; the exit code is 0 whatever came of them."""
    channel = _own_pipes()
    _behave()
    _die_with_parent(True)
    channel.tell(alive=os.getpid())
    _load()
    channel.tell(ready=True)
    while line := channel.job():
        if not _may_fork():
            return _work(channel, line)
        process = os.fork()
        if process == 0:
            code = 1
            try:
                code = _work(channel, line)
            finally:
                os._exit(code)  # nothing of what the parent would do at its end
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status) or os.WEXITSTATUS(status):
            channel.tell(died=os.waitstatus_to_exitcode(status))
        channel.tell(ready=True)
    return 0


def _may_fork() -> bool:
    """Whether a fork can do a job: a CUDA context, should something that was loaded have made one, does not survive."""
    torch = sys.modules.get("torch")
    return _CAN_FORK and not (torch is not None and torch.cuda.is_initialized())


def _work(channel: _Channel, line: bytes) -> int:
    """Do one job and tell how it went."""
    token = Token()
    signal.signal(signal.SIGTERM, lambda *_: token.cancel())
    _die_with_parent(False)  # from here on it cleans up first
    channel.tell(working=os.getpid())
    threading.Thread(target=_listen, args=(channel, token), daemon=True).start()
    stop = threading.Event()
    threading.Thread(target=_beat, args=(channel, token, stop), daemon=True).start()
    message = _perform(json.loads(line), token)
    stop.set()
    channel.tell(done=token.done, total=token.total, text=token.text, unit=token.unit)
    channel.tell(**message)
    return 0


def _own_pipes() -> _Channel:
    """Keep the pipes for messages: whatever prints goes to stderr."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return _Channel(sys.stdin.buffer, out)


def _behave() -> None:
    """Step back behind the window, die without dumps of gigabytes, and with it where the system can do that."""
    faulthandler.enable(file=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        return
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if os.getpriority(os.PRIO_PROCESS, 0) < NICE:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)


def _die_with_parent(wanted: bool) -> None:
    """Whether the system ends this process with the window (Linux); elsewhere the closed pipe does, once it is read."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if wanted else 0)


def _load() -> None:
    """Load everything that a job needs."""
    from app import plugins, served
    from app.workbench import remember_sketches

    served.serve()
    plugins.load()
    import engine.export.folder
    import engine.merge.tensors  # noqa: F401  # torch, which takes its time

    remember_sketches()


def _perform(data: dict[str, Any], token: Token) -> dict[str, Any]:
    """The last message: a result, a problem, or that it was cancelled."""
    from app import export_job
    from engine.merge import forks

    forks.allow()
    try:
        job = export_job.job_from_json(data)
        return {"result": export_job.finished_to_json(export_job.perform(job, export_job.reopened(job), token))}
    except Cancelled:
        return {"cancelled": True}
    except MixdownError as error:
        return {"error": export_job.error_to_json(error)}
    except BaseException as error:
        return {"bug": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def _listen(channel: _Channel, token: Token) -> None:
    """Do what the window says; when it is gone, stop."""
    while line := channel.line():
        command = line.strip()
        if command == b"cancel":
            token.cancel()
        elif command == b"pause":
            token.pause()
        elif command == b"resume":
            token.resume()
    token.cancel()
    threading.Event().wait(LAST_S)
    os._exit(1)


def _beat(channel: _Channel, token: Token, stop: threading.Event) -> None:
    """Tell how far it is."""
    told, silent = (-1, -1, ""), 0
    while not stop.wait(TELL_S):
        now = (token.done, token.total, token.text)
        silent += 1
        if now != told or silent >= ALIVE_EVERY:
            channel.tell(done=now[0], total=now[1], text=now[2], unit=token.unit)
            told, silent = now, 0
