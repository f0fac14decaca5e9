"""What a merge method declares about itself, and the registry of all of them.

Light: never imports torch. The parameter panel, the command-line flags, the help page and the
parametrised tests are all generated from these declarations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from typing import Any, Literal

from engine.declare.fitting import fitted
from engine.declare.foreign import check_declared, guarded
from engine.errors import BadRecipe, OutOfRange, UnknownMethod
from engine.recipe.per_expert import for_expert, is_own, owners, parts, split
from engine.recipe.places import has_places, in_group, where

Live = Literal["linear", "mask", "full"]
Scope = Literal["element", "rows", "tensor"]
Value = float | int | bool | str
Kernel = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Param:
    """One number, switch or choice of a method.

    Attributes:
        name: Python identifier; also the CLI name (`--param name=value`).
        default: The value the spec recommends; its type is the parameter's type.
        help: One sentence for tooltip, CLI and help page.
        low: Smallest allowed value (numbers only).
        high: Largest allowed value (numbers only).
        choices: Allowed values (strings only).
        live: What moving it costs: "linear" exact at once, "mask" a pass over masks, "full" a merge.
        title: Label in the panel; made from the name when empty.
        step: Step of the panel's spin box.
        role: "expert" when the value is the name of an expert of the recipe ("" means the first).
        each: Whether experts may have values of their own ("density@code"); the kernel then gets a
            `engine.recipe.per_expert.PerExpert` where the recipe has any.
    """

    name: str
    default: Value
    _: KW_ONLY
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: Live = "full"
    title: str = ""
    step: float = 0.05
    role: Literal["", "expert"] = ""
    each: bool = False

    @property
    def label(self) -> str:
        """The text shown beside the control."""
        return self.title or self.name.replace("_", " ")

    def parse(self, value: object) -> Value:
        """Turn a value from a file, a flag or a widget into this parameter's type.

        Raises:
            OutOfRange: if it is of the wrong type or outside the declared range.
        """
        parsed = _convert(value, self.default, self.name)
        if self.choices and parsed not in self.choices:
            raise OutOfRange(f"{self.name} cannot be {parsed!r}.", hint=f"Use one of: {', '.join(self.choices)}.")
        if isinstance(parsed, (int, float)) and not isinstance(parsed, bool):
            self._check_range(parsed)
        return parsed

    def _check_range(self, number: float) -> None:
        below = self.low is not None and number < self.low
        above = self.high is not None and number > self.high
        if below or above or number != number:
            low = "-∞" if self.low is None else f"{self.low:g}"
            high = "∞" if self.high is None else f"{self.high:g}"
            raise OutOfRange(f"{self.name} is {number:g}.", hint=f"Choose a value from {low} to {high}.")


_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _convert(value: object, default: Value, name: str) -> Value:
    """Convert `value` to the type of `default`; strings come from the command line."""
    try:
        if isinstance(default, bool):
            return _yes_or_no(value)
        if isinstance(default, str):
            if not isinstance(value, str):
                raise ValueError(value)
            return value
        return _number(value, whole=isinstance(default, int))
    except (ValueError, KeyError, OverflowError) as error:
        kind = {bool: "yes or no", str: "text", int: "a whole number", float: "a number"}[type(default)]
        raise OutOfRange(f"{name} must be {kind}, not {value!r}.") from error


def _yes_or_no(value: object) -> bool:
    if isinstance(value, str):
        return _WORDS[value.strip().lower()]
    if isinstance(value, (bool, int)):
        return bool(value)
    raise ValueError(value)


def _number(value: object, *, whole: bool) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(value)
    number = float(value)
    if whole and number != int(number):
        raise ValueError(value)
    return int(number) if whole else number


Shortcut = Callable[[tuple[float, ...], Mapping[str, Value]], "int | None"]
"""(coefficients of one tensor, parameters) -> -1 for "the base's bytes", t for "expert t's bytes", None."""


def zero_is_base(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """The law every delta method keeps: when all coefficients are 0 the result is the base."""
    return -1 if all(w == 0 for w in weights) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One merge method: a pure function of tensors and what everybody must know about it.

    Attributes:
        id: Stable name in recipes and on the command line.
        title: Name as the field writes it.
        family: Heading under which the method menu lists it ("linear", "spherical", "sparse",
            "masks", "spectral").
        summary: One sentence for the method menu.
        paper: Source, with the variant that is the default.
        version: Raised when the same recipe gives other bytes than before; exports say which one made them.
        space: "delta": the kernel takes task vectors and returns one; "weight": it takes and returns weights.
        scope: What the kernel must see at once. "element": any (n,) piece of a tensor; "rows": whole rows, (r, c)
            where c = numel / shape[0] (tensors of fewer than two dimensions are one row); "tensor": each tensor
            in its own shape. It returns the same shape. Statistics always see (n,) pieces.
        params: Declared parameters, in panel order.
        live: "linear" if the output is linear in the coefficients, else "mask" or "full".
        reproducibility: "A" bit-identical anywhere, "B" same device and build, "C" within a tolerance.
        needs_base: Whether a base is required.
        min_experts: Fewest experts.
        max_experts: Most experts, None for any number.
        min_models: Fewest checkpoints in all, a base included (SLERP: base and expert, or two experts).
        hears_silent: Whether an expert whose coefficients are all 0 still takes part (SLERP: it is one of
            the two ends); for all other methods it is as if it were not in the recipe.
        coefficient: Default coefficient of every expert (a number, or 0.5 for SLERP's position).
        coefficient_help: What the faders mean for this method.
        help: Markdown paragraph for the in-app help: what differs from other implementations, tie rule.
        merge: The kernel. Called as `merge(deltas, weights, **params)` for space "delta" and
            `merge(weights_of_models, weights, **params)` for space "weight", chunk by chunk; it may also
            declare any of the keyword arguments `base`, `span`, `stats` (see `engine.merge.compute`).
        survey: Optional whole-model statistic: `survey(view, **params) -> stats`.
        measure: Optional statistic of one tensor: `measure(view, stats=survey's, **params) -> stats`; when
            there is one, its result is what the kernel gets as `stats`. A statistic may have a text `note`
            ("lerp"); reports count the notes.
        whole: (parameters) -> names of those that the survey takes of the whole model, so that they cannot differ
            between tensors; without it all but `scale` of a method that has a survey.
        shortcut: When bytes can be copied instead of computed.
        host: Whether kernel and statistics take numpy arrays as well as tensors (`engine.steps.ops`); or (parameters)
            -> whether they do.
        effective: Light numpy function (coefficients (T, G), params) -> (T, G): the factor with which each
            task vector enters the merged delta; exact when `live == "linear"`, else an estimate.
    """

    id: str
    title: str
    family: str
    summary: str
    paper: str
    space: Literal["delta", "weight"]
    merge: Kernel
    version: int = 1
    scope: Scope = "element"
    params: tuple[Param, ...] = ()
    live: Live = "full"
    reproducibility: Literal["A", "B", "C"] = "A"
    needs_base: bool = True
    min_experts: int = 1
    max_experts: int | None = None
    min_models: int = 1
    hears_silent: bool = False
    coefficient: float = 1.0
    coefficient_help: str = "Scales the expert's task vector."
    help: str = ""
    survey: Kernel | None = None
    measure: Kernel | None = None
    whole: Callable[[Mapping[str, Any]], Iterable[str]] | None = None
    shortcut: Shortcut = zero_is_base
    host: bool | Callable[[Mapping[str, Any]], bool] = False
    effective: Callable[..., Any] | None = None
    wants: frozenset[str] = field(default=frozenset())

    def param(self, name: str) -> Param:
        """The declared parameter called `name`, or of which `name` is one expert's or place's ("density[attn]@code").

        Raises:
            BadRecipe: if the method has none of that name, or experts or places cannot have their own.
        """
        own, expert, place = parts(name)
        param = next((p for p in self.params if p.name == own), None)
        if param is None or not (expert or place or own == name):
            known = ", ".join(p.name for p in self.params) or "none"
            raise BadRecipe(f"{self.title} has no parameter {name!r}.", hint=f"It has: {known}.")
        if expert and not param.each:
            raise BadRecipe(f"{self.title} has one {own} for all experts.", hint=f"Set {own} alone.")
        if place:
            where(place)
            if param.role or (self.space == "delta" and own in _POST_NAMES):
                raise BadRecipe(f"{self.title} has one {own} for the whole model.", hint=f"Set {own} alone.")
        return param

    def complete(self, given: Mapping[str, object]) -> dict[str, Value]:
        """All parameters: the given ones checked, the others at their defaults; then those of experts and places."""
        checked = {name: self.param(name).parse(value) for name, value in given.items()}
        own = {name: value for name, value in checked.items() if is_own(name)}
        return {p.name: checked.get(p.name, p.default) for p in self.params} | own

    def is_linear(self, given: Mapping[str, object]) -> bool:
        """Whether the merge of these parameters is linear in the coefficients, so that live numbers are exact.

        Args:
            given: Parameters of a recipe.
        """
        after = all(_UNCHANGED.get(split(name)[0], value) == value for name, value in given.items())
        return self.live == "linear" and after and not has_places(given)

    def one_for_all(self, params: Mapping[str, Any]) -> frozenset[str]:
        """Parameters that cannot differ between tensors, given the others: the whole model is measured with them.

        Args:
            params: All parameters.
        """
        if self.whole is not None:
            return frozenset(self.whole(params))
        return frozenset(p.name for p in self.params) - {"scale"} if self.survey is not None else frozenset()

    def factors(
        self,
        coefficients: Any,
        given: Mapping[str, object],
        names: Sequence[str] = (),
        places: Sequence[tuple[str, str, str | None]] = (),
    ) -> Any:
        """With which factor each task vector enters the merged one, for the live numbers.

        Args:
            coefficients: (T, G) of T experts and G groups.
            given: Parameters of the recipe.
            names: The T experts' names, for parameters that name one.
            places: Layer and kind of the G groups, for parameters of places; without them the usual values count.

        Returns:
            (T, G); exact when `is_linear`, else an estimate.
        """
        if self.effective is None:
            return coefficients
        complete = self.complete(given)
        if not has_places(complete) or len(places) != coefficients.shape[1]:
            return self._factors(coefficients, complete, names)
        made = coefficients.copy()
        for column, (layer, kind, _) in enumerate(places):
            here = in_group(complete, layer, kind)
            made[:, column : column + 1] = self._factors(coefficients[:, column : column + 1], here, names)
        return made

    def _factors(self, coefficients: Any, complete: Mapping[str, Value], names: Sequence[str]) -> Any:
        """The factors of groups that all have the same parameters."""
        if self.effective is None:
            return coefficients
        extra = {"names": names} if "names" in _arguments(self.effective) else {}
        made = self.effective(coefficients, for_expert(complete, ""), **extra)
        own = owners(complete)
        for row, name in enumerate(names):
            if name in own:
                made[row] = self.effective(coefficients, for_expert(complete, name), **extra)[row]
        return made


@lru_cache(maxsize=256)
def _arguments(function: Callable[..., Any]) -> frozenset[str]:
    """Names of a function's parameters."""
    return frozenset(inspect.signature(function).parameters)


_METHODS: dict[str, Method] = {}

POST = (
    Param("post", "none", help="What follows the merge.", choices=("none", "svc"), title="post-processing"),
    Param(
        "post_alpha",
        1.0,
        help="SVC: least share of a task that counts; 1 only turns down, 0 is 1/T.",
        low=0.0,
        high=10.0,
        title="SVC α",
    ),
    Param(
        "post_variant",
        "official",
        help="SVC: whose code.",
        choices=("official", "later", "fusion_bench"),
        title="SVC variant",
    ),
    Param("drop_nobody", False, help="Keep the base where no expert's mask has the weight.", title="drop nobody's"),
    Param(
        "drop_only",
        False,
        help="Keep the base where one expert alone has the weight in its mask.",
        title="drop only one's",
        each=True,
    ),
    Param("drop_shared", False, help="Keep the base where some but not all masks have the weight."),
    Param("drop_everybody", False, help="Keep the base where all masks have the weight.", title="drop everybody's"),
    Param("drop_lambda", 0.4, help="λ of the masks that say whom a weight matters to.", low=0.0, high=5.0,
          title="drop λ"),
)  # fmt: skip
"""Parameters that every method of space "delta" has; the engine sees to them, no kernel gets them."""

_POST_NAMES = frozenset(param.name for param in POST)
_UNCHANGED = {"post": "none", "drop_nobody": False, "drop_only": False, "drop_shared": False, "drop_everybody": False}
_POST_HELP = """
*Post-processing* `svc` calibrates the merged task vector of every matrix (singular value calibration, Zhao et al.
2026): directions that several tasks share and that a merge counts more than once are turned down. *SVC α* 1 only
turns down; smaller values also turn up what the merge has lost; 0 is 1/T for T experts. *SVC variant* says whose
code is followed. It decomposes every matrix, so it is slow, and its bytes are class **B**.

Weights can be left out by role, last of all: there the base's values stay. *Drop nobody's*: those in no expert's
TALL mask `|τₜ| > λ · |Σ τ − τₜ|` (*drop λ*); *drop only one's*: in exactly one (`drop_only@chat`: in that of the
expert chat alone); *drop everybody's*: in all; *drop shared*: in some. Masks are made of the task vectors as they
are, among the experts that are heard in the tensor. It is exact and changes no reproducibility class.
"""


def _offer_post(declaration: dict[str, Any]) -> dict[str, Any]:
    """The declaration of a method of space "delta" with the common parameters and their help."""
    text = f"{declaration.get('help', '').rstrip()}\n{_POST_HELP}"
    return {**declaration, "params": (*declaration["params"], *POST), "help": text}


def merge_method(**declaration: Any) -> Callable[[Kernel], Kernel]:
    """Register the decorated kernel as a merge method; see `Method` for the declaration."""

    def register(kernel: Kernel) -> Kernel:
        names = frozenset(inspect.signature(kernel).parameters)
        declared = {**declaration, "params": tuple(declaration.get("params", ()))}
        check_declared(declared)
        delta = declared["space"] == "delta"
        if delta:
            declared = _offer_post(declared)
        without = _POST_NAMES if delta else frozenset()
        for key in ("survey", "measure"):
            if declared.get(key):
                declared[key] = fitted(guarded(declared[key], declared["title"], merges=False), without=without)
        call = fitted(guarded(kernel, declared["title"], merges=True), without=without)
        method = Method(merge=call, wants=(names & {"base", "stats"}) | {"span"}, **declared)
        if method.id in _METHODS:
            raise ValueError(f"two methods are called {method.id!r}")
        _METHODS[method.id] = method
        return kernel

    return register


def find(method_id: str) -> Method:
    """The method with this id.

    Raises:
        UnknownMethod: with the closest ids as hint.
    """
    import difflib

    if method_id in _METHODS:
        return _METHODS[method_id]
    close = difflib.get_close_matches(method_id, _METHODS, n=3) or sorted(_METHODS)
    raise UnknownMethod(f"There is no merge method {method_id!r}.", hint=f"Known: {', '.join(close)}.")


def registered() -> dict[str, Method]:
    """All methods by id, in the order in which they were declared."""
    return dict(_METHODS)


def unregister(ids: Iterable[str]) -> None:
    """Take methods out again, for a plug-in that failed half-way."""
    for method_id in list(ids):
        _METHODS.pop(method_id, None)
