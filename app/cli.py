"""The command line: the same engine functions as the window, without Qt.

Exit codes: 0 done · 1 a problem told in plain words · 2 wrong usage · 3 cancelled (Ctrl+C) · 70 a bug.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from types import ModuleType

from app import cli_onnx
from app.version import VERSION
from engine.errors import Cancelled, MixdownError
from engine.files.text import printable

MODULES = {
    "cli_bundle": ("compress", "restore"),
    "cli_onnx": ("onnx", "runners", "trace_graph"),
    "cli_overlap": ("overlap",),
    "cli_explain": ("explain",),
    "cli_trust": ("verify", "confirm", "convert-pickle", "convert_pickle"),
    "cli_tasks": ("task",),
    "cli_history": ("history",),
    "cli_tune": ("tune", "sweep"),
}
"""Modules that bring commands of their own (`COMMANDS`, `add_parsers`, one `command_NAME` for each): the commands are
said here again so that only the one that is wanted is loaded."""

_COLLECT_AFTER = 50_000
"""New objects between two looks for cycles: 700 cost a tenth of the import of torch, and commands live short."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a disk says that takes no more."""

COMMANDS = (
    "merge",
    "export",
    "convert",
    "inspect",
    "eval",
    "methods",
    "doctor",
    *(command for commands in MODULES.values() for command in commands),
)

EPILOG = """examples:
  main.py                                    open the window
  main.py model.safetensors other/           open the window (or the one that is open) with these models
  main.py --new-window                       open another window
  main.py merge --base base --expert chat --expert code --method ties --param density=0.2 \\
                --set "chat : attn : 3-6 = 0.7" --out merged
  main.py merge mix.mixdown --out merged     a saved recipe
  main.py merge mergekit.yaml --out merged   a mergekit configuration
  main.py convert mergekit.yaml mix.mixdown  and back
  main.py inspect base chat --json
  main.py eval merged --task resources/demo/tasks/digits.task.json
  main.py onnx merged --out merged.onnx
  main.py overlap --base base --expert chat --expert code --csv
  main.py explain a.mixdown b.mixdown        what is different, and where it shows
  main.py tune mix.mixdown --out tuned.mixdown
  main.py sweep mix.mixdown --axis "scale=0.1:0.6:6" --csv
  main.py history --filter "ties score>80"    what was exported, and how good it was
  main.py compress --base base --expert chat --expert code --out tasks.safetensors
  main.py restore tasks.safetensors --task chat --base base --out chat-again

exit codes: 0 done, 1 a problem (said on stderr), 2 wrong usage, 3 cancelled, 70 a bug
"""


def is_command(arguments: Sequence[str]) -> bool:
    """Whether the arguments are for the command line rather than for the window."""
    return bool(arguments) and (arguments[0] in COMMANDS or arguments[0] in ("-h", "--help", "--version"))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    gc.set_threshold(_COLLECT_AFTER)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may be no text, and terminals may lack letters
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _carried_out(arguments)
        if sys.stdout is not None:  # closed by who started it
            sys.stdout.flush()
        return code
    except (Cancelled, KeyboardInterrupt):
        print("Cancelled; nothing was left behind.", file=sys.stderr)
        return 3
    except MixdownError as error:
        print(f"mixdown: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            print(f"mixdown: {_unwritten(error)}", file=sys.stderr)
            return 1
        traceback.print_exc()
        print("mixdown: this is a bug. Please report the lines above.", file=sys.stderr)
        return 70


def _carried_out(arguments: Sequence[str]) -> int:
    """The exit code of a command that raised nothing."""
    try:
        parsed = parser(arguments[0] if arguments else "").parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    from app import plugins, served

    served.serve()
    for problem in plugins.load().problems:
        print(f"mixdown: warning: {problem}", file=sys.stderr)
    return int(getattr(_module_of(parsed.command), f"command_{parsed.command}")(parsed))


def _unwritten(error: OSError) -> str:
    """A full disk in plain words: what names no file is what was printed."""
    what = printable(error.filename, 400) if error.filename else "the output"
    return f"{what} cannot be written: {error.strerror}. Make room, or write to another disk."


def _module_of(command: str) -> ModuleType:
    """The module that carries out a command."""
    name = next((module for module, commands in MODULES.items() if command in commands), "cli_commands")
    return importlib.import_module(f"app.{name}")


def parser(command: str = "") -> argparse.ArgumentParser:
    """The command line, also the source of the help page.

    Args:
        command: What is going to be parsed; other modules' commands are left out then. "" for all of them.
    """
    top = argparse.ArgumentParser(
        prog="main.py",
        description="Mixdown, the mixing desk for model weights.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"Mixdown {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_merge(commands)
    _add_convert(commands)
    inspect = commands.add_parser("inspect", help="what is in a checkpoint, from its headers alone")
    inspect.add_argument("paths", nargs="+", metavar="PATH")
    inspect.add_argument("--base", help="also check every PATH against this base")
    inspect.add_argument("--detect-base", action="store_true", help="say which PATH is the ancestor of the others")
    inspect.add_argument("--values", action="store_true", help="also read all weights: NaN, buffers unlike the base's")
    inspect.add_argument("--source", action="store_true", help="also hash all files and say who vouches for each PATH")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    evaluate = commands.add_parser("eval", help="score a model on tasks")
    evaluate.add_argument("model", metavar="MODEL", help="a model folder, a file, or BUNDLE/TASK")
    evaluate.add_argument(
        "--task", action="append", required=True, metavar="FILE", help="a .task.json file; repeatable"
    )
    evaluate.add_argument("--base", help="where tensors come from that MODEL does not store")
    evaluate.add_argument("--split", choices=("val", "test"), default="test", help="rows to use (default: test)")
    evaluate.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N rows (default: all)")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    cli_onnx.add_eval_flags(evaluate)
    for name, theirs in MODULES.items():
        if command not in COMMANDS or command in theirs:
            importlib.import_module(f"app.{name}").add_parsers(commands)
    methods = commands.add_parser("methods", help="all merge methods and their parameters")
    methods.add_argument("--json", action="store_true", help="print JSON")
    doctor = commands.add_parser("doctor", help="versions, devices, display, problems and what to do")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    return top


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    convert = commands.add_parser("convert", help="turn a .mixdown recipe into a mergekit .yaml file or back",
                                  description="What the other format cannot say is listed on stderr.")  # fmt: skip
    convert.add_argument("source", metavar="IN", help="a .mixdown, .yaml or .yml file")
    convert.add_argument("target", metavar="OUT", help="the file to write, of the other kind; - prints YAML")
    convert.add_argument("--replace", action="store_true", help="replace an existing file")
    convert.add_argument("--json", action="store_true", help="print JSON")


def _add_merge(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    merge = commands.add_parser(
        "merge", aliases=["export"], help="merge checkpoints and export the result",
        description="Merge by recipe files (several in one call) or by flags.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    merge.set_defaults(command="merge")
    merge.add_argument("recipes", nargs="*", metavar="RECIPE", help=".mixdown files or mergekit .yaml files")
    merge.add_argument("--base", metavar="[NAME=]PATH", help="the common ancestor: a file or folder")
    merge.add_argument("--expert", action="append", default=[], metavar="[NAME=]PATH", help="a fine-tune; repeatable")
    merge.add_argument("--method", default="task_arithmetic", help="see `main.py methods` (default: %(default)s)")
    merge.add_argument("--param", action="append", default=[], metavar="NAME=VALUE",
                       help="a method parameter; of parts: density@EXPERT, density[attn], density[:3]")  # fmt: skip
    merge.add_argument("--set", action="append", default=[], dest="sets", metavar="SELECTION",
                       help='coefficients, for instance "chat : attn : 3-6 = 0.7"; in order; repeatable')  # fmt: skip
    merge.add_argument("--gain", action="append", default=[], dest="gains", metavar="NAME=VALUE",
                       help="multiplies all coefficients of an expert; repeatable")  # fmt: skip
    merge.add_argument("--mute", action="append", default=[], dest="muted", metavar="NAME",
                       help="keep an expert out of the merge; repeatable")  # fmt: skip
    merge.add_argument("--seed", type=int, default=0, help="seed of random masks (default: 0)")
    merge.add_argument(
        "--out", required=True, help="new folder, or a .safetensors file; with several recipes: a folder"
    )
    merge.add_argument("--dtype", default="", choices=("", "F32", "F16", "BF16", "F64"), metavar="TYPE",
                       help="F32, F16, BF16 or F64 (default: as the base)")  # fmt: skip
    merge.add_argument("--shard-size", default="5GB", metavar="SIZE", help="for instance 500MB (default: %(default)s)")
    merge.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    merge.add_argument("--threads", type=int, default=0, help="worker threads (default: one for each core)")
    merge.add_argument("--replace", action="store_true", help="replace an existing export")
    merge.add_argument("--no-verify", action="store_true", help="skip reading the written model back")
    merge.add_argument("--save-recipe", metavar="FILE", help="also write the recipe as a .mixdown file")
    cli_onnx.add_merge_flags(merge)
    merge.add_argument("--json", action="store_true", help="print JSON")
