"""The recipe: everything a merge depends on, as one frozen value.

A recipe never changes; `with_*` functions return new ones. Equality means "nothing to save".
Coefficients are sparse rules, resolved densely by `engine.recipe.resolve`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from engine.errors import BadRecipe
from engine.recipe.per_expert import parts, renamed
from engine.recipe.stack import Stack, without

Value = float | int | bool | str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A checkpoint as the recipe refers to it.

    Attributes:
        id: Stable handle inside the recipe ("e1"); never shown.
        name: The name the user sees and types in selections; unique in the recipe.
        path: Absolute path of the file or folder.
        sha256: Content hash once it is known, else "".
    """

    id: str
    name: str
    path: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A coefficient for everything that matches; None matches all.

    The most specific rule wins (tensor over layer over kind over expert), and among equally specific
    ones the later. A rule with the same keys replaces the earlier.
    """

    value: float
    expert: str | None = None
    kind: str | None = None
    layer: str | None = None
    tensor: str | None = None

    @property
    def keys(self) -> tuple[str | None, str | None, str | None, str | None]:
        """What the rule matches: (expert id, kind, layer, tensor)."""
        return (self.expert, self.kind, self.layer, self.tensor)

    @property
    def specificity(self) -> int:
        """Rank among rules: tensor 8, layer 4, kind 2, expert 1, added up."""
        return (
            8 * (self.tensor is not None)
            + 4 * (self.layer is not None)
            + 2 * (self.kind is not None)
            + (self.expert is not None)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRef:
    """A quick-eval task: its name, its .task.json file (absolute path) and its content hash, "" if unknown."""

    name: str
    path: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A complete merge.

    Attributes:
        base: The common ancestor, or None.
        experts: The fine-tunes; order is the order of the rows and has no numerical meaning.
        method: Id of the merge method.
        params: Parameters that differ from the method's defaults, sorted by name; "density@code" is the density
            of the expert called code alone, "density[attn:3]" that of attention in layer 3.
        rules: Coefficient rules.
        muted: Ids of experts whose coefficients count as 0.
        soloed: If not empty, only these experts count.
        gains: Factor of a whole row, by expert id, sorted; absent means 1.
        seed: Seed of random masks.
        dtype: Output dtype ("BF16"), or "" for as the base.
        tasks: Quick-eval tasks.
        extras: What only other programs use and an export to them needs again ("mergekit.tokenizer_source"),
            sorted by name; without effect on the merge.
        stack: Slices of layers that the merged model is made of; empty to merge every layer where it is.
    """

    base: ModelRef | None = None
    experts: tuple[ModelRef, ...] = ()
    method: str = "task_arithmetic"
    params: tuple[tuple[str, Value], ...] = ()
    rules: tuple[Rule, ...] = ()
    muted: tuple[str, ...] = ()
    soloed: tuple[str, ...] = ()
    gains: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    dtype: str = ""
    tasks: tuple[TaskRef, ...] = ()
    extras: tuple[tuple[str, str], ...] = ()
    stack: Stack = ()

    def expert(self, expert_id: str) -> ModelRef:
        """The expert with this id.

        Raises:
            BadRecipe: if there is none.
        """
        for ref in self.experts:
            if ref.id == expert_id:
                return ref
        raise BadRecipe(f"The recipe has no expert {expert_id!r}.")

    def gain(self, expert_id: str) -> float:
        """Factor of the expert's whole row."""
        return dict(self.gains).get(expert_id, 1.0)

    def is_heard(self, expert_id: str) -> bool:
        """Whether mute and solo let the expert through."""
        return expert_id not in self.muted and (not self.soloed or expert_id in self.soloed)

    def with_base(self, base: ModelRef | None) -> Recipe:
        """The recipe with another base."""
        return replace(self, base=base)

    def with_expert(self, ref: ModelRef) -> Recipe:
        """The recipe with one more expert."""
        return replace(self, experts=(*self.experts, ref))

    def with_replaced(self, ref: ModelRef) -> Recipe:
        """The recipe with the base or expert of the same id replaced by `ref`; its own parameters go with it."""
        base = ref if self.base is not None and self.base.id == ref.id else self.base
        params = renamed(self.params, {e.name: ref.name for e in self.experts if e.id == ref.id})
        experts = tuple(ref if e.id == ref.id else e for e in self.experts)
        return replace(self, base=base, experts=experts, params=params)

    def without_expert(self, expert_id: str) -> Recipe:
        """The recipe without this expert and everything that was said about it."""
        return replace(
            self,
            experts=tuple(e for e in self.experts if e.id != expert_id),
            params=renamed(self.params, {e.name: None for e in self.experts if e.id == expert_id}),
            rules=tuple(r for r in self.rules if r.expert != expert_id),
            muted=tuple(m for m in self.muted if m != expert_id),
            soloed=tuple(s for s in self.soloed if s != expert_id),
            gains=tuple(g for g in self.gains if g[0] != expert_id),
            stack=without(self.stack, expert_id),
        )

    def with_order(self, expert_ids: Iterable[str]) -> Recipe:
        """The recipe with its rows in another order."""
        return replace(self, experts=tuple(self.expert(i) for i in expert_ids))

    def with_method(self, method: str, params: Mapping[str, Value] | None = None) -> Recipe:
        """The recipe with another method; parameters start at its defaults."""
        return replace(self, method=method, params=tuple(sorted((params or {}).items())))

    def with_param(self, name: str, value: Value) -> Recipe:
        """The recipe with one parameter changed."""
        return replace(self, params=tuple(sorted({**dict(self.params), name: value}.items())))

    def without_param(self, name: str) -> Recipe:
        """The recipe with one parameter at its default again, or an expert's own one at that of all."""
        return replace(self, params=tuple(pair for pair in self.params if pair[0] != name))

    def without_places(self, param: str) -> Recipe:
        """The recipe with one value of a parameter for all places."""
        return replace(self, params=tuple(p for p in self.params if parts(p[0])[0] != param or not parts(p[0])[2]))

    def with_rules(self, rules: Iterable[Rule]) -> Recipe:
        """The recipe with more rules; each replaces an earlier one with the same keys."""
        kept = {rule.keys: rule for rule in self.rules}
        for rule in rules:
            kept.pop(rule.keys, None)
            kept[rule.keys] = rule
        return replace(self, rules=tuple(kept.values()))

    def without_rules(self, keys: Iterable[tuple[str | None, str | None, str | None, str | None]]) -> Recipe:
        """The recipe without the rules that have exactly these keys."""
        gone = set(keys)
        if not gone:
            return self
        return replace(self, rules=tuple(r for r in self.rules if r.keys not in gone))

    def with_muted(self, expert_id: str, muted: bool) -> Recipe:
        """The recipe with an expert muted or not."""
        rest = tuple(m for m in self.muted if m != expert_id)
        return replace(self, muted=tuple(sorted((*rest, expert_id))) if muted else rest)

    def with_soloed(self, expert_id: str, soloed: bool) -> Recipe:
        """The recipe with an expert soloed or not."""
        rest = tuple(s for s in self.soloed if s != expert_id)
        return replace(self, soloed=tuple(sorted((*rest, expert_id))) if soloed else rest)

    def with_gain(self, expert_id: str, gain: float) -> Recipe:
        """The recipe with another factor for a whole row."""
        gains = {**dict(self.gains), expert_id: float(gain)}
        return replace(self, gains=tuple(sorted((k, v) for k, v in gains.items() if v != 1.0)))
