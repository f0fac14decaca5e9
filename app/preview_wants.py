"""Which live session a project needs, and what is missing for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.project import without_hashes
from app.workspace import Workspace
from engine.preview.frame import make_frame

if TYPE_CHECKING:
    from engine.preview.session import Live


def wanted(workspace: Workspace, live: Live | None) -> tuple[object, str]:
    """Key of the session that the recipe needs, or None and what is missing.

    Args:
        workspace: With the recipe, its models and tasks.
        live: The open session, if there is one.
    """
    recipe = without_hashes(workspace.recipe)
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
