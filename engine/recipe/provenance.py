"""What an exported model says about its origin, read back as a recipe: from a stranger, so nothing is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import BadProject, UnknownMethod
from engine.files import strict_json
from engine.files.text import printable
from engine.methods import find
from engine.recipe.project import from_json
from engine.recipe.recipe import Recipe

KEY = "mixdown"
"""The one metadata key of an export."""
MAX_BYTES = 25_000_000
_DEPTH = 8
_HINT = "Only exports of Mixdown hold a recipe that can be read back."


@dataclass(frozen=True, slots=True)
class MadeBy:
    """The method of an export, as it was then and as it is here.

    Attributes:
        method: Its id.
        title: Its name; the id where it is not here.
        version: Its version then; 0 where the export does not say (before Mixdown wrote it down).
        variant: Source and variant, as the export says.
        app: The program that made it ("Mixdown 1.0").
        installed: Its version here; 0 where it is not here.
    """

    method: str
    title: str
    version: int
    variant: str
    app: str
    installed: int

    @property
    def is_other(self) -> bool:
        """Whether the method here is known not to be the one that made the export."""
        return self.installed != self.version and self.version > 0


def made_by(data: Mapping[str, Any]) -> MadeBy:
    """What a provenance says about the method, compared with the one that is here; nothing of it is believed."""
    method, version = str(data.get("method", "")), data.get("method_version")
    told = version if type(version) is int and version > 0 else 0
    try:
        here = find(method)
    except UnknownMethod:
        title, installed = method, 0
    else:
        title, installed = here.title, here.version
    return MadeBy(method, title, told, str(data.get("variant", "")), str(data.get("app", "")), installed)


def read(metadata: Mapping[str, str], where: str = "") -> dict[str, Any]:
    """The provenance of a weight file, as plain data.

    Args:
        metadata: Of the file's header.
        where: File name, for the message.

    Raises:
        BadProject: if there is none, or it is not plain JSON of a known format.
    """
    text = metadata.get(KEY)
    if text is None:
        raise BadProject("The file does not say where it comes from.", where=where, hint=_HINT)
    try:
        data = strict_json.parse(text.encode("utf-8", "surrogatepass")[: MAX_BYTES + 1], depth=_DEPTH)
    except strict_json.BadJson as error:
        raise BadProject(f"Its provenance cannot be used: {printable(error)}.", where=where, hint=_HINT) from error
    if not isinstance(data, dict):
        raise BadProject("Its provenance is not a table.", where=where, hint=_HINT)
    return data


def has_recipe(metadata: Mapping[str, str]) -> bool:
    """Whether the metadata of a weight file looks like that of a merge; cheap, believes nothing."""
    text = metadata.get(KEY, "")
    return '"method":' in text and '"experts":' in text and '"kind":"task bundle"' not in text


def to_recipe(data: Mapping[str, Any], where: str = "") -> Recipe:
    """The recipe of a provenance; its models have names and content hashes but no paths yet.

    Raises:
        BadProject: if it is incomplete, not of this format, or made with other defaults than today's.
        UnknownMethod: if the method is not here.
    """
    try:
        if data.get("format") != 1 or "method" not in data:
            raise BadProject("It does not hold the recipe of a merge.", where=where, hint=_HINT)
        method = find(str(data["method"]))
        if data["default_coefficient"] != method.coefficient:
            raise BadProject(f"{method.title} had another default coefficient when this was made.", where=where,
                             hint="Use the version of Mixdown that it names.")  # fmt: skip
        return from_json(_plain(data))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadProject("Its provenance is incomplete or damaged.", where=where, hint=_HINT) from error
    except BadProject as error:
        raise BadProject(error.message, where=error.where or where, hint=error.hint or _HINT) from error


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance in the form of a project's recipe."""
    base, dtype = data["base"], data["dtype"]
    experts = [
        {"id": f"e{number}", "name": raw["name"], "path": "", "sha256": raw["sha256"]}
        for number, raw in enumerate(data["experts"], 1)
    ]
    rules = [dict(rule) for rule in data["rules"]]
    for expert, raw in zip(experts, data["experts"], strict=True):
        rules += [{**rule, "expert": expert["id"]} for rule in raw["rules"]]
    return {
        "base": {"id": "base", "name": base["name"], "path": "", "sha256": base["sha256"]} if base else None,
        "experts": experts,
        "method": data["method"],
        "params": data["params"],
        "rules": rules,
        "gains": {e["id"]: raw["gain"] for e, raw in zip(experts, data["experts"], strict=True) if raw["gain"] != 1},
        "seed": data["seed"],
        **({"stack": data["stack"]} if "stack" in data else {}),
        "dtype": "" if dtype == "as base" else dtype,
    }
