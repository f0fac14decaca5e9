"""Command line: how experts overlap."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BadRecipe, OutOfRange
from engine.files.spreadsheet import SafeWriter

if TYPE_CHECKING:
    from engine.analyse.magnitude_values import Magnitudes
    from engine.analyse.values import Overlap
    from engine.merge.inputs import Inputs
    from engine.progress import Token
    from engine.recipe.recipe import Recipe

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
    overlap.add_argument("--magnitudes", action="store_true", help="also histograms of the task vectors' elements")
    overlap.add_argument("--method", default="", metavar="NAME",
                         help="with where this method's density cuts the magnitudes, and for --tensor")  # fmt: skip
    overlap.add_argument("--param", action="append", default=[], metavar="NAME=VALUE",
                         help="a parameter of --method, as density=0.2 or density@EXPERT=0.2; repeatable")  # fmt: skip
    overlap.add_argument("--tensor", default="", metavar="NAME",
                         help="also one matrix as the tensor view shows it: owners, kept, mean, conflict")  # fmt: skip
    overlap.add_argument("--at", action="append", default=[], metavar="ROW,COLUMN",
                         help="with --tensor: everything about one weight; repeatable")  # fmt: skip
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
    from engine.analyse.tables import rows, tensor_rows, to_json
    from engine.merge import forks

    forks.allow()
    token, threads = cli_commands.cancellable(), arguments.threads or None
    levels = [number(text) for text in arguments.strictness] or STRICTNESS
    recipe, places = _recipe(arguments), _places(arguments)
    shares, inputs = _densities(arguments, recipe), opened_inputs(arguments)
    with output.progress_line(token, quiet=arguments.json or arguments.csv):
        found = overlap(inputs, strictness=levels, vector=arguments.vector, progress=token, threads=threads)
        spectra = _spectra(inputs, token, threads) if arguments.spectra else None
        sizes = _magnitudes(inputs, token, threads) if arguments.magnitudes or shares is not None else None
        tensor = _tensor(recipe, inputs, arguments.tensor, places, token, threads) if arguments.tensor else None
    if arguments.json:
        output.print_json(to_json(found, spectra, sizes, shares) | ({"tensor": tensor} if tensor else {}))
    elif arguments.csv:
        writer = SafeWriter(sys.stdout)
        writer.writerow(("part", "where", "lambda", "experts", "measure", "value"))
        writer.writerows(rows(found, by=arguments.by, spectra=spectra, magnitudes=sizes, densities=shares))
        writer.writerows(tensor_rows(tensor, found.names) if tensor else ())
    else:
        _print_overlap(found, levels)
        if sizes is not None:
            _print_magnitudes(sizes, shares)
        if tensor is not None:
            _print_tensor(tensor, found.names)
    return 0


def _spectra(inputs: Inputs, token: Token, threads: int | None) -> Any:
    from engine.analyse.spectra import spectra

    return spectra(inputs, progress=token, threads=threads)


def _magnitudes(inputs: Inputs, token: Token, threads: int | None) -> Magnitudes:
    from engine.analyse.magnitudes import magnitudes

    return magnitudes(inputs, progress=token, threads=threads)


def _tensor(
    recipe: Recipe, inputs: Inputs, name: str, places: Sequence[tuple[int, int]], token: Token, threads: int | None
) -> dict[str, Any]:
    from engine.analyse.tensor_report import tensor_report

    return tensor_report(recipe, inputs, name, places, progress=token, threads=threads)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """The models with the method and parameters that the flags choose, Consensus for none.

    Raises:
        BadRecipe: if there is no such method or parameter.
        OutOfRange: if a value is not allowed.
    """
    from app import workbench

    if arguments.param and not arguments.method:
        raise BadRecipe("--param says nothing without --method.", hint="Write for example --method ties")
    given: dict[str, object] = {}
    for text in arguments.param:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRecipe(f"--param {text!r} has no value.", hint="Write for example --param density=0.2")
        given[name.strip()] = value.strip()
    return workbench.build_recipe(Path(arguments.base), [Path(e) for e in arguments.expert],
                                  method=arguments.method or "consensus", params=given, seed=0, dtype="")  # fmt: skip


def _places(arguments: argparse.Namespace) -> list[tuple[int, int]]:
    """The weights that `--at` names.

    Raises:
        BadRecipe: without `--tensor`.
        OutOfRange: if one is not written as two whole numbers.
    """
    if arguments.at and not arguments.tensor:
        raise BadRecipe("--at says nothing without --tensor.", hint="Name the matrix with --tensor")
    found = []
    for text in arguments.at:
        row, _, column = text.partition(",")
        if not (row.strip().isdecimal() and column.strip().isdecimal()):
            raise OutOfRange(f"{text!r} is no row and column.", hint="Write for example --at 5,7")
        found.append((int(row), int(column)))
    return found


def _densities(arguments: argparse.Namespace, recipe: Recipe) -> tuple[float, ...] | None:
    """The density of every expert; None without a method.

    Raises:
        BadRecipe: if the method has none and is for nothing else.
    """
    from engine.analyse.magnitude_values import densities
    from engine.methods import find

    if not arguments.method:
        return None
    found = densities(find(recipe.method).complete(dict(recipe.params)), [e.name for e in recipe.experts])
    if found is None and not arguments.tensor:
        hint = "Use --magnitudes for the histograms alone."
        raise BadRecipe(f"The method {recipe.method} has no density.", hint=hint)
    return found


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


def _print_magnitudes(found: Magnitudes, shares: Sequence[float] | None) -> None:
    """The magnitudes for people: how large the largest are, and where a density cuts."""
    from engine.files.text import printable

    names = [printable(name)[:24] for name in found.names]
    width = max(6, *map(len, names))
    tops = [found.threshold(share) for share in (0.5, 0.1, 0.01)]
    cuts = None if shares is None else found.threshold(shares)
    more = "" if cuts is None else "  density   threshold    kept"
    print(f"{'|τ|':<{width}}  {'median':>8}   {'top 10 %':>10}   {'top 1 %':>8}{more}")
    for t, name in enumerate(names):
        line = f"{name:<{width}}  {tops[0][t]:8.2e}   {tops[1][t]:10.2e}   {tops[2][t]:8.2e}"
        if shares is not None and cuts is not None:
            line += f"  {shares[t]:7.2%}  {cuts[t]:10.3e}  {found.kept(cuts)[t]:6.1%}"
        print(line)


def _print_tensor(found: Mapping[str, Any], names: Sequence[str]) -> None:
    """One matrix and its weights, for people."""
    from engine.files.text import printable

    labels = [printable(name)[:24] for name in names]
    width = max(6, *map(len, labels))
    print(f"{printable(found['name'])}  {found['rows']} × {found['columns']}, {found['mask']}, "
          f"{found['conflict']:.1%} of the changes go against their sum")  # fmt: skip
    print(f"{'':<{width}}   owned    kept   mean |τ|")
    for t, name in enumerate(labels):
        print(f"{name:<{width}}  {found['owned'][t]:6.1%}  {found['kept'][t]:6.1%}  {found['mean'][t]:9.2e}")
    for weight in found["weights"]:
        merged = weight["note"] if weight["merged"] is None else f"{weight['merged']:+.6g}"
        owner = labels[weight["owner"]] if weight["owner"] < len(labels) else "nobody"
        print(f"row {weight['row']}, column {weight['column']}: base {weight['base']:+.6g}, merged {merged}, "
              f"sign {weight['sign']:+d}, owner {owner}")  # fmt: skip
        for t, name in enumerate(labels):
            kept = "kept" if weight["kept"] and weight["kept"][t] else "not kept"
            print(f"{name:<{width}}  {weight['experts'][t]:+.6g}  τ {weight['tau'][t]:+.6g}  {kept}")
