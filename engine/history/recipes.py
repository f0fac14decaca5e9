"""Recipes as the history keeps them: canonical JSON, a key of what is merged."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from engine.evaluate.score import Score, average
from engine.files import strict_json
from engine.history.values import Input, Mean
from engine.recipe import stack
from engine.recipe.project import from_json, to_json
from engine.recipe.recipe import Recipe


def canonical(recipe: Recipe) -> str:
    """The recipe as JSON that is the same for equal recipes."""
    return _dumped(to_json(recipe))


def recipe_of(text: str) -> Recipe:
    """The recipe of canonical JSON, checked like a project file.

    Raises:
        BadProject: if it is damaged.
    """
    from engine.errors import BadProject

    try:
        data = strict_json.parse(text.encode("utf-8", "surrogatepass"), depth=12)
    except strict_json.BadJson as error:
        raise BadProject(f"The recipe of this run cannot be used: {error}.") from error
    if not isinstance(data, dict):
        raise BadProject("The recipe of this run cannot be used.")
    return from_json(data)


def key_of(recipe: Recipe) -> str:
    """SHA-256 of what is merged: no paths, ids or names of files beyond those of experts, no tasks.

    Where a content hash is not known the path stands for it.
    """
    data = to_json(recipe)
    order = {e.id: n for n, e in enumerate(recipe.experts)}

    def model(raw: dict[str, Any]) -> str:
        return str(raw["sha256"] or raw["path"])

    plain = {
        **{k: data[k] for k in ("method", "params", "seed", "dtype")},
        "base": model(data["base"]) if data["base"] else "",
        "experts": [[e["name"], model(e)] for e in data["experts"]],
        "rules": [{**r, "expert": order.get(r["expert"], -1)} if "expert" in r else r for r in data["rules"]],
        "heard": [recipe.is_heard(e.id) for e in recipe.experts],
        "gains": [recipe.gain(e.id) for e in recipe.experts],
    }
    if recipe.stack:
        plain["stack"] = stack.to_plain(stack.renamed(recipe.stack, {id_: str(n) for id_, n in order.items()}))
    return hashlib.sha256(_dumped(plain).encode("utf-8", "surrogatepass")).hexdigest()


def inputs_of(recipe: Recipe) -> tuple[Input, ...]:
    """Base and experts."""
    base = (Input(role="base", name=recipe.base.name, path=recipe.base.path, sha256=recipe.base.sha256),) \
        if recipe.base else ()  # fmt: skip
    return (*base, *(Input(role="expert", name=e.name, path=e.path, sha256=e.sha256) for e in recipe.experts))


def shown(score: Score) -> tuple[float, float, float]:
    """Value, low and high as they are shown: shares in percent."""
    factor = 100.0 if score.measure.unit == "%" else 1.0
    return score.value * factor, score.low * factor, score.high * factor


def mean_of(scores: tuple[Score, ...]) -> Mean | None:
    """The mean over tasks as it is shown; None without scores."""
    if not scores or len({s.split for s in scores}) > 1:
        return None
    found = average(scores)
    unit = next((s.measure.unit for s in scores if s.metric == found.metric), "%")
    factor = 100.0 if unit == "%" else 1.0
    return Mean(value=found.value * factor, low=found.low * factor, high=found.high * factor, count=found.count,
                unit=unit)  # fmt: skip


def _dumped(data: object) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
