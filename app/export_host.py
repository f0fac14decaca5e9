"""Exports in a supervised process of their own: a crash in there costs the export, never the window.

The heavy thread of the window drives it: it sends the job, reads progress, passes on pause and cancel, and ends a
worker that stops answering. Loading torch takes seconds: on Linux the worker forks for each job, so that after a fault
the next export starts at once. Where no process can be started, the export is done in the thread.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from app import processes
from app.export_job import (
    ExportJob,
    Finished,
    error_from_json,
    finished_from_json,
    job_to_json,
    perform,
    stamps_of,
)
from app.export_worker import FLAG
from engine.errors import Cancelled, MixdownError
from engine.export.existing import remove_litter
from engine.merge.inputs import Inputs
from engine.progress import Token

VARIABLE = "MIXDOWN_EXPORT"
""" "thread" exports in the window's own process, "process" always in another one; else the size decides."""
LARGE_BYTES = 4 << 30
"""Models that take this much together are merged in a process of their own: a minute's work should survive a crash,
and the seconds that a process needs to start do not count."""
WORTH_BYTES = 1 << 30
"""Models that take this much are merged in a process if one waits: there each thread of a merge is a process again,
which is up to twice as fast (ADR 0018)."""
LOOK_S = 0.05
SILENT_S = 10.0
"""A worker that says nothing for so long hangs."""
LOADING_S = 120.0
GRACE_S = 1.8
"""How long a worker may take to stop; then it is ended."""
REST_S = 2.0
"""How long a worker may take to be ready again after its job was ended."""
_STARTER = ThreadPoolExecutor(1, "mixdown-export-starter")
"""Starts all workers: Linux ends a process whose parent may not outlive it with the thread that started it."""


class WorkerDied(MixdownError):
    """The process that exported ended or hung; the window goes on."""


class _Worker:
    """One process and the lines that come from it."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the worker
        self._process = _STARTER.submit(
            subprocess.Popen[bytes], processes.command(FLAG),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            start_new_session=True,  # Ctrl+C in a terminal is for the window, which decides
        ).result()  # fmt: skip
        self.messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.is_ready = False
        self._job = self._said = 0
        self._rested = threading.Event()
        threading.Thread(target=self._read, name="mixdown-export-lines", daemon=True).start()

    @property
    def pid(self) -> int:
        """Number of the process that exports, or waits for that."""
        return self._job or self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def start(self, job: ExportJob) -> None:
        """Give it a job."""
        self._said = os.fstat(self._errors.fileno()).st_size
        self._rested.clear()
        self.say(json.dumps(job_to_json(job)).encode("ascii"))

    def rest(self) -> bool:
        """End its job if there is one; returns whether it is ready for another."""
        self._end_job()
        if not self._rested.wait(REST_S) or not self.is_alive:
            return False
        self.messages = queue.SimpleQueue()
        return True

    def last_words(self) -> str:
        """The end of what was written to stderr since the job was given; the workers' place in it does not move."""
        end = os.fstat(self._errors.fileno()).st_size
        begin = max(self._said, end - processes.TAIL_BYTES)
        if hasattr(os, "pread"):
            found = os.pread(self._errors.fileno(), end - begin, begin)
        else:
            self._errors.seek(begin)
            found = self._errors.read()
        return found.decode("utf-8", "replace").strip()

    def say(self, line: bytes) -> None:
        """Send a line; one that has ended is noticed by its silence."""
        if self._process.stdin is not None:
            with suppress(OSError, ValueError):
                self._process.stdin.write(line + b"\n")
                self._process.stdin.flush()

    @property
    def exit_code(self) -> int:
        """How it ended; it is given a moment for that."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return self._process.returncode if self._process.returncode is not None else -9

    def end(self) -> None:
        """End it now if it has not ended, and give everything back."""
        self._end_job()
        if self.is_alive:
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        for pipe in (self._process.stdin, self._errors):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _end_job(self) -> None:
        """Kill the fork that does the job; one that has ended is not there any more."""
        if self._job and self._job != self._process.pid:
            with suppress(OSError):
                os.kill(self._job, signal.SIGKILL)

    def _read(self) -> None:
        out = self._process.stdout
        if out is not None:
            with out, suppress(OSError, ValueError):
                for line in out:
                    message = json.loads(line)
                    if "working" in message:
                        self._job = message["working"]
                    elif "ready" in message:
                        self.is_ready = True
                        if self._job:  # else it has loaded, but the job that it has got has not begun
                            self._job = 0
                            self._rested.set()
                    self.messages.put(message)
        self.messages.put(None)


class ExportHost:
    """Keeps a spare worker and drives one export at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: _Worker | None = None
        self.current: _Worker | None = None

    def warm(self) -> None:
        """Start a spare worker, if there is none; returns at once."""
        with self._lock, suppress(OSError):
            if self._spare is not None and not self._spare.is_alive:
                self._spare.end()
                self._spare = None
            self._spare = self._spare or _Worker()

    @property
    def is_warm(self) -> bool:
        """Whether a worker waits that has loaded everything."""
        return self._spare is not None and self._spare.is_alive and self._spare.is_ready

    def close(self) -> None:
        """End the spare worker."""
        with self._lock:
            if self._spare is not None:
                self._spare.end()
            self._spare = None

    def run(self, job: ExportJob, token: Token) -> Finished:
        """Export in a worker and wait for it.

        Raises:
            WorkerDied: if the process crashed or hung; what it had written is removed.
            MixdownError: as `perform` does.
            OSError: if no process can be started.
        """
        worker = self.current = self._take()
        died, cancelled = True, False
        try:
            worker.start(job)
            done = _followed(worker, token)
            died = False
            return done
        except WorkerDied:
            raise
        except MixdownError as error:
            died, cancelled = False, isinstance(error, Cancelled)
            raise
        finally:
            self.current = None
            self._put_back(worker, wanted=died or (not cancelled and os.environ.get(VARIABLE) == "process"))
            if died or cancelled:
                remove_litter(job.out.parent, job.out.name)

    def _take(self) -> _Worker:
        with self._lock:
            worker, self._spare = self._spare, None
        if worker is not None and worker.is_alive:
            return worker
        if worker is not None:
            worker.end()
        return _Worker()

    def _put_back(self, worker: _Worker, *, wanted: bool) -> None:
        """Keep a worker for the next export, start another one in its place, or end it: the window may be closing."""
        if wanted and worker.rest():
            with self._lock:
                spare, self._spare = self._spare, worker
            if spare is not None:
                spare.end()
            return
        worker.end()
        if wanted:
            self.warm()


def _followed(worker: _Worker, token: Token) -> Finished:
    """Pass messages both ways until the job ends one way or another."""
    token.begin(0, "Starting the export")
    silent, paused, limit = 0.0, False, 0.0
    while True:
        if token.is_cancelled and not limit:
            worker.say(b"cancel")
            limit = time.monotonic() + (GRACE_S if worker.is_ready else 0.0)
        elif token.is_paused != paused:
            paused = token.is_paused
            worker.say(b"pause" if paused else b"resume")
        try:
            message = worker.messages.get(timeout=LOOK_S)
        except queue.Empty:
            silent += LOOK_S
            if silent > (SILENT_S if worker.is_ready else LOADING_S):
                raise _died(worker, "it stopped answering") from None
            message = {}
        else:
            silent = 0.0
        if limit and (message is None or time.monotonic() > limit):
            raise Cancelled
        if message is None or "died" in message:
            raise _died(worker, code=None if message is None else message["died"])
        if (done := _taken(message, token)) is not None:
            return done


def _taken(message: dict[str, Any], token: Token) -> Finished | None:
    """Believe one message: progress (None), the result, or a problem (raised)."""
    if "result" in message:
        return finished_from_json(message["result"])
    if "cancelled" in message:
        raise Cancelled
    if "error" in message:
        raise error_from_json(message["error"])
    if "bug" in message:
        raise WorkerDied(f"Something went wrong inside Mixdown ({message['bug']}).", where="",
                         hint=processes.BUG_HINT)  # fmt: skip
    if "done" in message:
        if (message["text"], message["total"]) != (token.text, token.total):
            token.begin(message["total"], message["text"], message["unit"])
        token.advance(message["done"] - token.done)
    return None


def _died(worker: _Worker, why: str = "", code: int | None = None) -> WorkerDied:
    """The error that says how a worker ended, or the fork of it that did the job."""
    if not why:
        why = processes.end_words(worker.exit_code if code is None else code)
    error = WorkerDied(f"The process that exported stopped: {why}. The desk and an earlier export are as they were.",
                       hint="Export again; if it stops again, try another device or fewer threads.")  # fmt: skip
    if words := worker.last_words():
        error.add_note(words)
    return error


HOST = ExportHost()
"""The host of this window."""


def warm(inputs: Inputs) -> None:
    """Get a worker ready, because an export of these models is likely soon; only where it would be used."""
    wish = os.environ.get(VARIABLE, "")
    if wish == "process" or (wish != "thread" and _size(inputs) >= WORTH_BYTES):
        HOST.warm()


def _size(inputs: Inputs) -> int:
    """Bytes of all models together."""
    models = [model for model in (inputs.base, *inputs.experts) if model is not None]
    return sum(info.size_bytes for model in models for info in model.tensors.values())


def _in_process(inputs: Inputs) -> bool:
    """Whether an export of these models gets a process of its own."""
    wish, size = os.environ.get(VARIABLE, ""), _size(inputs)
    return wish == "process" or (wish != "thread" and (size >= LARGE_BYTES or (size >= WORTH_BYTES and HOST.is_warm)))


def export(job: ExportJob, inputs: Inputs, token: Token) -> Finished:
    """Export in a process of its own, or in this thread where that is not possible or not wanted.

    Raises:
        MixdownError: as `perform` and `ExportHost.run` do.
    """
    if not _in_process(inputs):
        return perform(job, inputs, token)
    try:
        return HOST.run(replace(job, stamps=stamps_of(inputs)), token)
    except OSError:
        return perform(job, inputs, token)
