"""A recipe as the command line that makes the same bytes ("Copy as command")."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.workbench import apply_gains, apply_sets, build_recipe
from engine.errors import MixdownError
from engine.files.model import Layout
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.select import quote

PROGRAM = "python main.py merge"


def command_for(
    recipe: Recipe, layout: Layout, out: str, options: Sequence[str] = (), project: Path | None = None
) -> str:
    """The command that exports a recipe.

    The flags are read back before they are offered: if they would not give exactly this recipe (names that
    the selection language cannot say, for instance), the command names a project file instead.

    Args:
        recipe: To export.
        layout: Of the base.
        out: Target folder.
        options: More flags, already split ("--dtype", "BF16").
        project: A project file that holds exactly this recipe, if there is one.
    """
    tail = ["--out", out or "merged", *options]
    if project is not None:
        return _join([str(project), *tail])
    flags = _flags(recipe)
    if flags is None or not _reads_back(recipe, layout):
        return _join(["project.mixdown", *tail]) + "  # save the project as project.mixdown first"
    return _join([*flags, *tail])


def _join(words: Sequence[str]) -> str:
    return f"{PROGRAM} {shlex.join(words)}"


def _flags(recipe: Recipe) -> list[str] | None:
    """The recipe as flags, or None when a name cannot be written on a command line."""
    flags = _flag("--base", f"{recipe.base.name}={recipe.base.path}") if recipe.base else []
    for expert in recipe.experts:
        if "=" in expert.name:
            return None
        flags += _flag("--expert", f"{expert.name}={expert.path}")
    flags += ["--method", recipe.method]
    for name, value in recipe.params:
        flags += ["--param", f"{name}={value!r}" if isinstance(value, float) else f"{name}={value}"]
    for text in statements(recipe):
        flags += _flag("--set", text)
    for text in gains(recipe):
        flags += _flag("--gain", text)
    for name in muted(recipe):
        flags += _flag("--mute", name)
    return [*flags, "--seed", str(recipe.seed)] if recipe.seed else flags


def _flag(flag: str, value: str) -> list[str]:
    """A flag with its value; a value that begins with a dash would be read as a flag."""
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


def statements(recipe: Recipe) -> list[str]:
    """The rules as selection statements, coarse before fine, because a statement removes finer rules."""
    names = {e.id: e.name for e in recipe.experts}

    def text(rule: Rule) -> str:
        expert = quote(names.get(rule.expert, rule.expert)) if rule.expert is not None else "*"
        if rule.tensor is not None:
            return f"{expert} : {rule.tensor} = {rule.value!r}"
        where = [expert, rule.kind or ("*" if rule.layer else ""), rule.layer or ""]
        return f"{' : '.join(part for part in where if part)} = {rule.value!r}"

    return [text(rule) for rule in sorted(recipe.rules, key=lambda r: r.specificity)]


def gains(recipe: Recipe) -> list[str]:
    """Row gains as NAME=VALUE."""
    return [f"{recipe.expert(e).name}={value!r}" for e, value in recipe.gains if value != 1.0]


def muted(recipe: Recipe) -> list[str]:
    """Names of the experts that mute or solo keeps out."""
    return [e.name for e in recipe.experts if not recipe.is_heard(e.id)]


def _reads_back(recipe: Recipe, layout: Layout) -> bool:
    """Whether the flags give the same coefficients, in the same words, as the recipe."""
    try:
        made = build_recipe(
            Path(f"{recipe.base.name}={recipe.base.path}") if recipe.base else None,
            [Path(f"{e.name}={e.path}") for e in recipe.experts],
            method=recipe.method,
            params=dict(recipe.params),
            seed=recipe.seed,
            dtype=recipe.dtype,
        )
        made = apply_gains(apply_sets(made, statements(recipe), layout), gains(recipe), muted(recipe))
    except MixdownError:
        return False
    return _told(made) == _told(recipe)


def _told(recipe: Recipe) -> object:
    """What provenance will say about a recipe, with rows instead of ids."""
    row = {e.id: i for i, e in enumerate(recipe.experts)}
    rules = {replace(r, expert=str(row[r.expert]) if r.expert in row else None) for r in recipe.rules}
    heard = tuple(recipe.gain(e.id) if recipe.is_heard(e.id) else 0.0 for e in recipe.experts)
    base = recipe.base.name if recipe.base else ""
    return (
        base,
        recipe.method,
        recipe.params,
        frozenset(rules),
        heard,
        tuple(e.name for e in recipe.experts),
        recipe.seed,
        recipe.stack,
    )
