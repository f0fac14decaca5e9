"""The spectrum tab of the overlap views: singular values of the chosen tensor's task vectors, made in a worker."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication

from app.selection import made as selected
from engine.analyse.spectral_values import MatrixSpectrum
from engine.errors import MixdownError
from engine.merge.inputs import Inputs
from engine.progress import Token

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from app.desk import Desk
    from app.tensor_views import TensorViews
    from widgets.plots.frame import PlotFrame
    from widgets.plots.overlap_panel import OverlapPanel
    from widgets.plots.spectrum_view import Spectrum
    from widgets.plots.tensor_bar import TensorPage

VIEW = "spectrum"
AT_ONCE = 1.2e10
"""Work (rows x columns x smaller side x experts) that is done without being asked: about ten seconds."""

_KEPT = 32
_PER_SECOND = 1.2e9


class SpectrumViews(QObject):
    """Feeds the spectrum view; it shows the tensor that the tensor view shows.

    Signals:
        pairChosen: (expert index, expert index) of a cell of the overlap.
    """

    pairChosen = Signal(int, int)

    def __init__(self, desk: Desk, tensors: TensorViews) -> None:
        super().__init__(desk)
        self._desk, self._workspace, self._tensors = desk, desk.workspace, tensors
        self.page: TensorPage | None = None
        self._panel: OverlapPanel | None = None
        self._found: OrderedDict[tuple[object, ...], MatrixSpectrum] = OrderedDict()
        self._wanted: tuple[object, ...] = ()
        self._soon = QTimer(self, interval=60, singleShot=True)
        self._soon.timeout.connect(self.refresh)
        for signal in (self._workspace.store.recipeChanged, self._workspace.modelsChanged,
                       self._workspace.settingsChanged, tensors.tensorChanged):  # fmt: skip
            signal.connect(lambda *_: self._soon.start())

    def add_to(self, panel: OverlapPanel) -> None:
        """Add the tab; called when the overlap views are first shown."""
        self._panel = panel
        panel.add_page(VIEW, "Spectrum", self._made)
        panel.viewChanged.connect(lambda _: self._soon.start())

    def _made(self) -> tuple[QWidget, PlotFrame]:
        """The page, when it is first shown."""
        from widgets.plots.spectrum_view import SpectrumView
        from widgets.plots.tensor_bar import TensorPage

        view = SpectrumView()
        page = self.page = TensorPage(view, with_modes=False)
        page.bar.tensorChosen.connect(self._tensors.show_tensor)
        page.bar.measure.clicked.connect(lambda: self._measure(forced=True))
        view.pairChosen.connect(self._on_pair)
        view.expertChosen.connect(lambda expert: self._on_pair(expert, expert))
        return page, page.frame

    def refresh(self) -> None:
        """Show the chosen tensor's spectrum, or measure it."""
        page, panel = self.page, self._panel
        if page is None or panel is None or not panel.isVisible() or panel.current != VIEW:
            return
        from widgets.plots.spectrum_view import Spectrum  # only now: it brings pyqtgraph along

        inputs, choices = self._workspace.inputs(), self._tensors.choices()
        page.bar.measure.hide()
        if inputs is None or not choices:
            page.bar.set_tensors([], "")
            page.frame.set_state(Spectrum())
            return
        self._tensors.settle(choices, inputs.layout)
        page.bar.set_tensors(choices, self._tensors.tensor)
        found = self._found.get(self._key(inputs))
        if found is None:
            self._measure(forced=False)
        else:
            page.frame.set_state(self._state(found, inputs))

    def _key(self, inputs: Inputs) -> tuple[object, ...]:
        """Files as they are and the tensor; not the names, which may change."""
        models = () if inputs.base is None else (inputs.base, *inputs.experts)
        return (*(repr(m.stamps) for m in models), self._tensors.tensor)

    def _state(self, found: MatrixSpectrum, inputs: Inputs) -> Spectrum:
        from widgets.plots.spectrum_view import Spectrum

        rows, columns = found.shape
        return Spectrum(
            title=f"Spectrum  {rows} × {columns}", names=inputs.names, values=found.values,
            effective=found.effective_rank(), energy=found.energy_rank(), overlap=found.overlap(), rank=found.rank,
            meaning=f"Singular values of each task vector. Right: how far the {found.rank} strongest directions of two "
                    "experts coincide (mean squared cosine of the principal angles), 0 to 1.",
        )  # fmt: skip

    def _measure(self, *, forced: bool) -> None:
        """Start the decomposition, unless it is long and nobody asked for it."""
        inputs, name, page = self._workspace.inputs(), self._tensors.tensor, self.page
        if inputs is None or inputs.base is None or page is None or name not in inputs.base.tensors:
            return
        info, key = inputs.base.tensors[name], self._key(inputs)
        sides = (info.shape[0], info.numel // info.shape[0])
        work = float(info.numel) * min(sides) * len(inputs.experts)
        if work > AT_ONCE and not forced and self._wanted != key:
            minutes = max(1, round(work / _PER_SECOND / 60))
            page.bar.measure.show()
            self._say(f"Decomposing this matrix takes about {minutes} min. Press Measure to start.")
            return
        if self._wanted == key:
            return
        self._wanted = key
        self._say("Decomposing the task vectors…")
        page.bar.measure.hide()
        self._workspace.runner.submit(
            f"Decomposing {name}", lambda token: _work(inputs, name, token), key="spectrum", background=not forced,
            done=lambda found: self._arrived(key, found), failed=self._failed,
        )  # fmt: skip

    def _arrived(self, key: tuple[object, ...], found: MatrixSpectrum) -> None:
        self._found[key] = found
        self._wanted = ()
        while len(self._found) > _KEPT:
            self._found.popitem(last=False)
        self.refresh()

    def _failed(self, error: MixdownError) -> None:
        self._wanted = ()
        self._say(f"{error.message} {error.hint}".strip())

    def _say(self, text: str) -> None:
        from widgets.plots.spectrum_view import Spectrum

        if self.page is not None:
            self.page.frame.set_state(Spectrum(empty=text))

    def _on_pair(self, first: int, second: int) -> None:
        """Select both experts' matrix on the desk."""
        layout, rows, tensor = self._workspace.layout, self._workspace.recipe.experts, self._tensors.tensor
        if layout is None or tensor not in layout.places or max(first, second) >= len(rows):
            return
        place, add = layout.places[tensor], QGuiApplication.keyboardModifiers() & Qt.KeyboardModifier.ControlModifier
        chosen = selected(self._workspace.recipe, layout, experts=(first, second), layers=(place.layer,),
                          kinds=(place.kind,), tensors=(tensor,))  # fmt: skip
        self._desk.overlap.links.choose(chosen, add=bool(add))
        self.pairChosen.emit(first, second)


def _work(inputs: Inputs, name: str, token: Token) -> MatrixSpectrum:
    """Decompose one matrix of all experts, in a worker."""
    from engine.analyse.spectra import spectra

    return spectra(inputs, [name], progress=token).matrices[0]
