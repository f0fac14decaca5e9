"""Parameters that differ between places: `density[attn:3]` is the density of the attention of layer 3.

    density[attn] = 0.4                     all attention tensors
    density[:3] = 0.4                       everything in layer 3
    density[attn:3]@code = 0.4              one expert's, there
    scale[::model.norm.weight] = 1          one tensor

As with coefficients the most specific wins: tensor over layer over kind over expert. In a recipe these are parameters
like any other; a plan holds them as `Placed` values, and a kernel gets what they are for its tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.errors import BadRecipe
from engine.files.model import KINDS, Layout
from engine.recipe.per_expert import key, parts

V = TypeVar("V")
H = TypeVar("H", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Where:
    """What a place names; None matches all."""

    kind: str | None = None
    layer: str | None = None
    tensor: str | None = None

    @property
    def specificity(self) -> int:
        """Rank among places, as of coefficient rules: tensor 8, layer 4, kind 2, added up."""
        return 8 * (self.tensor is not None) + 4 * (self.layer is not None) + 2 * (self.kind is not None)

    @property
    def text(self) -> str:
        """The place as names of parameters hold it."""
        if self.tensor is not None:
            return f"::{self.tensor}"
        return (self.kind or "") + (f":{self.layer}" if self.layer is not None else "")

    def has(self, layer: str, kind: str, tensor: str | None) -> bool:
        """Whether a tensor, or the group of a layer and kind where `tensor` is None, lies here."""
        if self.tensor is not None:
            return self.tensor == tensor
        return self.layer in (None, layer) and self.kind in (None, kind)


@dataclass(frozen=True, slots=True)
class Placed(Generic[V]):
    """A value that some tensors have for themselves.

    Attributes:
        common: Of all others.
        own: By tensor.
    """

    common: V
    own: Mapping[str, V]

    def of(self, tensor: str) -> V:
        """The value of one tensor."""
        return self.own.get(tensor, self.common)

    def __str__(self) -> str:
        values = [self.common, *self.own.values()]
        if any(isinstance(v, (bool, str)) for v in values):
            return f"{self.common} (other values in {len(self.own)} tensors)"
        numbers = [float(str(v)) for v in values]
        return f"{min(numbers):g} to {max(numbers):g}, by tensor"


def where(place: str) -> Where:
    """Read a place: "attn", "attn:3", ":3" or "::model.norm.weight".

    Raises:
        BadRecipe: if it is none.
    """
    if place.startswith("::") and len(place) > 2:
        return Where(tensor=place[2:])
    kind, colon, layer = place.partition(":")
    if (kind and kind not in KINDS) or (colon and not layer) or not place or ":" in layer:
        raise BadRecipe(f"[{place}] is not a place.", hint=f"Write [kind], [kind:layer], [:layer] or [::tensor]; kinds "
                        f"are {', '.join(KINDS)}.")  # fmt: skip
    return Where(kind or None, layer or None)


def has_places(names: Iterable[str]) -> bool:
    """Whether any parameter is for a place only."""
    return any(parts(name)[2] for name in names)


def at(params: Mapping[str, Any], tensor: str) -> Mapping[str, Any]:
    """A plan's parameters as they are for one tensor.

    Args:
        params: Some of them may be `Placed`.
        tensor: Its name; "" for the values of most tensors.
    """
    if not any(isinstance(value, Placed) for value in params.values()):
        return params
    return {name: value.of(tensor) if isinstance(value, Placed) else value for name, value in params.items()}


def in_group(params: Mapping[str, V], layer: str, kind: str) -> dict[str, V]:
    """Parameters as they are in one layer and kind, but for single tensors: none is left that is for a place."""
    rules = _Rules(params)
    return {name: rules.value(name, layer, kind, None) for name in rules.names()}


def placed(params: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Complete parameters of a recipe with those that are for places gathered into `Placed` values.

    Args:
        params: All of a method's parameters, then those of experts and places.
        layout: Of the merged model.

    Raises:
        BadRecipe: for a place that no tensor of the model is in.
    """
    if not has_places(params):
        return dict(params)
    rules = _Rules(params)
    rules.check(layout)
    made: dict[str, Any] = {}
    for name in rules.names():
        common = params.get(name, params[parts(name)[0]])
        if parts(name)[0] not in rules.moved:
            made[name] = common
            continue
        values = {n: rules.value(name, p.layer, p.kind, n) for n, p in layout.places.items()}
        own = {n: value for n, value in values.items() if value != common}
        made[name] = Placed(common, own) if own else common
    return made


class _Rules(Generic[V]):
    """The values of parameters, by how specific they are.

    Args:
        params: Complete parameters of a recipe.
    """

    def __init__(self, params: Mapping[str, V]) -> None:
        self._params = params
        self._rules: dict[str, list[tuple[int, str, Where, V]]] = {}
        self._texts: dict[Where, str] = {}
        self.moved = {parts(name)[0] for name in params if parts(name)[2]}
        for name, value in params.items():
            param, expert, place = parts(name)
            found = where(place) if place else Where()
            self._texts[found] = name
            self._rules.setdefault(param, []).append((found.specificity + bool(expert), expert, found, value))
        for rules in self._rules.values():
            rules.sort(key=lambda rule: -rule[0])

    def names(self) -> list[str]:
        """Every parameter, and of each expert every parameter that it has for itself anywhere."""
        return list(dict.fromkeys(key(*parts(name)[:2]) for name in self._params))

    def value(self, name: str, layer: str, kind: str, tensor: str | None) -> V:
        """A parameter ("density", "density@code") in one place."""
        param, expert, _ = parts(name)
        for _, whose, found, value in self._rules[param]:
            if whose in ("", expert) and found.has(layer, kind, tensor):
                return value
        raise KeyError(name)

    def check(self, layout: Layout) -> None:
        """Refuse places that are nowhere."""
        known = {(p.layer, p.kind) for p in layout.places.values()}
        for found, name in self._texts.items():
            inside = found.tensor in layout.places or any(found.has(*place, None) for place in known)
            if not inside:
                raise BadRecipe(f"No tensor of the model is in [{found.text}].", where=name,
                                hint=f"Take {name} out of the recipe, or choose another place.")  # fmt: skip


def cover(wanted: Mapping[str, H], layout: Layout) -> tuple[H, list[tuple[Where, H]]]:
    """The fewest places found that say a value for every tensor: the usual one and, in order, where it differs.

    Args:
        wanted: Value of every tensor of the layout.
        layout: Of the model.
    """
    from collections import Counter

    usual = Counter(wanted.values()).most_common(1)[0][0]
    made: list[tuple[Where, H]] = []
    now = dict.fromkeys(wanted, usual)

    def add(place: Where, names: Iterable[str]) -> None:
        inside = list(names)
        values = {wanted[name] for name in inside}
        if len(values) == 1 and any(now[name] != wanted[name] for name in inside):
            made.append((place, wanted[inside[0]]))
            now.update(dict.fromkeys(inside, wanted[inside[0]]))

    for kind, names in _gathered(layout, lambda n: layout.places[n].kind).items():
        add(Where(kind=kind), names)
    for layer, names in _gathered(layout, lambda n: layout.places[n].layer).items():
        add(Where(layer=layer), names)
    for group in layout.groups:
        add(Where(kind=group.place.kind, layer=group.place.layer), group.tensors)
    for name in wanted:
        add(Where(tensor=name), [name])
    return usual, made


def _gathered(layout: Layout, by: Callable[[str], str]) -> dict[str, list[str]]:
    """Tensor names by layer or kind."""
    found: dict[str, list[str]] = {}
    for name in layout.places:
        found.setdefault(by(name), []).append(name)
    return found
