"""Which weights a recipe's method keeps, and which sign it elects: the merge's own steps, for looking at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine import steps
from engine.merge.inputs import Inputs
from engine.merge.models import tensor_coefficients
from engine.merge.plan import Plan, TensorJob
from engine.recipe.places import at
from engine.steps.elect import Ballot
from engine.steps.trim import Cut

STRICTNESS = 0.4
"""lambda of the TALL masks for methods that have no mask."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How weights of one tensor are judged.

    Attributes:
        weights: T coefficients of the tensor, in the recipe's order.
        order: Rows of the experts that the method hears, in the order in which it adds them.
        ballot: Cuts and fallback sign of a trimming method, or of the multi-task vector of TALL masks.
        strictness: lambda of the TALL masks; None if the mask is the ballot's trim.
        elect: How a trimming method elects signs.
        mask: What the mask is, in words.
    """

    weights: tuple[float, ...]
    order: tuple[int, ...]
    ballot: Ballot | None
    strictness: float | None
    elect: Any
    mask: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a rule says of n weights.

    Attributes:
        kept: T tensors (n,) of truth values.
        sign: (n,) of -1, 0 and 1.
    """

    kept: tuple[Tensor, ...]
    sign: Tensor


def rule_of(plan: Plan, inputs: Inputs, job: TensorJob, stats: object) -> Rule:
    """The rule of a plan for one tensor.

    Args:
        plan: What is merged.
        inputs: Its models.
        job: One of its tensors.
        stats: What the method's statistics found; None before they are made.
    """
    column = tensor_coefficients(plan.recipe, inputs, plan.method, [job.name])[:, 0]
    order = tuple(inputs.names.index(name) for name in plan.models.names)
    ballot, params = _ballot(stats), at(plan.params, job.name)
    common = (tuple(float(w) for w in column), order)
    if "strictness" in params:
        level = float(params["strictness"])
        return Rule(*common, ballot, level, "mass", f"TALL mask, λ {level:g}")
    if ballot is not None and len(ballot.cuts) == len(order):
        density = f" to density {float(params['density']):g}" if "density" in params else ""
        return Rule(*common, ballot, None, params.get("elect", "mass"), f"trimmed{density}")
    text = f"TALL mask, λ {STRICTNESS:g} ({plan.method.title} shows no mask of its own)"
    return Rule(*common, None, STRICTNESS, "mass", text)


def _ballot(stats: object) -> Ballot | None:
    """The cuts in what a method's statistics found: a ballot, cuts, or a pair that begins with cuts."""
    if isinstance(stats, Ballot):
        return stats
    found = stats[0] if isinstance(stats, tuple) and stats and isinstance(stats[0], tuple) else stats
    if isinstance(found, tuple) and found and all(isinstance(cut, Cut) for cut in found):
        return Ballot(found, (1.0,) * len(found), 0)
    return None


def decisions(rule: Rule, deltas: Sequence[Tensor], tensor: str) -> Decisions:
    """Kept weights and elected signs of T task vectors (n,), in the recipe's order; silent experts keep nothing."""
    heard, weights = [deltas[t] for t in rule.order], [rule.weights[t] for t in rule.order]
    if rule.strictness is None and rule.ballot is not None:
        left = rule.ballot.kept(heard, tensor)
        marks = [x != 0 for x in left]
        sign = steps.elect.signs(steps.reduce.scaled(left, weights), rule.elect, rule.ballot)
        elected = torch.zeros_like(heard[0]) if sign is None else sign
    else:
        multi = _multi(rule, heard, weights)
        scaled = steps.reduce.scaled(heard, weights)
        level = rule.strictness if rule.strictness is not None else STRICTNESS
        marks = [steps.masks.tall_mask(x, multi, level) != 0 for x in scaled]
        elected = multi.sign()
    kept = [torch.zeros_like(deltas[0], dtype=torch.bool) for _ in deltas]
    for t, mark in zip(rule.order, marks, strict=True):
        kept[t] = mark
    return Decisions(tuple(kept), elected)


def _multi(rule: Rule, heard: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The multi-task vector (n,) that TALL masks compare with."""
    if rule.ballot is None:
        return steps.reduce.weighted_sum(heard, weights)
    kept = steps.reduce.scaled(steps.trim.trim_all(heard, rule.ballot.cuts), weights)
    sign = steps.elect.signs(kept, "mass", rule.ballot)
    return steps.disjoint.merge(kept, sign, "sum", weights, decided=rule.ballot.fallback != 0)
