"""Fader presets: coefficients that follow from the layers and the sizes of the task vectors.

Pure functions (layout, gram, recipe) -> recipe. What is heard (mute and solo) counts; faders are set anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import BadRecipe
from engine.files.model import Layout
from engine.live.gram import Gram
from engine.methods import find
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import heard

SLOPE = 0.5
"""LiNeS: how much more the last block gets than the first; the paper searches it on validation data."""

LEVELS = (0.6, 1.0, 1.1)
"""Tiers: factors of the third of the blocks in which experts agree least, in between, and most."""

SAME = 1e-6
"""Norms of task vectors that differ relatively by less count as equal."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A way to set all faders at once.

    Attributes:
        id: Stable name.
        title: Name in the menu.
        help: What it does, and where it differs from its source.
        source: Paper and code.
        apply: (layout, gram, recipe) -> recipe with new rules.
    """

    id: str
    title: str
    help: str
    source: str
    apply: Callable[[Layout, Gram, Recipe], Recipe]


def lines(layout: Layout, gram: Gram, recipe: Recipe, slope: float = SLOPE) -> Recipe:
    """LiNeS: layer l of L blocks gets alpha + slope * l / (L - 1), everything else alpha.

    alpha = |sum_t tau_t| / (T |tau_M|) for the merged task vector tau_M that the method gives with all
    faders at 1; where the method has a scale, it is divided out, so that the model does not depend on it.

    Args:
        layout: Layers; every tower of blocks has a ramp of its own.
        gram: Inner products of the task vectors, in the order of the recipe's experts.
        recipe: Whose faders are set.
        slope: How much more the last block gets than the first.

    Returns:
        The recipe with one rule for all and one for each block.

    Raises:
        BadRecipe: if no expert is heard or changes anything, or if the method cancels such factors out.
    """
    voices, scale = heard(recipe), _scale(recipe)
    merged = _size(gram, _factors(gram, recipe, voices[:, None]) / scale)
    summed = _size(gram, np.repeat((voices != 0).astype(np.float64)[:, None], len(gram.groups), axis=1))
    if not merged > 0:
        raise BadRecipe("No expert that is heard changes the base, so there is nothing to scale.")
    alpha = summed / (np.count_nonzero(voices) * merged)
    ramp = {layer: slope * depth for tower in towers(layout) for layer, depth in _depths(tower)}
    rules = [Rule(value=float(alpha / scale))]
    rules += [Rule(value=float((alpha + extra) / scale), layer=layer) for layer, extra in ramp.items()]
    return replace(recipe, rules=()).with_rules(rules)


def metagpt(layout: Layout, gram: Gram, recipe: Recipe) -> Recipe:
    """MetaGPT: every expert gets |tau_t|^2 / sum_s |tau_s|^2.

    Args:
        layout: Not used: the coefficients are for whole experts.
        gram: Inner products of the task vectors, in the order of the recipe's experts.
        recipe: Whose faders are set; experts that are not heard keep theirs, gains of the others become 1.

    Returns:
        The recipe with one rule for each expert that is heard.

    Raises:
        BadRecipe: if no expert is heard or changes anything.
    """
    voices, scale = heard(recipe), _scale(recipe)
    squares = np.einsum("gtt->t", gram.matrix) * (voices != 0)
    if not squares.sum() > 0:
        raise BadRecipe("No expert that is heard changes the base, so there are no sizes to compare.")
    chosen = {e.id: float(s) for e, s, v in zip(recipe.experts, squares / squares.sum(), voices, strict=True) if v}
    kept = tuple(rule for rule in recipe.rules if rule.expert is not None and rule.expert not in chosen)
    gains = tuple(pair for pair in recipe.gains if pair[0] not in chosen)
    rules = [Rule(value=share / scale, expert=expert) for expert, share in chosen.items()]
    return replace(recipe, rules=kept, gains=gains).with_rules(rules)


def tiers(layout: Layout, gram: Gram, recipe: Recipe, levels: tuple[float, float, float] = LEVELS) -> Recipe:
    """Three levels for blocks by how far the experts agree in them; everything else stays at the default.

    Agreement is |sum_t tau_t| / sum_t |tau_t| of a block; blocks are ranked, the earlier first where they tie.

    Args:
        layout: Layers.
        gram: Inner products of the task vectors, in the order of the recipe's experts.
        recipe: Whose faders are set.
        levels: Factors of the third that agrees least, of what is in between, and of the third that agrees most.

    Returns:
        The recipe with one rule for each block that changes.

    Raises:
        BadRecipe: if fewer than two experts are heard, or if the method cancels such factors out.
    """
    voices = heard(recipe)
    if np.count_nonzero(voices) < 2:
        raise BadRecipe("Agreement needs two experts that are heard.", hint="Unmute or add an expert.")
    _factors(gram, recipe, voices[:, None])
    blocks = [layer for tower in towers(layout) for layer in tower]
    scores = [(agreement, layer) for layer in blocks if (agreement := _agreement(gram, layer, voices)) is not None]
    order = [layer for _, layer in sorted(scores, key=lambda pair: pair[0])]
    third, middle = len(order) // 3, find(recipe.method).coefficient
    rules = [Rule(value=middle * levels[0], layer=layer) for layer in order[:third]]
    rules += [Rule(value=middle * levels[1], layer=layer) for layer in order[third : len(order) - third]]
    rules += [Rule(value=middle * levels[2], layer=layer) for layer in order[len(order) - third :]]
    return replace(recipe, rules=()).with_rules(rules)


def towers(layout: Layout) -> list[list[str]]:
    """The labels of the blocks, tower by tower ("enc.0", "enc.1", ... and "dec.0", ...), in network order.

    A U-Net's way down, middle and way up are one tower.
    """
    found: dict[str, list[str]] = {}
    for layer in layout.layers:
        head, _, number = layer.rpartition(".")
        if number.isdigit() or layer == "mid":
            found.setdefault("unet" if {head, layer} & {"in", "mid", "out"} else head, []).append(layer)
    return list(found.values())


def _depths(tower: list[str]) -> list[tuple[str, float]]:
    """Every block with its depth from 0 to 1; 0 for a tower of one."""
    return [(layer, place / max(len(tower) - 1, 1)) for place, layer in enumerate(tower)]


def _scale(recipe: Recipe) -> float:
    """The method's common factor, 1 if it has none or it is 0."""
    params = find(recipe.method).complete(dict(recipe.params))
    return float(params.get("scale", 1.0)) or 1.0


def _factors(gram: Gram, recipe: Recipe, coefficients: np.ndarray) -> np.ndarray:
    """(T, G) factors of the task vectors for coefficients (T, 1).

    Raises:
        BadRecipe: if twice the coefficients do not give twice the factors.
    """
    method, names = find(recipe.method), [e.name for e in recipe.experts]
    wide = np.repeat(coefficients, len(gram.groups), axis=1)
    once = np.asarray(method.factors(wide, dict(recipe.params), names))
    twice = np.asarray(method.factors(2 * wide, dict(recipe.params), names))
    if not np.allclose(twice, 2 * once, rtol=SAME, atol=0):
        raise BadRecipe(
            f"{method.title} gives the same or another mix when all faders rise, so layers cannot be scaled with it.",
            hint="Choose task arithmetic or another method that adds task vectors, or switch normalise off.",
        )
    return once


def _size(gram: Gram, factors: np.ndarray) -> float:
    """Norm of sum_t f_t tau_t for factors (T, G)."""
    return float(np.sqrt(max(np.einsum("tg,gts,sg->", factors, gram.matrix, factors), 0.0)))


def _agreement(gram: Gram, layer: str, voices: np.ndarray) -> float | None:
    """|sum_t tau_t| / sum_t |tau_t| of a layer's experts that are heard; None where nothing changes."""
    rows = [g for g, group in enumerate(gram.groups) if group.place.layer == layer]
    chosen = np.flatnonzero(voices)
    matrix = gram.matrix[rows].sum(axis=0)[np.ix_(chosen, chosen)]
    parts = float(np.sqrt(np.maximum(matrix.diagonal(), 0.0)).sum())
    return float(np.sqrt(max(matrix.sum(), 0.0))) / parts if parts > 0 else None


LINES_HELP = """
**LiNeS** lets deep layers change more than shallow ones, which keeps what the base knows in general: block l of L gets
`alpha + slope · l / (L − 1)`, everything outside the blocks `alpha`, as in the official code.

- `alpha = ‖Σ τ‖ / (T · ‖merged‖)` makes methods comparable: 1 / T for task arithmetic. For methods that are not linear
  the norm of the merged task vector is an estimate.
- The slope is 0.5; the paper searches it on validation data. The method's *scale* is divided out.
- Encoder and decoder, or two towers, have a ramp each.
"""

METAGPT_HELP = """
**MetaGPT** gives every expert the share of its task vector in the sum of all squared norms, `‖τₜ‖² / Σ ‖τ‖²`, which
minimises a bound of the loss without data if task vectors are orthogonal. Experts that changed more are louder.
The method's *scale* is divided out; gains of the experts become 1.
"""

TIERS_HELP = """
**Agreement tiers** turn down the blocks in which the experts' task vectors cancel out, and turn up a little those in
which they agree: the lowest third 0.6, the middle 1, the upper third 1.1 of the default coefficient.

- **This is not the paper's formula.** It is made after the idea of **LARV**, which gates layers by two numbers: how far
  experts disagree, and how concentrated the singular values of the changes are, into two or three levels on top of any
  method. This preset uses the first number only, always three levels, and the levels are Mixdown's.
- There is no exact variant: neither code nor recorded numbers of the authors were at hand to check one against. Scores
  that are reported for LARV (such as Iso-C with LARV) are not to be expected from these tiers.
"""

PRESETS = (
    Preset("lines", "LiNeS", LINES_HELP, "Wang et al. 2025, LiNeS: Post-training Layer Scaling", lines),
    Preset("metagpt", "MetaGPT", METAGPT_HELP, "Zhou et al. 2024, MetaGPT (IBM/STAR's code)", metagpt),
    Preset("larv", "Agreement tiers (LARV)", TIERS_HELP, "after LARV 2026, arXiv 2602.09413", tiers),
)
"""The presets, in the order of the menu."""
