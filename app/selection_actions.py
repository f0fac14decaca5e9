"""What can be done with the selection of the views: coefficients there, leaving out, roles of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QInputDialog

from app import selection
from app.side_docks import with_overlap
from engine.files.model import Layout
from engine.recipe import act, edit, select
from engine.recipe.recipe import Recipe
from widgets.common.text import plain

if TYPE_CHECKING:
    from app.desk import Desk
    from widgets.plots.overlap_panel import OverlapPanel
    from widgets.plots.selection_bar import RoleChoice

_NO_ROLES = "{method} mixes weights, not task vectors: it has no roles to leave out."


class SelectionActions(QObject):
    """Carries out what the action bar, the context menu and the palette ask for; each is one step of undo.

    Args:
        desk: The assembled desk.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk, self._workspace = desk, desk.workspace
        self._links = desk.overlap.links
        self._panel: OverlapPanel | None = None
        desk.overlap.refreshed.connect(self.refresh)
        self._links.changed.connect(self.refresh)
        with_overlap(desk, self._connect)

    def _connect(self, panel: OverlapPanel) -> None:
        self._panel, bar = panel, panel.bar
        run: dict[str, Callable[[], None]] = {
            "set": self.ask, "mute": self.mute, "exclude": self.exclude, "restore": self.restore,
        }  # fmt: skip
        bar.actRequested.connect(lambda name: run[name]())
        bar.roleToggled.connect(self.drop_role)
        bar.keepAllRequested.connect(self.keep_all)
        bar.clearRequested.connect(self._links.clear)
        self.refresh()

    def refresh(self) -> None:
        """Show the selection and its roles in the bar."""
        if self._panel is None:
            return
        from widgets.plots.selection_bar import BarState

        workspace = self._workspace
        words = selection.text(self._links.current, workspace.recipe, workspace.layout)
        why = "" if self._can_drop() else _NO_ROLES.format(method=workspace.method.title)
        self._panel.bar.set_state(BarState(text=words, roles=self._roles(), why_no_roles=why))

    def _can_drop(self) -> bool:
        return self._workspace.method.space == "delta"

    def _roles(self) -> tuple[RoleChoice, ...]:
        """All roles, those of the selected experts first."""
        from widgets.plots.selection_bar import RoleChoice

        recipe, now = self._workspace.recipe, self._links.current
        names = [e.name for e in recipe.experts]
        gone = act.dropped_roles(recipe, names)
        chosen = set(now.places.experts) if now is not None else set()
        experts = sorted(recipe.experts, key=lambda e: e.id not in chosen)
        choices = [
            ("nobody", "weights that nobody needs"),
            *((f"only@{e.name}", f"weights that only {e.name} needs") for e in experts),
            ("shared", "weights that some share"),
            ("everybody", "weights that everybody needs"),
        ]
        if len(names) < 2:
            return ()
        offered = [(i, t) for i, t in choices if i != "shared" or len(names) > 2]
        return tuple(RoleChoice(id=i, title=t, is_dropped=i in gone) for i, t in offered)

    # Coefficients --------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask for a coefficient and set it."""
        now = self._links.current
        if now is None:
            return
        value, ok = QInputDialog.getDouble(
            self._desk.window, "Set coefficient", f"Coefficient of {plain(self._words(), 120)}:",
            self._workspace.method.coefficient, -100.0, 100.0, 3,
        )  # fmt: skip
        if ok:
            self.set(value)

    def set(self, value: float) -> None:
        """One coefficient for everything that is selected."""
        self._change(lambda r, where, layout: edit.set_selection(r, where, value, layout), f"Set {{}} to {value:g}")

    def mute(self) -> None:
        """Coefficient 0 for the selected experts in the selected places."""
        self._change(lambda r, where, layout: edit.set_selection(r, where, 0.0, layout), "Mute {}")

    def exclude(self) -> None:
        """Coefficient 0 for every expert in the selected places."""
        self._change(act.excluded, "Exclude {} from the merge")

    def restore(self) -> None:
        """The coefficients of the whole rows again."""
        default = self._workspace.method.coefficient
        self._change(lambda r, where, layout: act.restored(r, where, layout, default), "Restore {}")

    def _change(self, change: Callable[[Recipe, select.Selection, Layout], Recipe], text: str) -> None:
        """Apply a change of the selected places as one step."""
        now, layout = self._links.current, self._workspace.layout
        if now is not None and layout is not None:
            made = change(self._workspace.recipe, now.places, layout)
            self._workspace.store.apply(made, text.format(self._words()))

    def _words(self) -> str:
        now = self._links.current
        places = None if now is None else selection.Selection(places=now.places)
        return selection.text(places, self._workspace.recipe, self._workspace.layout)

    # Roles ---------------------------------------------------------------------------------------------------

    def drop_role(self, role: str, dropped: bool) -> None:
        """Leave the weights of a role out of the merge, or keep them."""
        if not self._can_drop():
            self._desk.tell(_NO_ROLES.format(method=self._workspace.method.title), "warning")
            return
        recipe, title = self._workspace.recipe, {r.id: r.title for r in self._roles()}.get(role, role)
        made = act.with_role(recipe, role, dropped, round(self._desk.overlap.strictness, 6) if dropped else None)
        self._workspace.store.apply(made, f"{'Drop' if dropped else 'Keep'} {title}")

    def keep_all(self) -> None:
        """No role is left out any more."""
        made = act.all_kept(self._workspace.recipe)
        if made != self._workspace.recipe:
            self._workspace.store.apply(made, "Keep the weights of all roles")

    def choose_role(self) -> None:
        """Show the views and the roles to choose from."""
        self._desk.window.docks["overlap"].show()
        bar = self._desk.overlap.panel().bar
        self.refresh()
        if bar.roles.isEnabled():
            bar.roles.click()
        else:
            self._desk.tell(bar.state.why_no_roles or "Roles need a base and two experts.", "warning")


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Wire the actions to the desk; their handlers."""
    actions = SelectionActions(desk)
    return {
        "select.set": actions.ask,
        "select.mute": actions.mute,
        "select.exclude": actions.exclude,
        "select.restore": actions.restore,
        "select.roles": actions.choose_role,
        "select.keep_roles": actions.keep_all,
        "select.clear": desk.overlap.links.clear,
    }
