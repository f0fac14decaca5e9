"""Command line: how experts overlap."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import OutOfRange

if TYPE_CHECKING:
    from engine.analyse.values import Overlap
    from engine.merge.inputs import Inputs
    from engine.progress import Token

COMMANDS = ("overlap",)


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands; importing this module loads nothing else."""
    overlap = commands.add_parser("overlap", help="how experts overlap: cosines, conflicts, masks, roles")
    add_models(overlap)
    overlap.add_argument("--lambda", action="append", default=[], dest="strictness", metavar="NUMBER",
                         help="λ of the TALL masks; repeatable (default: 0.2 0.3 0.4 0.5 0.6)")  # fmt: skip
    overlap.add_argument("--vector", choices=("ta", "ties"), default="ta", help="multi-task vector (default: ta)")
    overlap.add_argument("--by", choices=("model", "layer", "group"), default="model",
                         help="what a row of the table is (default: model)")  # fmt: skip
    overlap.add_argument("--spectra", action="store_true", help="also singular values and subspaces (slow)")
    shape = overlap.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print everything as JSON")
    shape.add_argument("--csv", action="store_true", help="print rows as CSV: part, where, λ, experts, measure, value")


def add_models(parser: argparse.ArgumentParser) -> None:
    """Flags that say which models."""
    parser.add_argument("--base", required=True, metavar="[NAME=]PATH", help="the common ancestor: a file or folder")
    parser.add_argument("--expert", action="append", default=[], metavar="[NAME=]PATH", help="a fine-tune; repeatable")
    parser.add_argument("--threads", type=int, default=0, help="worker threads (default: one for each core)")


def command_overlap(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from app import cli_commands
    from app import cli_output as output
    from engine.analyse.overlap import STRICTNESS, overlap
    from engine.analyse.tables import rows, to_json

    token, inputs, threads = cli_commands.cancellable(), opened_inputs(arguments), arguments.threads or None
    levels = [number(text) for text in arguments.strictness] or STRICTNESS
    with output.progress_line(token, quiet=arguments.json or arguments.csv):
        found = overlap(inputs, strictness=levels, vector=arguments.vector, progress=token, threads=threads)
        spectra = _spectra(inputs, token, threads) if arguments.spectra else None
    if arguments.json:
        output.print_json(to_json(found, spectra))
    elif arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("part", "where", "lambda", "experts", "measure", "value"))
        writer.writerows(rows(found, by=arguments.by, spectra=spectra))
    else:
        _print_overlap(found, levels)
    return 0


def _spectra(inputs: Inputs, token: Token, threads: int | None) -> Any:
    from engine.analyse.spectra import spectra

    return spectra(inputs, progress=token, threads=threads)


def opened_inputs(arguments: argparse.Namespace) -> Inputs:
    """The opened models, after the checks that a merge would make, too."""
    from app import cli_output as output
    from app import workbench

    recipe = workbench.build_recipe(
        Path(arguments.base), [Path(e) for e in arguments.expert], method="consensus", params={}, seed=0, dtype=""
    )
    opened = workbench.open_recipe(recipe)
    names = {e.id: e.name for e in recipe.experts}
    if not arguments.json:
        output.print_findings(opened.findings, names)
    workbench.refuse_errors(opened.findings, names)
    return opened.inputs


def number(text: str) -> float:
    """A number from the command line.

    Raises:
        OutOfRange: if it is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise OutOfRange(f"{text!r} is not a number.", hint="Write for example 0.4") from error


def _print_overlap(found: Overlap, levels: Sequence[float]) -> None:
    """Tables for people; λ nearest to 0.4."""
    from engine.files.text import printable

    names = [printable(name)[:24] for name in found.names]
    width = max(map(len, names))
    if found.products is None or found.signs is None or found.masks is None:
        return
    level = found.masks.level(0.4)
    cosine, conflict = found.products.cosine()[0], found.signs.conflict()[0]
    heavy, density = found.signs.conflict(weighted=True)[0], found.masks.density(level)[0]
    norms, zeros, roles = found.products.norms()[0], found.zero_share()[0], found.masks.roles(level)
    print(f"{'expert':<{width}}      norm   zeros  conflict  by magnitude    mask  selfish   cosine with the others")
    for t, name in enumerate(names):
        row = "  ".join(f"{value:+.3f}" for value in cosine[t])
        print(f"{name:<{width}}  {norms[t]:8.4g}  {zeros[t]:6.1%}  {conflict[t]:8.1%}  {heavy[t]:12.1%}  "
              f"{density[t]:6.1%}  {roles.selfish[0, t]:7.1%}   {row}")  # fmt: skip
    for text, frozen in (("", True), (" without frozen tensors", False)):
        roles = found.masks.roles(level, frozen=frozen)
        print(f"weights{text} at λ {levels[level]:g}: {roles.catastrophic[0]:.1%} catastrophic, "
              f"{roles.selfish[0].sum():.1%} selfish, {roles.shared[0]:.1%} shared, "
              f"{roles.universal[0]:.1%} universal")  # fmt: skip
    print(f"interference {found.signs.interference()[0]:.1%}; {found.signs.disputed_share()[0]:.1%} of the changed "
          "weights are disputed")  # fmt: skip
    for found_set in found.masks.intersections(level, top=12)[0]:
        print(f"{found_set.count:>14,}  {' & '.join(names[t] for t in found_set.experts)} only")
