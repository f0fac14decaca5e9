"""What the overlap views show, measured in a worker: a first look at a sample, then everything."""

from __future__ import annotations

from dataclasses import replace

from app import places
from engine.analyse.magnitude_values import Magnitudes
from engine.analyse.values import Overlap
from engine.files.model import Group
from engine.merge.inputs import Inputs
from engine.progress import Token

OVERLAP, SIZES = "overlap", "magnitudes"
"""What can be measured; also keys of the jobs."""
SHOWN = ("signs", "masks")
"""What the views show of an overlap; cosines come from the Gram matrix that the mix is made with."""


def prepared(inputs: Inputs, token: Token) -> None:
    """Load the analyses and the views, and take the models' fingerprints, in a worker."""
    from engine.analyse import magnitudes, overlap, stored  # noqa: F401  # only loaded
    from engine.merge.models import content_key
    from widgets.plots import overlap_panel  # noqa: F401  # only loaded

    for model in (inputs.base, *inputs.experts):
        token.check()
        if model is not None:
            content_key(model)


def first_look(
    key: str, inputs: Inputs, groups: tuple[Group, ...], strictness: float, token: Token
) -> Overlap | Magnitudes:
    """What is known from earlier, or a quick sample at one λ; in a worker. The experts are called by their index."""
    from engine.analyse.magnitudes import magnitudes
    from engine.analyse.overlap import STRICTNESS, overlap
    from engine.analyse.sample import SAMPLE
    from engine.analyse.stored import Shelf

    found = Shelf(places.analyses_folder()).find(key, inputs, groups)
    if found is None:
        nearest = min(STRICTNESS, key=lambda level: abs(level - strictness))
        found = (
            overlap(inputs, strictness=(nearest,), parts=SHOWN, progress=token, sample=SAMPLE)
            if key == OVERLAP
            else magnitudes(inputs, progress=token, sample=SAMPLE)
        )
        if found.share >= 1:  # small models: everything takes no longer
            return exact(key, inputs, token)
    return _numbered(found)


def exact(key: str, inputs: Inputs, token: Token) -> Overlap | Magnitudes:
    """One pass over the models, in a worker; remembered for the next time."""
    from engine.analyse.magnitudes import magnitudes
    from engine.analyse.overlap import overlap
    from engine.analyse.stored import Shelf

    found = overlap(inputs, parts=SHOWN, progress=token) if key == OVERLAP else magnitudes(inputs, progress=token)
    Shelf(places.analyses_folder()).keep(key, inputs, found)
    return _numbered(found)


def _numbered(found: Overlap | Magnitudes) -> Overlap | Magnitudes:
    return replace(found, names=tuple(str(i) for i in range(len(found.names))))


def glance(
    inputs: Inputs, groups: tuple[Group, ...], strictness: float, token: Token
) -> dict[str, Overlap | Magnitudes]:
    """First looks at everything that can be measured, before anybody asks; for one expert only its magnitudes."""
    wanted = (OVERLAP, SIZES) if len(inputs.experts) > 1 else (SIZES,)
    return {key: first_look(key, inputs, groups, strictness, token) for key in wanted}
