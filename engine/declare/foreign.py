"""Methods from outside the project: their declarations are checked, and their faults told as theirs. Light."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Set
from functools import wraps
from typing import TYPE_CHECKING, Any

from engine.errors import BadRecipe, MixdownError

if TYPE_CHECKING:
    from engine.methods.spec import Method, Param

_OURS = "engine."
_CHOICES = {
    "space": ("delta", "weight"),
    "scope": ("element", "rows", "tensor"),
    "live": ("linear", "mask", "full"),
    "reproducibility": ("A", "B", "C"),
}
_TEXTS = ("title", "family", "summary", "paper", "help", "coefficient_help")
_GIVEN = frozenset({"base", "span", "stats"})
"""What a kernel may ask for beside its parameters."""


def is_foreign(function: Callable[..., Any]) -> bool:
    """Whether a function is not one of the project's own."""
    return not str(getattr(function, "__module__", "")).startswith(_OURS)


def guarded(function: Callable[..., Any], title: str, *, merges: bool) -> Callable[..., Any]:
    """A foreign kernel or statistic whose faults become errors that say whose they are; ours stay as they are.

    Args:
        function: What the method's author wrote.
        title: Of the method.
        merges: Whether it is the kernel, whose result must be a tensor of numbers.
    """
    if not is_foreign(function):
        return function

    @wraps(function)
    def call(*arguments: Any, **given: Any) -> Any:
        before = _versions(arguments) if merges else []
        try:
            result = function(*arguments, **given)
        except (MixdownError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and ("memory" in str(error) or "CUDA error" in str(error)):
                raise  # the engine tries again with less
            raise fault(title, f"{type(error).__name__}: {error}{_line(error, function)}") from error
        if merges and _versions(arguments) != before:
            raise fault(title, "it changes its inputs")
        return _checked(result, arguments, title) if merges else result

    return call


def fault(title: str, said: str) -> BadRecipe:
    """The error that a method from outside is at fault."""
    return BadRecipe(
        f"{title} does not work: {said[:500]}.",
        hint="This is a fault of the plug-in; tell its author, or choose another method.",
    )


def _line(error: BaseException, function: Callable[..., Any]) -> str:
    """Where in the plug-in's file it happened."""
    code = getattr(function, "__code__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _versions(arguments: tuple[Any, ...]) -> list[int]:
    """How often each tensor of the first argument was changed in place."""
    inputs = arguments[0] if arguments and isinstance(arguments[0], (list, tuple)) else ()
    return [x._version for x in inputs if hasattr(x, "_version") and not x.is_inference()]


def _checked(result: Any, arguments: tuple[Any, ...], title: str) -> Any:
    """The result of a kernel, if it is a tensor of numbers."""
    tensor = sys.modules["torch"].Tensor  # the arguments are some; nothing is imported here
    if not isinstance(result, tensor):
        raise fault(title, f"it returns {type(result).__name__} instead of a tensor")
    inputs = [x for x in (arguments[0] if arguments else ()) if isinstance(x, tensor)]
    if inputs and result.dtype != inputs[0].dtype:
        raise fault(title, f"it returns {result.dtype} instead of {inputs[0].dtype}")
    if result.isnan().any() and all(bool(x.isfinite().all()) for x in inputs):
        raise fault(title, "it returns NaN for finite weights")
    return result


def check_declared(declared: Mapping[str, Any]) -> None:
    """Make sure that what everybody must say is there.

    Raises:
        ValueError: naming what is not.
    """
    absent = [name for name in ("id", "title", "family", "summary", "paper", "space") if name not in declared]
    if absent:
        raise ValueError(f"the declaration lacks {', '.join(absent)}")
    if not isinstance(declared.get("help", ""), str):
        raise ValueError("help must be a text")
    if not all(hasattr(param, "parse") and hasattr(param, "default") for param in declared["params"]):
        raise ValueError("params must be Param(name, default, help=...) values")


def check(method: Method, engines: Set[str]) -> None:
    """Refuse a declaration that panels, help, the command line or the engine could not use.

    Args:
        method: As it was declared.
        engines: Names of the parameters of methods of space "delta" that the engine sees to.

    Raises:
        ValueError: saying what is wrong.
    """
    if not method.id.isidentifier() or method.id != method.id.lower():
        raise ValueError(f"the id {method.id!r} is not a lower-case identifier")
    for name in _TEXTS:
        if not isinstance(getattr(method, name), str):
            raise ValueError(f"{name} must be a text")
    for name, allowed in _CHOICES.items():
        if getattr(method, name) not in allowed:
            raise ValueError(f"{name} is {getattr(method, name)!r}; use one of {', '.join(allowed)}")
    names = [p.name for p in method.params]
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise ValueError("parameter names must be different identifiers")
    for param in method.params:
        _check_param(param)
    method.complete({p.name: p.default for p in method.params})
    _check_functions(method, engines)
    _check_effective(method)


def _check_param(param: Param) -> None:
    if not isinstance(param.default, (bool, int, float, str)):
        raise ValueError(f"the default of {param.name} must be a number, a text, True or False")
    if not isinstance(param.help, str) or not param.help:
        raise ValueError(f"{param.name} has no help")


def _check_functions(method: Method, engines: Set[str]) -> None:
    """Make sure that the functions take what they are called with."""
    own = {p.name for p in method.params} - (engines if method.space == "delta" else set())
    kinds = inspect.Parameter
    for what, function, least in (("function", method.merge, 2), ("survey", method.survey, 1),
                                  ("measure", method.measure, 1)):  # fmt: skip
        if function is None:
            continue
        taken = list(inspect.signature(function).parameters.values())
        if sum(p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD, kinds.VAR_POSITIONAL) for p in taken) < (
            1 if any(p.kind is kinds.VAR_POSITIONAL for p in taken) else least
        ):
            first = "the tensors and the coefficients" if what == "function" else "the view"
            raise ValueError(f"the {what} must take {first} first")
        rest = [p for p in taken[least:] if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)]
        allowed = own | (_GIVEN if what == "function" else {"stats"})
        strange = [p.name for p in rest if p.name not in allowed and p.default is kinds.empty]
        if strange:
            raise ValueError(f"the {what} asks for {strange[0]!r}, which is not one of its parameters")
        absent = sorted(own - {p.name for p in rest})
        if what == "function" and absent and not any(p.kind is kinds.VAR_KEYWORD for p in taken):
            raise ValueError(f"the function does not take its parameter {absent[0]!r}")


def _check_effective(method: Method) -> None:
    """Make sure that live numbers can be made: they are asked for at every move of a fader."""
    import numpy as np

    made = np.asarray(method.factors(np.ones((2, 3)), {}, ("a", "b")), dtype=np.float64)
    if made.shape != (2, 3):
        raise ValueError(f"effective makes {made.shape} of (2, 3) coefficients")
