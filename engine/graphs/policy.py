"""Which runner an evaluation takes: what the user wants, what was measured, which graphs are there. Light.

Graphs and measurements are kept by content in a folder of the program's own; it may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import MixdownError
from engine.files.durable import write_durably
from engine.graphs.values import Choice, Measured, Spec, measured_from

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.evaluate.model import Network
    from engine.progress import Progress

KEPT = 24
"""Graphs that are kept; the least recently used go."""
_SPEEDS = "speeds.json"


class Runners:
    """The choice between torch and onnxruntime. Thread-safe.

    Attributes:
        wanted: What the user wants; "torch" until the program says otherwise.
        folder: Where graphs and measurements are kept; None keeps none, and torch runs everything.
        on_unmeasured: Told of an architecture that "auto" has no measurement of, once each, by the thread that runs it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.wanted: Choice = "torch"
        self.folder: Path | None = None
        self.on_unmeasured: Callable[[Spec], None] | None = None
        self._speeds: dict[str, Measured] | None = None
        self._told: set[str] = set()
        self.used: dict[str, Choice] = {}
        self._took: dict[tuple[str, str], Choice] = {}

    def use(self, wanted: Choice, folder: Path | None) -> None:
        """Follow the preferences."""
        with self._lock:
            self.wanted = wanted
            if folder != self.folder:
                self.folder, self._speeds = folder, None

    def renew(self, wanted: Choice, folder: Path | None) -> None:
        """As `use`, for a program beside the one that measures: its measurements are read again."""
        self.use(wanted, folder)
        with self._lock:
            self._speeds = None
            self._told.clear()
            self.used.clear()

    def speed(self, spec: Spec) -> Measured | None:
        """What was measured for an architecture."""
        with self._lock:
            return self._known().get(spec.key)

    def speeds(self) -> Mapping[str, Measured]:
        """All measurements, by graph key."""
        with self._lock:
            return dict(self._known())

    def graph(self, spec: Spec, progress: Progress) -> Path:
        """The graph of an architecture, made if it is not there.

        Raises:
            EvalProblem: if the network cannot be traced.
            Cancelled: if the user stopped the job.
        """
        from engine.graphs.child import traced

        path = self._path(spec)
        if not path.exists():
            traced(spec, path, progress, measure=False)
            self._prune(path)
        return path

    def prepare(self, spec: Spec, progress: Progress) -> Measured | None:
        """Make the graph and measure both runners; remembered.

        Raises:
            EvalProblem: if the network cannot be traced.
            Cancelled: if the user stopped the job.
        """
        from engine.graphs.child import traced

        path = self._path(spec)
        found = traced(spec, path, progress, measure=True)
        self._prune(path)
        if found is not None:
            with self._lock:
                self._speeds = {**self._known(), spec.key: found}
                plain = {key: value.plain() for key, value in self._speeds.items()}
                with suppress(MixdownError):  # measured again the next time
                    write_durably(path.with_name(_SPEEDS), json.dumps(plain, indent=1).encode())
        return found

    def pick(self, net: Network, progress: Progress) -> Path | None:
        """The graph to run a network by, None for torch.

        Raises:
            EvalProblem: if onnxruntime is wanted and the network cannot be traced.
        """
        if self.wanted == "torch" or self.folder is None or not net.key[1]:
            return self._noted(net, None)
        spec = Spec.of(net.key)
        if self.wanted == "onnxruntime":
            return self._noted(net, self.graph(spec, progress))
        known, path = self.speed(spec), self._path(spec)
        if known is None:
            self.tell(spec)
        is_faster = known is not None and known.faster == "onnxruntime" and path.exists()
        return self._noted(net, path if is_faster else None)

    def _noted(self, net: Network, path: Path | None) -> Path | None:
        taken: Choice = "torch" if path is None else "onnxruntime"
        self._took[net.key] = taken
        self.note(net.model_type, taken)
        return path

    def note(self, model_type: str, runner: str) -> None:
        """Remember which runner the scores of an architecture come from, for the user to see."""
        self.used[model_type] = "onnxruntime" if runner == "onnxruntime" else "torch"

    def took(self, net: Network) -> str:
        """Which runner has run a network last."""
        return self._took.get(net.key, "torch")

    def allowed(self) -> tuple[str, ...]:
        """Runners whose scores may be shown: what the user wants, or either where the faster one is taken."""
        if self.wanted == "torch" or self.folder is None:
            return ("torch",)
        return ("onnxruntime",) if self.wanted == "onnxruntime" else ("torch", "onnxruntime")

    def tell(self, spec: Spec) -> None:
        """Say that an architecture ran that "auto" has no measurement of; once each."""
        with self._lock:
            is_new = spec.key not in self._told
            self._told.add(spec.key)
        if is_new and self.on_unmeasured is not None:
            self.on_unmeasured(spec)

    def _path(self, spec: Spec) -> Path:
        assert self.folder is not None
        return self.folder / f"{spec.key}.onnx"

    def _known(self) -> dict[str, Measured]:
        if self._speeds is None:
            raw: object = {}
            with suppress(OSError, ValueError):
                raw = json.loads((self.folder / _SPEEDS).read_text("utf-8")) if self.folder else {}
            pairs = raw.items() if isinstance(raw, dict) else ()
            self._speeds = {key: found for key, value in pairs if (found := measured_from(value)) is not None}
        return self._speeds

    def _prune(self, newest: Path) -> None:
        """Keep the graphs used last."""
        with suppress(OSError):
            os.utime(newest)
            graphs = sorted(newest.parent.glob("*.onnx"), key=lambda p: p.stat().st_mtime, reverse=True)
            for path in graphs[KEPT:]:
                path.unlink()


RUNNERS = Runners()
"""The choice of this program."""


def running(net: Network, weights: Mapping[str, Tensor], progress: Progress) -> AbstractContextManager[nn.Module]:
    """The network with the weights of `fit`, ready to be called by several threads, run by whichever runner is chosen.

    Args:
        net: The network.
        weights: What `Network.fit` gave.
        progress: Asked while it runs.

    Raises:
        EvalProblem: if the chosen runner cannot run it.
    """
    from engine.graphs.own import OwnGraph

    if isinstance(net, OwnGraph):
        return net.running(weights, progress)
    graph = RUNNERS.pick(net, progress)
    return net.lent(weights, progress) if graph is None else _by_onnx(graph, weights, progress)


@contextmanager
def _by_onnx(graph: Path, weights: Mapping[str, Tensor], progress: Progress) -> Iterator[nn.Module]:
    from engine.graphs.own import as_module
    from engine.graphs.session import Session

    with Session(graph, weights, progress=progress) as session:
        yield as_module(session)
