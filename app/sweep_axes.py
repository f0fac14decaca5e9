"""Which numbers of a recipe can be swept, over which values, and how both are written on the command line. Light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import BadRecipe, OutOfRange
from engine.methods import find
from engine.methods.spec import Param
from engine.preview.grid import Axis
from engine.recipe.recipe import Recipe
from widgets.plots.sweep_state import Quantity

_FIRST = ("scale", "density", "k", "strictness")
_HIDDEN = ("post_alpha", "drop_lambda")
"""Numbers of extras that are off by default: sweeping them would change nothing."""


def sweepables(recipe: Recipe) -> tuple[Quantity, ...]:
    """All numbers of a recipe that can be swept, the most useful first."""
    method, values = find(recipe.method), find(recipe.method).complete(dict(recipe.params))
    off = () if values.get("post", "none") != "none" else ("post_alpha",)
    hidden = {*off, *(() if any(values.get(n) for n in values if n.startswith("drop_") and n != "drop_lambda")
                      else ("drop_lambda",))}  # fmt: skip
    params = [p for p in method.params if _is_number(p) and not (p.name in _HIDDEN and p.name in hidden)]
    params.sort(key=lambda p: _FIRST.index(p.name) if p.name in _FIRST else len(_FIRST))
    found = [_of_param(p, len(recipe.experts)) for p in params]
    top = 1.0 if method.space == "weight" else 1.5
    found.append(Quantity(id="fader:", label="coefficient of all experts", low=0.0, high=top))
    for ref in recipe.experts:
        found.append(Quantity(id=f"gain:{ref.id}", label=f"gain of {ref.name}", low=0.0, high=1.5))
    for ref in recipe.experts:
        found.append(Quantity(id=f"fader:{ref.id}", label=f"coefficient of {ref.name}", low=0.0, high=top))
    return tuple(found)


def _is_number(param: Param) -> bool:
    return isinstance(param.default, (int, float)) and not isinstance(param.default, bool)


def _of_param(param: Param, experts: int) -> Quantity:
    """A parameter with a range around its default."""
    default, whole = float(param.default), isinstance(param.default, int)
    least = -1000.0 if param.low is None else param.low
    most = 1000.0 if param.high is None else param.high
    if whole:
        low, high = max(least, 1.0), min(most, float(max(experts, 2)))
    elif most - least <= 1.0:
        low, high = least + (most - least) / 10, most
    else:
        low, high = max(least, default / 3), min(most, default * 2 if default else 1.0)
    count = int(high - low) + 1 if whole else 6
    return Quantity(id=f"param:{param.name}", label=param.label, low=round(low, 4), high=round(high, 4),
                     count=min(max(count, 2), 8), least=least, most=most, whole=whole)  # fmt: skip


def values_of(low: float, high: float, count: int, *, whole: bool = False) -> tuple[float, ...]:
    """Evenly spaced values from the lower to the higher end, each once.

    Raises:
        OutOfRange: if there would be fewer than two.
    """
    made = np.linspace(min(low, high), max(low, high), max(count, 1))
    rounded = dict.fromkeys(float(round(v)) if whole else round(float(v), 6) for v in made)
    if len(rounded) < 2:
        raise OutOfRange("A sweep needs at least two different values.", hint="Widen the range.")
    return tuple(rounded)


def axis(recipe: Recipe, what: str, values: Sequence[float]) -> Axis:
    """The engine's axis of a `Quantity.id`.

    Raises:
        BadRecipe: if the recipe has no such number.
        OutOfRange: if a value is not allowed.
    """
    if what not in {found.id for found in sweepables(recipe)}:
        known = ", ".join(found.id.removeprefix("param:") for found in sweepables(recipe))
        raise BadRecipe(f"There is no number {what.removeprefix('param:')!r} to sweep.", hint=f"There are: {known}.")
    kind, _, name = what.partition(":")
    made = Axis("param" if kind == "param" else "gain" if kind == "gain" else "fader", name, tuple(values))
    for value in values:
        made.applied(recipe, value)
    return made


def parse_axis(recipe: Recipe, text: str) -> Axis:
    """The axis of "scale=0.1:0.6:6", "k=1,2,3", "gain:code=0:1:5" or "fader:code=0:1:5" ("fader:" means all experts).

    Raises:
        BadRecipe: if there is no such number or expert.
        OutOfRange: if the values are none or not allowed.
    """
    name, equals, values = text.rpartition("=")
    if not equals or not name:
        raise OutOfRange(f"{text!r} is not an axis.", hint='Write for example --axis "scale=0.1:0.6:6"')
    kind, colon, who = name.partition(":")
    if kind not in ("gain", "fader", "param") or not (colon or kind == "fader"):
        kind, who = "param", name
    if kind in ("gain", "fader") and who:
        who = next((ref.id for ref in recipe.experts if who in (ref.name, ref.id)), who)
    what = f"{kind}:{who}"
    whole = next((found.whole for found in sweepables(recipe) if found.id == what), False)
    return axis(recipe, what, _numbers(values, whole=whole))


def _numbers(text: str, *, whole: bool) -> tuple[float, ...]:
    """Values of "LOW:HIGH:COUNT" or "A,B,C"."""
    try:
        if ":" in text:
            low, high, count = text.split(":")
            return values_of(float(low), float(high), int(count), whole=whole)
        return tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError as error:
        raise OutOfRange(f"{text!r} are no values.", hint="Write LOW:HIGH:COUNT or A,B,C.") from error


def shown(value: float) -> str:
    """A value as people write it: "0.3", "2"."""
    return f"{value:.4f}".rstrip("0").rstrip(".").replace("-", "−") if value else "0"
