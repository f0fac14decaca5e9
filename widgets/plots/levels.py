"""Sliders under a plot's title: strictness of the masks, and the k of Consensus."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QSlider, QStyle, QStyleOptionSlider, QWidget

from widgets.common.pieces import push
from widgets.common.text import PlainLabel
from widgets.common.theme import theme

_TALL = 20


class Track(QSlider):
    """A horizontal slider in the theme's colours, with a tick for every value; seen in high contrast, too."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setPageStep(1)
        self.setFixedHeight(_TALL)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Line, ticks and knob; the knob is where the mouse takes hold of it."""
        colours, option = theme(), QStyleOptionSlider()
        self.initStyleOption(option)
        knob = self.style().subControlRect(
            QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, self
        )
        middle, centre = self.height() / 2, knob.center().x() + 0.5
        first, last = knob.width() / 2, self.width() - knob.width() / 2
        ink = QColor(colours.accent if self.isEnabled() else colours.dim)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(QPen(QColor(colours.dim), 1))
        steps = self.maximum() - self.minimum()
        for step in range(steps + 1 if steps <= self.width() // 6 else 0):
            x = first + (last - first) * step / max(steps, 1)
            painter.drawLine(QPointF(x, middle + 5), QPointF(x, middle + 8))
        for end, colour in ((last, QColor(colours.dim)), (centre, ink)):
            painter.setPen(QPen(colour, 3, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
            painter.drawLine(QPointF(first, middle), QPointF(end, middle))
        painter.setPen(QPen(QColor(colours.text if self.hasFocus() else colours.panel), 2))
        painter.setBrush(ink)
        painter.drawEllipse(QRectF(centre - 6, middle - 6, 12, 12))


class LevelSlider(QWidget):
    """A slider over a few named values.

    Signals:
        moved: (index of the value, gesture).
    """

    moved = Signal(int, str)

    def __init__(self, title: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: tuple[str, ...] = ()
        self._gesture = 0
        self._name = title
        self.slider = Track()
        self.slider.setFixedWidth(150)
        self.slider.setAccessibleName(title)
        self.setToolTip(tip)
        self._text = PlainLabel("")
        self._text.setMinimumWidth(self.fontMetrics().horizontalAdvance("0.40 ") + 8)
        self.slider.valueChanged.connect(self._on_value)
        self.slider.sliderReleased.connect(self._released)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for item in (PlainLabel(title, "dim"), self.slider, self._text):
            layout.addWidget(item)

    def set_values(self, values: Sequence[str], index: int) -> None:
        """Offer these values and show one."""
        self._values = tuple(values)
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(len(values) - 1, 0))
        self.slider.setValue(index)
        self.slider.blockSignals(False)
        self.setEnabled(len(values) > 1)
        self._show()

    def _show(self) -> None:
        index = self.slider.value()
        text = self._values[index] if index < len(self._values) else "–"
        self._text.setText(text)
        self.slider.setAccessibleDescription(f"{self._name} {text}")

    def _on_value(self, index: int) -> None:
        self._show()
        self.moved.emit(index, f"level {id(self)} {self._gesture}" if self.slider.isSliderDown() else "")

    def _released(self) -> None:
        self._gesture += 1


class RoleControls(QWidget):
    """What the weight roles are counted with, and what Consensus would keep of them.

    Signals:
        strictnessMoved: (index of lambda, gesture).
        cutMoved: (k, gesture).
        consensusWanted: Use the method Consensus with the k that is shown.
    """

    strictnessMoved = Signal(int, str)
    cutMoved = Signal(int, str)
    consensusWanted = Signal(int)

    def __init__(self, *, with_cut: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cut_value = 0
        self.strictness = LevelSlider("λ", "Strictness of the masks: larger means that fewer weights matter.")
        self.cut = LevelSlider("k", "Consensus keeps weights that matter to at least k tasks. Also drag the dashed "
                                    "line, or press [ and ].")  # fmt: skip
        self._offer = push("Use Consensus", name="use-consensus")
        self.strictness.moved.connect(self.strictnessMoved)
        self.cut.moved.connect(self.cutMoved)
        self._offer.clicked.connect(lambda: self.consensusWanted.emit(self._cut_value))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(18)
        for item in (self.strictness, self.cut, self._offer):
            layout.addWidget(item)
        layout.addStretch(1)
        self.cut.setVisible(with_cut)
        self._offer.setVisible(with_cut)
        self._with_cut = with_cut

    def set_strictness(self, values: Sequence[float], index: int) -> None:
        """The measured values of lambda and the one that is shown."""
        self.strictness.set_values([f"{v:g}" for v in values], index)

    def set_cut(self, experts: int, k: int, *, has_method: bool) -> None:
        """The k of Consensus from 0 to one more than there are experts; offer the method where it is not chosen."""
        self._cut_value = k
        self.cut.set_values([str(v) for v in range(experts + 2)] if experts else (), min(k, experts + 1))
        self._offer.setText(f"Use Consensus with k = {k}")
        self._offer.setVisible(self._with_cut and not has_method and experts > 0)
