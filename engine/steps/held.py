"""What a statistic has made of a tensor that is in memory, kept for the kernel, which would make it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.steps.ops import Array
    from engine.steps.view import Span, View


class Held:
    """Tensors by the span that they belong to; remembers nothing of views that are not resident.

    At most as much memory as the resident tensor itself is held, and each piece only until the kernel takes it.

    Args:
        view: What the statistic passes over.
    """

    def __init__(self, view: View) -> None:
        self._parts: dict[tuple[str, int, int], Sequence[Array]] | None = {} if view.resident else None

    def keep(self, span: Span, made: Sequence[Array], of: Sequence[Array]) -> None:
        """Keep what was made of a span, unless a part of it is the input itself, whose memory is used again.

        Args:
            span: Which elements.
            made: Tensors (n,); from now on the next caller's to change.
            of: The chunk's own tensors (n,).
        """
        if self._parts is not None and not any(x is y for x in made for y in of):
            self._parts[span.tensor, span.start, span.stop] = made

    def take(self, span: Span) -> Sequence[Array] | None:
        """What was kept for a span, the caller's to change; None if nothing was, or it was taken."""
        return self._parts.pop((span.tensor, span.start, span.stop), None) if self._parts else None
