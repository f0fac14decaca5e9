"""The inspector: what is known about the selected cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QObject, QTimer

from app.columns import group_values
from app.desk_controller import DeskController
from app.desk_state import factors
from app.workspace import Workspace
from engine.files.model import Finding, Layout
from engine.live.gram import Gram, LiveMetrics, live_metrics
from engine.live.outliers import HINT, Outlier, about_outliers, outliers
from engine.recipe.origin import about_origins
from engine.recipe.recipe import Recipe
from engine.recipe.select import Selection, render
from widgets.common.format import score_text
from widgets.panels.inspector import Inspector
from widgets.panels.panel_parts import is_seen
from widgets.panels.state import ExpertFacts, InspectorState, Note, Quality


@dataclass(frozen=True, slots=True)
class _Picked:
    """The selection in numbers: indices of groups, and the names of their tensors."""

    groups: tuple[int, ...]
    tensors: tuple[str, ...]


class InspectorController(QObject):
    """Connects the inspector with the desk's selection."""

    def __init__(
        self, workspace: Workspace, desk: DeskController, panel: Inspector, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace, self._desk, self._panel = workspace, desk, panel
        self._outliers: tuple[Gram, tuple[Outlier, ...]] | None = None
        self._soon = QTimer(self, interval=60, singleShot=True)
        self._soon.timeout.connect(self._show)
        panel.clearOverridesRequested.connect(desk.clear_overrides)
        desk.selectionChanged.connect(self.refresh)
        workspace.store.recipeChanged.connect(self.refresh)
        workspace.live.gramChanged.connect(self.refresh)
        workspace.modelsChanged.connect(self.refresh)
        workspace.scoring.scoresChanged.connect(self.refresh)

    def refresh(self, *_: object) -> None:
        """Show the selection at most 16 times a second, so that a fader event need not wait for it."""
        if not self._soon.isActive():
            self._soon.start()

    def _show(self) -> None:
        if is_seen(self._panel):  # one behind another tab is left alone
            self._panel.set_state(self._state())

    def _state(self) -> InspectorState:
        chosen, layout, recipe = self._desk.selection(), self._workspace.layout, self._workspace.recipe
        if chosen is None or layout is None:
            return InspectorState()
        picked = _pick(chosen, layout)
        metrics = self._measure(picked, layout)
        is_linear = self._workspace.method.is_linear(dict(recipe.params))
        quality: Quality = "exact" if is_linear else "estimate"
        return InspectorState(
            title=render(chosen, [(e.id, e.name) for e in recipe.experts], layout),
            tensors=len(picked.tensors),
            weights=self._weights(picked, chosen, layout),
            change=float(metrics.relative[0]) if metrics else None,
            cancelled=float(metrics.cancelled[0]) if metrics else None,
            experts=self._experts(chosen, picked, layout, metrics),
            quality=quality,
            notes=(*_notes(recipe, self._workspace.findings(), chosen.experts), *self._about_origin(chosen)),
            scores=self._scores(chosen),
            overrides=self._desk.override_count(),
            names=picked.tensors[:50],
        )

    def _about_origin(self, chosen: Selection) -> tuple[Note, ...]:
        """Where the selected experts come from, and layers of theirs that stick out."""
        recipe = self._workspace.recipe
        origins = {e.name: self._workspace.library.entry(e.path).origin for e in recipe.experts
                   if e.id in chosen.experts}  # fmt: skip
        gram = self._workspace.live.gram(recipe)
        rows = [i for i, e in enumerate(recipe.experts) if e.id in chosen.experts]
        if gram is not None and (self._outliers is None or self._outliers[0] is not gram):
            self._outliers = gram, outliers(gram)  # the same ones at every fader event
        found = self._outliers[1] if gram is not None and self._outliers is not None else ()
        lines = [about_outliers(recipe.experts[row].name, [o for o in found if o.expert == row]) for row in rows]
        notes = ((" ".join(line for line in lines if line), HINT), (about_origins(origins), ""))
        return tuple(Note(severity="info", message=text, hint=hint) for text, hint in notes if text)

    def _weights(self, picked: _Picked, chosen: Selection, layout: Layout) -> int:
        if not chosen.tensors:
            return sum(layout.groups[i].numel for i in picked.groups)
        base = self._workspace.recipe.base or self._workspace.recipe.experts[0]
        checkpoint = self._workspace.library.entry(base.path).checkpoint
        return sum(checkpoint.tensors[t].numel for t in picked.tensors) if checkpoint else 0

    def _measure(self, picked: _Picked, layout: Layout) -> LiveMetrics | None:
        gram = self._workspace.live.gram(self._workspace.recipe)
        if gram is None or not picked.groups:
            return None
        column = np.zeros((1, len(layout.groups)))
        column[0, list(picked.groups)] = 1.0
        return live_metrics(gram, factors(self._workspace.recipe, layout, self._workspace.method), column)

    def _experts(
        self, chosen: Selection, picked: _Picked, layout: Layout, metrics: LiveMetrics | None
    ) -> tuple[ExpertFacts, ...]:
        recipe = self._workspace.recipe
        values = group_values(recipe, layout, self._workspace.method.coefficient)[:, list(picked.groups)]
        facts = []
        for i, ref in enumerate(recipe.experts):
            if ref.id in chosen.experts and values.shape[1]:
                facts.append(ExpertFacts(
                    index=i, name=ref.name, low=float(values[i].min()), high=float(values[i].max()),
                    norm=float(metrics.norms[i, 0]) if metrics else None,
                    share=float(metrics.share[i, 0]) if metrics else None,
                    cosine=float(metrics.cosine[i, 0]) if metrics else None,
                    is_muted=not recipe.is_heard(ref.id),
                ))  # fmt: skip
        return tuple(facts)

    def _scores(self, chosen: Selection) -> tuple[tuple[str, str], ...]:
        """Base and mix of the tasks that belong to the selected experts."""
        scoring, recipe = self._workspace.scoring, self._workspace.recipe
        names = {recipe.expert(e).name for e in chosen.experts}
        found = []
        for task in scoring.board.tasks.values():
            mix = scoring.board.mix.scores.get(task.name) if scoring.board.mix else None
            base = scoring.board.models.get((recipe.base.path, task.name)) if recipe.base else None
            if task.expert in names and mix is not None and base is not None:
                found.append((task.name, f"{score_text(base.value)} → {score_text(mix.value)}"))
        return tuple(found)


def _pick(chosen: Selection, layout: Layout) -> _Picked:
    if chosen.tensors:
        groups = tuple(i for i, g in enumerate(layout.groups) if set(g.tensors) & set(chosen.tensors))
        return _Picked(groups, chosen.tensors)
    groups = tuple(
        i for i, g in enumerate(layout.groups) if g.place.layer in chosen.layers and g.place.kind in chosen.kinds
    )
    return _Picked(groups, tuple(t for i in groups for t in layout.groups[i].tensors))


def _notes(recipe: Recipe, findings: dict[str, tuple[Finding, ...]], experts: Sequence[str]) -> tuple[Note, ...]:
    return tuple(
        Note(severity=f.severity, message=f"{recipe.expert(e).name}: {f.message}", hint=f.hint)
        for e in experts
        for f in findings.get(e, ())
    )
