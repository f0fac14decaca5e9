"""The window's end of the process that evaluates: started when it is needed, watched, started again when it dies.

A request is followed by the worker thread that wants its answer. Cancelling never waits for the process: the request
is told to stop, its answer will be dropped, and the thread goes on at once.
"""

from __future__ import annotations

import itertools
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from app import processes
from app.awake import CLOCK
from app.export_job import error_from_json
from app.preview_wire import pack, receive
from app.preview_worker import FLAG
from engine.errors import Cancelled, MixdownError
from engine.progress import Progress, Token

LOOK_S = 0.03
"""How often a thread that waits looks whether it was cancelled."""
SILENT_S = 60.0
"""A process that says nothing for so long hangs; it beats twice a second, but not while a slow disk gives it torch."""
STUCK_S, LOADING = 5.0, 6
"""A process that does not stop what was cancelled for so long hangs; so many times as long while it loads libraries."""
_HINT = "Nothing on the desk is lost. If it stops again, turn live preview off (View) or choose another runner."
_Box = queue.SimpleQueue[dict[str, Any] | None]


class EvaluatorDied(MixdownError):
    """The process that evaluates ended or hung; the window goes on."""


class Evaluating:
    """One process, the requests that wait for it, and when it was last heard of."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(
            processes.command(FLAG), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            start_new_session=True,  # Ctrl+C in a terminal is for the window, which decides
        )  # fmt: skip
        self._lock = threading.Lock()
        self._boxes: dict[int, _Box] = {}
        self._dropped: dict[int, float] = {}
        self._why = self._words = ""
        CLOCK.start()
        self.heard, self._is_loaded = CLOCK.now(), False
        self._reader = threading.Thread(target=self._read, name="mixdown-eval-lines", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def is_read(self) -> bool:
        """Whether more messages may come."""
        return self._reader.is_alive()

    def say(self, **message: Any) -> None:
        """Send a message; a process that has ended is noticed by the reader."""
        raw = pack(message)
        with self._lock, suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(raw)
                self._process.stdin.flush()

    def box(self, number: int) -> _Box:
        """Where the answers to a request will lie."""
        made = self._boxes[number] = queue.SimpleQueue()
        return made

    def close(self, number: int, *, dropped: bool) -> None:
        """Nobody waits for this request any more."""
        self._boxes.pop(number, None)
        if dropped:
            self._dropped[number] = CLOCK.now()

    @property
    def hangs(self) -> str:
        """Why it must be ended, or ""."""
        now = CLOCK.now()
        if now - self.heard > SILENT_S:
            return "it stopped answering"
        limit = STUCK_S if self._is_loaded else LOADING * STUCK_S
        stuck = any(now - since > limit for since in tuple(self._dropped.values()))
        return "it did not stop what was cancelled" if stuck else ""

    def end(self, why: str = "") -> None:
        """End it now, if it has not ended."""
        self._why = self._why or why
        if self.is_alive:
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def died(self) -> EvaluatorDied:
        """The error that says how it ended."""
        self._reader.join(2.0)  # it has seen the last words then
        why = self._why or processes.end_words(self._process.poll() or 0)
        error = EvaluatorDied(f"The process that runs the models stopped: {why}.", hint=_HINT)
        if self._words:
            error.add_note(self._words)
        return error

    def _read(self) -> None:
        out = self._process.stdout
        if out is not None:
            with out, suppress(OSError, ValueError):
                while (message := receive(out)) is not None:
                    self.heard = CLOCK.now()
                    number = message.get("id", 0)
                    self._is_loaded = self._is_loaded or bool(message.get("result"))
                    if number in self._dropped and "text" not in message:
                        del self._dropped[number]
                    box = self._boxes.get(number)
                    if box is not None:
                        box.put(message)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)  # a pipe closes a moment before its process is gone
        self.end("its messages cannot be read" if self.is_alive else "")
        self._bury()
        for box in tuple(self._boxes.values()):
            box.put(None)

    def _bury(self) -> None:
        """Keep its last words and give everything back."""
        with suppress(OSError, ValueError):
            size = self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(0, size - processes.TAIL_BYTES))
            self._words = self._errors.read().decode("utf-8", "replace").strip()
        for pipe in (self._process.stdin, self._errors):
            if pipe is not None:
                with suppress(OSError, ValueError):
                    pipe.close()


class EvalHost:
    """Keeps one process and follows requests to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.current: Evaluating | None = None

    def process(self) -> Evaluating:
        """The process, started if there is none.

        Raises:
            OSError: if it cannot be started.
        """
        with self._lock:
            if self.current is not None and self.current.hangs:
                self.current.end(self.current.hangs)
            if self.current is None or not self.current.is_alive:
                self.current = Evaluating()
            return self.current

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self.current is not None:
                self.current.end("the window was closed")
                self.current.died()
            self.current = None

    def number(self) -> int:
        """A number that was never given before."""
        return next(self._numbers)

    def call(self, op: str, progress: Progress, **args: Any) -> tuple[Evaluating, dict[str, Any]]:
        """Ask something that needs no session; if the process dies of it, another one is asked once more.

        Returns:
            The process that answered, and its answer.

        Raises:
            EvaluatorDied: if it died again.
            MixdownError: as the engine does.
            Cancelled: if the user stopped the job.
            OSError: if no process can be started.
        """
        process = self.process()
        try:
            return process, self.ask(process, op, progress, **args)
        except EvaluatorDied:
            process = self.process()
            return process, self.ask(process, op, progress, **args)

    def ask(self, process: Evaluating, op: str, progress: Progress, **args: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            EvaluatorDied: if the process ends or hangs.
            MixdownError: as the engine does.
            Cancelled: if the user stopped the job.
        """
        number = self.number()
        box, dropped = process.box(number), True
        try:
            process.say(id=number, op=op, args=args)
            answer = _followed(process, number, box, progress)
            dropped = False
            return answer
        except Cancelled:
            process.say(id=number, cancel=True)
            raise
        except MixdownError:
            dropped = False
            raise
        finally:
            process.close(number, dropped=dropped)

    def forget(self, process: Evaluating, session: int) -> None:
        """Let a session go; nobody waits for that."""
        if process.is_alive:
            process.say(id=self.number(), op="close", args={"session": session})


def _followed(process: Evaluating, number: int, box: _Box, progress: Progress) -> dict[str, Any]:
    """Pass messages both ways until the request ends one way or another."""
    total, done, text, paused = -1, 0, "", False
    while True:
        message: dict[str, Any] | None = {}
        with suppress(queue.Empty):
            message = box.get(timeout=LOOK_S)
        if message is None or (not message and not process.is_read):
            raise process.died()
        if "text" in message:
            if (message["text"], message["total"]) != (text, total):
                text, total, done = message["text"], message["total"], 0
                progress.begin(total, text, message["unit"])
            progress.advance(message["done"] - done)
            done = message["done"]
        elif message:
            return _result(message)
        if isinstance(progress, Token) and progress.is_paused != paused:
            paused = progress.is_paused
            process.say(id=number, pause=paused)
        if not paused or (isinstance(progress, Token) and progress.is_cancelled):
            progress.check()
        if why := process.hangs:
            process.end(why)
            raise process.died()


def _result(message: Mapping[str, Any]) -> dict[str, Any]:
    """Believe an answer: the result, or a problem (raised)."""
    if "error" in message:
        raise error_from_json(message["error"])
    if "bug" in message:
        error = MixdownError(f"Something went wrong inside Mixdown ({message['bug']}).",
                             hint=processes.BUG_HINT)  # fmt: skip
        error.add_note(message["trace"])
        raise error
    if "cancelled" in message:
        raise Cancelled
    result: dict[str, Any] = message["result"]
    return result


HOST = EvalHost()
"""The host of this window."""
