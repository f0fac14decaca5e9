"""pyqtgraph makes menus for every plot; they go with it, and its own are never offered."""

from __future__ import annotations

import gc

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication, QMenu, QWidget

from widgets.plots.bars_view import BarsView
from widgets.plots.heat_view import HeatView
from widgets.plots.histogram_view import HistogramView
from widgets.plots.lines_view import LinesView
from widgets.plots.points_view import PointsView
from widgets.plots.scatter_view import ScatterView
from widgets.plots.spectrum_view import SpectrumView
from widgets.plots.upset_view import UpSetView

VIEWS = (BarsView, HeatView, HistogramView, LinesView, PointsView, ScatterView, SpectrumView, UpSetView)


def menus(app: QApplication) -> int:
    gc.collect()
    app.sendPostedEvents(None, int(QEvent.Type.DeferredDelete))
    return sum(isinstance(w, QMenu) for w in app.allWidgets())


@pytest.mark.parametrize("kind", VIEWS)
def test_closed_plots_leave_no_menus(qapp: QApplication, kind: type[QWidget]) -> None:
    def open_and_close(times: int) -> None:
        for _ in range(times):
            view = kind()
            view.show()
            qapp.processEvents()
            view.close()
            view.deleteLater()
            qapp.sendPostedEvents(None, int(QEvent.Type.DeferredDelete))

    open_and_close(1)
    before = menus(qapp)
    open_and_close(8)
    assert menus(qapp) <= before


@pytest.mark.parametrize("kind", VIEWS)
def test_no_plot_offers_the_menu_of_pyqtgraph(qapp: QApplication, kind: type[QWidget]) -> None:
    view = kind()
    plots = [view.canvas.getItem(0, 0), view.canvas.getItem(1, 0)] if kind is UpSetView else [view.plot.getPlotItem()]
    assert not any(plot.menuEnabled() or plot.getViewBox().menuEnabled() for plot in plots)
    view.close()
    view.deleteLater()
