"""Command line: a model as ONNX, torch against onnxruntime, and which of the two scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import places
from engine.graphs.values import CHOICES, COMMAND

if TYPE_CHECKING:
    from engine.graphs.values import Choice
    from engine.graphs.writing import OnnxExported

COMMANDS = ("onnx", "runners", COMMAND)


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands; importing this module loads nothing else."""
    onnx = commands.add_parser(
        "onnx", help="write a model as an ONNX file, checked against torch",
        description="Weights keep their names and dtypes. From 1.9 GB on they lie in a data file beside the graph.",
    )  # fmt: skip
    onnx.add_argument("model", metavar="MODEL", help="a model folder with config.json")
    onnx.add_argument("--out", required=True, metavar="FILE", help="the .onnx file to make")
    onnx.add_argument("--base", help="where tensors and config.json come from that MODEL does not have")
    onnx.add_argument("--kind", choices=("tokens", "image"), default="", help="which tower of a two-tower model")
    onnx.add_argument("--head", choices=("auto", "none", "class", "lm"), default="auto",
                      help="what is on the encoder (default: as config.json says)")  # fmt: skip
    onnx.add_argument("--replace", action="store_true", help="replace an ONNX file that Mixdown wrote")
    onnx.add_argument("--json", action="store_true", help="print JSON")
    runners = commands.add_parser("runners", help="measure torch against onnxruntime for a model; remembered")
    runners.add_argument("model", metavar="MODEL", help="a model folder with config.json")
    runners.add_argument("--kind", choices=("tokens", "image"), default="", help="which tower of a two-tower model")
    runners.add_argument("--json", action="store_true", help="print JSON")
    hidden = commands.add_parser(COMMAND)
    hidden.add_argument("request")
    hidden.add_argument("answer")


def add_eval_flags(evaluate: argparse.ArgumentParser) -> None:
    """`--runner` and `--graph` of `main.py eval`."""
    evaluate.add_argument("--runner", choices=[key for key, _ in CHOICES], default="auto",
                          help="who computes (default: the faster one, once `runners` measured it)")  # fmt: skip
    evaluate.add_argument("--graph", metavar="FILE", help="score by this .onnx graph, the weights injected into it")


def add_merge_flags(merge: argparse.ArgumentParser) -> None:
    """`--format` of `main.py merge`."""
    merge.add_argument("--format", choices=("safetensors", "onnx", "both"), default="safetensors",
                       help="onnx: model.onnx instead of safetensors; both: a graph that reads them")  # fmt: skip


def use(wanted: Choice) -> None:
    """Choose the runner of this process; graphs are kept in the user's data folder."""
    from engine.graphs.policy import RUNNERS

    RUNNERS.use(wanted, places.graph_folder())


def command_onnx(arguments: argparse.Namespace) -> int:
    """Write a model as ONNX."""
    from app import cli_output as output
    from app.cli_commands import cancellable
    from engine.files.checkpoint import open_checkpoint
    from engine.files.text import printable
    from engine.graphs.policy import RUNNERS
    from engine.graphs.writing import export_onnx

    use("torch")
    token = cancellable()
    model = open_checkpoint(Path(arguments.model))
    base = open_checkpoint(Path(arguments.base)) if arguments.base else None
    with output.progress_line(token, quiet=arguments.json):
        done = export_onnx(
            model, Path(arguments.out), RUNNERS, base=base, kind=arguments.kind,
            head="" if arguments.head == "none" else arguments.head, metadata=_origin(model.metadata),
            replace=arguments.replace, progress=token,
        )  # fmt: skip
    if arguments.json:
        output.print_json(_plain(done))
    else:
        print(f"Wrote {output.size_text(done.bytes)} in {done.seconds:.1f} s to {printable(str(done.path))}")
        print(done.text)
        if done.unused:
            print(f"Not in the graph: {printable(', '.join(done.unused[:5]), 400)}"
                  + (f" and {len(done.unused) - 5} more" if len(done.unused) > 5 else ""))  # fmt: skip
    return 0


def _origin(metadata: Any) -> dict[str, Any]:
    """The provenance that a merged model carries."""
    import json

    try:
        found = json.loads(dict(metadata).get("mixdown", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _plain(done: OnnxExported) -> dict[str, Any]:
    import math

    return {
        "path": str(done.path), "files": [str(f) for f in done.files], "bytes": done.bytes, "seconds": done.seconds,
        "opset": done.opset, "head": done.head, "weights": done.weights, "unused": list(done.unused),
        "difference": None if math.isnan(done.difference) else done.difference,
        "largest_output": None if math.isnan(done.scale) else done.scale,
    }  # fmt: skip


def command_runners(arguments: argparse.Namespace) -> int:
    """Measure both runners."""
    from app import cli_output as output
    from app.cli_commands import cancellable
    from engine.errors import EvalProblem
    from engine.evaluate.model import network
    from engine.files.checkpoint import open_checkpoint
    from engine.graphs.policy import RUNNERS
    from engine.graphs.values import Spec
    from engine.graphs.writing import is_image_config

    use("auto")
    token, config = cancellable(), open_checkpoint(Path(arguments.model)).config
    is_image = arguments.kind == "image" or (not arguments.kind and is_image_config(config or {}))
    net = network(config, "image" if is_image else "tokens")
    with output.progress_line(token, quiet=arguments.json):
        found = RUNNERS.prepare(Spec.of(net.key), token)
    if found is None:
        raise EvalProblem("The runners could not be measured.")
    if arguments.json:
        output.print_json({**found.plain(), "faster": found.faster, "agrees": found.agrees})
    else:
        print(found.text)
    return 0


def command_trace_graph(arguments: argparse.Namespace) -> int:
    """The process that traces, for frozen programs."""
    from engine.graphs.child import main

    return main([arguments.request, arguments.answer])
