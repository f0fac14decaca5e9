"""Makes the n-th write of a history fail, for every n until all went well, and reports what is there afterwards.

LD_PRELOAD=failing.so python -m tests.engine.failing_history FOLDER ERRNO STEP open|record|back_up

Prints JSON: for each n whether the call failed, what is wrong afterwards, and what lies in the folder.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import MixdownError
from engine.history import keeping
from engine.history.history import History
from engine.history.values import Query
from tests.engine.history_kills import facts

KNOWN = (1, 2, 3)
MOST = 400


def main() -> None:
    """Let one call after the other fail."""
    folder, code, step, act = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    shim, start = ctypes.CDLL(os.environ["LD_PRELOAD"]), folder / "start"
    start.mkdir(parents=True)
    made = History(start / "h.sqlite")
    for number in KNOWN:
        made.record(facts(number))
    made.close()
    found: list[dict[str, Any]] = []
    for number in range(1, MOST, step):
        one = _tried(shutil.copytree(start, folder / str(number)) / "h.sqlite", shim, number, code, act)
        found.append(one)
        if not one["met"]:
            break
    sys.stdout.write(json.dumps(found))


def _tried(file: Path, shim: ctypes.CDLL, number: int, code: int, act: str) -> dict[str, Any]:
    """One failure, and what is found when the history is opened again."""
    if act == "open":
        for backup in keeping.backups(file):
            backup.unlink()
    history = None if act == "open" else History(file)
    if act == "back_up":
        os.utime(keeping.backups(file)[0], (1, 1))  # so old that it is time for another one
    shim.arm(number, code)
    said, raised = "", True
    try:
        _acts(file, history)[act]()
        raised = False
    except MixdownError as error:
        said = str(error)
    except Exception as error:
        said = f"BUG {type(error).__name__}: {error}"
    met = shim.met()
    if history is not None:
        history.close()
    beside = sorted(p.name for p in file.parent.iterdir() if p.stat().st_size)
    again = History(file)
    runs = again.page(Query(limit=1000)).runs
    return {
        "n": number, "met": met, "raised": raised, "said": said, "beside": beside, "told": again.status.told,
        "rows": sorted(int(run.facts.seconds or 0) for run in runs), "intact": all(run.is_intact for run in runs),
    }  # fmt: skip


def _acts(file: Path, history: History | None) -> dict[str, Callable[[], object]]:
    def opened() -> None:
        History(file).close()

    def backed_up() -> None:
        if history is not None:
            history.back_up()

    return {
        "open": opened,
        "record": lambda: history.record(facts(4)),
        "back_up": backed_up,
    }


if __name__ == "__main__":
    main()
