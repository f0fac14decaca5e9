"""What the models shelf shows: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Check = Literal["reading", "checked", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One model on the shelf.

    Attributes:
        id: Handle used in signals (the recipe's id).
        name: Name the user gave it.
        path: Full path, for the tooltip.
        index: Row of the expert (colour and letter); -1 for the base.
        parameters: Number of weights, None while unknown.
        dtype: Stored dtype ("bf16", "mixed"), "" while unknown.
        size_bytes: Bytes of all tensors, None while unknown.
        check: How the checks stand.
        check_text: What the checks found, plain text, for tooltip and screen reader.
        origin: Who vouches for it, in a word ("verified", "unverified", "tainted"); "" while that is not known.
        is_muted: Whether mute or solo keeps it out of the mix.
    """

    id: str
    name: str
    path: str = ""
    index: int = -1
    parameters: int | None = None
    dtype: str = ""
    size_bytes: int | None = None
    check: Check = "reading"
    check_text: str = ""
    origin: str = ""
    is_muted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseProposal:
    """A guess which model is the base, to be confirmed.

    Attributes:
        id: Handle of the proposed model.
        text: The whole sentence ("tiny-base looks like the ancestor of the other three.").
    """

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfState:
    """Everything on the shelf.

    Attributes:
        base: The base, or None.
        experts: Experts in row order.
        proposal: A base to confirm, or None.
        current: Handle of the model shown in the inspector, "" for none.
        has_demo: Whether the demo can be opened.
    """

    base: ModelCard | None = None
    experts: tuple[ModelCard, ...] = ()
    proposal: BaseProposal | None = None
    current: str = ""
    has_demo: bool = True
