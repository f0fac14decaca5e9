"""mergekit's methods and ours: one table, checked against the registry whenever a recipe is read or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.methods import registered
from engine.recipe.recipe import Value

Switch = tuple[str, Value, Value]
"""(our parameter, its value when mergekit's switch is on, when it is off)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Several of mergekit's switches that are one parameter of ours.

    Attributes:
        ours: Our parameter.
        theirs: Their names.
        values: Their positions -> our value; the first that has a value is written.
    """

    ours: str
    theirs: tuple[str, ...]
    values: Mapping[tuple[bool, ...], Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One method of mergekit 0.1.5 in our words.

    Attributes:
        id: Our method.
        fixed: Parameters that make ours the mergekit-compatible variant.
        fader: mergekit's parameter that is our coefficient ("weight", "t"), "" if it has none.
        shared: mergekit's parameters of the whole merge -> our parameters.
        each: mergekit's parameters of each model -> our parameter that experts may have for themselves.
        switches: mergekit's switches -> our parameter and its two values.
        choice: Several switches that are one parameter.
        defaults: mergekit's defaults of shared, each, switches and fader.
        divides: Whether `normalize` divides by the sum of the coefficients, which is done to the faders.
        everyone: Whether the base is one of the inputs like any other.
        from_base: Our switch for what mergekit does when there is a `base_model`, "" if it always needs one.
        factor: Our parameter that mergekit says with the faders, "" if there is none.
        models: Fewest and most models beside the base.
        ignored: Parameters without effect on the result.
        random: Whether masks are drawn, so that the two programs differ in what they drop.
    """

    id: str
    fixed: Mapping[str, Value] = field(default_factory=dict)
    fader: str = "weight"
    shared: Mapping[str, str] = field(default_factory=dict)
    each: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, Switch] = field(default_factory=dict)
    choice: Choice | None = None
    defaults: Mapping[str, Value] = field(default_factory=dict)
    divides: bool = False
    everyone: bool = False
    from_base: str = ""
    factor: str = ""
    models: tuple[int, int | None] = (1, None)
    ignored: frozenset[str] = frozenset()
    random: bool = False

    @property
    def known(self) -> frozenset[str]:
        """All parameter names that mergekit's method has."""
        more = {"normalize"} if self.divides else set()
        more |= {self.fader} if self.fader else set()
        more |= set(self.choice.theirs) if self.choice else set()
        return frozenset({*self.shared, *self.each, *self.switches, *self.ignored, *more})

    @property
    def said(self) -> frozenset[str]:
        """All our parameters that mergekit can say something about."""
        more = {self.choice.ours} if self.choice else set()
        more |= {name for name in (self.from_base, self.factor) if name}
        switched = (s[0] for s in self.switches.values())
        return frozenset({*self.shared.values(), *self.each.values(), *self.fixed, *switched, *more})

    def missing(self) -> str:
        """What the registry does not have of it, in words; "" if all is there."""
        method = registered().get(self.id)
        if method is None:
            return f"there is no method {self.id!r}"
        ours = {p.name: p for p in method.params}
        absent = sorted(self.said - ours.keys())
        if absent:
            return f"{method.title} has no parameter {absent[0]!r}"
        values = [*self.fixed.items(), *((s[0], v) for s in self.switches.values() for v in s[1:])]
        values += [(self.choice.ours, v) for v in self.choice.values.values()] if self.choice else []
        wrong = next((f"{n} = {v}" for n, v in values if ours[n].choices and v not in ours[n].choices), "")
        return f"{method.title} has no {wrong}" if wrong else ""


_LAMBDA = {"lambda": "scale"}
_DENSITY = {"density": "density"}
_SPARSE = {"lambda": 1.0, "density": 1.0}
_INT8 = frozenset({"int8_mask"})
_RESCALE = {"rescale": ("rescale", True, False)}
_L1 = {"rescale": ("rescale", "l1", "none")}
_MERGE = {"normalize": ("merge", "weighted", "sum")}
_BANDS = {"density": "density", "gamma": "gamma"}
_DROPS = {"density": "density", "epsilon": "epsilon"}

METHODS: Mapping[str, Entry] = {
    "linear": Entry(
        id="linear", switches={"normalize": ("normalise", True, False)}, defaults={"normalize": True}, everyone=True
    ),
    "slerp": Entry(id="slerp", fader="t", models=(1, 1)),
    "nuslerp": Entry(
        id="nuslerp", fixed={"from_base": True}, from_base="from_base", models=(2, 2),
        choice=Choice(ours="vectors", theirs=("nuslerp_flatten", "nuslerp_row_wise"), values={
            (True, False): "tensor", (False, False): "rows", (False, True): "columns", (True, True): "tensor"}),
        defaults={"nuslerp_flatten": True, "nuslerp_row_wise": False},
    ),
    "multislerp": Entry(
        id="multislerp", fixed={"from_base": True}, from_base="from_base", ignored=frozenset({"eps"}),
        switches={"normalize_weights": ("normalise", True, False)}, defaults={"normalize_weights": True},
    ),
    "karcher": Entry(
        id="karcher", fader="", shared={"max_iter": "rounds", "tol": "tolerance"}, everyone=True,
        from_base="include_base", defaults={"max_iter": 10, "tol": 1e-5},
    ),
    "model_stock": Entry(
        id="model_stock", fixed={"variant": "mergekit", "clamp": False}, fader="", models=(2, None),
        switches={"filter_wise": ("filter_wise", True, False)}, defaults={"filter_wise": False},
    ),
    "nearswap": Entry(id="nearswap", fader="", shared={"t": "reach"}, models=(1, 1)),
    "arcee_fusion": Entry(id="arcee_fusion", fixed={"deviation": 1.5}, fader="", models=(1, 1)),
    "passthrough": Entry(
        id="passthrough", fader="scale", factor="scale", defaults={"scale": 1.0}, everyone=True, models=(1, 1)
    ),
    "task_arithmetic": Entry(
        id="task_arithmetic", shared=_LAMBDA, defaults={"lambda": 1.0}, divides=True,
        ignored=frozenset({"int8_mask", "density", "rescale"}),
    ),
    "ties": Entry(
        id="ties", fixed={"trim": "count", "trim_scope": "tensor", "zero_sum": "positive"}, shared=_LAMBDA,
        each=_DENSITY, switches={**_RESCALE, **_MERGE}, defaults={**_SPARSE, "normalize": True}, ignored=_INT8,
    ),
    "dare_linear": Entry(
        id="dare_linear", fixed={"rescale_by": "l1"}, shared=_LAMBDA, each=_DENSITY, switches=_RESCALE,
        defaults={**_SPARSE, "rescale": True}, divides=True, ignored=_INT8, random=True,
    ),
    "dare_ties": Entry(
        id="dare_ties", fixed={"rescale_by": "l1", "trim": 1.0, "zero_sum": "positive"}, shared=_LAMBDA, each=_DENSITY,
        switches={**_RESCALE, **_MERGE}, defaults={**_SPARSE, "rescale": True, "normalize": False}, ignored=_INT8,
        random=True,
    ),
    "della": Entry(
        id="della", fixed={"ranks": "row"}, shared=_LAMBDA, each=_DROPS, switches={**_L1, **_MERGE},
        defaults={**_SPARSE, "epsilon": 0.15, "rescale": True, "normalize": True}, ignored=_INT8, random=True,
    ),
    "della_linear": Entry(
        id="della_linear", fixed={"ranks": "row"}, shared=_LAMBDA, each=_DROPS, switches=_L1,
        defaults={**_SPARSE, "epsilon": 0.15, "rescale": True}, divides=True, ignored=_INT8, random=True,
    ),
    "breadcrumbs": Entry(
        id="breadcrumbs", fixed={"ranks": "tensor"}, shared=_LAMBDA, each=_BANDS, divides=True, ignored=_INT8,
        switches=_RESCALE, defaults={**_SPARSE, "gamma": 0.01},
    ),
    "breadcrumbs_ties": Entry(
        id="breadcrumbs_ties", fixed={"ranks": "tensor"}, shared=_LAMBDA, each=_BANDS, ignored=_INT8,
        switches={**_RESCALE, **_MERGE}, defaults={**_SPARSE, "gamma": 0.01},
    ),
    "sce": Entry(
        id="sce", fixed={"uniform_floor": True}, fader="", shared={"select_topk": "density"},
        defaults={"select_topk": 1.0}, ignored=_INT8,
    ),
    "ram": Entry(id="ram", fader="", shared={"epsilon": "epsilon"}, defaults={"epsilon": 1e-5}),
    "ramplus_tl": Entry(
        id="ramplus_tl", fixed={"counts": "tensor"}, fader="", defaults={"epsilon": 1e-5, "r": 0.1, "alpha": 0.2},
        shared={"epsilon": "epsilon", "r": "r", "alpha": "alpha"},
    ),
}  # fmt: skip

RESTACKED = Entry(
    id="linear", fixed={"normalise": False}, fader="scale", defaults={"scale": 1.0}, everyone=True
)  # fmt: skip
"""`passthrough` of several models, each for its own layers: a linear merge with factors 1 and 0."""


def names_of(method: str) -> list[str]:
    """The names that mergekit has for one of our methods, most usual first."""
    return [name for name, entry in METHODS.items() if entry.id == method]
