"""The models of a recipe with a stack: each as if its layers lay where the merged model has them.

Every model becomes a checkpoint whose tensors carry the names of the merged model and lie where they always lay, so
that plans, statistics and views of restacked layers need no code of their own and are as fast as any other merge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from engine.errors import BadRecipe, Mismatch, MissingKeys, ShapeMismatch
from engine.files.checks import check
from engine.files.layout import describe
from engine.files.model import Checkpoint, FileStamp, Finding, TensorInfo
from engine.files.restack import Numbered, as_named, numbered, restacked_config
from engine.files.text import counted, listed, printable
from engine.recipe.stack import BASE_ID, Origin, Stack, base_origins, depth, needed_layers, origin, outer


@dataclass(frozen=True)
class Stacked:
    """How the models of a recipe were restacked.

    Attributes:
        base: The base as it is stored, or None.
        experts: The experts as they are stored, in the recipe's order.
        members: For every tensor of the merged model the experts that take part, by row.
        findings: What is worth knowing about it.
    """

    base: Checkpoint | None
    experts: tuple[Checkpoint, ...]
    members: Mapping[str, tuple[int, ...]]
    findings: tuple[Finding, ...]


def restacked(
    base: Checkpoint | None, experts: Sequence[Checkpoint], names: Sequence[str], ids: Sequence[str], stack: Stack
) -> tuple[Checkpoint | None, tuple[Checkpoint, ...], Stacked]:
    """The models as the stack asks for them.

    Args:
        base: The recipe's base as it is stored, or None.
        experts: Its experts as they are stored.
        names: Their names, for messages.
        ids: Their ids, which the stack uses.
        stack: Not empty.

    Returns:
        The base (None if no slice has one), the experts, and what was done.

    Raises:
        BadRecipe: if the stack names a model that is not there, or a slice has no base where others have one.
        Mismatch: if a model does not have the layers, or the models are of different widths.
    """
    return _Restack(base, tuple(experts), tuple(names), tuple(ids), stack).run()


class _Restack:
    """One restacking."""

    def __init__(self, base: Checkpoint | None, experts: tuple[Checkpoint, ...], names: tuple[str, ...],
                 ids: tuple[str, ...], stack: Stack) -> None:  # fmt: skip
        self._base, self._experts, self._stack = base, experts, stack
        self._models = dict(zip(ids, experts, strict=True)) | ({BASE_ID: base} if base is not None else {})
        self._names = dict(zip(ids, names, strict=True)) | {BASE_ID: "the base"}
        self._ids = ids
        self._numbered: dict[str, Numbered] = {}

    def run(self) -> tuple[Checkpoint | None, tuple[Checkpoint, ...], Stacked]:
        """Check and restack everything."""
        self._check_slices()
        used = dict.fromkeys(s.model for part in self._stack for s in part.sources)
        for model in used:
            self._numbered[model] = self._opened(model)
        donor = next((i for i in (BASE_ID, *self._ids) if i in self._models and self._models[i].config is not None),
                     next(iter(used)))  # fmt: skip
        self._check_shapes(donor)
        config, findings = self._config(donor)
        made_base = self._made_base(config, donor)
        origins = [origin(self._stack, id_) for id_ in self._ids]
        experts = tuple(self._made(id_, o, config, donor) for id_, o in zip(self._ids, origins, strict=True))
        idle = [self._names[i] for i in self._ids if i not in used]
        if idle:
            findings += (Finding("warning", "stack", f"{', '.join(idle)}: in no slice of the stack, so without effect.",
                                 "Write it into the slices of the mergekit YAML, or remove it."),)  # fmt: skip
        members = self._members(made_base, experts)
        findings += self._lacking(donor, members)
        return made_base, experts, Stacked(self._base, self._experts, members, findings)

    def _check_slices(self) -> None:
        for number, part in enumerate(self._stack, 1):
            where, hint = f"slice {number}", "Edit the slices in the mergekit YAML."
            listed = [s.model for s in part.sources]
            if not listed:
                raise BadRecipe("No model is left for these layers.", where=where, hint=hint)
            twice = next((m for m in listed if listed.count(m) > 1), None)
            if twice is not None:
                name = self._names.get(twice, twice)
                raise BadRecipe(f"{name} is a source of the same slice twice.", where=where,
                                hint="A model can give one layer to each merged layer, as in mergekit.")  # fmt: skip
            unknown = next((m for m in listed if m not in self._models), None)
            if unknown is not None:
                what = "There is no base" if unknown == BASE_ID else f"There is no expert {unknown!r}"
                raise BadRecipe(f"{what}, which these layers are made of.", where=where, hint=hint)
        based = [part.base_source is not None for part in self._stack]
        if any(based) and not all(based):
            raise BadRecipe("The base is no source of these layers, but of others.",
                            where=f"slice {based.index(False) + 1}",
                            hint="As in mergekit, the base must be among the sources of every slice.")  # fmt: skip

    def _opened(self, model: str) -> Numbered:
        """The layers of one model, if it has as many as the stack wants."""
        name, checkpoint = self._names[model], self._models[model]
        try:
            found = numbered(checkpoint.tensors, describe(checkpoint.tensors, checkpoint.config))
        except Mismatch as error:
            raise Mismatch(error.message, where=printable(name), hint=error.hint) from error
        most, wanted = len(found.layers), needed_layers(self._stack, model)
        if wanted > most:
            message = f"Layer {wanted - 1} is wanted, but there are only the layers 0 to {most - 1}."
            hint = "layer_range counts from 0 and leaves out its end."
            raise MissingKeys(message, where=printable(name), hint=hint)
        return found

    def _check_shapes(self, donor: str) -> None:
        """All models must be as wide as the one that gives the configuration."""
        whose = self._names[donor]
        own = self._numbered.get(donor) or self._opened(donor)
        known = own.suffixes
        for model, found in self._numbered.items():
            name = printable(self._names[model])
            for suffix, shapes in found.suffixes.items():
                if suffix in known and not shapes <= known[suffix]:
                    mine, theirs = sorted(known[suffix])[0], sorted(shapes - known[suffix])[0]
                    raise ShapeMismatch(f"{name} has shape {list(theirs)} where {whose} has {list(mine)}.",
                                        where=suffix, hint="Layers of models of different width or vocabulary cannot "
                                        "be stacked; use models of one size.")  # fmt: skip
            if not found.suffixes.keys() & known.keys():
                raise Mismatch(f"{name} has no tensor name in common with {whose}.",
                               hint="Stack layers of models of one architecture.")  # fmt: skip

    def _config(self, donor: str) -> tuple[Mapping[str, Any] | None, tuple[Finding, ...]]:
        """The configuration of the merged model."""
        config = self._models[donor].config
        if config is None:
            return None, ()
        picks: list[tuple[Mapping[str, Any] | None, int] | None] = []
        for part in self._stack:
            lead = part.sources[0]
            picks += [(self._models[lead.model].config, lead.first + i) for i in range(part.count)]
        own = self._numbered.get(donor) or self._opened(donor)
        made, said = restacked_config(config, len(own.layers), picks)
        if said:
            return made, ()
        return made, (Finding("warning", "stack", "config.json does not say the number of layers under a name that is "
                              f"known; the merged model has {depth(self._stack)}.",
                              "Correct the configuration by hand."),)  # fmt: skip

    def _lacking(self, donor: str, members: Mapping[str, tuple[int, ...]]) -> tuple[Finding, ...]:
        """Tensors that the configuration's model has outside of its layers, or in each of them, and the result not."""
        own = self._numbered.get(donor) or self._opened(donor)
        wanted = {info.name for info in (*own.before, *own.after)}
        layers = [{f"{i.name[:a]}{{}}{i.name[b:]}" for i, a, b in layer} for layer in own.layers]
        wanted |= {form.format(n) for form in set.intersection(*layers) for n in range(depth(self._stack))}
        gone = sorted(wanted - members.keys())
        more = sorted(members.keys() - wanted) if len({frozenset(layer) for layer in layers}) == 1 else []
        hint = "Load the model once before you rely on it, or name another base_model, which gives the configuration."
        whose = f"{printable(self._names[donor])}, whose configuration is taken,"
        found = ((gone, f"{whose} has {{}} that the merged model lacks: {{}}."),
                 (more, f"The merged model has {{}} that {whose} does not know: {{}}."))  # fmt: skip
        return tuple(
            Finding("warning", "stack", text.format(counted(len(names), "tensor"), listed(names)), hint,
                    tuple(names[:20]), len(names))
            for names, text in found if names
        )  # fmt: skip

    def _made_base(self, config: Mapping[str, Any] | None, donor: str) -> Checkpoint | None:
        """The base of the merged model, of all models that are a base somewhere; None if no slice has one."""
        parts = base_origins(self._stack)
        if not parts:
            return None
        made = [self._made(model, o, config, donor) for model, o in parts.items()]
        tensors = {name: info for part in made for name, info in part.tensors.items()}
        stamps: dict[object, FileStamp] = {stamp.path: stamp for part in made for stamp in part.stamps}
        lead = next((part for part, model in zip(made, parts, strict=True) if model == BASE_ID), made[0])
        return replace(lead, tensors=dict(sorted(tensors.items())), stamps=tuple(stamps.values()),
                       absent_shards=tuple(name for part in made for name in part.absent_shards),
                       view=_digest([part.view for part in made]))  # fmt: skip

    def _made(self, model: str, where: Origin, config: Mapping[str, Any] | None, donor: str) -> Checkpoint:
        """One model under the names of the merged one."""
        stored, found = self._models[model], self._numbered.get(model)
        named: dict[str, TensorInfo] = {}
        if found is not None:
            pairs = found.under(where.layers, before=where.before, after=where.after)
            named = {name: as_named(name, info) for name, info in pairs}
        own = [where.layers, where.before, where.after]
        return replace(stored, tensors=dict(sorted(named.items())), config=config,
                       sidecars=self._models[donor].sidecars or stored.sidecars, indexed=frozenset(named),
                       view=_digest(own))  # fmt: skip

    def _members(self, base: Checkpoint | None, experts: Sequence[Checkpoint]) -> dict[str, tuple[int, ...]]:
        """Rows of the experts that take part in each tensor, whether or not they have it."""
        rows = {id_: row for row, id_ in enumerate(self._ids)}
        tensors = {
            name: info for model in (*experts, base) if model is not None for name, info in model.tensors.items()
        }
        places = describe(tensors).places
        layers = [tuple(rows[s.model] for s in part.merged) for part in self._stack for _ in range(part.count)]
        ends = {after: tuple(rows[s.model] for s in outer(self._stack, after=after).merged) for after in (False, True)}
        return {
            name: layers[int(place.layer)] if place.layer.isdecimal() else ends[place.layer != "emb"]
            for name, place in places.items()
        }


def _digest(parts: object) -> str:
    """A short name for a restacking, part of every key under which statistics are remembered."""
    return blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def check_stacked(
    base: Checkpoint, expert: Checkpoint, row: int, members: Mapping[str, tuple[int, ...]]
) -> tuple[Finding, ...]:
    """Compare an expert with the base where it takes part; see `engine.files.checks.check`."""
    there = {name: info for name, info in base.tensors.items() if row in members.get(name, ())}
    if not there:
        return ()
    return check(replace(base, tensors=there, indexed=frozenset(there)), expert)
