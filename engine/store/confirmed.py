"""Content hashes that somebody on this computer vouches for, in a small JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from engine.errors import BadProject, FileProblem
from engine.files import strict_json
from engine.files.durable import write_durably
from engine.files.opening import read_small
from engine.files.text import printable

MOST_BYTES = 4_000_000
_FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Confirmed:
    """The hashes that were confirmed, with the name that the model had then.

    A file that is damaged or of a newer Mixdown counts as empty, which makes models unverified and never verified;
    it is not written over.

    Args:
        path: The JSON file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self) -> Mapping[str, str]:
        """Names by content hash, read anew: another process may have added some."""
        try:
            return self._read()
        except (FileProblem, BadProject):
            return {}

    def add(self, sha256: str, name: str) -> None:
        """Remember that a content hash is vouched for.

        Raises:
            BadProject: if the file that is there cannot be read; it is left as it is.
            WriteProblem: if it cannot be written.
        """
        table = {**self._read(), sha256: printable(name, 200)}
        text = json.dumps({"format": _FORMAT, "sha256": dict(sorted(table.items()))}, indent=1, ensure_ascii=False)
        write_durably(self._path, text.encode(), mode=0o600)

    def _read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        try:
            data = strict_json.parse(read_small(self._path, MOST_BYTES), depth=3)
        except strict_json.BadJson as error:
            raise self._unusable(str(error)) from error
        if not isinstance(data, dict) or data.get("format") != _FORMAT or not isinstance(data.get("sha256"), dict):
            raise self._unusable("it is of another version of Mixdown")
        table = data["sha256"]
        return {key: name for key, name in table.items() if _SHA256.fullmatch(key) and isinstance(name, str)}

    def _unusable(self, why: str) -> BadProject:
        return BadProject(f"The list of confirmed models cannot be used: {printable(why)}.",
                          where=printable(self._path, 400), hint="Move it aside to begin a new one.")  # fmt: skip
