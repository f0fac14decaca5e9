"""Command line: task bundles (compress, restore), with the options of the window."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli_overlap import number, opened_inputs
from engine.errors import BadRecipe

if TYPE_CHECKING:
    from engine.bundle.compress import BundleOptions
    from engine.bundle.making import Made
    from engine.evaluate.task import Task
    from engine.merge.inputs import Inputs
    from engine.progress import Token

COMMANDS = ("compress", "restore")


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands; importing this module loads nothing else."""
    compress = commands.add_parser("compress", help="pack experts into one task bundle (TALL masks)")
    compress.add_argument("--project", metavar="FILE", help="take base, experts and tasks of a .mixdown project")
    compress.add_argument("--base", metavar="[NAME=]PATH", help="the common ancestor: a file or folder")
    compress.add_argument(
        "--expert", action="append", default=[], metavar="[NAME=]PATH", help="a fine-tune; repeatable"
    )
    compress.add_argument("--threads", type=int, default=0, help="worker threads (default: one for each core)")
    compress.add_argument("--out", required=True, help="the .safetensors file to make")
    compress.add_argument("--lambda", action="append", default=[], dest="strictness", metavar="[NAME=]NUMBER|auto",
                          help="λ of all masks or of one expert's; repeatable (default: auto: by quick eval where a "
                               "task has data, else 0.4)")  # fmt: skip
    compress.add_argument("--task-data", "--tasks", action="append", default=[], dest="tasks", metavar="[NAME=]FILE",
                          help="a .task.json file with this expert's data: chooses λ on its validation rows, scores "
                               "the restored task on its test rows; repeatable")  # fmt: skip
    compress.add_argument("--no-scores", action="store_true", help="do not score what was written")
    compress.add_argument("--limit", type=int, default=0, metavar="N", help="score only the first N rows of each split")
    compress.add_argument("--masks", metavar="FILE", help="take the masks of a file of the official code (.npy)")
    _add_form(compress)
    restore = commands.add_parser("restore", help="restore one task of a bundle as a model")
    restore.add_argument("bundle", metavar="BUNDLE")
    restore.add_argument("--task", required=True, metavar="NAME")
    restore.add_argument("--out", required=True, help="new folder, or a .safetensors file")
    restore.add_argument("--base", help="the base, unless the bundle includes it")
    restore.add_argument("--threads", type=int, default=0, help="worker threads (default: one for each core)")
    restore.add_argument("--no-card", action="store_true", help="write no model card")
    restore.add_argument("--replace", action="store_true", help="replace an existing export")
    restore.add_argument("--json", action="store_true", help="print JSON")


def _add_form(compress: argparse.ArgumentParser) -> None:
    """What the file is like."""
    compress.add_argument("--include-base", action="store_true", help="put the base into the bundle, too")
    compress.add_argument("--codec", default="huffman",
                          help="coding of the masks: raw, huffman, deflate, bz2, lzma (default: huffman)")  # fmt: skip
    compress.add_argument("--bits", type=int, default=32, choices=(32, 8), help="bits of the multi-task vector")
    compress.add_argument("--rescale", action=argparse.BooleanOptionalAction, default=True,
                          help="give restored task vectors their old size back (default: on)")  # fmt: skip
    compress.add_argument("--paper", action="store_true",
                          help="as the paper and its code: no rescaling, masks of one bit a weight")  # fmt: skip
    compress.add_argument("--no-sidecars", action="store_true", help="leave out configuration and tokenizer data")
    compress.add_argument("--replace", action="store_true", help="replace an existing bundle")
    compress.add_argument("--json", action="store_true", help="print JSON")


def command_compress(arguments: argparse.Namespace) -> int:
    """Write a bundle; say what it takes and what it keeps."""
    from app import cli_commands, places
    from app import cli_output as output
    from engine.bundle.authors import read_packed_masks
    from engine.bundle.making import make_bundle, report
    from engine.store.cache import ScoreCache

    token = cli_commands.cancellable()
    inputs, files = _sources(arguments)
    tasks, fixed = _tasks(files, inputs.names), _fixed(arguments.strictness, inputs.names)
    with output.progress_line(token, quiet=arguments.json):
        made = make_bundle(
            inputs, Path(arguments.out), tasks=tasks, fixed=fixed, options=_options(arguments, inputs, token),
            masks=read_packed_masks(Path(arguments.masks)) if arguments.masks else None,
            limit=arguments.limit or None, measure=not arguments.no_scores,
            cache=ScoreCache(places.score_cache_file()), progress=token, threads=arguments.threads or None,
        )  # fmt: skip
    if arguments.json:
        output.print_json(report(made))
    else:
        _print_made(made)
    return 0


def command_restore(arguments: argparse.Namespace) -> int:
    """Write the model of one task."""
    from app import cli_commands, places
    from app import cli_output as output
    from engine.bundle.opening import open_bundle
    from engine.bundle.restore import restore
    from engine.export.options import ExportOptions
    from engine.files.checkpoint import open_checkpoint
    from engine.files.hashing import HashCache, content_hash

    token, bundle = cli_commands.cancellable(), open_bundle(Path(arguments.bundle))
    base = open_checkpoint(Path(arguments.base)) if arguments.base else None
    hashes = HashCache(places.hash_cache_file())
    options = ExportOptions(card=not arguments.no_card, replace=arguments.replace)
    with output.progress_line(token, quiet=arguments.json):
        done = restore(
            bundle, arguments.task, Path(arguments.out), base=base, progress=token, threads=arguments.threads or None,
            options=options, cache=hashes, sha256=content_hash(bundle.checkpoint, token, hashes),
        )  # fmt: skip
    if arguments.json:
        output.print_json(output.exported_json(done, {}))
    else:
        output.print_exported(done)
    return 0


def _sources(arguments: argparse.Namespace) -> tuple[Inputs, list[str]]:
    """The opened models, and the task files: those of the project and those of flags."""
    if not arguments.project:
        if not arguments.base:
            raise BadRecipe("A bundle needs a base.", hint="Write --base PATH, or --project FILE.")
        return opened_inputs(arguments), arguments.tasks
    from app import workbench
    from engine.recipe.project import load_project

    recipe = load_project(Path(arguments.project))
    if arguments.base or arguments.expert:
        raise BadRecipe("Models come from the project or from flags, not from both.", hint="Leave out --project.")
    if recipe.base is None:
        raise BadRecipe("The project has no base.", where=arguments.project, hint="Add one in the window.")
    opened = workbench.open_recipe(recipe)
    workbench.refuse_errors(opened.findings, {e.id: e.name for e in recipe.experts})
    names = set(opened.inputs.names)
    return opened.inputs, [*(f"{t.name}={t.path}" for t in recipe.tasks if t.name in names), *arguments.tasks]


def _options(arguments: argparse.Namespace, inputs: Inputs, token: Token) -> BundleOptions:
    """How to make the bundle; hashes all models."""
    from app import places
    from engine.bundle.compress import PAPER, BundleOptions
    from engine.files.hashing import HashCache, content_hash

    cache, base = HashCache(places.hash_cache_file()), inputs.base
    options = BundleOptions(
        include_base=arguments.include_base, codec=arguments.codec, bits=arguments.bits, replace=arguments.replace,
        rescale=arguments.rescale, sidecars=not arguments.no_sidecars,
        sha256={n: content_hash(ck, token, cache) for n, ck in zip(inputs.names, inputs.experts, strict=True)},
        base_sha256="" if base is None else content_hash(base, token, cache),
    )  # fmt: skip
    return replace(options, codec=PAPER.codec, rescale=PAPER.rescale) if arguments.paper else options


def _fixed(texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """λ of the experts for which it is given; "auto" takes one back."""
    fixed: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if name and name not in names:
            raise BadRecipe(f"There is no expert {name!r}.", hint=f"There are: {', '.join(names)}.")
        for each in [name] if name else names:
            if value == "auto":
                fixed.pop(each, None)
            else:
                fixed[each] = number(value)
    return fixed


def _tasks(texts: Sequence[str], names: Sequence[str]) -> Mapping[str, Task]:
    """Tasks by expert name; a file without a name belongs to the expert that is called as the task."""
    from engine.evaluate.task import load_task

    found = {}
    for text in texts:
        name, _, file = ("", "", text) if Path(text).exists() else text.partition("=")
        task = load_task(Path(file))
        name = name or task.name
        if name not in names:
            raise BadRecipe(f"No expert is called {name!r}.", hint=f"Write NAME={file}; there are: {', '.join(names)}.")
        found[name] = task
    return found


def _print_made(made: Made) -> None:
    """Tables for people."""
    from app import cli_output as output
    from engine.files.text import printable

    done = made.done
    print(f"{'task':<24} {'λ':>5}  {'mask':>6}  {'size':>9}  {'restored':>8}  {'expert':>6}  {'kept':>7}")
    for task in done.manifest.in_order:
        line = (f"{printable(task.name)[:24]:<24} {task.strictness:>5g}  {done.density[task.name]:>6.1%}  "
                f"{output.size_text(made.task_bytes[task.name]):>9}")  # fmt: skip
        kept: Any = made.kept.get(task.name)
        if kept is not None:
            share = "–" if kept.share is None else f"{kept.share:.1%}"
            line += f"  {kept.restored.value:>8.1%}  {kept.expert.value:>6.1%}  {share:>7}"
        print(line)
    if made.mean_share is not None:
        rows = sum(kept.restored.count for kept in made.kept.values())
        print(f"Restored tasks keep {made.mean_share:.2%} of their experts' scores on {rows:,} test rows.")
    size = done.storage
    print(f"Bundled {size.tasks} experts in {done.seconds:.1f} s to {done.path}: {output.size_text(size.file_bytes)} "
          f"beside {output.size_text(size.experts_bytes)} of experts; with the base {size.bits_a_parameter:.2f} bits "
          f"a parameter, {size.bits_a_parameter_and_task:.2f} for each task, "
          f"{size.ratio:.2f} times smaller")  # fmt: skip
