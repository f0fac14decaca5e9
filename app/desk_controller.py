"""The desk's controller: recipe in, DeskState out; wishes of the canvas in, recipes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from PySide6.QtCore import QObject, QTimer, Signal

from app.columns import Column, coarser, columns, finer, meant, rule_keys, rules_for
from app.desk_state import Board, build
from app.workspace import Workspace
from engine.errors import MixdownError
from engine.files.model import Layout
from engine.recipe import edit, select, shapes
from engine.recipe.presets import PRESETS
from engine.recipe.recipe import Rule
from widgets.desk.canvas import MergeCanvas
from widgets.desk.state import Cell, DeskState

_PRESET = "preset:"
"""Marks the presets among the shapes of the menu."""


class DeskController(QObject):
    """Connects the merge canvas with the workspace.

    Signals:
        selectionChanged: The selected cells or what is under them changed.
        problem: An error that the user should see.
    """

    selectionChanged = Signal()
    problem = Signal(object)

    def __init__(self, workspace: Workspace, canvas: MergeCanvas, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._canvas = canvas
        self._expanded: frozenset[str] = frozenset()
        self.grouping = workspace.settings.grouping
        self.board: Board | None = None
        self._peeked: DeskState | None = None
        self._cells_kept: tuple[Cell, ...] = ()
        self._made: tuple[Layout, str, frozenset[str], tuple[Column, ...]] | None = None
        self._later = QTimer(self, interval=0, singleShot=True)
        self._later.timeout.connect(self.refresh)
        self._connect()
        canvas.setGrouping(self.grouping)
        presets = [(f"{_PRESET}{p.id}", p.title, f"{p.help} Source: {p.source}") for p in PRESETS]
        canvas.setShapes([*((s.id, s.title, s.help) for s in shapes.SHAPES), *presets])

    def _connect(self) -> None:
        canvas, workspace = self._canvas, self._workspace
        canvas.coefficientsEdited.connect(self._on_edited)
        canvas.gestureCancelled.connect(workspace.store.abandon_gesture)
        canvas.selectionChanged.connect(self._on_selection)
        canvas.muteToggled.connect(self._on_mute)
        canvas.soloToggled.connect(self._on_solo)
        canvas.gainEdited.connect(self._on_gain)
        canvas.rowsReordered.connect(self._on_reordered)
        canvas.columnExpandToggled.connect(self._on_expand)
        canvas.groupingChanged.connect(self.set_grouping)
        canvas.shapeRequested.connect(self._on_shape)
        canvas.selectionTyped.connect(self._on_typed)
        canvas.selectionCommitted.connect(self._on_committed)
        canvas.clearOverridesRequested.connect(self.clear_overrides)
        workspace.store.recipeChanged.connect(self.refresh)
        workspace.modelsChanged.connect(self._later.start)
        workspace.live.gramChanged.connect(self._later.start)
        workspace.scoring.scoresChanged.connect(self._later.start)

    def refresh(self, *_: object) -> None:
        """Show the recipe as it is now."""
        workspace, layout = self._workspace, self._workspace.layout
        if layout is None or not workspace.recipe.experts:
            self.board = None
            self._canvas.setState(DeskState())
            return
        self.board = build(
            workspace.recipe,
            layout,
            workspace.method,
            self._columns(layout),
            gram=workspace.live.gram(workspace.recipe),
            findings=workspace.findings(),
            scores=self._score_texts(),
            overrides=len(self._overrides()),
        )
        self._canvas.setState(self._peeked or self.board.state)

    def peek(self, state: DeskState | None) -> None:
        """Show another state on the canvas until None ends it; recipe, selection and undo steps stay as they are."""
        kept = self._cells_kept if self._peeked is not None else self._canvas.selectedCells()
        self._peeked, self._cells_kept = state, kept
        if state is not None:
            self._canvas.setState(state)
        else:
            self.refresh()
        self._canvas.setSelectedCells(kept)

    def _columns(self, layout: Layout) -> tuple[Column, ...]:
        """The columns to show; the same object until something about them changes."""
        key = (layout, self.grouping, self._expanded)
        if self._made is None or self._made[0] is not layout or self._made[1:3] != key[1:]:
            self._made = (*key, columns(layout, self.grouping, self._expanded))
        return self._made[3]

    def set_grouping(self, grouping: str) -> None:
        """Group the columns in another way."""
        self.grouping, self._expanded = grouping, frozenset()
        self._canvas.setGrouping(grouping)
        self._workspace.change_settings(grouping=grouping)
        self.refresh()

    @property
    def expanded(self) -> tuple[str, ...]:
        """Layers whose column is opened."""
        return tuple(sorted(self._expanded))

    def bring_back(self, expanded: Iterable[str], cells: Sequence[Cell]) -> None:
        """Open columns and select cells as they were in an earlier session."""
        self._expanded = frozenset(expanded)
        self.refresh()
        self.select(cells)

    def step_grouping(self, step: int) -> None:
        """One step finer (1) or coarser (-1)."""
        layout = self._workspace.layout
        if layout is not None:
            self.set_grouping(finer(layout, self.grouping) if step > 0 else coarser(self.grouping))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns on the desk."""
        return self.board.columns if self.board else ()

    def _score_texts(self) -> dict[str, str]:
        """For each expert with a task of its own: how the mix does there, "88 of 93 %"; "was …" when stale."""
        scoring, texts = self._workspace.scoring, dict[str, str]()
        mix, experts = scoring.board.mix, {ref.name: ref for ref in self._workspace.recipe.experts}
        if mix is None:
            return texts
        was = "was " if scoring.is_stale else ""
        for task in scoring.board.tasks.values():
            ref, now = experts.get(task.expert), mix.scores.get(task.name)
            own = scoring.board.models.get((ref.path, task.name)) if ref is not None else None
            if ref is not None and own is not None and now is not None:
                texts[ref.id] = f"{was}{100 * now.value:.0f} of {100 * own.value:.0f} %"
        return texts

    # Wishes of the canvas ------------------------------------------------------------------------------------

    def _on_edited(self, cells: Sequence[Cell], values: Sequence[float], text: str, gesture: str) -> None:
        cols, rules = self.columns, list[Rule]()
        for (expert, column), value in zip(cells, values, strict=True):
            rules += rules_for(cols[column], expert, float(value))
        recipe = self._workspace.recipe
        default = self._workspace.method.coefficient
        plain = [r.keys for r in rules if r.value == default and _is_free(r, recipe.rules)]
        self._workspace.store.apply(recipe.with_rules(rules).without_rules(plain), text, gesture)

    def _on_selection(self, cells: Sequence[Cell]) -> None:
        layout = self._workspace.layout
        chosen = self.selection()
        if layout is not None and chosen is not None:
            self._canvas.setSelectionText(select.render(chosen, self._experts(), layout))
        self.selectionChanged.emit()
        self._later.start()

    def _on_mute(self, expert: str, muted: bool) -> None:
        recipe, word = self._workspace.recipe, "Mute" if muted else "Unmute"
        self._workspace.store.apply(recipe.with_muted(expert, muted), f"{word} {recipe.expert(expert).name}")

    def _on_solo(self, expert: str, soloed: bool) -> None:
        recipe, word = self._workspace.recipe, "Solo" if soloed else "End solo of"
        self._workspace.store.apply(recipe.with_soloed(expert, soloed), f"{word} {recipe.expert(expert).name}")

    def toggle(self, expert: str, what: str) -> None:
        """Mute or solo a row, or end it."""
        recipe = self._workspace.recipe
        if what == "mute":
            self._on_mute(expert, expert not in recipe.muted)
        else:
            self._on_solo(expert, expert not in recipe.soloed)

    def _on_gain(self, expert: str, gain: float, text: str, gesture: str) -> None:
        self._workspace.store.apply(self._workspace.recipe.with_gain(expert, gain), text, gesture)

    def _on_reordered(self, order: Sequence[str]) -> None:
        self._workspace.store.apply(self._workspace.recipe.with_order(order), "Reorder rows")

    def _on_expand(self, layer: str) -> None:
        self._expanded = self._expanded ^ {layer}
        self.refresh()

    def _on_shape(self, shape_id: str) -> None:
        """Write a shape into the selected rows (or all), between 0 and the largest present value."""
        if shape_id.startswith(_PRESET):
            self._apply_preset(shape_id.removeprefix(_PRESET))
            return
        cells = self._canvas.selectedCells() or tuple(
            (e.id, c) for e in self._workspace.recipe.experts for c in range(len(self.columns))
        )
        if self.board is None or not cells:
            return
        rows = {e.id: i for i, e in enumerate(self._workspace.recipe.experts)}
        values = {cell: float(self.board.cells.values[rows[cell[0]], cell[1]]) for cell in cells}
        high = max([*values.values(), 0.0]) or self._workspace.method.coefficient
        spots = sorted({self.columns[c].depth for _, c in cells})
        first, width = spots[0], (spots[-1] - spots[0]) or 1.0
        depth = [(self.columns[c].depth - first) / width for _, c in cells]
        heights = shapes.apply(shape_id, depth, low=0.0, high=high)
        title = shapes.shape(shape_id).title
        self._on_edited(cells, [float(h) for h in heights], f"Shape {title}", "")

    def _apply_preset(self, preset_id: str) -> None:
        """Set all faders from the sizes of the task vectors."""
        workspace = self._workspace
        layout, gram = workspace.layout, workspace.live.gram(workspace.recipe)
        preset = next(p for p in PRESETS if p.id == preset_id)
        if layout is None or gram is None:
            self.problem.emit(MixdownError(f"{preset.title} needs the task vectors, which are still being measured.",
                                           hint="Try again in a moment; it needs a base."))  # fmt: skip
            return
        try:
            workspace.store.apply(preset.apply(layout, gram, workspace.recipe), f"Preset {preset.title}")
        except MixdownError as error:
            self.problem.emit(error)

    # The selection box ---------------------------------------------------------------------------------------

    def _experts(self) -> list[tuple[str, str]]:
        return [(e.id, e.name) for e in self._workspace.recipe.experts]

    def _on_typed(self, text: str) -> None:
        """Highlight what the text names, or say what is wrong with it."""
        layout = self._workspace.layout
        if layout is None:
            return
        try:
            if select.has_statement(text):
                chosen = select.parse_statement(text, self._experts(), layout).selection
            else:
                chosen = select.parse(text, self._experts(), layout)
        except MixdownError as error:
            self._canvas.setSelectionError(error.message if text.strip() else "", error.hint)
            return
        self._canvas.setSelectionError("")
        self._canvas.setSelectedCells(self.cells_of(chosen))
        self.selectionChanged.emit()

    def _on_committed(self, text: str) -> None:
        layout = self._workspace.layout
        if layout is None or not select.has_statement(text):
            self._on_typed(text)
            return
        try:
            statement = select.parse_statement(text, self._experts(), layout)
        except MixdownError as error:
            self._canvas.setSelectionError(error.message, error.hint)
            return
        default = self._workspace.method.coefficient
        made = edit.apply_statement(self._workspace.recipe, statement, layout, default)
        self._workspace.store.apply(made, f"Set {text.strip()}")

    def cells_of(self, chosen: select.Selection) -> list[Cell]:
        """Cells of the desk that a selection touches."""
        layout, hits = self._workspace.layout, []
        if layout is None:
            return []
        groups = [g for g in layout.groups if g.place.layer in chosen.layers and g.place.kind in chosen.kinds]
        if chosen.tensors:
            groups = [g for g in groups if any(t in chosen.tensors for t in g.tensors)]
        for index, col in enumerate(self.columns):
            tensor = col.keys[0][2]
            if tensor is not None and chosen.tensors and tensor not in chosen.tensors:
                continue
            if any(la in (None, g.place.layer) and k in (None, g.place.kind) for la, k, _ in col.keys for g in groups):
                hits.append(index)
        return [(e, c) for e in chosen.experts for c in hits]

    def selection(self) -> select.Selection | None:
        """What the selected cells mean, or None when nothing is selected."""
        layout, cells = self._workspace.layout, self._canvas.selectedCells()
        if layout is None or not cells or self.board is None:
            return None
        return meant(cells, self.columns, layout, [e.id for e in self._workspace.recipe.experts])

    def select(self, cells: Sequence[Cell]) -> None:
        """Select cells from elsewhere, as if the mouse had done it."""
        self._canvas.setSelectedCells(cells)
        self._on_selection(cells)

    def _overrides(self) -> list[tuple[str | None, str | None, str | None, str | None]]:
        """Keys of the finer rules inside the selected cells."""
        layout, found = self._workspace.layout, dict[tuple[str | None, str | None, str | None, str | None], None]()
        if layout is None or self.board is None:
            return []
        for expert, column in self._canvas.selectedCells():
            if column < len(self.columns):
                for keys in rule_keys(self.columns[column], expert):
                    found.update(dict.fromkeys(edit.overrides_inside(self._workspace.recipe, keys, layout)))
        return list(found)

    def override_count(self) -> int:
        """How many finer rules lie inside the selected cells."""
        return len(self._overrides())

    def clear_overrides(self) -> None:
        """Remove the finer rules inside the selected cells."""
        keys = self._overrides()
        if keys:
            text = f"Clear {len(keys)} override" + ("s" if len(keys) > 1 else "")
            self._workspace.store.apply(self._workspace.recipe.without_rules(keys), text)

    def reset_all(self) -> None:
        """Every coefficient, gain, mute and solo back to the method's default."""
        plain = replace(self._workspace.recipe, rules=(), gains=(), muted=(), soloed=())
        self._workspace.store.apply(plain, "Reset all faders")


def _is_free(rule: Rule, rules: Sequence[Rule]) -> bool:
    """Whether no coarser rule would show through if this one, at the default, were left out."""
    return not any(r.specificity < rule.specificity and r.expert in (None, rule.expert) for r in rules)
