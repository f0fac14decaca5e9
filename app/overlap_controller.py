"""The overlap views: built when they are first shown, fed from the Gram matrix at once and from one pass afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDockWidget

from app import overlap_state
from app.desk_controller import DeskController
from app.overlap_work import OVERLAP, SIZES, exact, first_look, glance, prepared
from app.selection import LinkedSelection, marks
from app.selection import made as selected
from app.workspace import Workspace
from engine.analyse.magnitude_values import Magnitudes, densities
from engine.analyse.values import Overlap
from engine.errors import MixdownError
from engine.merge.inputs import Inputs
from engine.recipe.act import dropped_roles
from engine.recipe.recipe import Recipe, Value

if TYPE_CHECKING:
    from widgets.plots.overlap_panel import OverlapPanel

Found = TypeVar("Found", Overlap, Magnitudes)
STRICTNESS = 0.4
CALM_MS = 5000
"""How long no model may have come or gone before the views are prepared."""


class OverlapController(QObject):
    """Connects the overlap dock with the workspace and the desk's selection.

    Signals:
        told: A sentence worth a notification.
        problem: An error to show.
        made: The panel, when it is made.
        refreshed: The views were brought up to date.
    """

    made = Signal(object)
    refreshed = Signal()
    told = Signal(str)
    problem = Signal(object)

    def __init__(
        self, workspace: Workspace, desk: DeskController, dock: QDockWidget, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace, self._desk, self._dock = workspace, desk, dock
        self._panel: OverlapPanel | None = None
        self.links = LinkedSelection(workspace, desk, self)
        self.strictness = STRICTNESS
        self.by_magnitude = False
        self._cut = 0
        self._found: Overlap | None = None
        self._sizes: Magnitudes | None = None
        self._paths: dict[str, tuple[str, ...]] = {}
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._soon = QTimer(self, interval=12, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        self.links.changed.connect(self._mark)
        dock.visibilityChanged.connect(self._later)
        self._calm = QTimer(self, interval=CALM_MS, singleShot=True)  # a row that is dropped next comes first
        self._calm.timeout.connect(self._load)
        workspace.modelsChanged.connect(self._calm.start)
        self._calm.start()
        for signal in (workspace.store.recipeChanged, workspace.live.gramChanged, workspace.modelsChanged,
                       self.links.changed, workspace.settingsChanged):  # fmt: skip
            signal.connect(self._later)
        self._later()  # the views may be on show already

    def _later(self, *_: object) -> None:
        if self._dock.isVisible() and not self._soon.isActive():
            self._soon.start()

    def _load(self) -> None:
        """Prepare what the views are counted and drawn with, before anybody asks for them."""
        inputs = self._workspace.inputs()
        if QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton:
            self._calm.start()  # loading would make a fader stutter
        elif inputs is not None and inputs.base is not None:
            self._workspace.runner.submit("Preparing the overlap views", lambda token: prepared(inputs, token),
                                          key="overlap prepared", lane="files", shown=False, background=True,
                                          done=lambda _: self._glance(inputs),
                                          failed=lambda _: None)  # fmt: skip  # whoever asks for the views is told

    def _glance(self, inputs: Inputs) -> None:
        """Take a first look when nothing else is to do, so that the views have numbers when they are opened."""
        paths, layout = self._on_desk(), self._workspace.layout
        if layout is None or not paths[1:] or len(set(paths)) < len(paths) or inputs is not self._workspace.inputs():
            return
        groups, strictness = layout.groups, self.strictness

        def take(found: dict[str, Overlap | Magnitudes]) -> None:
            known = {OVERLAP: self._known(self._found, OVERLAP), SIZES: self._known(self._sizes, SIZES)}
            for key in [key for key in found if known[key] is None]:
                self._arrived(key, found[key], paths)

        self._workspace.runner.submit("Looking at the overlap", lambda token: glance(inputs, groups, strictness, token),
                                      key="overlap glance", shown=False, background=True, done=take,
                                      failed=lambda _: None)  # fmt: skip  # whoever asks for the views is told

    def _on_desk(self) -> tuple[str, ...]:
        """Paths of the base, if there is one, and the experts."""
        recipe = self._workspace.recipe
        return (recipe.base.path if recipe.base else "", *(e.path for e in recipe.experts))

    def _mark(self) -> None:
        """Show the selection in every view at once."""
        if self._panel is not None:
            self._panel.set_marks(marks(self.links.current, self._workspace.recipe))

    def panel(self) -> OverlapPanel:
        """The views; made when they are first wanted, because pyqtgraph takes a moment to load."""
        if self._panel is None:
            from widgets.plots.overlap_panel import OverlapPanel

            panel = self._panel = OverlapPanel()
            panel.setMinimumHeight(340)
            panel.pairChosen.connect(lambda a, b, layer: self._choose((a, b), layer))
            panel.cellChosen.connect(lambda expert, layer: self._choose((expert,), layer))
            panel.expertChosen.connect(lambda expert: self._choose((expert,), ""))
            panel.roleChosen.connect(self._choose_role)
            panel.combinationChosen.connect(self._choose_combination)
            panel.densityDragged.connect(self._set_density)
            panel.strictnessMoved.connect(self._set_strictness)
            panel.cutMoved.connect(self._set_cut)
            panel.consensusWanted.connect(self.use_consensus)
            panel.weightingChosen.connect(self._set_weighting)
            panel.viewChanged.connect(self._on_view)
            panel.told.connect(self.told)
            self._dock.setWidget(panel)
            self.made.emit(panel)
        return self._panel

    def _on_view(self, view: str) -> None:
        self._ask(view)
        self._later()

    def _ask(self, view: str) -> None:
        """Measure what a view needs and is not known yet, or only from a sample."""
        if view in ("signs", "masks", "roles"):
            overlap = self._known(self._found, OVERLAP)
            if overlap is None or overlap.share < 1:
                self._measure(OVERLAP, is_first=overlap is None)
        elif view == "sizes":
            sizes = self._known(self._sizes, SIZES)
            if sizes is None or sizes.share < 1:
                self._measure(SIZES, is_first=sizes is None)

    def refresh(self) -> None:
        """Show what is known, and measure what is not."""
        if not self._dock.isVisible():
            return
        workspace, panel = self._workspace, self.panel()
        recipe, layout = workspace.recipe, workspace.layout
        names, layers = [e.name for e in recipe.experts], layout.layers if layout else ()
        gone = dropped_roles(recipe, names)
        gram, found, sizes = (
            workspace.live.gram(recipe),
            self._known(self._found, OVERLAP),
            self._known(self._sizes, SIZES),
        )
        params = workspace.method.complete(dict(recipe.params))
        strictness = float(params.get("strictness", params["drop_lambda"] if gone else self.strictness))
        self.strictness = strictness
        view = panel.current
        self._ask(view)
        if view == "cosine":
            panel.set_state(view, overlap_state.cosine_view(gram, names, *self._chosen_groups()))
        elif view == "layers":
            panel.set_state(view, overlap_state.layer_view(gram, names, layout))
        elif view == "signs":
            panel.set_state(view, overlap_state.sign_view(found, layers, weighted=self.by_magnitude))
        elif view == "masks":
            panel.set_state(view, overlap_state.mask_view(found, strictness))
        elif view == "roles":
            state = overlap_state.role_view(found, layers, strictness, self._k(params), gone,
                                            is_preview=not self._has_k(params))  # fmt: skip
            panel.set_state(view, state)
        elif view == "sizes":
            density = float(params["density"]) if "density" in params else None
            panel.set_state(view, overlap_state.size_view(sizes, density, densities(params, names)))
        if view in panel.controls:
            self._show_controls(panel, view, found, params)
        self._mark()
        self.refreshed.emit()

    def _k(self, params: Mapping[str, Value]) -> int:
        """The method's k, or the one that is only looked at."""
        return int(params["k"]) if self._has_k(params) else self._cut

    @staticmethod
    def _has_k(params: Mapping[str, Value]) -> bool:
        """Whether the method drops weights that matter to fewer than k tasks, as Consensus does."""
        return "k" in params and "strictness" in params

    def _show_controls(
        self, panel: OverlapPanel, view: str, found: Overlap | None, params: Mapping[str, Value]
    ) -> None:
        controls = panel.controls[view]
        if found is None or found.masks is None:
            controls.hide()
            return
        controls.show()
        controls.set_strictness(found.masks.strictness.tolist(), found.masks.level(self.strictness))
        controls.set_cut(len(found.names), self._k(params), has_method=self._has_k(params))

    def _chosen_groups(self) -> tuple[list[int] | None, str]:
        """Groups of the desk's selection for the cosine matrix, and what to call them."""
        now, layout = self.links.current, self._workspace.layout
        chosen = now.places if now is not None else None
        if chosen is None or layout is None or (chosen.every_layer and chosen.every_kind):
            return None, ""
        groups = [i for i, g in enumerate(layout.groups)
                  if g.place.layer in chosen.layers and g.place.kind in chosen.kinds]  # fmt: skip
        kinds = "" if chosen.every_kind else f" {', '.join(chosen.kinds)}"
        layers = "all layers" if chosen.every_layer else f"layers {', '.join(chosen.layers)}"
        return groups, f"{layers}{kinds}"

    # One pass over the models --------------------------------------------------------------------------------

    def _known(self, found: Found | None, key: str) -> Found | None:
        """What was measured, in row order, if it is about these models."""
        recipe: Recipe = self._workspace.recipe
        known = self._paths.get(key, ())
        if found is None or not recipe.base:
            return None
        paths = (recipe.base.path, *(e.path for e in recipe.experts))
        if sorted(paths[1:]) != sorted(known[1:]) or paths[0] != known[0]:
            return None
        order = [known[1:].index(p) for p in paths[1:]]
        wanted = order if isinstance(found, Magnitudes) else [str(i) for i in order]
        ordered = found.ordered(wanted)
        return replace(ordered, names=tuple(e.name for e in recipe.experts))

    def _measure(self, key: str, *, is_first: bool) -> None:
        """Look for an earlier result, else take a quick sample; then count exactly."""
        inputs, recipe, layout = self._workspace.inputs(), self._workspace.recipe, self._workspace.layout
        few = (key == OVERLAP and len(recipe.experts) < 2) or not recipe.experts
        if inputs is None or recipe.base is None or layout is None or few:
            return
        paths = (recipe.base.path, *(e.path for e in recipe.experts))
        if paths == self._wanted.get(key) or len(set(paths)) < len(paths):
            return
        self._wanted[key] = paths
        title = {OVERLAP: "Measuring the overlap", SIZES: "Measuring the magnitudes"}[key]
        groups, wanted = layout.groups, self.strictness
        self._workspace.runner.submit(
            f"{title} of {len(recipe.experts)} experts" + (" (first look)" if is_first else ""),
            lambda token: first_look(key, inputs, groups, wanted, token) if is_first else exact(key, inputs, token),
            key=key, shown=not is_first, background=not is_first, lane="files" if is_first else "heavy",
            failed=self._failed, done=lambda found: self._arrived(key, found, paths),
        )  # fmt: skip

    def _arrived(self, key: str, found: Overlap | Magnitudes, paths: tuple[str, ...]) -> None:
        if isinstance(found, Magnitudes):
            self._sizes = found
        else:
            self._found = found
        self._paths[key] = paths
        self._wanted.pop(key, None)
        self._later()

    def _failed(self, error: MixdownError) -> None:
        self.problem.emit(error)

    def _set_density(self, density: float, gesture: str) -> None:
        """The threshold line is the density parameter."""
        recipe, value = self._workspace.recipe, round(min(max(density, 0.0), 1.0), 4)
        if "density" in {p.name for p in self._workspace.method.params}:
            self._workspace.store.apply(recipe.with_param("density", value), f"Set density to {value:g}", gesture)

    # From seeing to doing ------------------------------------------------------------------------------------

    def _choose_role(self, layer: str, part: int) -> None:
        """Select the weights of a role in a layer."""
        state = self.panel().frame("roles").view.state
        experts = state.part_experts[part] or None
        self._choose(experts, layer, role=state.roles[part])

    def _choose_combination(self, bits: int) -> None:
        experts = tuple(t for t in range(len(self._workspace.recipe.experts)) if bits >> t & 1)
        self._choose(experts, "", combination=experts)

    def _choose(
        self,
        experts: tuple[int, ...] | None,
        layer: str,
        *,
        combination: tuple[int, ...] | None = None,
        role: str = "",
    ) -> None:
        """Select what a place in a view is about, everywhere; with Ctrl in addition."""
        layout = self._workspace.layout
        if layout is None:
            return
        chosen = selected(self._workspace.recipe, layout, experts=experts, layers=(layer,) if layer else None,
                          combination=combination, role=role)  # fmt: skip
        add = bool(QGuiApplication.keyboardModifiers() & Qt.KeyboardModifier.ControlModifier)
        self.links.choose(chosen, add=add)

    def _set_strictness(self, index: int, gesture: str) -> None:
        """The slider is the method's λ where it has one, or that of the dropped roles; else only this view's."""
        found, recipe = self._known(self._found, OVERLAP), self._workspace.recipe
        if found is None or found.masks is None:
            return
        value = float(found.masks.strictness[index])
        name = "strictness" if "strictness" in {p.name for p in self._workspace.method.params} else "drop_lambda"
        if name == "strictness" or dropped_roles(recipe, [e.name for e in recipe.experts]):
            self._workspace.store.apply(recipe.with_param(name, value), f"Set λ to {value:g}", gesture)
        else:
            self.strictness = value
            self.refresh()

    def _set_cut(self, k: int, gesture: str) -> None:
        """The line is the method's k where it has one; else only a preview."""
        recipe, params = self._workspace.recipe, self._workspace.method.complete(dict(self._workspace.recipe.params))
        if self._has_k(params):
            self._workspace.store.apply(recipe.with_param("k", k), f"Set k to {k}", gesture)
        else:
            self._cut = k
        self.refresh()

    def _set_weighting(self, by_magnitude: bool) -> None:
        """How the sign conflict is counted; it only changes what is seen."""
        self.by_magnitude = by_magnitude
        self.refresh()

    def use_consensus(self, k: int) -> None:
        """Choose the method whose k has been looked at, with its λ."""
        made = self._workspace.recipe.with_method("consensus", {"k": k, "strictness": self.strictness})
        self._workspace.store.apply(made, f"Use Consensus with k = {k}")
