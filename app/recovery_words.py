"""What two states of a project say differently, as a table: pure functions, no model is opened."""

from __future__ import annotations

import time
from collections.abc import Mapping

from engine.errors import MixdownError
from engine.methods import find
from engine.recipe.recipe import Recipe

Row = tuple[str, str, str]


def differences(
    saved: Recipe, pins: Mapping[str, Recipe], recovered: Recipe, its_pins: Mapping[str, Recipe]
) -> tuple[Row, ...]:
    """Rows of what, in the saved file, recovered; models and method first, then faders."""
    before, after = _said(saved), _said(recovered)
    before |= {f"pin {name}": "kept" for name in pins}
    after |= {
        f"pin {name}": "kept" if pins.get(name, pin) == pin else "another recipe" for name, pin in its_pins.items()
    }
    keys = dict.fromkeys((*before, *after))
    told = ((key, before.get(key, _absent(key)), after.get(key, _absent(key))) for key in keys)
    return tuple(row for row in told if row[1] != row[2])


def _absent(key: str) -> str:
    """What it means that a recipe says nothing about something."""
    if key.endswith((" gain", " sound")):
        return "×1" if key.endswith(" gain") else "heard"
    return "default" if " · " in key else "–"


def _said(recipe: Recipe) -> dict[str, str]:
    """Everything that a recipe says, by what it is about."""
    said = {"method": recipe.method, "base": recipe.base.name if recipe.base else "none"}
    params: dict[str, object] = dict(recipe.params)
    try:
        method = find(recipe.method)
        said["method"], params = method.title, dict(method.complete(params))
    except MixdownError:
        pass
    said |= {f"expert {e.name}": "on the desk" for e in recipe.experts}
    said["order of rows"] = ", ".join(e.name for e in recipe.experts)
    said |= {name.replace("_", " "): f"{value:g}" if isinstance(value, float) else str(value)
             for name, value in params.items()}  # fmt: skip
    said |= {f"{e.name} gain": f"×{recipe.gain(e.id):g}" for e in recipe.experts if recipe.gain(e.id) != 1}
    said |= {f"{e.name} sound": "silent" for e in recipe.experts if not recipe.is_heard(e.id)}
    said |= {f"task {t.name}": "used" for t in recipe.tasks}
    said |= {"seed": str(recipe.seed), "dtype": recipe.dtype or "as the base"}
    names = {e.id: e.name for e in recipe.experts}
    for rule in sorted(recipe.rules, key=lambda r: (r.specificity, str(r.keys))):
        layer = f"layer {rule.layer}" if rule.layer is not None else None
        expert = names.get(rule.expert, rule.expert) if rule.expert is not None else "all experts"
        said[" · ".join(p for p in (expert, rule.tensor or layer, rule.kind) if p)] = f"{rule.value:.4g}"
    if len(recipe.experts) < 2:
        del said["order of rows"]
    return said


def moment(seconds: float, now: float) -> str:
    """A time for people: the clock today, with the date on other days."""
    then = time.localtime(seconds)
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("today %H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)
