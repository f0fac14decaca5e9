"""The tensor tab of the overlap views: one matrix as pixels, with everything about the weight under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, Qt, QTimer, Signal

from app.project import without_hashes
from app.selection import made as selected
from app.side_docks import with_overlap
from app.spectrum_views import SpectrumViews
from app.tensor_work import First, Look, Place, Session
from engine.analyse.bitmap import Mode, Reading
from engine.errors import MixdownError
from engine.files.model import Layout
from engine.merge.inputs import Inputs
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from app.desk import Desk
    from widgets.plots.bitmap_panel import BitmapPanel
    from widgets.plots.bitmap_state import Bitmap
    from widgets.plots.frame import PlotFrame
    from widgets.plots.overlap_panel import OverlapPanel
    from widgets.plots.tensor_bar import TensorPage

VIEW = "tensor"
SETTLE_MS = 180
_OCTAVES_SHOWN = 8


def install(desk: Desk) -> Mapping[str, Callable[..., None]]:
    """Add the tensor and spectrum tabs when the overlap views are made."""
    views = TensorViews(desk)
    spectrum = SpectrumViews(desk, views)
    with_overlap(desk, views.add_to)
    with_overlap(desk, spectrum.add_to)
    return {}


class TensorViews(QObject):
    """Feeds the tensor view.

    Signals:
        cellChosen: (expert index, layer, kind) of a weight that was chosen; -1 when nobody changes it.
        tensorChanged: Name of the tensor on show.
    """

    cellChosen = Signal(int, str, str)
    tensorChanged = Signal(str)
    _tileMade = Signal(object, object, object, object)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk, self._workspace = desk, desk.workspace
        self.page: TensorPage | None = None
        self._panel: OverlapPanel | None = None
        self._look, self.tensor = Look(), ""
        self._session: Session | None = None
        self._drawn: tuple[Any, ...] = ()
        self._state: Bitmap | None = None
        self._reading: Reading | None = None
        self._soon = QTimer(self, interval=SETTLE_MS, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        self._watch = QTimer(self, interval=200)
        self._watch.timeout.connect(self._on_tick)
        self._point = QTimer(self, interval=25, singleShot=True)
        self._point.timeout.connect(self._read)
        self._tileMade.connect(self._on_tile, Qt.ConnectionType.QueuedConnection)
        for signal in (self._workspace.store.recipeChanged, self._workspace.modelsChanged):
            signal.connect(lambda *_: self._soon.start())
        self._workspace.settingsChanged.connect(lambda *_: self._soon.start())
        desk.overlap.links.changed.connect(lambda *_: self._follow())

    # Putting it together -------------------------------------------------------------------------------------

    def add_to(self, panel: OverlapPanel) -> None:
        """Add the tab; called when the overlap views are first shown."""
        self._panel = panel
        panel.add_page(VIEW, "Tensor", self._made)
        panel.viewChanged.connect(lambda _: self._soon.start(0))
        self._soon.start(0)

    def _made(self) -> tuple[QWidget, PlotFrame]:
        """The page, when it is first shown."""
        from widgets.plots.bitmap_panel import BitmapPanel
        from widgets.plots.tensor_bar import TensorPage

        view = BitmapPanel()
        page = self.page = TensorPage(view, with_modes=True)
        page.bar.tensorChosen.connect(self.show_tensor)
        page.bar.modeChosen.connect(lambda mode: self._choose(replace(self._look, mode=mode)))
        page.bar.expertChosen.connect(lambda expert: self._choose(replace(self._look, expert=expert)))
        view.canvas.tilesWanted.connect(self._on_wanted)
        view.canvas.cursorMoved.connect(lambda *_: self._on_cursor())
        view.canvas.weightChosen.connect(self._on_chosen)
        view.canvas.moved.connect(lambda: self._session.hush() if self._session is not None else None)
        return page, page.frame

    @property
    def view(self) -> BitmapPanel:
        """The view; only once the tab was made."""
        if self.page is None:
            raise RuntimeError("the tensor tab was not made yet")
        view: BitmapPanel = self.page.frame.view
        return view

    @property
    def is_shown(self) -> bool:
        """Whether the tab is in front."""
        return self._panel is not None and self._panel.isVisible() and self._panel.current == VIEW

    def choices(self) -> list[tuple[str, str]]:
        """(name, label) of every matrix of the base; the label begins with layer and kind."""
        inputs = self._workspace.inputs()
        if inputs is None or inputs.base is None:
            return []
        places = inputs.layout.places
        rank = {layer: i for i, layer in enumerate(inputs.layout.layers)}
        names = [n for n, i in inputs.base.tensors.items() if i.is_float and len(i.shape) > 1 and i.numel]
        names.sort(key=lambda n: (rank[places[n].layer], places[n].kind, n))
        return [(n, f"{places[n].layer} · {places[n].kind} · {n}") for n in names]

    def show_tensor(self, name: str) -> None:
        """Look at another tensor, here and in the spectrum."""
        if name != self.tensor:
            self.tensor = name
            self._reading = None
            self.tensorChanged.emit(name)
            self.refresh()

    def _choose(self, look: Look) -> None:
        if look != self._look:
            self._look = look
            self.refresh()

    def settle(self, choices: list[tuple[str, str]], layout: Layout) -> None:
        """Keep the chosen tensor if it is still there, else take the first matrix of a numbered layer."""
        names = [name for name, _ in choices]
        if self.tensor not in names:
            inner = (n for n in names if layout.places[n].layer not in ("emb", "head", "other"))
            self.tensor = next(inner, names[0])
            self.tensorChanged.emit(self.tensor)

    # State ---------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what the recipe makes of the chosen tensor."""
        from widgets.plots.bitmap_state import Bitmap

        if self.page is None or not self.is_shown:
            return
        inputs, choices = self._workspace.inputs(), self.choices()
        if inputs is None or not choices:
            self._forget()
            self.page.bar.set_tensors([], "")
            self.page.frame.set_state(Bitmap())
            return
        self.settle(choices, inputs.layout)
        if self._look.expert >= len(inputs.names):
            self._look = replace(self._look, expert=-1)
        self.page.bar.set_tensors(choices, self.tensor)
        self.page.bar.set_mode(self._look.mode, inputs.names, self._look.expert)
        recipe = replace(without_hashes(self._workspace.recipe), tasks=())
        drawn = (recipe, id(inputs), self.tensor, self._look, self._workspace.settings.theme)
        if drawn == self._drawn:
            return
        same = self._session is not None and drawn[:3] == self._drawn[:3]
        self._drawn = drawn
        if not same:
            self._open(recipe, inputs)
        self._look_again(inputs)

    def _open(self, recipe: Recipe, inputs: Inputs) -> None:
        """Start on another matrix or recipe."""
        self._forget()
        session = self._session = Session(recipe, inputs, self.tensor)
        self._workspace.runner.submit(
            f"Drawing {self.tensor}", session.build, key="tensor pyramid", background=True,
            done=lambda _: self._built(session), failed=lambda error: self._failed(session, error),
        )  # fmt: skip
        self._watch.start()

    def _forget(self) -> None:
        self._watch.stop()
        for key in ("tensor pyramid", "tensor first", "tensor cursor"):
            self._workspace.runner.cancel_key(key)
        if self._session is not None:
            self._session.close()
        self._session, self._state = None, None

    def _look_again(self, inputs: Inputs) -> None:
        """Show the present mode: exact if it is known, else a sample first."""
        from widgets.plots.bitmap_state import CHOOSES, PER_EXPERT, TITLES, Bitmap, lettered

        session, look = self._session, self._look
        if session is None or inputs.base is None:
            return
        shape = inputs.base.tensors[self.tensor].shape
        rows, columns = shape[0], int(np.prod(shape[1:]))
        one = look.expert >= 0 and look.mode in CHOOSES
        whose = f", {lettered(look.expert, inputs.names)}" if one else ""
        pixels = look.expert if look.mode in PER_EXPERT else -1
        before = self._state
        self._state = Bitmap(
            title=f"{TITLES[look.mode]}{whose}  {rows} × {columns}", key=f"{id(session)}|{look.mode}:{pixels}",
            tensor=self.tensor, rows=rows, columns=columns, names=inputs.names, mode=look.mode, expert=look.expert,
            grid=before.grid if before is not None else (("",), (("being read",),)),
            meaning=self._meaning(session),
        )  # fmt: skip
        self._show()
        if session.is_complete:
            self._total(session)
        else:
            self._workspace.runner.submit(
                "Looking at a tensor", lambda token: session.first(look, token), key="tensor first", lane="files",
                shown=False, done=lambda first: self._on_first(session, look, first),
                failed=lambda error: self._failed(session, error),
            )  # fmt: skip
        self._on_cursor()

    def _meaning(self, session: Session, note: str = "") -> str:
        from widgets.plots.bitmap_state import SENTENCES

        text = SENTENCES[self._look.mode]
        if self._look.mode == "kept":
            text = f"{text}: {session.mask}." if session.mask else f"{text}. The mask is being measured…"
        if self._look.mode == "owner" and self._look.expert >= 0:
            text = f"{text} Grey: another expert's."
        return f"{note}{text}"

    def _show(self, **changes: Any) -> None:
        """Show the state with some changes."""
        if self._state is not None and self.page is not None:
            self._state = replace(self._state, **changes)
            self.page.frame.set_state(self._state)

    # What workers found --------------------------------------------------------------------------------------

    def _on_first(self, session: Session, look: Look, first: First | None) -> None:
        if session is not self._session or look != self._look or first is None or session.is_complete:
            return
        note = "Sampled, exact numbers follow. " if first.is_sample else ""
        low, high = _range(look.mode, first.codes)
        self._show(grid=first.grid, is_sample=first.is_sample, low=low, high=high,
                   meaning=self._meaning(session, note))  # fmt: skip
        self.view.put(first.place, first.codes, is_sample=first.is_sample)

    def _on_wanted(self, places: tuple[Place, ...]) -> None:
        session = self._session
        if session is not None and session.ask(self._look, places):
            self._workspace.runner.submit(
                "Drawing tiles", lambda token: session.serve(self._giver(session), token), lane="files", shown=False,
                failed=lambda error: self._failed(session, error),
            )  # fmt: skip

    def _giver(self, session: Session) -> Callable[[Look, Place, np.ndarray], object]:
        return lambda look, place, made: self._tileMade.emit(session, look, place, made)

    def _on_tile(self, session: Session, look: Look, place: Place, made: np.ndarray) -> None:
        if session is self._session and look == self._look and self._state is not None:
            if look.mode == "magnitude" and self._state.high == 255:
                low, high = _range(look.mode, made)
                self._show(low=low, high=high)
            self.view.put(place, made)

    def _on_tick(self) -> None:
        """While the pyramid grows: ask for the tiles that it has by now."""
        if self.is_shown and self._session is not None:
            self.view.canvas.ask()

    def _built(self, session: Session) -> None:
        if session is self._session:
            self._watch.stop()
            self._total(session)
            self._on_cursor()

    def _total(self, session: Session) -> None:
        """Everything is exact now."""
        found = session.totals(self._look)
        if found is not None and self._state is not None:
            summary, table = found
            self._show(summary=summary, grid=table, is_sample=False, mask=session.mask,
                       meaning=self._meaning(session))  # fmt: skip
            self.view.canvas.forget_samples()

    def _failed(self, session: Session, error: MixdownError) -> None:
        from widgets.plots.bitmap_state import Bitmap

        if session is self._session and self.page is not None:
            self._watch.stop()
            self._state = None
            self.page.frame.set_state(Bitmap(empty=f"{error.message} {error.hint}".strip()))

    # Cursor --------------------------------------------------------------------------------------------------

    def _on_cursor(self) -> None:
        self._point.start()

    def _read(self) -> None:
        session = self._session
        if session is None or self.page is None:
            return
        row, column = self.view.canvas.cursor_weight
        if row < 0:
            return
        self._workspace.runner.submit(
            "Reading a weight", lambda _: session.reading(row, column), key="tensor cursor", lane="files", shown=False,
            done=lambda found: self._on_reading(session, found), failed=lambda _: None,
        )  # fmt: skip

    def _on_reading(self, session: Session, found: Reading) -> None:
        if session is self._session:
            self._reading = found
            self.view.set_reading(found)

    def _on_chosen(self, row: int, column: int) -> None:
        """Select the weight's owner and group on the desk."""
        layout, found = self._workspace.layout, self._reading
        if layout is None or self.tensor not in layout.places:
            return
        place, recipe = layout.places[self.tensor], self._workspace.recipe
        known = found is not None and (found.row, found.column) == (row, column)
        owner = found.owner if known and found is not None and found.owner < len(recipe.experts) else -1
        self._desk.overlap.links.choose(selected(
            recipe, layout, experts=(owner,) if owner >= 0 else None, layers=(place.layer,), kinds=(place.kind,)
        ))  # fmt: skip
        self.cellChosen.emit(owner, place.layer, place.kind)

    def _follow(self) -> None:
        """When the selection is about one layer, look at a tensor of it."""
        chosen, layout = self._desk.overlap.links.current, self._workspace.layout
        is_seen = self._panel is not None and self._panel.isVisible() and self._panel.current in (VIEW, "spectrum")
        if not is_seen or chosen is None or layout is None or len(chosen.places.layers) != 1:
            return
        places = chosen.places

        def fits(name: str) -> bool:
            place = layout.places[name]
            is_named = not places.tensors or name in places.tensors
            return is_named and place.layer in places.layers and place.kind in places.kinds

        names = [name for name, _ in self.choices()]
        name = next((n for n in (self.tensor, *names) if n in names and fits(n)), "")
        if name:
            self.show_tensor(name)


def _range(mode: Mode, made: np.ndarray) -> tuple[int, int]:
    """Codes at the ends of the colours: for magnitudes some octaves below the largest ones."""
    known = made[made > 0]
    if mode != "magnitude" or not known.size:
        return 1, 255
    high = min(int(np.percentile(known, 99.5)) + 6, 254)
    return max(high - round(_OCTAVES_SHOWN * 254 / 40), 1), high
