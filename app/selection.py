"""The selection that all views and the desk share: one frozen value, and who tells whom about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PySide6.QtCore import QObject, Signal

from app.desk_controller import DeskController
from app.workspace import Workspace
from engine.files.model import Layout
from engine.recipe import select
from engine.recipe.recipe import Recipe
from widgets.common.text import plain
from widgets.plots.selected import Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Experts and places, and perhaps which of the weights there.

    Attributes:
        places: Experts, kinds, layers and tensors, as the selection box names them.
        combination: Ids of the experts whose masks, and no others, hold the weights; None for no such choice.
        role: Role of the weights ("nobody", "only", "shared", "everybody"), or "".
    """

    places: select.Selection
    combination: tuple[str, ...] | None = None
    role: str = ""


def made(
    recipe: Recipe,
    layout: Layout,
    *,
    experts: tuple[int, ...] | None = None,
    layers: tuple[str, ...] | None = None,
    kinds: tuple[str, ...] | None = None,
    tensors: tuple[str, ...] = (),
    combination: tuple[int, ...] | None = None,
    role: str = "",
) -> Selection:
    """A selection from what a view knows.

    Args:
        recipe: Says which rows there are.
        layout: Of the base.
        experts: Row indices; None for all.
        layers: Layer names; None for all.
        kinds: Kinds; None for all.
        tensors: Names of tensors of these layers and kinds; empty for all.
        combination: Row indices of the experts of exactly one set of masks.
        role: Role of weights.
    """
    rows = [e.id for e in recipe.experts]
    ids = tuple(i for t, i in enumerate(rows) if experts is None or t in experts)
    chosen_layers = tuple(la for la in layout.layers if layers is None or la in layers)
    chosen_kinds = tuple(k for k in layout.kinds if kinds is None or k in kinds)
    places = select.Selection(
        experts=ids,
        kinds=chosen_kinds,
        layers=chosen_layers,
        tensors=tensors,
        every_expert=len(ids) == len(rows),
        every_kind=len(chosen_kinds) == len(layout.kinds),
        every_layer=len(chosen_layers) == len(layout.layers),
    )
    exact = None if combination is None else tuple(i for t, i in enumerate(rows) if t in combination)
    return Selection(places=places, combination=exact, role=role)


def joined(first: Selection, second: Selection, layout: Layout) -> Selection:
    """Both selections together, as a product of experts, kinds and layers; single tensors only if both are of such."""
    a, b = first.places, second.places
    kinds, layers = {*a.kinds, *b.kinds}, {*a.layers, *b.layers}
    places = replace(
        a,
        experts=tuple(dict.fromkeys((*a.experts, *b.experts))),
        kinds=tuple(k for k in layout.kinds if k in kinds),
        layers=tuple(la for la in layout.layers if la in layers),
        tensors=tuple(dict.fromkeys((*a.tensors, *b.tensors))) if a.tensors and b.tensors else (),
        every_expert=a.every_expert or b.every_expert,
        every_kind=len(kinds) == len(layout.kinds),
        every_layer=len(layers) == len(layout.layers),
    )
    return Selection(places=places)


def marks(selection: Selection | None, recipe: Recipe) -> Marks:
    """What the plots mark; experts that have left are left out."""
    if selection is None:
        return Marks()
    rows = {e.id: t for t, e in enumerate(recipe.experts)}
    places = selection.places
    exact = selection.combination
    return Marks(
        experts=frozenset(rows[e] for e in places.experts if e in rows),
        layers=frozenset(places.layers),
        every_expert=places.every_expert,
        every_layer=places.every_layer,
        combination=None if exact is None else frozenset(rows[e] for e in exact if e in rows),
        role=selection.role,
    )


def text(selection: Selection | None, recipe: Recipe, layout: Layout | None) -> str:
    """The selection in words: "A chat · layers 3-6 · attn · weights of these experts alone"."""
    if selection is None or layout is None:
        return ""
    places, names = selection.places, {e.id: e.name for e in recipe.experts}
    rows = [plain(names[e], 28) for e in places.experts if e in names]
    experts = "all experts" if places.every_expert else ", ".join(rows)
    everyone = select.Selection(tuple(names), places.kinds, places.layers, every_expert=True,
                                every_kind=places.every_kind, every_layer=places.every_layer)  # fmt: skip
    where = select.render(everyone, list(names.items()), layout).removeprefix("*").removeprefix(" : ")
    if where and not places.every_layer:
        kinds, _, layers = where.rpartition(" : ")
        where = f"{'layer' if len(places.layers) == 1 else 'layers'} {layers}"
        where += f" · {kinds}" if kinds not in ("", "*") else ""
    tensors = f"{len(places.tensors)} tensors" if len(places.tensors) > 1 else "".join(places.tensors)
    weights = {"nobody": "weights that nobody needs", "shared": "shared weights", "everybody": "everybody's weights",
               "only": "weights that this expert alone needs"}.get(selection.role, "")  # fmt: skip
    if selection.combination is not None and not weights:
        weights = "weights in exactly these masks"
    return " · ".join(part for part in (experts, tensors or where or "all layers", weights) if part)


class LinkedSelection(QObject):
    """Keeps the selection; the desk and every view show it and change it.

    Signals:
        changed: The selection, or None.
    """

    changed = Signal(object)

    def __init__(self, workspace: Workspace, desk: DeskController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace, self._desk = workspace, desk
        self._is_telling = False
        self.current: Selection | None = None
        desk.selectionChanged.connect(self._on_desk)

    def choose(self, selection: Selection | None, *, add: bool = False) -> None:
        """Select something from a view, here and on the desk; `add` joins it with what is selected."""
        layout = self._workspace.layout
        if layout is None:
            return
        if add and selection is not None and self.current is not None:
            selection = joined(self.current, selection, layout)
        self.current, self._is_telling = selection, True
        try:
            self._desk.select([] if selection is None else self._desk.cells_of(selection.places))
        finally:
            self._is_telling = False
        self.changed.emit(selection)

    def clear(self) -> None:
        """Select nothing."""
        self.choose(None)

    def _on_desk(self) -> None:
        """The desk's cells were chosen there: they are the selection now."""
        if self._is_telling:
            return
        places = self._desk.selection()
        fresh = None if places is None else Selection(places=places)
        if fresh != self.current:
            self.current = fresh
            self.changed.emit(fresh)
