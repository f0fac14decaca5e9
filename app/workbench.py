"""What the window and the command line both do with recipes and files. Never imports Qt or torch itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app import places, served
from app.version import VERSION
from engine.errors import BadRecipe, Missing, MissingKeys, MixdownError, NotEnoughExperts, OutOfRange, UnknownSelection
from engine.files import members
from engine.files.checkpoint import open_checkpoint
from engine.files.checks import check
from engine.files.hashing import HashCache, content_hash, recheck
from engine.files.model import Checkpoint, Finding, Layout
from engine.merge.inputs import Inputs, make_inputs
from engine.merge.stacking import check_stacked
from engine.methods import find
from engine.progress import Progress, Silent
from engine.recipe import stack
from engine.recipe.edit import apply_statement
from engine.recipe.origin import Origin, Source, inherited
from engine.recipe.per_expert import owners
from engine.recipe.recipe import ModelRef, Recipe, Rule
from engine.recipe.select import parse_statement
from engine.store.confirmed import Confirmed


@dataclass(frozen=True, slots=True)
class Opened:
    """A recipe's models, opened from their headers, and what the checks found."""

    inputs: Inputs
    findings: Mapping[str, tuple[Finding, ...]]


def unique_name(wanted: str, taken: Iterable[str]) -> str:
    """A name that is not taken: "chat", "chat 2", "chat 3"."""
    used = set(taken)
    clean = re.sub(r"[\s:,=\"*?]+", " ", wanted).strip() or "model"
    number, name = 1, clean
    while name in used:
        number += 1
        name = f"{clean} {number}"
    return name


def next_id(recipe: Recipe) -> str:
    """An expert id that the recipe does not use yet."""
    used = {e.id for e in recipe.experts} | ({recipe.base.id} if recipe.base else set())
    number = 1
    while f"e{number}" in used:
        number += 1
    return f"e{number}"


def own_name(path: Path) -> str:
    """What a model is called when nobody named it: its folder, or its file without the suffix."""
    return path.stem if path.suffix == ".safetensors" else path.absolute().name


def _named(text: Path) -> tuple[str, Path]:
    """Name ("" for none) and path of NAME=PATH."""
    if text.exists() or "=" not in str(text):
        return "", text
    name, _, path = str(text).partition("=")
    return name, Path(path)


def model_ref(recipe: Recipe, path: Path, name: str = "") -> ModelRef:
    """A reference to a checkpoint, with an id and name that are free in the recipe."""
    return ModelRef(
        id=next_id(recipe),
        name=unique_name(name or own_name(path), [e.name for e in recipe.experts]),
        path=str(path.absolute()),
    )


def build_recipe(
    base: Path | None, experts: Sequence[Path], *, method: str, params: Mapping[str, object], seed: int, dtype: str
) -> Recipe:
    """A recipe from command-line flags; a model may be written NAME=PATH."""
    recipe = Recipe(method=find(method).id, seed=seed, dtype=dtype)
    if base is not None:
        name, path = _named(base)
        recipe = recipe.with_base(ModelRef(id="base", name=name or own_name(path), path=str(path.absolute())))
    for expert in experts:
        name, path = _named(expert)
        recipe = recipe.with_expert(model_ref(recipe, path, name))
    checked = {name: find(method).param(name).parse(value) for name, value in params.items()}
    unknown = sorted(owners(checked) - {e.name for e in recipe.experts})
    if unknown:
        known = ", ".join(e.name for e in recipe.experts) or "none"
        raise BadRecipe(f"No expert is called {unknown[0]!r}, for which a parameter is set.", hint=f"Known: {known}.")
    return replace(recipe, params=tuple(sorted(checked.items())))


def apply_sets(recipe: Recipe, statements: Iterable[str], layout: Layout) -> Recipe:
    """The recipe after `--set` statements, in their order."""
    experts = [(e.id, e.name) for e in recipe.experts]
    default = find(recipe.method).coefficient
    for text in statements:
        recipe = apply_statement(recipe, parse_statement(text, experts, layout), layout, default)
    return recipe


def apply_gains(recipe: Recipe, gains: Iterable[str], muted: Iterable[str]) -> Recipe:
    """The recipe after `--gain NAME=VALUE` and `--mute NAME` flags.

    Raises:
        UnknownSelection: if there is no such expert.
        OutOfRange: if a gain is not a finite number.
    """
    ids = {e.name: e.id for e in recipe.experts}

    def known(name: str) -> str:
        if name not in ids:
            raise UnknownSelection(f"There is no expert {name!r}.", hint=f"There are: {', '.join(ids)}.")
        return ids[name]

    for text in gains:
        name, _, value = text.rpartition("=")
        try:
            gain = float(value)
        except ValueError as error:
            raise OutOfRange(f"{value!r} is not a gain.", hint="Write for example --gain chat=0.5") from error
        if not math.isfinite(gain):
            raise OutOfRange(f"{value!r} is not a gain.", hint="Use a finite number.")
        recipe = recipe.with_gain(known(name), gain)
    for name in muted:
        recipe = recipe.with_muted(known(name), True)
    return recipe


def open_recipe(recipe: Recipe) -> Opened:
    """Open all models of a recipe (headers only) and check them against the base.

    Raises:
        FileProblem: if a model cannot be opened.
        NotEnoughExperts: if the recipe has no expert.
    """
    if not recipe.experts:
        raise NotEnoughExperts("The recipe has no experts.", hint="Add at least one fine-tune.")
    base = _open(recipe.base) if recipe.base else None
    experts = tuple(_open(ref, base) for ref in recipe.experts)
    inputs = make_inputs(base, experts, [ref.name for ref in recipe.experts], recipe)
    return Opened(inputs, findings_of(recipe, inputs))


def findings_of(recipe: Recipe, inputs: Inputs) -> dict[str, tuple[Finding, ...]]:
    """What the header checks say, by expert id; of a stack where each expert takes part, and about the stack itself."""
    done, base = inputs.stacked, inputs.base
    if done is None:
        pairs = zip(recipe.experts, inputs.experts, strict=True)
        return {ref.id: check(base, expert) for ref, expert in pairs} if base else {}
    found = {"stack": done.findings} if done.findings else {}
    for row, (ref, expert) in enumerate(zip(recipe.experts, inputs.experts, strict=True)):
        found[ref.id] = () if base is None else check_stacked(base, expert, row, done.members)
    return found


def _open(ref: ModelRef, base: Checkpoint | None = None) -> Checkpoint:
    path = Path(ref.path)
    if members.split(path) is not None:
        try:
            return open_checkpoint(path)
        except members.NotRestored:
            return served.restored(path, base)
    if not path.exists():
        raise Missing("The file or folder is not there any more.", where=str(path),
                      hint=f"Locate {ref.name!r} again or remove it from the recipe.")  # fmt: skip
    return open_checkpoint(path)


def refuse_errors(findings: Mapping[str, tuple[Finding, ...]], names: Mapping[str, str]) -> None:
    """Stop when a check found something that makes the merge impossible.

    Raises:
        MissingKeys: with the first such finding.
    """
    for model, found in findings.items():
        for finding in found:
            if finding.severity == "error":
                raise MissingKeys(finding.message, where=names.get(model, model), hint=finding.hint)


def hashed(recipe: Recipe, inputs: Inputs, progress: Progress | None = None, cache: HashCache | None = None) -> Recipe:
    """The recipe with the content hash of every input filled in (from the cache where it is known)."""
    progress, cache = progress or Silent(), cache or HashCache(places.hash_cache_file())
    if recipe.base is not None and inputs.stored_base is not None:
        recipe = recipe.with_base(replace(recipe.base, sha256=content_hash(inputs.stored_base, progress, cache)))
    refs = [
        replace(ref, sha256=content_hash(ck, progress, cache))
        for ref, ck in zip(recipe.experts, inputs.stored_experts, strict=True)
    ]
    return replace(recipe, experts=tuple(refs))


def recheck_inputs(hashed: Recipe, inputs: Inputs, progress: Progress | None = None) -> None:
    """Make sure, after a merge, that its inputs still are what was hashed before; see `engine.files.hashing.recheck`.

    Args:
        hashed: The recipe with the content hash of every input.
        inputs: As they were opened for the merge.
        progress: Told the bytes read, if any are.

    Raises:
        Changed: naming the file.
    """
    cache = HashCache(places.hash_cache_file())
    if hashed.base is not None and inputs.stored_base is not None:
        recheck(inputs.stored_base, hashed.base.sha256, progress, cache)
    for ref, checkpoint in zip(hashed.experts, inputs.stored_experts, strict=True):
        recheck(checkpoint, ref.sha256, progress, cache)


def check_hashes(saved: Recipe, now: Recipe) -> tuple[str, ...]:
    """Names of models whose content differs from what the project file recorded."""
    pairs = zip((saved.base, *saved.experts), (now.base, *now.experts), strict=True)
    return tuple(b.name for a, b in pairs if a and b and a.sha256 and a.sha256 != b.sha256)


def origins(recipe: Recipe, inputs: Inputs) -> dict[str, Origin]:
    """Who vouches for the models of a recipe with all content hashes, by their ids."""
    from engine.export.origins import input_origins

    return input_origins(recipe, inputs, Confirmed(places.confirmed_file()).known())


def origin(checkpoint: Checkpoint, progress: Progress | None = None) -> Origin:
    """Who vouches for a model; reads all of it unless its hash is known."""
    from engine.export.origins import origin_of

    sha256 = content_hash(checkpoint, progress, HashCache(places.hash_cache_file()))
    return origin_of(checkpoint, sha256, Confirmed(places.confirmed_file()).known())


def vouch(model: Path, made_of: Mapping[str, Origin]) -> None:
    """Remember an export as verified if it was made here from verified models alone; nothing happens otherwise."""
    if made_of and all(origin.standing == "verified" for origin in made_of.values()):
        with suppress(MixdownError):  # then it is unverified, as it would be anywhere else
            opened = open_checkpoint(model)
            Confirmed(places.confirmed_file()).add(content_hash(opened), opened.name)


def provenance(recipe: Recipe, origins: Mapping[str, Origin] | None = None) -> dict[str, Any]:
    """What an export says about its origin: no paths, no user names, no time, no row order.

    Args:
        recipe: With all content hashes.
        origins: Who vouches for its models, by their ids; nobody does for those that are not there.

    Raises:
        BadRecipe: if a content hash is missing.
    """
    method = find(recipe.method)
    models = [m for m in (recipe.base, *recipe.experts) if m is not None]
    if any(not m.sha256 for m in models):
        raise BadRecipe("The content hashes of the inputs are not known yet.")
    experts = sorted(recipe.experts, key=lambda e: (e.sha256, e.name))
    told = {m.id: Origin("unverified", (Source(m.name, m.sha256),)) for m in models} | dict(origins or {})
    return {
        "app": f"Mixdown {VERSION}",
        "format": 1,
        "method": method.id,
        "method_version": method.version,
        "variant": method.paper,
        "reproducibility": method.reproducibility,
        "params": method.complete(dict(recipe.params)),
        "default_coefficient": method.coefficient,
        "seed": recipe.seed,
        "dtype": recipe.dtype or "as base",
        "base": _input(recipe.base, told) if recipe.base else None,
        "sources": [source.plain() for source in inherited([told[m.id] for m in models])],
        "rules": _rules(recipe, None),
        "experts": [
            {
                **_input(e, told),
                "gain": recipe.gain(e.id) if recipe.is_heard(e.id) else 0.0,
                "rules": _rules(recipe, e.id),
            }
            for e in experts
        ],
        **_stacked(recipe, [e.id for e in experts]),
    }


def _input(ref: ModelRef, origins: Mapping[str, Origin]) -> dict[str, str]:
    return {"name": ref.name, "sha256": ref.sha256, "origin": origins[ref.id].standing}


def _stacked(recipe: Recipe, experts: Sequence[str]) -> dict[str, Any]:
    """The stack of a recipe that has one, with the ids that its experts get when they are read back."""
    ids = {expert: f"e{number}" for number, expert in enumerate(experts, 1)}
    return {"stack": stack.to_plain(stack.renamed(recipe.stack, ids))} if recipe.stack else {}


def _rules(recipe: Recipe, expert: str | None) -> list[dict[str, Any]]:
    """Rules of one expert (or of all, None), in an order that does not depend on when they were made."""

    def plain(rule: Rule) -> dict[str, Any]:
        keys = {"kind": rule.kind, "layer": rule.layer, "tensor": rule.tensor}
        return {**{k: v for k, v in keys.items() if v is not None}, "value": rule.value}

    mine = [r for r in recipe.rules if r.expert == expert]
    return [plain(r) for r in sorted(mine, key=lambda r: (r.specificity, str(r.keys)))]


def remember_sketches() -> None:
    """Keep magnitude sketches on disk, so that a changed density needs no new pass; loads torch."""
    from engine.merge.recall import SHARED

    SHARED.folder = places.sketch_folder()


def remarks(notes: Mapping[str, int]) -> str:
    """What a merge noted about tensors, in a sentence: "12 tensors fell back to lerp."."""
    words = {"lerp": "fell back to a straight line (lerp)", "base": "were kept as in the base"}
    whole = {"less memory": "Memory ran out, so it was merged in smaller pieces.", "on the cpu": "The GPU gave up, so "
             "it was merged on the CPU."}  # fmt: skip
    return " ".join(
        whole.get(key) or f"{n} tensor{'s' if n != 1 else ''} {words.get(key, key)}."
        for key, n in sorted(notes.items())
    )
