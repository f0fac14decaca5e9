"""Background work: one heavy lane for the device, a small pool for files, and generations.

Work is a plain function of a `Token` (progress, pause, cancel); results come back on the GUI thread.
Two jobs with the same key never both count: the newest wins, the older is cancelled and its result
dropped. Background jobs make room for jobs the user asked for and start again afterwards.

What a job's functions hold of the window must not end in a worker: a Qt object that is freed there leaves timers and
events behind that the event loop still knows. A worker therefore never is the last to hold a job, nor the runner.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from engine.errors import Cancelled, MixdownError
from engine.progress import Token

State = Literal["waiting", "running", "paused", "done", "failed", "cancelled"]
Lane = Literal["heavy", "files"]
FILE_THREADS = 4
READERS = 2
"""Background jobs that read files at the same time; the other threads are for what somebody waits for."""
MOST_JOBS = 200
"""Jobs that are remembered."""
NICE = 10
"""How far workers, and the threads they start, step back behind the GUI thread (Linux's nice value)."""
STOP_S = 2.2
"""How long the end waits for workers; what cannot be stopped (loading a library) must not hold it for 3 s."""
FINISHED: frozenset[State] = frozenset({"done", "failed", "cancelled"})
_STUCK: list[QObject] = []


@dataclass(eq=False)
class Job:
    """One piece of background work and how it stands.

    Attributes:
        number: Increases with every job.
        title: A sentence for the jobs panel.
        work: What to do; gets the token.
        key: Jobs with the same non-empty key replace each other.
        lane: Which threads run it.
        shown: Whether the jobs panel lists it.
        background: Whether it makes room for other jobs of its lane.
        log: Lines for the details view.
        message: The result in a sentence, set by whoever submitted the job.
        actions: (id, label) of what can be done with the result.
    """

    number: int
    title: str
    work: Callable[[Token], Any]
    done: Callable[[Any], object] | None
    failed: Callable[[MixdownError], None] | None
    key: str
    lane: Lane
    shown: bool
    background: bool
    state: State = "waiting"
    token: Token = field(default_factory=Token)
    result: Any = None
    error: MixdownError | None = None
    log: list[str] = field(default_factory=list)
    started: float = 0.0
    elapsed_s: float = 0.0
    dropped: bool = False
    message: str = ""
    actions: tuple[tuple[str, str], ...] = ()


class JobRunner(QObject):
    """Runs jobs and tells the GUI thread about them.

    Signals:
        jobsChanged: A job was added, changed its state, or made progress (at most 10 times a second).
        jobFinished: The job, when it is done, failed or cancelled.
    """

    jobsChanged = Signal()
    jobFinished = Signal(object)
    _arrived = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.jobs: list[Job] = []
        self._ended = deque[Job]()  # one for each `_arrived` under way; the GUI thread takes them out
        self._numbers = itertools.count(1)
        self._waiting: dict[Lane, list[Job]] = {"heavy": [], "files": []}
        self._running: dict[Lane, list[Job]] = {"heavy": [], "files": []}
        self._ready = threading.Condition()
        self._stopping = False
        self._held = False
        self._arrived.connect(self._on_arrived, Qt.ConnectionType.QueuedConnection)
        files: list[Lane] = ["files"] * FILE_THREADS
        lanes: list[Lane] = ["heavy", *files]
        self._threads = [
            threading.Thread(target=self._serve, args=(lane,), name=f"mixdown-{lane}-{i}", daemon=True)
            for i, lane in enumerate(lanes)
        ]
        for thread in self._threads:
            thread.start()
        self._ticker = QTimer(self, interval=100)
        self._ticker.timeout.connect(self._tick)

    def hold(self, held: bool) -> None:
        """Keep the heavy lane from starting jobs, or let it go on; the window does so until its first paint."""
        with self._ready:
            self._held = held
            self._ready.notify_all()

    def submit(
        self,
        title: str,
        work: Callable[[Token], Any],
        *,
        done: Callable[[Any], object] | None = None,
        failed: Callable[[MixdownError], None] | None = None,
        key: str = "",
        lane: Lane = "heavy",
        shown: bool = True,
        background: bool = False,
    ) -> Job:
        """Queue work; `done` or `failed` is called on the GUI thread unless a newer job of the key came."""
        job = Job(next(self._numbers), title, work, done, failed, key, lane, shown, background)
        with self._ready:
            self._retire(key)
            queue = self._waiting[lane]
            place = len(queue) if background else next((i for i, j in enumerate(queue) if j.background), len(queue))
            queue.insert(place, job)
            if not background:
                self._preempt(lane)
            self._ready.notify_all()
        self.jobs.append(job)
        if len(self.jobs) > MOST_JOBS:  # what still runs stays, however much came after it
            self.jobs = [j for j in self.jobs[:-MOST_JOBS] if j.state not in FINISHED] + self.jobs[-MOST_JOBS:]
        self._ticker.start()
        self.jobsChanged.emit()
        return job

    def _retire(self, key: str) -> None:
        """Cancel older jobs of the key; their results will not count."""
        if not key:
            return
        for jobs in (*self._waiting.values(), *self._running.values()):
            for job in [j for j in jobs if j.key == key]:
                job.dropped = True
                job.token.cancel()
                if job in self._waiting[job.lane]:
                    self._waiting[job.lane].remove(job)
                    job.state = "cancelled"

    def _preempt(self, lane: Lane) -> None:
        """In the heavy lane, stop a running background job and put a fresh copy of it at the end of the queue."""
        if lane == "files":
            return
        for job in [j for j in self._running[lane] if j.background and not j.dropped]:
            job.dropped = True
            job.token.cancel()
            again = Job(next(self._numbers), job.title, job.work, job.done, job.failed, job.key, lane, job.shown, True)
            self._waiting[lane].append(again)
            self.jobs.append(again)

    def cancel(self, job: Job) -> None:
        """Stop a job; one that waits never starts."""
        with self._ready:
            job.token.cancel()
            if job in self._waiting[job.lane]:
                self._waiting[job.lane].remove(job)
                job.state = "cancelled"
                self._ended.append(job)
                self._arrived.emit()

    def cancel_key(self, key: str) -> None:
        """Cancel whatever runs or waits under a key and drop its result."""
        with self._ready:
            self._retire(key)
        self.jobsChanged.emit()

    def pause(self, job: Job, paused: bool) -> None:
        """Hold a running job or let it go on."""
        if job.state in FINISHED:
            return
        if paused:
            job.token.pause()
        else:
            job.token.resume()
        if job.state in ("running", "paused"):
            job.state = "paused" if paused else "running"
        self.jobsChanged.emit()

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits."""
        return any(self._waiting.values()) or any(self._running.values())

    def active(self) -> list[Job]:
        """Jobs the user can see that are not finished."""
        return [job for job in self.jobs if job.shown and job.state not in FINISHED]

    def stop(self, timeout_s: float = STOP_S) -> bool:
        """Cancel everything and end the threads; returns whether they ended in time."""
        with self._ready:
            self._stopping = True
            for jobs in (*self._waiting.values(), *self._running.values()):
                for job in jobs:
                    job.dropped = True
                    job.token.cancel()
            self._ready.notify_all()
        limit = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))
        self._ticker.stop()
        if self.is_alive:
            _STUCK.append(self)  # for good: else the thread that hangs would be the last to hold it
        return not self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether a worker thread runs."""
        return any(thread.is_alive() for thread in self._threads)

    def _serve(self, lane: Lane) -> None:
        """One worker thread: take the next job, run it, hand it to the GUI thread."""
        _step_back()
        while True:
            with self._ready:
                while (job := self._next(lane)) is None and not self._stopping:
                    self._ready.wait()
                if self._stopping or job is None:
                    return
                self._waiting[lane].remove(job)
                self._running[lane].append(job)
                job.state, job.started = ("paused" if job.token.is_paused else "running"), time.monotonic()
            self._run(job)
            with self._ready:
                self._running[lane].remove(job)
                self._ended.append(job)
                del job  # before the GUI thread hears of it, and lets it go
                self._ready.notify_all()
            self._tell()

    def _next(self, lane: Lane) -> Job | None:
        """The first waiting job that may start: two file threads always stay free for what the user asks."""
        if lane == "heavy" and self._held:
            return None
        busy = sum(job.background for job in self._running[lane])
        full = lane == "files" and busy >= READERS
        return next((job for job in self._waiting[lane] if not (full and job.background)), None)

    def _tell(self) -> None:
        try:
            self._arrived.emit()
        except RuntimeError:  # the window is gone
            self._stopping = True

    @staticmethod
    def _run(job: Job) -> None:
        """Run the work; every way of ending becomes a state."""
        try:
            job.token.check()
            job.result = job.work(job.token)
            job.state = "done"
        except Cancelled:
            job.state = "cancelled"
        except MixdownError as error:
            job.state, job.error = "failed", error
            job.log.append("\n".join([str(error), *getattr(error, "__notes__", ())]))
        except Exception as error:
            job.log.append(traceback.format_exc())
            job.error = MixdownError(
                f"Something went wrong inside Mixdown ({type(error).__name__}: {error}).",
                hint="Nothing of yours is lost. Copy the details and report this.",
            )
            job.state = "failed"
        job.elapsed_s = time.monotonic() - job.started

    def _on_arrived(self) -> None:
        job = self._ended.popleft()
        if not job.dropped:
            if job.state == "done" and job.done is not None:
                job.done(job.result)
            elif job.state == "failed" and job.failed is not None and job.error is not None:
                job.failed(job.error)
            self.jobFinished.emit(job)
        job.result = None
        self.jobsChanged.emit()

    def _tick(self) -> None:
        if self.is_busy:
            self.jobsChanged.emit()
        else:
            self._ticker.stop()


def _step_back() -> None:
    """Give this thread a lower priority, where the system has priorities of threads (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
