"""Command line: is a model what it says it is (verify), who vouches for it (confirm), pickles to safetensors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FileProblem

if TYPE_CHECKING:
    from engine.export.reproduce import Reproduced
    from engine.export.verify import Integrity
    from engine.files.hashing import HashCache
    from engine.progress import Token
    from engine.recipe.origin import Origin

COMMANDS = ("verify", "confirm", "convert-pickle", "convert_pickle")
_MOST_LINES = 50


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands; importing this module loads nothing else."""
    verify = commands.add_parser("verify", help="check an exported model; merge it again if its inputs are here",
                                 description="Exit code 1 if anything is not as it was written.")  # fmt: skip
    verify.add_argument("model", metavar="MODEL", help="an exported folder or .safetensors file")
    verify.add_argument("--inputs", nargs="+", default=[], metavar="DIR",
                        help="where the inputs may be; they are found by content (default: beside MODEL)")  # fmt: skip
    amount = verify.add_mutually_exclusive_group()
    amount.add_argument("--sample", type=int, default=8, metavar="N", help="tensors to merge again (default: 8)")
    amount.add_argument("--all", action="store_true", help="merge all tensors again")
    verify.add_argument("--threads", type=int, default=0, help="worker threads (default: one for each core)")
    verify.add_argument("--json", action="store_true", help="print JSON")
    confirm = commands.add_parser("confirm", help="say that a model is the one that its publisher means",
                                  description="Compares the model with the SHA-256 that its publisher states. If they "
                                  "are the same, it counts as a verified source on this computer.")  # fmt: skip
    confirm.add_argument("model", metavar="MODEL", help="a folder or .safetensors file")
    confirm.add_argument("sha256", nargs="+", metavar="SHA256",
                         help="of every weight file, or of the whole content, as the publisher states it")  # fmt: skip
    convert = commands.add_parser("convert-pickle", help="turn a .pt, .ckpt or .bin file into .safetensors",
                                  description="A separate process reads it, which can do nothing else.")  # fmt: skip
    convert.set_defaults(command="convert_pickle")
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT", help="the .safetensors file to make")
    convert.add_argument("--timeout", type=float, default=600, metavar="S", help="give up after S seconds (600)")
    convert.add_argument("--replace", action="store_true", help="replace an existing file")
    convert.add_argument("--json", action="store_true", help="print JSON")


def command_verify(arguments: argparse.Namespace) -> int:
    """Check the files, then merge again what can be."""
    from app import cli_commands, places
    from app import cli_output as output
    from engine.export.reproduce import Reproduced, reproduce
    from engine.export.verify import check_files
    from engine.files.hashing import HashCache
    from engine.merge import forks

    forks.allow()
    cache = HashCache(places.hash_cache_file())
    token, model = cli_commands.cancellable(), Path(arguments.model).absolute()
    folders = [Path(p) for p in arguments.inputs] or [model.parent]
    with output.progress_line(token, quiet=arguments.json):
        found = check_files(model, token)
        again = Reproduced("not possible", reason="The model is damaged.")
        origin = _origin_of(found, cache, token)
        if found.is_intact and "method" in found.provenance:
            again = reproduce(found, folders, sample=0 if arguments.all else max(1, arguments.sample), progress=token,
                              cache=cache, threads=arguments.threads or None)  # fmt: skip
    if arguments.json:
        output.print_json({**report(found, again), "origin": output.origin_json(origin)})
    else:
        _print(found, again)
        output.print_origin(origin)
    broken = again.outcome == "differs" and again.reproducibility == "A"
    return 0 if found.is_intact and not broken else 1


def _origin_of(found: Integrity, cache: HashCache, token: Token) -> Origin:
    """Who vouches for a model that was checked; nobody does if it is damaged."""
    from app import places
    from engine.export.origins import origin_of
    from engine.files.checkpoint import open_checkpoint
    from engine.files.hashing import content_hash
    from engine.recipe.origin import NOT_CHECKED, Origin, Source
    from engine.store.confirmed import Confirmed

    try:
        checkpoint = open_checkpoint(found.path)
        sha256 = content_hash(checkpoint, token, cache)
    except FileProblem:
        return NOT_CHECKED
    if not found.is_intact:
        return Origin("tainted", (Source(checkpoint.name, sha256, "changed"),))
    return origin_of(checkpoint, sha256, Confirmed(places.confirmed_file()).known())


def command_confirm(arguments: argparse.Namespace) -> int:
    """Compare a model with what its publisher states, and remember it."""
    from app import cli_commands, places
    from app import cli_output as output
    from engine.export.origins import confirmed_hash
    from engine.files.checkpoint import open_checkpoint
    from engine.files.hashing import HashCache
    from engine.files.text import printable
    from engine.store.confirmed import Confirmed

    token, model = cli_commands.cancellable(), open_checkpoint(Path(arguments.model).absolute())
    with output.progress_line(token, quiet=False):
        sha256 = confirmed_hash(model, " ".join(arguments.sha256), token, HashCache(places.hash_cache_file()))
    Confirmed(places.confirmed_file()).add(sha256, model.name)
    print(f"{printable(model.name)} is a verified source on this computer: its content is {sha256}.")
    return 0


def report(found: Integrity, again: Reproduced) -> dict[str, Any]:
    """Everything that was found, as plain data."""
    from engine.recipe.provenance import made_by

    by = made_by(found.provenance)
    return {
        "path": str(found.path),
        "intact": found.is_intact,
        "files": found.files,
        "tensors": found.tensors,
        "bytes": found.bytes,
        "damage": [{"file": d.file, "tensor": d.tensor, "block": d.block, "what": d.what} for d in found.damage],
        "roots": dict(found.roots),
        "sha256": dict(found.sha256),
        "method": asdict(by) | {"is_other": by.is_other} if by.method else None,
        "provenance": dict(found.provenance),
        "reproduced": {"outcome": again.outcome, "tensors": again.tensors, "differing": list(again.differing),
                       "absent": list(again.absent), "class": again.reproducibility, "reason": again.reason},
    }  # fmt: skip


def _print(found: Integrity, again: Reproduced) -> None:
    from engine.files.text import counted, printable

    for damage in found.damage[:_MOST_LINES]:
        print(f"mixdown: {printable(damage.file)}: {damage.what}", file=sys.stderr)
    if found.is_intact:
        print(f"Intact: {counted(found.files, 'file')}, {counted(found.tensors, 'tensor')}, {found.bytes:,} bytes.")
    else:
        print(f"DAMAGED: {counted(len(found.damage), 'place')}.")
    for line in made_with(found):
        print(line)
    print(verdict(again))


def made_with(found: Integrity) -> Iterator[str]:
    """Which method of which version made a model, and whether that is another one than here, in sentences."""
    from engine.files.text import printable
    from engine.recipe.provenance import made_by

    by = made_by(found.provenance)
    if not by.method:
        return
    version = f" version {by.version}" if by.version else ""
    source = f" ({printable(by.variant, 200)})" if by.variant else ""
    yield f"Made by {printable(by.app, 60) or 'Mixdown'} with {printable(by.title, 60)}{version}{source}."
    if not by.installed:
        yield "This method is not installed here."
    elif by.is_other:
        yield (f"Here it has version {by.installed}: it may give other bytes from the same recipe. "
               "Use the version of Mixdown that made the model to reproduce it.")  # fmt: skip


def verdict(again: Reproduced) -> str:
    """The outcome of a second merge in a sentence."""
    from engine.files.text import counted, listed, printable

    count = counted(again.tensors, "tensor")
    if again.outcome == "same":
        return f"Reproduced: {count} merged again from the inputs, every byte the same (class {again.reproducibility})."
    if again.outcome == "differs":
        may = "" if again.reproducibility == "A" else (
            f" Class {again.reproducibility} allows that on another device or with other versions."
        )  # fmt: skip
        return f"Not reproduced: {len(again.differing)} of {count} differ: {listed(again.differing)}.{may}"
    if again.outcome == "no inputs":
        return f"Not merged again: inputs not found: {listed(again.absent)}. Say where they are with --inputs."
    return f"Not merged again: {printable(again.reason, 300)}"


def command_convert_pickle(arguments: argparse.Namespace) -> int:
    """Convert one pickle in a separate process."""
    from app import cli_commands
    from app import cli_output as output
    from engine.files.text import counted
    from engine.pickles.convert import convert

    token = cli_commands.cancellable()
    with output.progress_line(token, quiet=arguments.json):
        done = convert(Path(arguments.source), Path(arguments.target), replace=arguments.replace, progress=token,
                       timeout=arguments.timeout)  # fmt: skip
    if arguments.json:
        output.print_json({"path": str(done.path), "tensors": done.tensors, "bytes": done.bytes,
                           "left_out": done.left_out, "walls": list(done.walls)})  # fmt: skip
    else:
        rest = f" Left out, as they are no tensors: {done.left_out:,}." if done.left_out else ""
        print(f"Wrote {done.path}: {counted(done.tensors, 'tensor')}, {done.bytes:,} bytes.{rest}")
    return 0
