"""The sentence above the desk and the method panel: which method, with which parameters."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from app.adding import plural
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.methods import registered
from engine.methods.spec import Method, Value
from engine.recipe.per_expert import parts
from engine.recipe.recipe import Recipe
from widgets.panels.method_panel import MethodPanel
from widgets.panels.sentence import Sentence
from widgets.panels.state import MethodChoice, SentenceState

FAMILIES = ("linear", "spherical", "sparse", "masks", "spectral")
"""Families in menu order; those of plug-ins follow."""


class MixController(QObject):
    """Connects sentence and method panel with the workspace.

    Signals:
        problem: A value that cannot be used.
    """

    problem = Signal(object)

    def __init__(
        self, workspace: Workspace, sentence: Sentence, panel: MethodPanel, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._sentence, self._panel, self._is_filled = sentence, panel, False
        sentence.methodChosen.connect(self.choose)
        sentence.paramEdited.connect(self._on_param)
        panel.paramEdited.connect(self._on_param)
        self._shown: object = None
        self._state = SentenceState()
        workspace.store.recipeChanged.connect(self._on_recipe)

    def _on_recipe(self, recipe: Recipe) -> None:
        """Most changes of a recipe are faders, which the sentence does not say."""
        shown = (recipe.base, recipe.experts, recipe.muted, recipe.soloed, recipe.method, recipe.params)
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def refresh(self, *_: object) -> None:
        """Show the recipe as it is now."""
        recipe, method = self._workspace.recipe, self._workspace.method
        self._state = SentenceState(
            base=recipe.base.name if recipe.base else "",
            experts=tuple(e.name for e in recipe.experts),
            heard=sum(recipe.is_heard(e.id) for e in recipe.experts),
            methods=tuple(self._choice(m) for m in sorted(registered().values(), key=_place)),
            method=method.id,
            params=method.params,
            values=method.complete(dict(recipe.params)),
        )
        self._sentence.set_state(self._state)
        if self._is_filled:
            self._panel.set_state(self._state)

    def fill(self) -> None:
        """From now on fill the method panel, too; not while the window starts with its tab behind another one."""
        self._is_filled = True
        self._panel.set_state(self._state)

    def choose(self, method_id: str) -> None:
        """Take another method; parameters of the same name keep their values where they are allowed."""
        recipe, method = self._workspace.recipe, registered()[method_id]
        if method.id == recipe.method:
            return
        kept: dict[str, Value] = {}
        one = method.one_for_all(method.complete({}))
        for name, value in recipe.params:
            own, _, place = parts(name)
            if own != "scale" and own in {p.name for p in method.params} and not (place and own in one):
                try:
                    kept[name] = method.param(name).parse(value)
                except MixdownError:
                    continue
        self._workspace.store.apply(recipe.with_method(method.id, kept), f"Merge by {method.title}")

    def _on_param(self, name: str, value: object, gesture: str) -> None:
        method, (own, expert, place) = self._workspace.method, parts(name)
        whose = f" of {expert}" if expert else ""
        if place and value is None:
            text = f"Use the same {method.param(own).label} everywhere"
            self._workspace.store.apply(self._workspace.recipe.without_places(own), text, gesture)
            return
        if value is None:
            text = f"Take {method.param(name).label}{whose} from all experts"
            self._workspace.store.apply(self._workspace.recipe.without_param(name), text, gesture)
            return
        try:
            parsed = method.param(name).parse(value)
        except MixdownError as error:
            self.problem.emit(error)
            self.refresh()
            return
        shown = f"{parsed:g}" if isinstance(parsed, float) else str(parsed)
        text = f"Set {method.param(name).label}{whose} to {shown}"
        self._workspace.store.apply(self._workspace.recipe.with_param(name, parsed), text, gesture)

    def _choice(self, method: Method) -> MethodChoice:
        return MethodChoice(
            id=method.id,
            title=method.title,
            family=method.family,
            summary=method.summary,
            help=f"{method.help}\n\n*Source: {method.paper}*",
            coefficient_help=method.coefficient_help,
            reason=self._reason(method),
        )

    def _reason(self, method: Method) -> str:
        """Why a method cannot be used on what is on the desk; "" when it can."""
        count = len(self._workspace.recipe.experts)
        if method.needs_base and self._workspace.recipe.base is None and count:
            return "needs a base"
        if count and count < method.min_experts:
            return f"needs {plural(method.min_experts, 'expert')}"
        if method.max_experts is not None and count > method.max_experts:
            return f"takes at most {plural(method.max_experts, 'expert')}"
        return ""


def _place(method: Method) -> tuple[int, str]:
    """Order of the method menu: by family, then by name."""
    known = method.family in FAMILIES
    return (FAMILIES.index(method.family) if known else len(FAMILIES), method.title.lower())
