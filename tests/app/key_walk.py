"""Walking a window by keys that arrive as the window system's, and what is noted at every stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QRect, Qt, QTimer
from PySide6.QtGui import QAccessible, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

MOST = 400
_RING = 6
"""Pixels that must change between a control with the keyboard and without."""
NONE = Qt.KeyboardModifier.NoModifier


@dataclass(frozen=True, slots=True)
class Stop:
    """A place where Tab stops.

    Attributes:
        widget: The control.
        name: What a screen reader calls it.
        has_ring: Whether it looks different with the keyboard.
    """

    widget: QWidget
    name: str
    has_ring: bool

    def __str__(self) -> str:
        """ "QToolButton 'plot-copy' (Copy)"."""
        parents, at = [], self.widget
        while at is not None and len(parents) < 4:
            parents.append(f"{type(at).__name__} {at.objectName()!r}")
            at = at.parentWidget()
        return f"{' < '.join(parents)} ({self.name})"


def press(key: Qt.Key, modifiers: Qt.KeyboardModifier = NONE) -> None:
    """A key as from the window system, to whatever window has the keyboard."""
    window = QApplication.focusWindow() or QApplication.activeWindow().windowHandle()
    QTest.keyClick(window, key, modifiers)
    QApplication.processEvents()


def pixels(widget: QWidget, place: QRect) -> np.ndarray:
    """What a window shows in a place, as (H, W, 4) uint8."""
    image = widget.grab(place).toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    return np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1, 4).copy()


def around(widget: QWidget) -> QRect:
    """Where a control is in its window, with room for a ring."""
    corner = widget.mapTo(widget.window(), widget.rect().topLeft())
    return QRect(corner, widget.size()).adjusted(-5, -5, 5, 5).intersected(widget.window().rect())


def spoken(widget: QWidget) -> str:
    """What a screen reader says of a control."""
    face = QAccessible.queryAccessibleInterface(widget)
    return face.text(QAccessible.Text.Name).strip() if face is not None else ""


def can_see(widget: QWidget) -> bool:
    """Whether a part of a control is on the screen; one that is covered by its own parts is."""
    return widget.isVisible() and any(not w.visibleRegion().isEmpty() for w in (widget, *widget.findChildren(QWidget)))


def walk(
    key: Qt.Key = Qt.Key.Key_Tab, modifiers: Qt.KeyboardModifier = NONE, within: QWidget | None = None
) -> list[Stop]:
    """Press a key until the keyboard is where it was before, or leaves a part of the window; everything in between.

    Raises:
        AssertionError: if it gets stuck, is lost, or goes to what cannot be seen.
    """
    first, stops, seen = QApplication.focusWidget(), list[Stop](), set[int]()
    assert first is not None, "nothing has the keyboard"
    for _ in range(MOST):
        here = QApplication.focusWidget()
        top, place = here.window(), around(here)
        before = pixels(top, place)
        press(key, modifiers)
        now = QApplication.focusWidget()
        assert now is not None, f"lost after {here!r}"
        assert now is not here, f"stuck at {Stop(here, spoken(here), True)}"
        assert can_see(now), f"unseen: {Stop(now, '', True)}"
        changed = int((pixels(top, place) != before).any(axis=2).sum()) if top.isVisible() else _RING
        stops.append(Stop(here, spoken(here), changed >= _RING))
        if now is first or (within is not None and not within.isAncestorOf(now)):
            return stops
        assert id(now) not in seen, f"goes round without {Stop(first, spoken(first), True)}"
        seen.add(id(now))
    raise AssertionError("no end")


def complaints(stops: list[Stop]) -> list[str]:
    """Stops that cannot be heard or seen."""
    silent = [f"no name: {s}" for s in stops if not s.name]
    return [*silent, *(f"no ring: {s}" for s in stops if not s.has_ring)]


def inside(run: Callable[[], object], then: Callable[[QWidget], None], after_ms: int = 60) -> None:
    """Do something inside a dialog that `run` waits for.

    Raises:
        BaseException: whatever `then` raises.
    """
    caught: list[BaseException] = []

    def later() -> None:
        dialog = QApplication.activeModalWidget()
        try:
            assert dialog is not None, "no dialog"
            QTest.qWaitForWindowActive(dialog, 2000)
            for _ in range(100):
                if dialog.isAncestorOf(QApplication.focusWidget() or dialog):
                    break
                QTest.qWait(10)
            then(dialog)
        except BaseException as error:  # told to the test that waits
            caught.append(error)
        finally:
            if dialog is not None:
                dialog.close()

    QTimer.singleShot(after_ms, later)
    run()
    if caught:
        raise caught[0]
