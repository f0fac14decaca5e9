"""Command line: the history of exports and scores."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from typing import TYPE_CHECKING, Any

from engine.errors import BadRecipe, OutOfRange

if TYPE_CHECKING:
    from engine.history.values import Column, Run

COMMANDS = ("history",)
_EPILOG = """examples:
  main.py history                                        the newest runs
  main.py history --filter "ties score>80 tag=good" --sort seconds --ascending
  main.py history --csv --filter "created>=2026-01" > runs.csv
  main.py history show 12 --json
  main.py history star 12 13 · unstar 12 · tag 12 good · untag 12 good · note 12 "try again"
  main.py history compare 12 13 --score --json           what is different; scores with the interval of A - B
  main.py history delete 12 · restore 12                 nothing is lost; files stay

a filter is words, and conditions on id created kind title method base experts input score rows seconds bytes device
output tag note star score.TASK param.NAME with = != < <= > >= and ~ (contains); scores are percents; dates are UTC
"""
_ACTIONS = ("list", "show", "star", "unstar", "tag", "untag", "note", "delete", "restore", "compare")
_LISTED = ("id", "created", "kind", "title", "score", "seconds", "bytes", "output")


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command; importing this module loads no database."""
    history = commands.add_parser("history", help="what was exported and scored, and how good it was", epilog=_EPILOG,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    history.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="default: list")
    history.add_argument("rest", nargs="*", metavar="ID", help="runs by number; then a tag or a note")
    history.add_argument("--filter", default="", metavar="TEXT", help="which runs")
    history.add_argument("--sort", default="created", metavar="COLUMN", help="default: created")
    history.add_argument("--ascending", action="store_true", help="smallest first")
    history.add_argument("--limit", type=int, default=0, metavar="N", help="at most N runs (50; all as JSON and CSV)")
    history.add_argument("--score", action="store_true",
                         help="compare: score both on the same rows (at most --limit of each task)")  # fmt: skip
    history.add_argument("--deleted", action="store_true", help="the deleted runs instead")
    history.add_argument("--url", default="", metavar="URL",
                         help="another history: a file, or for instance postgresql://user@host/mixdown")  # fmt: skip
    shape = history.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--csv", action="store_true", help="print CSV")


def command_history(arguments: argparse.Namespace) -> int:
    """List, show or mark runs."""
    from app import recording

    history = recording.open_history(arguments.url)
    if history is None:
        raise BadRecipe("The history is switched off.", hint=f"Unset {recording.VARIABLE}, or give --url.")
    for text in (history.status.told, history.status.reason):
        if text:
            print(f"mixdown: {text}", file=sys.stderr)
    try:
        if arguments.action == "list":
            _list(history, arguments)
        elif arguments.action == "compare":
            from app.cli_compare import compare_runs

            compare_runs(history, arguments.rest, arguments)
        elif arguments.action == "show":
            _show([history.run(n) for n in run_numbers(arguments.rest)], as_json=arguments.json)
        else:
            _mark(history, arguments.action, arguments.rest)
    finally:
        history.close()
    return 0


def run_numbers(texts: list[str]) -> list[int]:
    """The numbers of runs.

    Raises:
        OutOfRange: if there are none, or something else.
    """
    if not texts:
        raise OutOfRange("Which run?", hint="Give its number, as in: main.py history show 12")
    for text in texts:
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise OutOfRange(f"{text!r} is not the number of a run.", hint="List them with: main.py history")
    return [int(text) for text in texts]


def _mark(history: Any, action: str, rest: list[str]) -> None:
    word = action in ("tag", "untag", "note")
    numbers = run_numbers(rest[:-1] if word else rest)
    for number in numbers:
        history.run(number)  # says so if there is none
    if action in ("star", "unstar"):
        history.set_star(numbers, action == "star")
    elif action in ("tag", "untag"):
        history.set_tags(numbers, **{"add" if action == "tag" else "remove": rest[-1:]})
    elif action == "note":
        for number in numbers:
            history.set_note(number, rest[-1])
    else:
        history.delete(numbers, action == "delete")


def _list(history: Any, arguments: argparse.Namespace) -> None:
    from app import cli_output as output
    from engine.history.values import Query

    limit = arguments.limit or (1_000_000 if arguments.csv or arguments.json else 50)
    page = history.page(Query(filter=arguments.filter, sort=arguments.sort, descending=not arguments.ascending,
                              limit=limit, deleted=arguments.deleted))  # fmt: skip
    if arguments.json:
        output.print_json([run_json(run) for run in page.runs])
    elif arguments.csv:
        write_csv(sys.stdout, page.runs, history.columns())
    else:
        _print_table(page.runs, page.total)


def run_json(run: Run) -> dict[str, Any]:
    """A run as plain data."""
    from app import cli_output as output
    from engine.recipe.project import strict_json

    facts = run.facts
    mean = {"value": run.mean.value, "low": run.mean.low, "high": run.mean.high, "rows": run.mean.count,
            "unit": run.mean.unit} if run.mean else None  # fmt: skip
    return {
        "id": run.id, "kind": facts.kind, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(facts.created)),
        "title": facts.title, "method": facts.method, "params": dict(facts.params), "score": mean,
        "scores": output.scores_json(facts.scores), "seconds": facts.seconds, "device": facts.device,
        "inputs": [{"role": i.role, "name": i.name, "path": i.path, "sha256": i.sha256} for i in facts.inputs],
        "output": {"path": facts.output_path, "sha256": facts.output_sha256, "bytes": facts.output_bytes}
        if facts.output_path else None,
        "parents": list(run.parents), "versions": dict(facts.versions), "tags": list(run.tags), "note": run.note,
        "star": run.star, "deleted": run.deleted is not None, "intact": run.is_intact,
        "recipe": strict_json(facts.recipe),
    }  # fmt: skip


def cell(run: Run, column: Column) -> str | float:
    """A column's value for a spreadsheet: numbers as numbers, times as ISO 8601 in UTC, "" for none."""
    facts, name = run.facts, column.name
    simple: dict[str, object] = {
        "id": run.id, "kind": facts.kind, "title": facts.title, "method": facts.method, "seconds": facts.seconds,
        "device": facts.device, "output": facts.output_path, "note": run.note, "star": "yes" if run.star else "",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(facts.created)), "tag": " ".join(run.tags),
        "base": next((i.name for i in facts.inputs if i.role == "base"), ""), "bytes": facts.output_bytes or None,
        "input": " ".join(i.name for i in facts.inputs if i.role == "expert"),
        "experts": sum(i.role == "expert" for i in facts.inputs), "score": run.mean.value if run.mean else None,
        "rows": run.mean.count if run.mean else None,
    }  # fmt: skip
    if name.startswith("score."):
        from engine.history.recipes import shown

        found: object = next((shown(s)[0] for s in facts.scores if f"score.{s.task}" == name), None)
    elif name.startswith("param."):
        found = dict(facts.params).get(name.removeprefix("param."))
    else:
        found = simple[name]
    if found is None or isinstance(found, bool):
        return "" if found is None else str(found).lower()
    return found if isinstance(found, (int, float)) else _harmless(str(found))


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def write_csv(file: Any, runs: tuple[Run, ...], columns: tuple[Column, ...]) -> None:
    """Write runs as CSV, a row each; scores bring their intervals along."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(c.name for c in columns), "score_low", "score_high", "output_sha256"])
    for run in runs:
        ends = (run.mean.low, run.mean.high) if run.mean else ("", "")
        writer.writerow([*(cell(run, c) for c in columns), *ends, run.facts.output_sha256])


def _print_table(runs: tuple[Run, ...], total: int) -> None:
    from app.cli_output import size_text
    from engine.files.text import printable

    if not runs:
        print("No runs yet. Exports are recorded by themselves." if not total else "No run fits.")
        return
    print(f"{'run':>5}  {'when':<16}  {'kind':<6}  {'score':>7}  {'time':>8}  {'size':>8}  recipe")
    for run in runs:
        facts, when = run.facts, time.strftime("%Y-%m-%d %H:%M", time.localtime(run.facts.created))
        score = f"{run.mean.value:.1f}{'%' if run.mean.unit == '%' else ''}" if run.mean else ""
        seconds = f"{facts.seconds:.1f} s" if facts.seconds is not None else ""
        size = size_text(facts.output_bytes) if facts.output_bytes else ""
        marks = f"{'★ ' if run.star else ''}{''.join(f'#{t} ' for t in run.tags)}"
        target = f"  → {printable(facts.output_path, 200)}" if facts.output_path else ""
        print(f"{run.id:>5}  {when:<16}  {facts.kind:<6}  {score:>7}  {seconds:>8}  {size:>8}  "
              f"{printable(marks + facts.title, 200)}{target}")  # fmt: skip
    if total > len(runs):
        print(f"… and {total - len(runs)} more; see --limit and --filter")


def _show(runs: list[Run], *, as_json: bool) -> None:
    from app import cli_output as output
    from engine.files.text import printable

    if as_json:
        output.print_json([run_json(r) for r in runs] if len(runs) > 1 else run_json(runs[0]))
        return
    for run in runs:
        facts = run.facts
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts.created))
        lines = [("run", f"{run.id}{' ★' if run.star else ''}"), ("when", when), ("kind", facts.kind),
                 ("recipe", facts.title), ("tags", " ".join(run.tags)), ("note", run.note), ("device", facts.device),
                 ("time", f"{facts.seconds:.1f} s" if facts.seconds is not None else ""),
                 ("output", facts.output_path), ("sha256", facts.output_sha256),
                 ("made from", ", ".join(f"run {n}" for n in run.parents)),
                 ("versions", ", ".join(f"{k} {v}" for k, v in facts.versions)),
                 *((i.role, f"{i.name}  {i.sha256[:16] or 'unknown content'}  {i.path}") for i in facts.inputs),
                 ("damaged", "" if run.is_intact else "this row is not what was recorded")]  # fmt: skip
        for name, text in lines:
            if text:
                print(f"{name:<10} {printable(text, 1000)}")
        if facts.scores:
            output.print_scores(facts.scores)
