"""What each command does. Every function takes parsed arguments and returns an exit code."""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from app import cli_onnx, cli_recipes, doctor, places, recording, workbench
from app import cli_output as output
from engine.errors import BadRecipe, EvalProblem, MissingKeys, OutOfRange
from engine.files.ancestry import detect_base
from engine.files.checkpoint import expand, open_checkpoint
from engine.files.checks import check, check_buffers, check_values
from engine.files.layout import describe
from engine.files.model import Checkpoint
from engine.methods import find
from engine.progress import Token
from engine.recipe.project import save_project
from engine.recipe.recipe import Recipe

_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def parse_size(text: str) -> int:
    """Bytes from "5GB", "500 MB" or "1000000".

    Raises:
        OutOfRange: if it is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)B?\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise OutOfRange(f"{text!r} is not a size.", hint="Write for example 5GB or 500MB.")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def command_merge(arguments: argparse.Namespace) -> int:
    """Merge one or several recipes."""
    if bool(arguments.recipes) == bool(arguments.expert):
        raise BadRecipe("Give either recipe files or --expert flags.", hint="See: main.py merge --help")
    token = cancellable()
    reports = []
    if not arguments.recipes:
        reports.append(_merge_one(_recipe_from_flags(arguments), Path(arguments.out), arguments, token))
    for file in map(Path, arguments.recipes):
        out = Path(arguments.out) if len(arguments.recipes) == 1 else Path(arguments.out) / file.stem
        loaded, found = cli_recipes.load(file)
        cli_recipes.tell(file, found)
        cli_recipes.refuse_errors(file, found)
        report = _merge_one(_adjusted(loaded, arguments), out, arguments, token)
        reports.append({**report, "recipe_findings": output.findings_json(found)} if found else report)
    if arguments.json:
        output.print_json(reports if len(arguments.recipes) > 1 else reports[0])
    return 0


def _recipe_from_flags(arguments: argparse.Namespace) -> Recipe:
    params: dict[str, object] = {}
    for text in arguments.param:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRecipe(f"--param {text!r} has no value.", hint="Write for example --param density=0.2")
        params[name.strip()] = value.strip()
    recipe = workbench.build_recipe(
        Path(arguments.base) if arguments.base else None,
        [Path(e) for e in arguments.expert],
        method=arguments.method,
        params=params,
        seed=arguments.seed,
        dtype=arguments.dtype,
    )
    return _with_sets(recipe, arguments)


def _adjusted(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """A loaded recipe with the flags that may override it."""
    if arguments.dtype:
        recipe = replace(recipe, dtype=arguments.dtype)
    return _with_sets(recipe, arguments)


def _with_sets(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    if arguments.sets:
        recipe = workbench.apply_sets(recipe, arguments.sets, workbench.open_recipe(recipe).inputs.layout)
    return workbench.apply_gains(recipe, arguments.gains, arguments.muted)


def _load_engine(loaded: Future[ModuleType], method: str) -> None:
    """Import what merges while the headers and hashes are read; torch, which takes seconds, only where it is needed."""
    try:
        if not find(method).host:
            importlib.import_module("engine.merge.tensors")
        loaded.set_result(importlib.import_module("engine.export.folder"))
    except BaseException as error:
        loaded.set_exception(error)


def _merge_one(recipe: Recipe, out: Path, arguments: argparse.Namespace, token: Token) -> dict[str, Any]:
    """Open, check, merge and write one recipe; returns the report."""
    engine = Future[ModuleType]()
    threading.Thread(target=_load_engine, args=(engine, recipe.method), daemon=True).start()
    opened = workbench.open_recipe(recipe)
    names = {e.id: e.name for e in recipe.experts}
    if not arguments.json:
        output.print_findings(opened.findings, names)
    workbench.refuse_errors(opened.findings, names)
    now = workbench.hashed(recipe, opened.inputs, token)
    for name in workbench.check_hashes(recipe, now):
        print(f"mixdown: warning: {name} is not the file that the recipe was saved with", file=sys.stderr)
    engine.result()
    from engine.export.folder import ExportOptions, export
    from engine.export.preflight import preflight
    from engine.merge import forks
    from engine.merge.plan import make_plan

    forks.allow()
    workbench.remember_sketches()
    plan = make_plan(now, opened.inputs)
    options = ExportOptions(
        shard_bytes=parse_size(arguments.shard_size), verify=not arguments.no_verify, replace=arguments.replace,
        format=arguments.format,
    )  # fmt: skip
    if not arguments.json:
        foreseen = preflight(plan, out, options, threads=arguments.threads or None).findings
        output.print_findings({out.name: tuple(f for f in foreseen if f.code in ("network-disk", "memory"))}, {})
    cli_onnx.use("torch")
    with output.progress_line(token, quiet=arguments.json):
        device = doctor.pick_device(arguments.device)
        known = workbench.origins(now, opened.inputs)
        done = export(plan, out, options=options, provenance=workbench.provenance(now, known), progress=token,
                      device=device, threads=arguments.threads or None,
                      recheck=lambda: workbench.recheck_inputs(now, opened.inputs, token))  # fmt: skip
        workbench.vouch(done.path, known)
        trouble = recording.leave_export(now, done, device, token)
    if trouble:
        print(f"mixdown: warning: {trouble}", file=sys.stderr)
    if arguments.save_recipe:
        save_project(now, Path(arguments.save_recipe))
    if not arguments.json:
        output.print_exported(done)
    return output.exported_json(done, opened.findings)


def command_convert(arguments: argparse.Namespace) -> int:
    """Turn a recipe of one format into the other."""
    found = cli_recipes.convert(Path(arguments.source), arguments.target, replace=arguments.replace)
    cli_recipes.tell(Path(arguments.source), found)
    if arguments.json and arguments.target != "-":
        output.print_json({"path": arguments.target, "findings": output.findings_json(found)})
    return 0


def command_inspect(arguments: argparse.Namespace) -> int:
    """Describe checkpoints from their headers; optionally check and scan them."""
    paths = expand([Path(p) for p in arguments.paths])
    if not paths:
        raise MissingKeys("There is no checkpoint at these paths.", hint="Give a .safetensors file or a model folder.")
    checkpoints = [open_checkpoint(p) for p in paths]
    token, base = cancellable(), open_checkpoint(Path(arguments.base)) if arguments.base else None
    described = []
    for checkpoint in checkpoints:
        findings = check(base, checkpoint) if base else ()
        if arguments.values:
            buffers = check_buffers(base, checkpoint, token) if base else ()
            findings = (*findings, *check_values(checkpoint, token), *buffers)
        described.append((checkpoint, describe(checkpoint.tensors, checkpoint.config), findings))
    ancestry = detect_base(checkpoints, token) if arguments.detect_base else None
    origins = {str(c.path): workbench.origin(c, token) for c in checkpoints} if arguments.source else {}
    if arguments.json:
        output.print_json(output.inspect_json(described, ancestry, origins))
    else:
        output.print_inspect(described, ancestry, origins)
    return 0


def command_eval(arguments: argparse.Namespace) -> int:
    """Score one model on tasks."""
    from engine.evaluate.mix import score_checkpoint
    from engine.evaluate.task import load_task

    model = open_checkpoint(Path(arguments.model))
    base: Checkpoint | None = open_checkpoint(Path(arguments.base)) if arguments.base else None
    token, scores = cancellable(), []
    cli_onnx.use(arguments.runner)
    for file in arguments.task:
        task = load_task(Path(file))
        if arguments.limit < 0:
            raise EvalProblem("--limit must not be negative.")
        if arguments.graph:
            from engine.graphs.scoring import score_with_graph

            scores += score_with_graph(model, base, (task,), Path(arguments.graph), split=arguments.split,
                                       limit=arguments.limit or None, progress=token)  # fmt: skip
            continue
        scores.append(score_checkpoint(model, base, task, split=arguments.split, limit=arguments.limit or None,
                                       progress=token))  # fmt: skip
    if arguments.json:
        output.print_json(output.scores_json(scores))
    else:
        output.print_scores(scores)
    return 0


def command_methods(arguments: argparse.Namespace) -> int:
    """List all methods and their parameters."""
    if arguments.json:
        output.print_json(output.methods_json())
    else:
        output.print_methods()
    return 0


def command_doctor(arguments: argparse.Namespace) -> int:
    """Say what this machine has and what is wrong; exit code 1 if something is."""
    report = doctor.examine(places.home())
    if arguments.json:
        output.print_json(report.as_dict())
    else:
        output.print_doctor(report)
    return 1 if report.problems else 0


def cancellable() -> Token:
    """A token that Ctrl+C and SIGTERM cancel."""
    token = Token()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: token.cancel())
    return token
