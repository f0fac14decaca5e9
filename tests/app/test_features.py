"""Every action of the table has something to run."""

from __future__ import annotations

from app.actions import ACTIONS


def test_every_action_has_a_handler(desk) -> None:
    missing = [
        action.id
        for action in ACTIONS
        if not action.local
        and not hasattr(desk.handlers, action.id.replace(".", "_", 1))
        and action.id not in desk.features
    ]
    assert not missing
