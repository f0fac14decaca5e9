"""What a recipe is called: its method and what it says, so that one is told from the next at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.errors import MixdownError
from engine.methods import find
from engine.recipe.recipe import Recipe, Rule

SEPARATOR = " · "
MOST = 72
"""Characters of a title; what does not fit is counted."""


def title_of(recipe: Recipe, others: Iterable[Recipe] = ()) -> str:
    """ "TIES · density 0.2 · chat 0.4 · without math": the method and what differs from its defaults.

    Args:
        recipe: What is named.
        others: Recipes that it must be told from; what the last of them does not say comes first.
    """
    words = _words(recipe)
    last = [*others][-1:]
    known = set(_words(last[0])) if last else set()
    words = [w for w in words if w not in known] + [w for w in words if w in known]
    if not words and recipe.experts:
        words = [_number(len(recipe.experts), "expert")]
    return _fitted([method_title(recipe), *words])


def method_title(recipe: Recipe) -> str:
    """The method's name, or its id where nothing here has that method."""
    try:
        return find(recipe.method).title
    except MixdownError:
        return recipe.method


def method_words(recipe: Recipe) -> str:
    """ "TIES · density 0.2": the method and its parameters that differ from their defaults."""
    return SEPARATOR.join([method_title(recipe), *_params(recipe)])


def _words(recipe: Recipe) -> list[str]:
    return [*_params(recipe), *_coefficients(recipe), *_heard(recipe), *_rest(recipe)]


def _fitted(words: Sequence[str]) -> str:
    """As many words as fit; the first is always there."""
    for count in range(len(words), 1, -1):
        left = [f"{len(words) - count} more"] if count < len(words) else []
        text = SEPARATOR.join([*words[:count], *left])
        if len(text) <= MOST:
            return text
    return SEPARATOR.join([words[0], f"{len(words) - 1} more"]) if len(words) > 1 else words[0]


def _params(recipe: Recipe) -> list[str]:
    yes = {True: "yes", False: "no"}
    return [
        f"{name.replace('_', ' ')} "
        + (yes[v] if isinstance(v, bool) else f"{v:g}" if isinstance(v, float) else str(v))
        for name, v in recipe.params
    ]  # fmt: skip


def _coefficients(recipe: Recipe) -> list[str]:
    """ "chat 0.4", "code attn 0.25", "chat 12 layers 0.7"; rows that are turned up or down by a factor."""
    names = {e.id: e.name for e in recipe.experts}
    groups: dict[tuple[str | None, str | None, float], list[Rule]] = {}
    for rule in recipe.rules:
        groups.setdefault((rule.expert, rule.kind, rule.value), []).append(rule)
    words = []
    for (expert, kind, value), rules in groups.items():
        who = names.get(expert, expert) if expert is not None else "all"
        where = [part for part in (kind, _places(rules)) if part]
        words.append(" ".join([who, *where, f"{value:.4g}"]))
    return [*words, *(f"{names.get(id_, id_)} ×{gain:.4g}" for id_, gain in recipe.gains)]


def _places(rules: Sequence[Rule]) -> str:
    """Where rules that say the same hold: "" for everywhere, a layer, a tensor, or how many."""
    if any(r.layer is None and r.tensor is None for r in rules):
        return ""
    if len(rules) == 1:
        return rules[0].tensor or f"layer {rules[0].layer}"
    return _number(len(rules), "tensor" if any(r.tensor for r in rules) else "layer")


def _heard(recipe: Recipe) -> list[str]:
    """ "without math"; "only chat" where that is shorter."""
    silent = [e.name for e in recipe.experts if not recipe.is_heard(e.id)]
    heard = [e.name for e in recipe.experts if recipe.is_heard(e.id)]
    if not silent:
        return []
    word, named = ("only", heard) if heard and len(heard) < len(silent) else ("without", silent)
    return [f"{word} {' and '.join(named)}" if len(named) < 3 else f"{word} {len(named)} experts"]


def _rest(recipe: Recipe) -> list[str]:
    words = [f"seed {recipe.seed}"] if recipe.seed else []
    words += [recipe.dtype] if recipe.dtype else []
    return [*words, *([_number(len(recipe.stack), "slice")] if recipe.stack else [])]


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
