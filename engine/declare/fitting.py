"""Kernels and statistics called with their parameters as they are for one tensor. Light: never imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from engine.recipe.per_expert import folded
from engine.recipe.places import at


def fitted(function: Callable[..., Any], *, without: frozenset[str]) -> Callable[..., Any]:
    """A kernel or statistic with its parameters as they are for one tensor, those of experts folded.

    Args:
        function: Gets only the span if it declares one.
        without: Names of parameters that the engine sees to.
    """
    wants_span = "span" in inspect.signature(function).parameters

    @wraps(function)
    def call(*arguments: Any, **given: Any) -> Any:
        span = given.get("span") if wants_span else given.pop("span", None)
        source = span if span is not None else arguments[0] if arguments else None
        mine = folded(at(given, str(getattr(source, "tensor", ""))))
        return function(*arguments, **{k: value for k, value in mine.items() if k not in without})

    return call
