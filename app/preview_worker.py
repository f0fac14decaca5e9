"""The process that evaluates for a window: live previews and scores, one request after the other.

Requests and answers are messages of `app.preview_wire` on stdin and stdout. It keeps the sessions that it opened, tells
progress and that it lives, and ends when the window is gone: it has nothing on disk to clean up.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.export_worker import _behave
from app.preview_wire import pack, receive, task_from_plain
from engine.errors import Cancelled, Changed, MixdownError
from engine.progress import Token

if TYPE_CHECKING:
    from engine.merge.inputs import Inputs
    from engine.preview.session import Live
    from engine.store.cache import ScoreCache

FLAG = "--eval-worker"
"""How the program is started as this process."""
TELL_S = 0.05
ALIVE_EVERY = 10
"""Every so many `TELL_S` it says that it lives, even if nothing has changed."""
Plain = Mapping[str, Any]


def main() -> int:
    """Answer requests until the window is gone."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints goes to stderr
    sys.stdout = sys.stderr
    _behave()
    desk = Desk(out.write, out.flush)
    threading.Thread(target=desk.listen, args=(sys.stdin.buffer,), daemon=True).start()
    threading.Thread(target=desk.beat, daemon=True).start()
    from app import plugins, served

    served.serve()
    plugins.load()
    desk.tell(ready=os.getpid())
    desk.serve()
    return 0


class Desk:
    """Requests that wait, the one that is worked on, and the way back to the window.

    Args:
        write: Takes the bytes of a message.
        flush: Sends them.
    """

    def __init__(self, write: Callable[[bytes], object], flush: Callable[[], object]) -> None:
        self._write, self._flush = write, flush
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Plain | None] = queue.SimpleQueue()
        self._tokens: dict[int, Token] = {}
        self._now: tuple[int, Token] | None = None
        self._told: tuple[int, int, int, str] = (0, 0, 0, "")
        self._bench = Evaluator()

    def tell(self, **message: Any) -> None:
        """Send a message; a window that is gone is noticed by the listener."""
        raw = pack(message)
        with self._lock, suppress(OSError, ValueError):
            self._write(raw)
            self._flush()

    def listen(self, stream: Any) -> None:
        """Take requests, and what is to be done about the present one."""
        with suppress(OSError, ValueError):
            while (message := receive(stream)) is not None:
                token = self._tokens.get(message.get("id", 0))
                if "op" in message:
                    self._tokens[message["id"]] = Token()
                    self._waiting.put(message)
                elif token is not None and "cancel" in message:
                    token.cancel()
                elif token is not None and "pause" in message:
                    (token.pause if message["pause"] else token.resume)()
        os._exit(0)

    def beat(self) -> None:
        """Tell how far it is, and that it lives."""
        silent = 0
        while True:
            time.sleep(TELL_S)
            silent += 1
            self._progress()
            if silent >= ALIVE_EVERY:
                self.tell(alive=True)
                silent = 0

    def _progress(self) -> None:
        now = self._now
        if now is None:
            return
        number, token = now
        told = (number, token.done, token.total, token.text)
        if told != self._told and token.text:
            self._told = told
            self.tell(id=number, done=token.done, total=token.total, text=token.text, unit=token.unit)

    def serve(self) -> None:
        """Work on requests, for ever."""
        while (message := self._waiting.get()) is not None:
            number = message["id"]
            self._now = number, self._tokens[number]
            answer = self._answered(message, self._tokens[number])
            self._progress()
            self._now = None
            del self._tokens[number]
            self.tell(id=number, **answer)

    def _answered(self, message: Plain, token: Token) -> dict[str, Any]:
        from app.export_job import error_to_json

        try:
            token.check()
            return {"result": self._bench.do(message["op"], message["args"], token)}
        except Cancelled:
            return {"cancelled": True}
        except MixdownError as error:
            return {"error": error_to_json(error)}
        except Exception as error:
            return {"bug": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


class Evaluator:
    """What is kept between requests: models' headers, the score cache, open sessions."""

    def __init__(self) -> None:
        self._inputs: tuple[object, Inputs] | None = None
        self._cache: ScoreCache | None = None
        self._sessions: dict[int, Live] = {}
        self._doing: dict[str, Callable[[Plain, Token], Any]] = {
            "open": self._open, "record": self._record, "at": self._at, "slopes": self._slopes, "close": self._close,
            "score recipe": self._score_recipe, "score checkpoint": self._score_checkpoint,
        }  # fmt: skip

    def do(self, op: str, args: Plain, token: Token) -> Any:
        """Answer one request.

        Raises:
            MixdownError: as the engine does.
        """
        return self._doing[op](args, token)

    def _read(self, args: Plain) -> tuple[Any, Inputs]:
        """The recipe and its models, opened unless they are, untouched, those of the last request."""
        from app.export_job import stamps_of
        from app.workbench import open_recipe
        from engine.recipe.project import from_json

        recipe = from_json(args["recipe"])
        refs = (recipe.base, *recipe.experts)
        named = tuple((ref.path, ref.name) for ref in refs if ref is not None)
        key = named, repr(args["recipe"].get("stack")), args["stamps"]
        if self._inputs is None or self._inputs[0] != key or _is_touched(self._inputs[1]):
            inputs = open_recipe(recipe).inputs
            if [list(stamp) for stamp in stamps_of(inputs)] != args["stamps"]:
                raise Changed("A model's file was changed since it was put on the desk.",
                              hint="Wait until it is written, or put it on the desk again.")  # fmt: skip
            self._inputs = key, inputs
        return recipe, self._inputs[1]

    def _open(self, args: Plain, token: Token) -> dict[str, Any]:
        from app.export_job import error_to_json
        from engine.preview.session import open_live

        recipe, inputs = self._read(args)
        tasks = [task_from_plain(task) for task in args["tasks"]]
        live = open_live(recipe, inputs, tasks, rows=args["rows"], progress=token)
        self._sessions[args["session"]] = live
        report = {name: getattr(live.report, name) for name in live.report.__slots__ if name != "dropped"}
        names = sorted({name for tower in live.towers for name in tower.names})
        dropped = {name: error_to_json(error) for name, error in live.report.dropped.items()}
        return {"rows": live.tasks, "report": report, "dropped": dropped, "logits": live.logits,
                "reference": live.reference, "split": live.split, "names": names}  # fmt: skip

    def _record(self, args: Plain, token: Token) -> dict[str, Any]:
        live = self._sessions[args["session"]]
        live.move(args["point"], token, args["overrides"])
        return {"logits": live.logits}

    def _at(self, args: Plain, token: Token) -> dict[str, Any]:
        return {"logits": self._sessions[args["session"]].at(args["point"], token)}

    def _slopes(self, args: Plain, token: Token) -> dict[str, Any]:
        found = self._sessions[args["session"]].slopes(token)
        return {"tasks": found.tasks, "values": found.values}

    def _close(self, args: Plain, token: Token) -> dict[str, Any]:
        self._sessions.pop(args["session"], None)
        return {}

    # Scores --------------------------------------------------------------------------------------------------

    def _score_recipe(self, args: Plain, token: Token) -> dict[str, Any]:
        from engine.evaluate.mix import score_recipe

        recipe, inputs = self._read(args)
        tasks = [task_from_plain(task) for task in args["tasks"]]
        return self._scored(args, lambda cache: score_recipe(
            recipe, inputs, tasks, split=args["split"], limit=args["limit"], cache=cache, progress=token))  # fmt: skip

    def _score_checkpoint(self, args: Plain, token: Token) -> dict[str, Any]:
        from engine.evaluate.mix import score_checkpoint

        _, inputs = self._read(args)
        known = {str(model.path): model for model in (inputs.base, *inputs.experts) if model is not None}
        task = task_from_plain(args["task"])
        return self._scored(args, lambda cache: {task.name: score_checkpoint(
            known[args["model"]], inputs.base, task, limit=args["limit"], cache=cache, progress=token)})  # fmt: skip

    def _scored(self, args: Plain, work: Callable[[Any], Any]) -> dict[str, Any]:
        """Scores, which runners gave them, and which architectures nobody has measured."""
        from app import places
        from engine.graphs.policy import RUNNERS
        from engine.store.cache import ScoreCache

        unmeasured: list[Any] = []
        folder = Path(args["graphs"]) if args["graphs"] else None
        RUNNERS.renew(args["runner"], folder)
        RUNNERS.on_unmeasured = unmeasured.append
        if self._cache is None or self._cache.path != places.score_cache_file():
            self._cache = ScoreCache(places.score_cache_file())
        scores = work(self._cache if args["remember"] else None)
        return {"scores": {name: asdict(score) for name, score in scores.items()}, "used": dict(RUNNERS.used),
                "unmeasured": [asdict(spec) for spec in unmeasured]}  # fmt: skip


def _is_touched(inputs: Inputs) -> bool:
    """Whether a file was written into, or given another status, since it was opened."""
    from engine.files.hashing import touched

    return any(model is not None and touched(model) is not None for model in (inputs.base, *inputs.experts))
