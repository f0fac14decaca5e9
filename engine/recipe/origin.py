"""Where a model comes from, as far as it can be told: verified, unverified or tainted (decision 0021).

Weights can hold a backdoor that no check finds. So nothing here says that a model is harmless; it says who vouches for
its bytes, and carries what nobody vouches for into every model that is made of it. What a file says in its own favour
is never believed, as whoever made the file wrote it; what it says against itself is.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import BadProject
from engine.files.text import counted, listed, printable
from engine.recipe import provenance
from engine.recipe.shipped import shipped

Standing = Literal["not checked", "verified", "unverified", "tainted"]
Why = Literal["unconfirmed", "pickle", "changed"]

PICKLE_KIND = "converted pickle"
"""What a file says about itself that was made from a pickle."""
MOST_SOURCES = 256
"""Sources that a model names; of more, those with the smallest hashes."""
_LONGEST_NAME = 200
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WHYS: Mapping[str, Why] = {"pickle": "pickle", "changed": "changed"}


@dataclass(frozen=True, slots=True)
class Source:
    """A model that nobody vouches for.

    Attributes:
        name: What it was called where it was used.
        sha256: Its content hash; "" where that is not known.
        why: "unconfirmed" (nobody compared its hash), "pickle" (converted from one), "changed" (its files are not
            the ones that its manifest lists).
    """

    name: str
    sha256: str
    why: Why = "unconfirmed"

    def plain(self) -> dict[str, str]:
        """As plain data."""
        return {"name": self.name, "sha256": self.sha256, "why": self.why}


@dataclass(frozen=True, slots=True)
class Origin:
    """Who vouches for a model.

    Attributes:
        standing: "verified": somebody here confirmed its hash, Mixdown made it here from such models alone, or it comes
            with Mixdown. "unverified": nobody vouches for it. "tainted": it says itself that it was made from what
            nobody vouches for, or from a pickle, or its files were changed. "not checked": its hash is not known yet.
        sources: What nobody vouches for, the model itself or its ancestors, by hash and name.
        is_shipped: Whether it comes with Mixdown.
    """

    standing: Standing
    sources: tuple[Source, ...] = ()
    is_shipped: bool = False

    @property
    def text(self) -> str:
        """A sentence for people; names in it are printable."""
        if self.is_shipped:
            return "Verified source: it comes with Mixdown."
        if self.standing == "verified":
            return "Verified source: its SHA-256 was confirmed on this computer."
        if self.standing == "not checked":
            return "Source not checked yet."
        if self.standing == "unverified":
            return "Unverified source: nobody here has compared its SHA-256 with the publisher's."
        if any(source.why == "changed" for source in self.sources):
            return "Tainted: its files are not the ones that its manifest lists, or were not when it was used."
        pickles = [source.name for source in self.sources if source.why == "pickle"]
        if len(pickles) == len(self.sources):
            return "Tainted: it comes from a pickle" + (f" ({listed(pickles)})." if len(pickles) > 1 else ".")
        count = counted(len(self.sources), "unverified source")
        return f"Tainted: it was made from {count}: {listed([source.name for source in self.sources])}."


NOT_CHECKED = Origin("not checked")
"""Of a model whose content hash is not known yet."""


def judged(
    metadata: Mapping[str, str],
    *,
    name: str,
    sha256: str,
    confirmed: Container[str] = frozenset(),
    agrees: bool | None = None,
) -> Origin:
    """What is known about the origin of a model.

    Args:
        metadata: Of its weight files.
        name: What it is called.
        sha256: Its content hash; "" while it is not known.
        confirmed: Content hashes that somebody here vouches for.
        agrees: Whether its files are the ones that its manifest lists; None without one.
    """
    if not sha256:
        return NOT_CHECKED
    itself = _shown(name)
    if agrees is False:
        return Origin("tainted", (Source(itself, sha256, "changed"),))
    if sha256 in shipped():
        return Origin("verified", is_shipped=True)
    if sha256 in confirmed:
        return Origin("verified")
    try:
        told = provenance.read(metadata) if provenance.KEY in metadata else {}
    except BadProject:
        told = {}
    if told.get("kind") == PICKLE_KIND:
        return Origin("tainted", (Source(itself, sha256, "pickle"),))
    sources = [
        source for source in _told_sources(told) if source.sha256 not in confirmed and source.sha256 not in shipped()
    ]
    if not sources:  # nothing is said, or only good things
        return Origin("unverified", (Source(itself, sha256),))
    return Origin("tainted", gathered(sources))


def about_origins(origins: Mapping[str, Origin]) -> str:
    """One line about several models, by name: "Unverified: chat, code. Tainted: mix."; "" if there is nothing to say.

    Models that are not checked yet are left out.
    """
    groups: dict[Standing, list[str]] = {"tainted": [], "unverified": [], "verified": []}
    for name, origin in origins.items():
        if origin.standing in groups:
            groups[origin.standing].append(name)
    if len(origins) == 1:
        return next((origin.text for origin in origins.values() if origin.standing in groups), "")
    return " ".join(f"{word.capitalize()} source: {listed(names)}." for word, names in groups.items() if names)


def gathered(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Each source once, in an order that depends on nothing else, at most `MOST_SOURCES`."""
    once = {(source.sha256, source.name): source for source in sources}
    return tuple(once[key] for key in sorted(once))[:MOST_SOURCES]


def inherited(inputs: Sequence[Origin]) -> tuple[Source, ...]:
    """What nobody vouches for among the ancestors of a model that is made of some others."""
    return gathered(source for origin in inputs for source in origin.sources)


def _told_sources(told: Mapping[str, Any]) -> list[Source]:
    """The sources that a provenance names; those of Mixdown before 0021 name only what they were merged from."""
    if isinstance(told.get("sources"), list):
        return _read(told["sources"])
    experts = told.get("experts")
    return _read([told.get("base"), told.get("task"), *(experts if isinstance(experts, list) else ())])


def _read(entries: Iterable[object]) -> list[Source]:
    """The usable ones of a stranger's entries."""
    found = []
    for raw in entries:
        if not isinstance(raw, Mapping):
            continue
        sha256 = raw.get("sha256")
        if isinstance(sha256, str) and (not sha256 or _SHA256.fullmatch(sha256)):
            found.append(Source(_shown(raw.get("name", "")), sha256, _WHYS.get(str(raw.get("why")), "unconfirmed")))
    return found


def _shown(name: object) -> str:
    return printable(str(name), _LONGEST_NAME)
