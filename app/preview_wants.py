"""Which live session a project needs, what is missing for one, and what its faders do to a point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.project import without_hashes
from app.workspace import Workspace
from engine.errors import EvalProblem
from engine.preview.basis import Floats
from engine.preview.frame import Frame, make_frame
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from engine.preview.hearing import Session


def wanted(workspace: Workspace, live: Session | None) -> tuple[object, str]:
    """Key of the session that the recipe needs, or None and what is missing.

    Args:
        workspace: With the recipe, its models and tasks.
        live: The open session, if there is one.
    """
    recipe = without_hashes(workspace.recipe)
    if recipe.stack:
        return None, "It needs layers that stay in place; this recipe restacks them."
    if recipe.base is None or not recipe.experts:
        return None, "It needs a base and at least one expert."
    if not workspace.scoring.board.tasks:
        return None, "It needs a task."
    inputs = workspace.inputs()
    if inputs is None:
        return None, "It waits for the models to be read."
    bad = [name for name, found in workspace.findings().items() if any(f.severity == "error" for f in found)]
    if bad:
        return None, f"{recipe.expert(bad[0]).name} does not fit the base."
    frame = live.frame if live is not None else make_frame(recipe, inputs.layout)
    return (frame.key(recipe), tuple(workspace.scoring.board.tasks), id(inputs)), ""


class Point:
    """Where the recipe stands; asked for several times at every fader event, computed once."""

    def __init__(self) -> None:
        self._known: tuple[Frame, Recipe, Floats] | None = None

    def of(self, frame: Frame, recipe: Recipe) -> Floats:
        """(T, G) by `Frame.point`. Do not change the array."""
        known = self._known
        if known is None or known[0] is not frame or known[1] is not recipe:
            known = self._known = frame, recipe, frame.point(recipe)
            known[2].flags.writeable = False
        return known[2]


class Gains:
    """What a unit of each fader changes in the point; remembered, because it does not depend on the faders."""

    def __init__(self) -> None:
        self._known: tuple[object, Floats | None] = (None, None)

    def of(self, frame: Frame, recipe: Recipe) -> Floats | None:
        """(T, G) by `Frame.gain`; None where single faders have no such number."""
        key = (frame, recipe.method, recipe.params, recipe.gains, recipe.muted, recipe.soloed)
        if self._known[0] != key:
            try:
                self._known = key, frame.gain(recipe)
            except EvalProblem:
                self._known = key, None
        return self._known[1]
