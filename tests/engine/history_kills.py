"""Writes runs as fast as it can and says which are there, until it is killed.

python -m tests.engine.history_kills FILE NUMBER | FILE - KILLS
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from engine.evaluate.score import Score
from engine.history.history import History
from engine.history.values import Facts, Input


def facts(number: int, kind: str = "export", **more: object) -> Facts:
    """A run that is like no other."""
    value = (number % 100) / 100
    score = Score(task="digits", split="val", metric="accuracy", value=value, low=max(0.0, value - 0.05),
                  high=min(1.0, value + 0.05), correct=number % 100, count=100)  # fmt: skip
    given = {
        "kind": kind, "recipe": "{}", "key": f"{number:064x}", "method": "ties", "title": f"TIES {number}",
        "params": (("density", number / 1000), ("rescale", True)), "seconds": float(number), "scores": (score,),
        "inputs": (Input(role="base", name="base", path="/b", sha256="b" * 64),
                   Input(role="expert", name="chat", path="/c", sha256="c" * 64)),
        "output_path": f"/out/{number}", "output_sha256": f"{number + 10**6:064x}", "output_bytes": 10 + number,
        "created": 1_700_000_000.0 + number, "uid": f"{number:032x}",
    }  # fmt: skip
    return Facts(**{**given, **more})


def write(file: Path, number: int, out: int) -> None:
    """Write until killed; tell every number once it is recorded."""
    history = History(file)
    os.write(out, b"ready\n")
    while True:
        history.record(facts(number))
        os.write(out, b"%d\n" % number)  # only now it counts as recorded
        number += 1


def kill_once(file: Path, number: int, wait_s: float, *, patient: bool = False) -> list[int]:
    """Fork a writer and kill it, a patient one after its first row; the numbers it told.

    A fork costs milliseconds, a start of Python a second.
    """
    read, out = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            write(file, number, out)
        finally:
            os._exit(1)
    os.close(out)
    with os.fdopen(read, "rb") as lines:
        lines.readline()
        first = [int(lines.readline())] if patient else []
        time.sleep(wait_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return first + [int(line) for line in lines.read().split(b"\n")[:-1]]


def main() -> None:
    """FILE NUMBER: write from this number on until killed. FILE - KILLS: kill that many writers; prints JSON."""
    file, chance = Path(sys.argv[1]), random.Random(0)
    if sys.argv[2] != "-":
        write(file, int(sys.argv[2]), 1)
    told = []
    for turn in range(int(sys.argv[3])):  # on a busy machine no writer would get far without patience
        told += kill_once(file, turn * 100_000, chance.uniform(0, 0.12), patient=turn % 2 == 1)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
