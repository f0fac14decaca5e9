"""Parts of the desk that stand on their own: each one module with an `install` that wires it to the assembled desk.

A feature may return handlers of actions from the table ("mix.tune" -> function); everything else it connects itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from app import (
    bundle_drop,
    bundle_export,
    compare_controller,
    explain_controller,
    history_place,
    intake,
    preview_views,
    recovery,
    runner_controller,
    runs_controller,
    selection_actions,
    stack_view,
    sweep_controller,
    task_wizard,
    tensor_views,
    trust,
    tune_controller,
)

if TYPE_CHECKING:
    from app.desk import Desk

Handler = Callable[..., None]
Install = Callable[["Desk"], Mapping[str, Handler]]

FEATURES: tuple[Install, ...] = (
    bundle_export.install,
    bundle_drop.install,
    intake.install,
    selection_actions.install,
    explain_controller.install,
    compare_controller.install,
    tensor_views.install,
    task_wizard.install,
    runner_controller.install,
    runs_controller.install,
    preview_views.install,
    trust.install,
    history_place.install,
    recovery.install,
    sweep_controller.install,
    tune_controller.install,
    stack_view.install,
)
"""Every feature, in the order in which they are wired."""


def install(desk: Desk) -> dict[str, Handler]:
    """Wire all features; the handlers of the actions that they bring."""
    handlers: dict[str, Handler] = {}
    for feature in FEATURES:
        handlers |= feature(desk)
    return handlers
