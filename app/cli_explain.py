"""Command line: what is different between two recipes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BadRecipe, Mismatch
from engine.files.spreadsheet import SafeWriter

if TYPE_CHECKING:
    from engine.live.explain import Explained
    from engine.progress import Token
    from engine.recipe.recipe import Recipe

COMMANDS = ("explain",)


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command; importing this module loads nothing else."""
    explain = commands.add_parser("explain", help="what is different between two recipes, and where it shows")
    explain.add_argument("first", metavar="A.mixdown[#PIN]", help="a project, or a pin of it")
    explain.add_argument("second", metavar="B.mixdown[#PIN]", help="another project or pin, of the same base")
    explain.add_argument("--score", action="store_true", help="also score both on the projects' tasks")
    explain.add_argument("--limit", type=int, default=0, metavar="N", help="score only the first N rows")
    explain.add_argument("--threads", type=int, default=0, help="worker threads (default: one for each core)")
    shape = explain.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print everything as JSON")
    shape.add_argument("--csv", action="store_true", help="print one row for each layer and kind as CSV")


def load(text: str) -> Recipe:
    """The recipe of FILE or FILE#PIN.

    Raises:
        BadRecipe: if the project has no such pin, or is none.
    """
    from engine.recipe.project import load_with_pins

    name, _, pin = (text, "", "") if Path(text).exists() else text.rpartition("#")
    recipe, pins = load_with_pins(Path(name or text))
    if pin and pin not in pins:
        raise BadRecipe(f"There is no pin {pin!r}.", where=name, hint=f"Pins: {', '.join(pins) or 'none'}.")
    return pins[pin] if pin else recipe


def command_explain(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    from dataclasses import replace

    from app import cli_commands
    from app import cli_output as output
    from app.workbench import open_recipe, refuse_errors
    from engine.analyse.gram import gram
    from engine.live.explain import all_experts, explain

    token, first, second = cli_commands.cancellable(), load(arguments.first), load(arguments.second)
    if first.base is None or second.base is None or first.base.path != second.base.path:
        raise Mismatch("The recipes have different bases.", hint="Only merges of the same base can be compared.")
    experts = all_experts(first, second)
    numbered = tuple(replace(ref, id=f"e{t}", name=f"{ref.name} {t}") for t, ref in enumerate(experts))
    opened = open_recipe(replace(first, experts=numbered))
    refuse_errors(opened.findings, {ref.id: ref.name for ref in numbered})
    with output.progress_line(token, quiet=arguments.json or arguments.csv):
        measured = gram(opened.inputs, token, threads=arguments.threads or None)
        found = explain(first, second, opened.inputs.layout, measured)
        scores = _scores(first, second, arguments.limit or None, token) if arguments.score else []
    if arguments.json:
        output.print_json(to_json(found, scores))
    elif arguments.csv:
        _write_csv(found)
    else:
        _print(found, scores)
    return 0


def _scores(first: Recipe, second: Recipe, limit: int | None, token: Token) -> list[dict[str, Any]]:
    """For every task of both recipes the two scores, second - first and its 95 % interval, paired on the same rows."""
    from app.cli_compare import measured_table

    found = []
    for row in measured_table(first, second, limit, token):
        made = row.difference
        if made is not None:
            found.append({"task": row.task, "first": made.first.value, "second": made.second.value,
                          "difference": -made.value, "low": -made.high, "high": -made.low, "rows": made.first.count,
                          "interval": made.words, "p": made.p, "metric": made.first.metric})  # fmt: skip
    return found


def to_json(found: Explained, scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "quality": found.quality,
        "relative": found.overall,
        "changes": [{"what": c.what, "before": c.before, "after": c.after} for c in found.changes],
        "groups": [
            {"layer": g.place.layer, "kind": g.place.kind, "distance": float(d), "relative": float(r),
             "coefficients": dict(zip(found.experts, map(float, column), strict=True))}
            for g, d, r, column in zip(found.groups, found.distance, found.relative, found.coefficients.T, strict=True)
        ],
        "scores": scores,
    }  # fmt: skip


def _write_csv(found: Explained) -> None:
    writer = SafeWriter(sys.stdout)
    writer.writerow(("layer", "kind", "quality", "distance", "relative", *found.experts))
    for g, d, r, column in zip(found.groups, found.distance, found.relative, found.coefficients.T, strict=True):
        writer.writerow((g.place.layer, g.place.kind, found.quality, float(d), float(r), *map(float, column)))


def _print(found: Explained, scores: list[dict[str, Any]]) -> None:
    """For people: at most 12 changes and 10 places."""
    from engine.evaluate.measures import find_measure
    from engine.files.text import printable

    if not found.changes:
        print("The recipes say the same.")
    for change in found.changes[:12]:
        print(f"{printable(change.what):<40} {printable(change.before) or '–'} → {printable(change.after) or '–'}")
    if len(found.changes) > 12:
        print(f"… and {len(found.changes) - 12} more (--json lists all)")
    print(f"\nmerged weights differ by {found.overall:.3%} of the base's norm ({found.quality})")
    order = sorted(range(len(found.groups)), key=lambda g: -found.relative[g])
    for g in [g for g in order if found.relative[g] > 0][:10]:
        place = found.groups[g].place
        print(f"  {place.layer:>8} {place.kind:<10} {found.relative[g]:9.3%}")
    for score in scores:
        share, places = (measure := find_measure(score["metric"])).unit == "%", measure.places
        apart = [f"{score[k]:+.1%}" if share else f"{score[k]:+.{places}f}" for k in ("difference", "low", "high")]
        print(f"{printable(score['task']):<20} {measure.text(score['first'])} → {measure.text(score['second'])}   "
              f"{apart[0]} (95 %: {apart[1]} … {apart[2]})")  # fmt: skip
    for words in dict.fromkeys(score["interval"] for score in scores):
        print(f"intervals: {words}")
