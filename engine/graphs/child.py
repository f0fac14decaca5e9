"""Tracing and measuring in a process of its own, which is stopped when the user cancels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engine.errors import EvalProblem, MixdownError
from engine.files.text import printable
from engine.graphs.values import COMMAND, Measured, Spec, measured_from
from engine.patience import Patience
from engine.progress import Progress

LIMIT_S = 900.0
_POLL_S = 0.05
_ROOT = Path(__file__).resolve().parents[2]


def traced(spec: Spec, graph: Path, progress: Progress, *, measure: bool) -> Measured | None:
    """Make the graph of an architecture (if it is not there) and, if wanted, measure both runners.

    Args:
        spec: The architecture.
        graph: Where the graph goes; written aside and renamed.
        progress: Asked all the while; a cancelled job ends the process.
        measure: Whether to measure.

    Raises:
        EvalProblem: if the network cannot be traced.
        Cancelled: if the user stopped the job.
    """
    graph.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".trace-", dir=graph.parent) as folder:
        made = Path(folder) / "graph.onnx"
        request = Path(folder) / "request.json"
        plain = {"spec": spec.plain(), "graph": str(graph if graph.exists() else made), "measure": measure}
        request.write_text(json.dumps(plain), "utf-8")
        progress.begin(0, "Preparing the ONNX graph", "steps")
        answer = _ask(request, Path(folder) / "answer.json", progress)
        if "problem" in answer:
            raise EvalProblem(printable(answer["problem"], 600), hint=printable(answer.get("hint", ""), 300))
        if made.exists():
            made.replace(graph)
    return measured_from(answer.get("measured"))


def _ask(request: Path, answer: Path, progress: Progress) -> dict[str, Any]:
    """Run the process; kill it when the job is cancelled or takes for ever."""
    frozen = getattr(sys, "frozen", False)
    command = [sys.executable, COMMAND] if frozen else [sys.executable, "-m", "engine.graphs.child"]
    errors = request.with_name("errors.txt")
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            [*command, str(request), str(answer)], cwd=None if frozen else _ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=stream,
        )  # fmt: skip
        patience = Patience(LIMIT_S)
        try:
            while process.poll() is None:
                progress.check()
                if patience.is_over:
                    raise EvalProblem("Preparing the ONNX graph takes too long.", hint="Use torch for this model.")
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    try:
        found = json.loads(answer.read_text("utf-8"))
    except (OSError, ValueError) as error:
        last = errors.read_text("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        text = f"The ONNX graph could not be prepared: {printable(last[0], 300)}"
        raise EvalProblem(text, hint="The machine may be out of memory; use torch for this model.") from error
    return dict(found)


def main(arguments: list[str]) -> int:
    """The process: REQUEST.json ANSWER.json."""
    from engine.graphs.trace import measure, trace

    if hasattr(os, "nice"):
        os.nice(10)
    raw = json.loads(Path(arguments[0]).read_text("utf-8"))
    spec, graph = Spec(**raw["spec"]), Path(raw["graph"])
    answer: dict[str, Any] = {}
    try:
        if not graph.exists():
            trace(spec, graph)
        if raw["measure"]:
            answer["measured"] = measure(spec, graph).plain()
    except MixdownError as problem:
        answer = {"problem": problem.message, "hint": problem.hint}
    Path(arguments[1]).write_text(json.dumps(answer), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
