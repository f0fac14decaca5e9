"""The help's pages: where they come from, what they are called, and what a search finds in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST = ("index", "desk", "models", "quick-eval", "export", "bundles", "cli", "methods", "shortcuts")
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        id: Path below the help folder without ".md", with "/" ("decisions/0001-one").
        title: Its first heading.
        text: Markdown.
    """

    id: str
    title: str
    text: str

    @property
    def is_nested(self) -> bool:
        """Whether it lies in a folder of its own."""
        return "/" in self.id


@dataclass(frozen=True, slots=True)
class Found:
    """A page that answers a search: how often, and the line around the first place."""

    page: Page
    count: int
    line: str


def read_pages(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, Page]:
    """Pages by id, in the order of the contents list.

    Args:
        folder: Where the `.md` files are; deeper folders count, links that lead out of it do not.
        extra: More pages (id to Markdown) that are made while the application runs; they win.
    """
    texts: dict[str, str] = {}
    root = folder.resolve()
    for path in sorted(folder.rglob("*.md")):
        if path.resolve().is_relative_to(root) and path.is_file() and path.stat().st_size <= _LARGEST:
            texts[path.relative_to(folder).with_suffix("").as_posix()] = path.read_text("utf-8", errors="replace")
    texts.update(extra or {})
    order = {key: number for number, key in enumerate(_FIRST)}
    keys = sorted(texts, key=lambda k: ("/" in k, order.get(k, len(order)), k))
    return {key: Page(key, title_of(key, texts[key]), texts[key]) for key in keys}


def title_of(page_id: str, text: str) -> str:
    """The first heading, without marks; else the id."""
    heading = re.search(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", text, re.MULTILINE)
    return re.sub(r"[`*_]", "", heading.group(1)) if heading else page_id.rsplit("/", 1)[-1]


def target_of(link: str, page_id: str) -> tuple[str, str] | None:
    """Page id and anchor that a link on a page leads to; None when it leaves the help.

    Args:
        link: As written ("desk.md", "../export.md#space", "#faders").
        page_id: The page it is on.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//", link):
        return None
    path, _, anchor = link.partition("#")
    if not path:
        return page_id, anchor
    parts = list(PurePosixPath(page_id).parts[:-1])
    for part in PurePosixPath(path).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in (".", "/"):
            parts.append(part)
    return "/".join(parts).removesuffix(".md"), anchor


def search(query: str, pages: Mapping[str, Page]) -> list[Found]:
    """Pages that have all words of a query: those with one in the title first, then by how often."""
    words = query.casefold().split()
    found = []
    for page in pages.values():
        whole, title = page.text.casefold(), page.title.casefold()
        if words and all(word in whole or word in title for word in words):
            count = sum(whole.count(word) for word in words)
            found.append((not any(w in title for w in words), -count, Found(page, count, _line(page.text, words))))
    return [entry for *_, entry in sorted(found, key=lambda f: f[:2])]


def _line(text: str, words: list[str]) -> str:
    """The line with most of the words, without Markdown's marks, short."""
    lines = [re.sub(r"[#*`>]|\[|\]\([^)]*\)", "", line).strip(" -|") for line in text.splitlines()]
    best = max(lines, key=lambda line: sum(w in line.casefold() for w in words), default="")
    start = max(0, min((p for w in words if (p := best.casefold().find(w)) >= 0), default=0) - 24)
    start = best.find(" ", start) + 1 if start else 0
    return ("…" if start else "") + best[start : start + 90] + ("…" if len(best) > start + 90 else "")
