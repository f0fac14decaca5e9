"""What can be done to selected places: coefficients there, leaving places out, and roles of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.files.model import Layout
from engine.recipe.edit import clear_selection, set_selection
from engine.recipe.per_expert import key
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import group_spots, resolve
from engine.recipe.select import Selection

ROLES = ("nobody", "only", "shared", "everybody")
"""Roles of weights, by the number of experts whose masks hold them: 0, 1, some, all."""


def excluded(recipe: Recipe, where: Selection, layout: Layout) -> Recipe:
    """The recipe with coefficient 0 for every expert in the selected places, so that the base's weights stay.

    Args:
        recipe: To change.
        where: Its layers, kinds and tensors; its experts do not matter.
        layout: Of the base.
    """
    everyone = replace(where, experts=tuple(e.id for e in recipe.experts), every_expert=True)
    return set_selection(recipe, everyone, 0.0, layout)


def restored(recipe: Recipe, where: Selection, layout: Layout, default: float) -> Recipe:
    """The recipe with the coefficients of the whole rows in the selected places.

    Finer rules inside the selection go; where one that reaches beyond it still differs, a new rule outweighs it.

    Args:
        recipe: To change.
        where: What to restore.
        layout: Of the base.
        default: The method's default coefficient.
    """
    if where.tensors:
        gone = [(e, None, None, t) for t in where.tensors for e in (*where.experts, *([None] * where.every_expert))]
        return recipe.without_rules(gone)
    made, spots = clear_selection(recipe, where, layout), group_spots(layout)
    rows = replace(made, rules=tuple(r for r in made.rules if r.kind is None and r.layer is None and r.tensor is None))
    wanted, shown = resolve(rows, spots, default), resolve(made, spots, default)
    inside = np.array([la in where.layers and k in where.kinds for la, k, _ in spots], bool)
    return made.with_rules(
        Rule(expert=ref.id, kind=k, layer=la, value=float(wanted[row, i]))
        for row, ref in enumerate(recipe.experts)
        if ref.id in where.experts
        for i, (la, k, _) in enumerate(spots)
        if inside[i] and shown[row, i] != wanted[row, i]
    )


def with_role(recipe: Recipe, role: str, dropped: bool, strictness: float | None = None) -> Recipe:
    """The recipe with the weights of a role left out of the merge, or not.

    Args:
        recipe: Of a method with task vectors.
        role: One of `ROLES`; "only@chat" is what the expert called chat needs alone.
        dropped: Whether to leave them out.
        strictness: lambda of the masks; None keeps the recipe's.
    """
    role, _, expert = role.partition("@")
    params = dict(recipe.params)
    everyone = bool(params.get("drop_only", False))
    if expert:
        params.pop(key("drop_only", expert), None)
        if dropped != everyone:
            params[key("drop_only", expert)] = dropped
    else:
        params = {n: v for n, v in params.items() if role != "only" or not n.startswith(key("drop_only", ""))}
        params.pop(f"drop_{role}", None)
        if dropped:
            params[f"drop_{role}"] = True
    if strictness is not None:
        params["drop_lambda"] = strictness
    if not any(name.startswith("drop_") and name != "drop_lambda" for name in params):
        params.pop("drop_lambda", None)
    return replace(recipe, params=tuple(sorted(params.items())))


def all_kept(recipe: Recipe) -> Recipe:
    """The recipe without any role left out."""
    names = {f"drop_{role}" for role in ROLES} | {"drop_lambda"}
    return replace(recipe, params=tuple(p for p in recipe.params if p[0].partition("@")[0] not in names))


def dropped_roles(recipe: Recipe, names: Sequence[str]) -> tuple[str, ...]:
    """The roles that a recipe leaves out, as `with_role` calls them, "only" spelled out by expert.

    Args:
        recipe: Any.
        names: Of its experts.
    """
    params = dict(recipe.params)
    everyone = bool(params.get("drop_only", False))
    found = [role for role in ("nobody", "shared", "everybody") if params.get(f"drop_{role}", False)]
    return (*found, *(key("only", n) for n in names if params.get(key("drop_only", n), everyone)))
