"""Changes of coefficients: from what the user points at to the sparse rules that say it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from engine.files.model import Layout
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import group_spots, resolve
from engine.recipe.select import Selection, Statement

Keys = tuple[str | None, str | None, str | None, str | None]


def apply_statement(recipe: Recipe, statement: Statement, layout: Layout, default: float) -> Recipe:
    """The recipe after a selection statement such as `chat : attn : 3-6 *= 0.5`.

    A plain `=` also removes finer rules inside the selection: the last word counts.

    Args:
        recipe: To change.
        statement: What to do where.
        layout: Of the base.
        default: The method's default coefficient.
    """
    if statement.operator == "=":
        return set_selection(recipe, statement.selection, statement.value, layout)
    if statement.selection.tensors:
        return _change_tensors(recipe, statement, layout, default)
    return _change_groups(recipe, statement, layout, default)


def set_selection(recipe: Recipe, where: Selection, value: float, layout: Layout) -> Recipe:
    """One value for everything selected, written as few rules."""
    experts: Sequence[str | None] = (None,) if where.every_expert else where.experts
    if where.tensors:
        rules = [Rule(expert=e, tensor=t, value=value) for e, t in product(experts, where.tensors)]
        return recipe.with_rules(rules)
    kinds: Sequence[str | None] = (None,) if where.every_kind else where.kinds
    layers: Sequence[str | None] = (None,) if where.every_layer else where.layers
    rules = [Rule(expert=e, kind=k, layer=la, value=value) for e, k, la in product(experts, kinds, layers)]
    made = _without_covered(recipe, where, layout).with_rules(rules)
    wanted = np.full((len(recipe.experts), len(layout.groups)), value)
    return _settled(made, where, layout, wanted).with_rules(
        Rule(expert=e, tensor=r.tensor, value=value)
        for r in made.rules
        if r.tensor is not None and r.expert is None and _holds(where, layout, r.tensor)
        for e in where.experts
    )


def _settled(recipe: Recipe, where: Selection, layout: Layout, wanted: np.ndarray) -> Recipe:
    """The recipe with finer rules where an older rule, which reaches beyond the selection, still outweighs it."""
    spots = group_spots(layout)
    shown = resolve(recipe, spots, np.nan)
    return recipe.with_rules(
        Rule(expert=ref.id, kind=k, layer=la, value=float(wanted[row, i]))
        for row, ref in enumerate(recipe.experts)
        if ref.id in where.experts
        for i, (la, k, _) in enumerate(spots)
        if la in where.layers and k in where.kinds and shown[row, i] != wanted[row, i]
    )


def _holds(where: Selection, layout: Layout, tensor: str) -> bool:
    """Whether a tensor lies inside a selection of groups."""
    place = layout.places.get(tensor)
    return place is not None and place.layer in where.layers and place.kind in where.kinds


def clear_selection(recipe: Recipe, where: Selection, layout: Layout) -> Recipe:
    """Back to the coarser rules or the default: remove every rule inside the selection."""
    return _without_covered(recipe, where, layout)


def overrides_inside(recipe: Recipe, keys: Keys, layout: Layout) -> tuple[Keys, ...]:
    """Keys of the finer rules that lie inside one coarse cell (expert, kind, layer, tensor)."""
    if keys[3] is not None:
        return ()
    return tuple(r.keys for r in recipe.rules if _lies_inside(r, keys, layout) and r.keys != keys)


def _lies_inside(rule: Rule, keys: Keys, layout: Layout) -> bool:
    """Whether a rule only concerns cells that `keys` covers, and is finer."""
    expert, kind, layer, tensor = keys
    if tensor is not None or (expert is not None and rule.expert != expert):
        return False
    place = layout.places.get(rule.tensor) if rule.tensor is not None else None
    rule_kind = place.kind if place else rule.kind
    rule_layer = place.layer if place else rule.layer
    return (kind is None or rule_kind == kind) and (layer is None or rule_layer == layer)


def _without_covered(recipe: Recipe, where: Selection, layout: Layout) -> Recipe:
    """The recipe without the rules whose cells all lie inside the selection."""

    def covered(rule: Rule) -> bool:
        place = layout.places.get(rule.tensor) if rule.tensor is not None else None
        kind, layer = (place.kind, place.layer) if place else (rule.kind, rule.layer)
        return (
            (where.every_expert or rule.expert in where.experts)
            and (where.every_kind or kind in where.kinds)
            and (where.every_layer or layer in where.layers)
        )

    return replace(recipe, rules=tuple(rule for rule in recipe.rules if not covered(rule)))


def _calculate(old: np.ndarray, operator: str, value: float) -> np.ndarray:
    if operator == "+=":
        return old + value
    if operator == "-=":
        return old - value
    return old * value if operator == "*=" else old / value


def _change_groups(recipe: Recipe, statement: Statement, layout: Layout, default: float) -> Recipe:
    where, spots = statement.selection, group_spots(layout)
    old = resolve(recipe, spots, default)
    new = _calculate(old, statement.operator, statement.value)
    inside = [la in where.layers and k in where.kinds for la, k, _ in spots]
    rules: list[Rule] = []
    for row, ref in enumerate(recipe.experts):
        if ref.id in where.experts:
            cells = [(la, k, float(new[row, i])) for i, (la, k, _) in enumerate(spots) if inside[i]]
            rules += _compressed(ref.id, cells, where)
    cleared = _without_covered(recipe, where, layout)
    tensors = [r for r in recipe.rules if r.tensor is not None and r not in cleared.rules]
    scaled = [replace(r, value=float(_calculate(np.array(r.value), statement.operator, statement.value)))
              for r in tensors]  # fmt: skip
    return _settled(cleared.with_rules(rules), where, layout, new).with_rules(scaled)


def _compressed(expert: str, cells: Iterable[tuple[str, str, float]], where: Selection) -> list[Rule]:
    """Rules for (layer, kind, value) cells of one expert: one rule where a whole row or layer agrees."""
    cells = list(cells)
    if where.every_kind and where.every_layer and len({v for _, _, v in cells}) == 1:
        return [Rule(expert=expert, value=cells[0][2])]
    by_layer: dict[str, list[tuple[str, float]]] = {}
    for layer, kind, value in cells:
        by_layer.setdefault(layer, []).append((kind, value))
    rules: list[Rule] = []
    for layer, kinds in by_layer.items():
        if where.every_kind and len({v for _, v in kinds}) == 1:
            rules.append(Rule(expert=expert, layer=layer, value=kinds[0][1]))
        else:
            rules += [Rule(expert=expert, layer=layer, kind=kind, value=v) for kind, v in kinds]
    return rules


def _change_tensors(recipe: Recipe, statement: Statement, layout: Layout, default: float) -> Recipe:
    where = statement.selection
    spots = [(layout.places[t].layer, layout.places[t].kind, t) for t in where.tensors]
    new = _calculate(resolve(recipe, spots, default), statement.operator, statement.value)
    return recipe.with_rules(
        Rule(expert=ref.id, tensor=tensor, value=float(new[row, column]))
        for row, ref in enumerate(recipe.experts)
        if ref.id in where.experts
        for column, tensor in enumerate(where.tensors)
    )
