"""Merging in less memory when there is too little: smaller chunks and fewer threads, then the CPU instead of a GPU.

The bytes are the same as if nothing had happened: they do not depend on chunks and threads, and for methods of class A
not on the device either. What the sink had taken is written again from its start.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import NotEnoughMemory
from engine.merge import run
from engine.merge.crew import default_threads
from engine.merge.plan import Plan
from engine.merge.run import CHUNK, MergeReport
from engine.merge.sink import MemorySink, Sink
from engine.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

SMALLER, ON_CPU = "less memory", "on the cpu"
"""Notes of a report: how many attempts were made in less memory, and that the last one ran on the CPU."""

_HALVINGS = 3
_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed", "bad_alloc")


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a merge is tried.

    Attributes:
        device: "cpu" or "cuda".
        chunk: Most elements that are computed at once.
        threads: Worker threads.
    """

    device: str
    chunk: int
    threads: int


def attempts(device: str, chunk: int, threads: int) -> Iterator[Attempt]:
    """What is tried, one after the other: each time half the chunk and half the threads, at last on the CPU."""
    for place in dict.fromkeys((device, "cpu")):
        for step in range(_HALVINGS + 1):
            yield Attempt(place, max(1, chunk >> step), max(1, threads >> step))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the computer or of a GPU, ran out."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def is_lost_device(error: BaseException) -> bool:
    """Whether an error says that the GPU cannot be used any more."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def merge(
    plan: Plan,
    sink: Sink,
    *,
    progress: Progress | None = None,
    device: str = "cpu",
    threads: int | None = None,
    chunk: int = CHUNK,
    stats: object = None,
) -> MergeReport:
    """`engine.merge.run.merge`, tried again in less memory when it ran out; see there for the arguments.

    Raises:
        NotEnoughMemory: if it does not fit even in the smallest pieces.
        MixdownError: as `engine.merge.run.merge` does.
    """
    failed, skip, problem = 0, "", ""
    for attempt in attempts(device, chunk, threads or default_threads()):
        if attempt.device == skip:
            continue
        try:
            report = _tried(plan, sink, attempt, progress, stats if attempt.device == device else None, failed)
        except (MemoryError, RuntimeError) as error:
            if is_lost_device(error) and attempt.device != "cpu":
                skip = attempt.device
            elif not is_out_of_memory(error):
                raise
            failed += 1
            problem = str(error)
        else:
            moved = {ON_CPU: 1} if attempt.device != device else {}
            return replace(report, notes={**report.notes, **({SMALLER: failed} if failed else {}), **moved})
    raise NotEnoughMemory(
        f"There is too little memory, even for the smallest pieces ({problem[:200]}).",
        hint="Close other programs, or choose a method that needs less.",
    )


def merged_state(
    plan: Plan,
    progress: Progress | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    chunk: int = CHUNK,
    stats: object = None,
) -> dict[str, Tensor]:
    """`engine.merge.run.merged_state`, tried again in less memory when it ran out; arguments as for `merge`.

    Raises:
        NotEnoughMemory: if it does not fit even in the smallest pieces.
        MixdownError: as `engine.merge.run.merge` does.
    """
    sink = MemorySink(plan)
    merge(plan, sink, progress=progress, device=device, threads=threads, chunk=chunk, stats=stats)
    return sink.tensors


def _tried(
    plan: Plan, sink: Sink, attempt: Attempt, progress: Progress | None, stats: object, failed: int
) -> MergeReport:
    """One attempt; a later one first gives back what the one before held."""
    if failed:
        if gc.isenabled():  # else this process has a window, whose objects end in its own thread only
            gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            try:
                torch.cuda.empty_cache()
            except RuntimeError:  # the device is lost
                stats = None
        if (restart := getattr(sink, "restart", None)) is not None:
            restart()
    return run.merge(plan, sink, progress=progress, device=attempt.device, threads=attempt.threads,
                     chunk=attempt.chunk, stats=stats)  # fmt: skip
