"""How the command line prints things: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.workbench import remarks
from engine.files.model import Checkpoint, Finding, Layout
from engine.files.text import printable
from engine.methods import registered
from engine.methods.spec import Method

if TYPE_CHECKING:
    from app.doctor import Report
    from engine.evaluate.score import Score
    from engine.export.folder import Exported
    from engine.files.ancestry import Ancestry
    from engine.progress import Token
    from engine.recipe.origin import Origin

Described = tuple[Checkpoint, Layout, tuple[Finding, ...]]


def print_json(data: object) -> None:
    """Print JSON, non-ASCII kept, paths as text."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def size_text(size: float) -> str:
    """Bytes for people: "1.4 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


@contextmanager
def progress_line(token: Token, *, quiet: bool) -> Iterator[None]:
    """One changing line on stderr while a job runs, if stderr is a terminal."""
    stop = threading.Event()

    def show() -> None:
        while not stop.wait(0.2):
            share = token.done / token.total if token.total else 0.0
            left = token.remaining_s
            eta = f", {left:.0f} s left" if left is not None else ""
            print(f"\r{token.text} {share:4.0%}{eta}\x1b[K", end="", file=sys.stderr, flush=True)

    if quiet or not sys.stderr.isatty():
        yield
        return
    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def print_findings(findings: Mapping[str, tuple[Finding, ...]], names: Mapping[str, str]) -> None:
    """Checks between base and experts, on stderr."""
    for model, found in findings.items():
        for finding in found:
            hint = f" {finding.hint}" if finding.hint else ""
            print(f"{finding.severity}: {printable(names.get(model, model))}: {finding.message}{hint}", file=sys.stderr)


def print_exported(done: Exported) -> None:
    """One line about a finished export."""
    print(f"Exported {size_text(done.bytes)} in {done.seconds:.1f} s to {printable(str(done.path))}")
    if done.notes:
        print(remarks(done.notes))


def exported_json(done: Exported, findings: Mapping[str, tuple[Finding, ...]]) -> dict[str, Any]:
    """The report of one export."""
    return {
        "path": str(done.path),
        "bytes": done.bytes,
        "seconds": round(done.seconds, 3),
        "files": [str(f) for f in done.files],
        "notes": dict(done.notes),
        "findings": {model: [_finding(f) for f in found] for model, found in findings.items()},
    }


def findings_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as plain data."""
    return [_finding(f) for f in found]


def _finding(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in ("severity", "code", "message", "hint", "tensors", "count")}


def inspect_json(
    described: Sequence[Described], ancestry: Ancestry | None, origins: Mapping[str, Origin]
) -> dict[str, Any]:
    """Everything `inspect` knows."""
    models = [
        {
            "path": str(ck.path), "kind": ck.kind, "parameters": ck.parameters, "bytes": ck.size_bytes,
            "dtypes": ck.dtypes, "tensors": len(ck.tensors), "family": layout.family, "layers": layout.layers,
            "groups": [{"layer": g.place.layer, "kind": g.place.kind, "tensors": len(g.tensors), "numel": g.numel}
                       for g in layout.groups],
            "warnings": ck.warnings, "absent_shards": ck.absent_shards, "metadata": dict(ck.metadata),
            "findings": [_finding(f) for f in findings],
        }
        for ck, layout, findings in described
    ]  # fmt: skip
    for model in models:
        if str(model["path"]) in origins:
            model["origin"] = origin_json(origins[str(model["path"])])
    report: dict[str, Any] = {"models": models}
    if ancestry is not None:
        base = None if ancestry.base is None else models[ancestry.base]["path"]
        report["base"] = {"path": base, "certain": ancestry.certain, "reason": ancestry.reason}
    return report


def print_inspect(described: Sequence[Described], ancestry: Ancestry | None, origins: Mapping[str, Origin]) -> None:
    """The same for people."""
    for ck, layout, findings in described:
        print(f"{printable(ck.name)}  ({printable(str(ck.path))})")
        print(f"  {ck.parameters / 1e6:,.1f} M parameters, {size_text(ck.size_bytes)}, {', '.join(ck.dtypes)}, "
              f"{len(ck.tensors)} tensors, {layout.family}")  # fmt: skip
        print(f"  layers: {', '.join(layout.layers)}")
        for warning in ck.warnings:
            print(f"  warning: {printable(warning)}")
        for finding in findings:
            print(f"  {finding.severity}: {finding.message} {finding.hint}".rstrip())
        if str(ck.path) in origins:
            print(f"  source: {origins[str(ck.path)].text}")
    if ancestry is not None:
        who = "undecided" if ancestry.base is None else printable(described[ancestry.base][0].name)
        print(f"base: {who}. {ancestry.reason}")


def origin_json(origin: Origin) -> dict[str, Any]:
    """Who vouches for a model, as plain data."""
    return {"standing": origin.standing, "text": origin.text, "sources": [s.plain() for s in origin.sources]}


def print_origin(origin: Origin) -> None:
    """Who vouches for a model, and which of its ancestors nobody vouches for, a line each."""
    print(origin.text)
    for source in origin.sources if origin.standing == "tainted" else ():
        print(f"  {source.name}  {source.sha256}")


def scores_json(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Scores with their counts and intervals."""
    return [
        {"task": s.task, "split": s.split, "metric": s.metric, "value": s.value, "correct": s.correct,
         "count": s.count, "low": s.low, "high": s.high, "unit": s.measure.unit,
         "higher_is_better": s.measure.higher_is_better}
        for s in scores
    ]  # fmt: skip


def print_scores(scores: Sequence[Score]) -> None:
    """A table of scores with their 95 % intervals."""
    width = max(len(s.task) for s in scores)
    for s in scores:
        value, low, high = (s.measure.text(v) for v in (s.value, s.low, s.high))
        unit = "" if s.measure.unit == "%" else f" {s.measure.unit}"
        print(f"{printable(s.task):<{width}}  {value:>6}{unit}  [{low}, {high}]  {s.count} {s.split} rows")
    if len(scores) > 1 and len({s.split for s in scores}) == 1:
        from engine.evaluate.measures import find_measure
        from engine.evaluate.score import average

        mean = average(scores)
        measure = find_measure(mean.metric)
        rest = f", without {mean.left_out} of another unit" if mean.left_out else ""
        print(f"{'average':<{width}}  {measure.text(mean.value):>6}  [{measure.text(mean.low)}, "
              f"{measure.text(mean.high)}]  {mean.tasks - mean.left_out} tasks{rest}")  # fmt: skip


def methods_json() -> list[dict[str, Any]]:
    """Declarations of all methods."""
    return [_method(m) for m in registered().values()]


def _method(m: Method) -> dict[str, Any]:
    names = ("id", "title", "summary", "paper", "space", "live", "reproducibility", "needs_base", "min_experts",
             "max_experts", "coefficient", "coefficient_help")  # fmt: skip
    params = [
        {"name": p.name, "default": p.default, "low": p.low, "high": p.high, "choices": p.choices, "live": p.live,
         "help": p.help}
        for p in m.params
    ]  # fmt: skip
    return {**{name: getattr(m, name) for name in names}, "params": params}


def print_methods() -> None:
    """All methods for people."""
    for m in registered().values():
        print(f"{m.id:<18} {m.title}: {m.summary} [{m.paper}]")
        for p in m.params:
            between = f", {p.low:g} to {p.high:g}" if p.low is not None and p.high is not None else ""
            choices = f", one of {', '.join(p.choices)}" if p.choices else ""
            print(f"    --param {p.name}={p.default}{between}{choices}: {p.help}")


def print_doctor(report: Report) -> None:
    """Versions, devices and problems."""
    for name, version in report.versions.items():
        print(f"{name:<20} {version}")
    print(f"{'devices':<20} {', '.join(report.devices)}; {report.cores} cores")
    print(f"{'display':<20} {report.display or 'none'}")
    print(f"{'data folder':<20} {report.data_folder} ({size_text(report.free_bytes)} free)")
    for problem in report.problems:
        print(f"problem: {problem}")
    if not report.problems:
        print("No problems found.")
